"""``ringwall vault`` as a program of its own, over a real socket, through a wall, to a real vault."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import msgspec
from tests.doors.fakes import looped
from tests.fakes import World
from tests.runtime.vault_bench import MANIFEST, VALUE, Bench

from ringwall.call import Call, CallId, Chunk, Facts, Last, Target
from ringwall.capability.catalogue import Catalogues
from ringwall.capability.ring import CapabilityRing
from ringwall.doors.listener import OperatorServer
from ringwall.doors.operator import OperatorDoor
from ringwall.identity.operators import OperatorPeers
from ringwall.identity.probe import Probe
from ringwall.interface import Origin
from ringwall.keys.interface import Asks
from ringwall.manifest.types import Operators
from ringwall.runtime.acts import Acts, Arrivals
from ringwall.runtime.launch import Launcher
from ringwall.runtime.operating import Operating
from ringwall.vault.interface import Owner

ANA = Owner(tenant="acme", agent="ana", role="reader")


class _Launcher:
    runs: dict[str, Any] = {}  # noqa: RUF012 (nothing runs)

    async def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        yield Last(end="failed")


class _Resolver:
    def resolve(self, origin: Origin, kind: Any, raw: bytes) -> Call:
        order = msgspec.json.decode(raw)
        return Call.make(id=CallId("c"), kind=kind, subject=origin.subject, session=None,
                         target=Target(name=order["verb"]), args=order["args"])


@contextmanager
def up(folder: Path, asks: Asks) -> Generator[Bench]:
    bench, world = Bench(folder / "vault.db", asks), World(("identity",))
    wall = world.wall
    wall._effects["operate"] = Acts(_Launcher(), bench.acts)  # pyright: ignore[reportPrivateUsage]
    ring = CapabilityRing(MANIFEST, Catalogues(lambda _: cast("Any", None)))
    wall._rings = (*wall._rings, ring)  # pyright: ignore[reportPrivateUsage]
    wall._resolver = _Resolver()  # pyright: ignore[reportPrivateUsage]
    wall._journal = bench.journal  # pyright: ignore[reportPrivateUsage]

    async def status() -> None:
        return None

    operating = Operating(
        wall=wall, launcher=cast("Launcher", _Launcher()), operators=Operators(), journal=bench.journal,
        arrivals=Arrivals(bench.clock), tightening=bench.vaulting.tightening(), ahead=lambda _: nullcontext(),
        status=status, uploads=bench.uploads)
    peers = OperatorPeers(Probe(method="inode", tree=True))
    server = OperatorServer(OperatorDoor(operating, peers), peers)
    with looped() as loop:
        asyncio.run_coroutine_threadsafe(server.open(folder / "operator.sock"), loop).result(30)
        try:
            yield bench
        finally:
            asyncio.run_coroutine_threadsafe(server.close(), loop).result(30)


def say(folder: Path, *words: str, typed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "RINGWALL_SOCKET": str(folder / "operator.sock")}
    return subprocess.run([sys.executable, "-m", "ringwall.cli.main", "vault", *words], input=typed, timeout=60,
                          capture_output=True, check=False, env=environment)


def test_a_value_goes_from_a_pipe_to_the_vault_and_stands_nowhere_on_its_way(tmp_path: Path) -> None:
    with up(tmp_path, "nothing") as bench:
        assert say(tmp_path, "init").returncode == 0
        done = say(tmp_path, "put", "acme/ana", "key", typed=VALUE + b"\n")
        assert (done.returncode, done.stdout) == (0, b"kept: key of acme/ana (reader), version 1\n")
        assert bench.vault.read(ANA, "key") == VALUE
        assert VALUE.decode() not in repr(bench.journal.log)
        assert len(bench.uploads.inward) == 0
        blob = tmp_path / "backup"
        assert say(tmp_path, "backup", str(blob)).returncode == 0
        assert say(tmp_path, "seal").stdout == b"the vault is sealed\n"
        refused = say(tmp_path, "list")
        assert (refused.returncode, b"vault_sealed" in refused.stderr) == (1, True)
        assert say(tmp_path, "unseal").stdout == b"the vault is open\n"
        assert say(tmp_path, "restore", str(blob), "--yes").returncode == 0


def test_shares_reach_the_terminal_and_no_record(tmp_path: Path) -> None:
    with up(tmp_path, "shares") as bench:
        shares = say(tmp_path, "init").stdout.splitlines()
        assert shares == [b"share 1 0", b"share 1 1", b"share 1 2"]
        assert say(tmp_path, "seal").returncode == 0
        assert say(tmp_path, "unseal", typed=shares[0]).stdout == b"1 of 2 shares; the vault is still sealed\n"
        assert say(tmp_path, "unseal", typed=shares[1]).stdout == b"the vault is open\n"
        assert "share 1 " not in repr(bench.journal.log)
        assert (len(bench.uploads.inward), len(bench.uploads.outward)) == (0, 0)
