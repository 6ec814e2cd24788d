"""What is put together for operators: the pause ahead of a freeze, and the second socket's folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes import FakeClock, FakeJournal, call, run

from ringwall.call import Call, Json, Operator
from ringwall.doors.listener import OperatorServer
from ringwall.errors import RingwallError
from ringwall.identity.operators import OperatorPeers
from ringwall.identity.probe import Probe
from ringwall.manifest.types import Manifest, NamedOperator, Operators
from ringwall.runtime.command import Command

NAMED = {"rita": NamedOperator(name="rita", uid=1000, roles=("responder",)),
         "otto": NamedOperator(name="otto", uid=1001, roles=("auditor",))}
MANIFEST = Manifest(version=1, trust_domain="example.org", path=Path("/nowhere/ringwall.toml"),
                    operators=Operators(named=NAMED))
ORDER = {"scope": "all", "name": "", "reason": "a drill"}


def command(manifest: Manifest = MANIFEST) -> Command:
    return Command(manifest=manifest, journal=FakeJournal(), clock=FakeClock())


@pytest.mark.parametrize(("name", "uid", "verb", "args", "waits"), [
    ("rita", 1000, "freeze", ORDER, True), ("otto", 1001, "freeze", ORDER, False),
    ("rita", 1001, "freeze", ORDER, False), ("rita", 1000, "thaw", ORDER, False),
    ("rita", 1000, "freeze", {**ORDER, "scope": "everybody"}, False),
])
def test_only_a_freeze_by_somebody_whose_role_has_it_makes_calls_wait(
    name: str, uid: int, verb: str, args: Json, waits: bool
) -> None:
    made = command()
    asked: Call = call(verb, args, kind="operate", subject=Operator(name=name, uid=uid, connection=1), session=None)

    async def main() -> None:
        with made._ahead(asked):  # pyright: ignore[reportPrivateUsage]
            waiting = made.freezes.waits(call())
            assert (waiting is not None) is waits
        if waiting is not None:
            await waiting

    run(main())


@pytest.mark.parametrize("mode", [None, 0o775, 0o757])
def test_a_folder_that_others_may_write_holds_no_socket(tmp_path: Path, mode: int | None) -> None:
    folder = tmp_path / "o"
    if mode is not None:
        folder.mkdir()
        folder.chmod(mode)
    made = command(replace(MANIFEST, operators=replace(MANIFEST.operators, socket=folder / "s")))
    peers = OperatorPeers(Probe(method="inode", tree=True))

    async def nothing(scope: object, receive: object, send: object) -> None:
        return None

    async def main() -> None:
        server = OperatorServer(nothing, peers)
        try:
            await made.open(server, tmp_path / "operator.sock")
        finally:
            await server.close()

    with pytest.raises(RingwallError, match="bad_socket_folder"):
        run(main())
    assert not (folder / "s").exists()
