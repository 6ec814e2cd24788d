"""Secrets in the vault, as operators handle them by name: recorded first, and never with their values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.fakes import run
from tests.runtime.vault_bench import BOB, VALUE, Bench

from ringwall.errors import AuditError, BadInput, Refused, RingwallError, Unavailable
from ringwall.vault.interface import Owner

ANA = Owner(tenant="acme", agent="ana", role="reader")


async def opened(folder: Path) -> Bench:
    bench = Bench(folder / "vault.db")
    await bench.ask("vault.init")
    return bench


def test_a_value_is_kept_for_the_agent_in_its_role_and_stands_in_no_record(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await opened(tmp_path)
        done = await bench.put()
        assert done == {"put": [{"tenant": "acme", "agent": "ana", "role": "reader", "name": "key", "version": 1}]}
        assert bench.vault.read(ANA, "key") == VALUE
        assert bench.types() == ["vault_init", "vault_written", "secret_put", "vault_written"]
        said = json.dumps([dict(event.body) for event in bench.journal.of("note")])
        assert VALUE.decode() not in said
        assert VALUE.decode() not in json.dumps(done)
        before, after = bench.journal.of("note")[-2:]
        assert (before.tenant, before.subject, before.body["name"]) == ("system", "operator:root", "key")
        assert after.body["sequence"] == bench.vault.sequence > before.body["sequence"]

    run(main())


def test_what_cannot_be_written_down_does_not_happen(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await opened(tmp_path)
        bench.journal.broken.add("note")
        with pytest.raises(AuditError):
            await bench.put()
        assert bench.vault.listed() == []

    run(main())


def test_every_agent_whose_role_has_it_gets_one_of_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await opened(tmp_path)
        done = await bench.put(every=True)
        assert [(one["agent"], one["role"]) for one in done["put"]] == [("ana", "reader"), ("cy", "looker")]
        done = await bench.put(broker=True)
        assert bench.vault.read(Owner.broker("acme"), "key") == VALUE
        assert [one["agent"] for one in done["put"]] == ["@broker"]
        listed = await bench.ask("vault.list", tenant="acme")
        assert [one["agent"] for one in listed["secrets"]] == ["@broker", "ana", "cy"]
        assert (await bench.ask("vault.list", tenant="other"))["secrets"] == []

    run(main())


def test_a_version_that_somebody_else_wrote_is_not_overwritten(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await opened(tmp_path)
        await bench.put(agent="ana", cas=0)
        with pytest.raises(Refused, match="version_conflict"):
            await bench.put(b"other", agent="ana", cas=0)
        await bench.put(b"other", agent="ana", cas=1)
        assert bench.vault.read(ANA, "key") == b"other"

    run(main())


@pytest.mark.parametrize(("args", "code"), [
    ({"tenant": "acme", "agent": "ana", "name": "nope"}, "unknown_secret"),
    ({"tenant": "acme", "agent": "ana", "name": "cloud"}, "unknown_secret"),
    ({"tenant": "none", "agent": "ana", "name": "key"}, "unknown_tenant"),
    ({"tenant": "acme", "agent": "zoe", "name": "key"}, "unknown_agent"),
    ({"tenant": "acme", "agent": "ana", "role": "boss", "name": "key"}, "unknown_agent"),
    ({"tenant": "other", "every": True, "name": "key"}, "unknown_agent"),
    ({"tenant": "acme", "name": "key"}, "bad_act"),
    ({"tenant": "acme", "agent": "ana", "every": True, "name": "key"}, "bad_act"),
    ({"tenant": "acme", "role": "reader", "every": True, "name": "key"}, "bad_act"),
    ({"tenant": "acme", "agent": "ana", "broker": True, "name": "key"}, "bad_act"),
    ({"tenant": "acme", "agent": "ana", "name": "key", "value": "x"}, "bad_act"),
    ({"tenant": "acme", "agent": "ana", "name": "key", "cas": "1"}, "bad_act"),
])
def test_a_name_that_the_manifest_does_not_have_is_refused(
    tmp_path: Path, args: dict[str, object], code: str
) -> None:
    async def main() -> None:
        bench = await opened(tmp_path)
        with pytest.raises(BadInput, match=code):
            await bench.ask("vault.put", upload=bench.hand_in(VALUE), **args)
        assert bench.vault.listed() == []

    run(main())


def test_what_was_handed_in_is_good_once_and_for_its_own_operator(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await opened(tmp_path)
        name = bench.hand_in(VALUE)
        where = {"tenant": "acme", "agent": "ana", "name": "key", "upload": name}
        with pytest.raises(Refused, match="no_such_upload"):
            await bench.ask("vault.put", BOB, **where)
        await bench.ask("vault.put", **where)
        with pytest.raises(Refused, match="no_such_upload"):
            await bench.ask("vault.put", **where)

    run(main())


@pytest.mark.parametrize("value", [b"", b"x" * ((64 << 10) + 1)])
def test_a_value_of_the_wrong_size_is_refused(tmp_path: Path, value: bytes) -> None:
    async def main() -> None:
        bench = await opened(tmp_path)
        with pytest.raises(BadInput, match=r"bad_secret_value|upload_too_large"):
            await bench.put(value)

    run(main())


def test_versions_are_deleted_brought_back_and_destroyed_each_on_the_record(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await opened(tmp_path)
        await bench.put()
        await bench.put(b"second")
        one = {"tenant": "acme", "agent": "ana", "name": "key"}
        await bench.ask("vault.delete", version=2, **one)
        with pytest.raises(BadInput, match="secret_deleted"):
            bench.vault.read(ANA, "key")
        await bench.ask("vault.undelete", version=2, **one)
        assert bench.vault.read(ANA, "key") == b"second"
        await bench.ask("vault.destroy", version=1, **one)
        found = await bench.ask("vault.versions", **one)
        assert [(v["version"], v["state"]) for v in found["versions"]] == [(1, "destroyed"), (2, "live")]
        kinds = [kind for kind in bench.types() if kind != "vault_written"]
        assert kinds[-3:] == ["secret_deleted", "secret_undeleted", "secret_destroyed"]
        length = len(bench.journal.log)
        with pytest.raises(BadInput, match="no_such_secret"):
            await bench.ask("vault.destroy", version=9, **one)
        assert len(bench.journal.log) == length

    run(main())


def test_secrets_of_an_agent_that_is_gone_are_named_with_its_role(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await opened(tmp_path)
        bench.vault.put(Owner(tenant="acme", agent="gone", role="reader"), "key", VALUE)
        one = {"tenant": "acme", "agent": "gone", "name": "key"}
        with pytest.raises(BadInput, match="--role"):
            await bench.ask("vault.versions", **one)
        await bench.ask("vault.destroy", role="reader", version=1, **one)
        assert [entry.state for entry in bench.vault.listed()] == ["destroyed"]

    run(main())


def test_a_secret_moves_from_its_file_without_passing_through_anybody(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await opened(tmp_path)
        order = {"tenant": "acme", "agent": "ana", "name": "old", "secret": "old"}
        await bench.ask("vault.import", **order)
        assert bench.vault.read(ANA, "old") == b"from-a-file"
        with pytest.raises(BadInput, match="unknown_secret"):
            await bench.ask("vault.import", **{**order, "secret": "key"})

    run(main())


def test_a_sealed_vault_refuses_every_use_with_the_line_that_opens_it(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await opened(tmp_path)
        await bench.put()
        assert await bench.ask("vault.seal") == {"state": "sealed", "sealed": True, "durable": True}
        one = {"tenant": "acme", "agent": "ana", "name": "key"}
        for verb, more in (("vault.list", {}), ("vault.versions", one), ("vault.destroy", {**one, "version": 1}),
                           ("vault.rotate", {"what": "root"}), ("vault.backup", {}),
                           ("vault.put", {**one, "upload": bench.hand_in(VALUE)})):
            with pytest.raises(Unavailable, match=r"vault_sealed.*ringwall vault unseal"):
                await bench.ask(verb, **more)
        assert (await bench.ask("vault.status"))["state"] == "sealed"

    run(main())


def test_without_a_vault_everything_says_how_to_make_one(tmp_path: Path) -> None:
    async def main() -> None:
        bench = Bench(tmp_path / "vault.db")
        await bench.vaulting.open_at_start()
        for verb in ("vault.list", "vault.backup", "vault.unseal"):
            with pytest.raises(RingwallError, match=r"vault_absent.*ringwall vault init"):
                await bench.ask(verb)

    run(main())
