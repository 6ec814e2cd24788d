"""The vault as a whole: opened by those who may, one root key or the other, and never an older file unnoticed."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.fakes import call, run
from tests.runtime.vault_bench import BOB, ROOT, VALUE, Bench
from tests.vault.safe import tamper

from ringwall.call import Json, Operator
from ringwall.errors import AuditError, BadInput, Refused, RingwallError, Unavailable
from ringwall.keys.interface import RootKeys
from ringwall.manifest.types import NamedOperator, Operators
from ringwall.runtime.second import TwoPeople
from ringwall.runtime.uploads import LIFE_S, sha256
from ringwall.runtime.vault_roots import COLLECT_S
from ringwall.vault.interface import Owner

ANA = Owner(tenant="acme", agent="ana", role="reader")


def gone(bench: Bench) -> None:
    """The file is removed behind its back."""
    for one in bench.file.parent.glob("vault.db*"):
        one.unlink()


async def made(folder: Path) -> Bench:
    bench = Bench(folder / "vault.db")
    await bench.ask("vault.init")
    await bench.put()
    return bench


async def shared(folder: Path) -> tuple[Bench, list[bytes]]:
    bench = Bench(folder / "vault.db", "shares")
    done = await bench.ask("vault.init")
    shares = bench.fetch(done["download"]).splitlines()
    assert len(shares) == done["count"] == 3
    await bench.put()
    return bench, shares


def put_back(bench: Bench, kept: Path) -> None:
    """The older file in the newer one's place."""
    bench.store.close()
    gone(bench)
    shutil.copy(kept, bench.file)


def test_a_root_key_that_asks_nobody_opens_the_vault_at_start(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await (await made(tmp_path)).again()
        assert bench.vault.read(ANA, "key") == VALUE
        bench.source.down = True
        bench = await bench.again()
        found = await bench.ask("vault.status")
        assert (found["state"], found["fault"]["code"]) == ("sealed", "root_key_missing")
        bench.source.down = False
        await bench.ask("vault.unseal")
        assert bench.vault.read(ANA, "key") == VALUE
        assert (await bench.ask("vault.status"))["fault"] is None

    run(main())


def test_what_an_operator_sealed_stays_sealed_over_a_restart_until_one_opens_it(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await made(tmp_path)
        await bench.ask("vault.seal")
        bench = await bench.again()
        assert bench.vault.state == "sealed"
        assert bench.vaulting.status()["fault"] is None
        await bench.ask("vault.unseal")
        assert (await bench.again()).vault.state == "open"

    run(main())


def test_another_vault_in_its_place_is_told_although_its_own_root_key_came_with_it(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await made(tmp_path)
        await bench.ask("vault.rotate", what="root")
        assert (await bench.again()).vault.state == "open"  # a rotation of its own is no other vault
        (tmp_path / "b").mkdir()
        other = Bench(tmp_path / "b" / "vault.db")
        other.source.kept[1] = other.source.kept[2] = (b"", frozenset())
        await other.ask("vault.init")
        for _ in range(9):
            await other.put(b"theirs")
        bench.source.kept = other.source.kept
        bench.file = other.file
        bench = await bench.again()
        assert (bench.vault.state, bench.vaulting.status()["fault"]["code"]) == ("sealed", "vault_foreign")
        with pytest.raises(Refused, match=r"vault_foreign.*--accept-older"):
            await bench.ask("vault.unseal")
        assert (await bench.ask("vault.restore", accept_older=True))["state"] == "open"
        assert bench.vault.read(ANA, "key") == b"theirs"
        assert (await bench.again()).vault.state == "open"

    run(main())


def test_a_rotation_that_a_crash_cut_off_after_it_happened_is_no_other_vault(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await made(tmp_path)
        await bench.ask("vault.rotate", what="root")
        log = bench.journal.log
        del log[max(n for n, (_, event) in enumerate(log) if getattr(event, "type", "") == "vault_written")]
        assert (await bench.again()).vault.state == "open"

    run(main())


def test_a_file_that_cannot_be_used_is_not_accepted_as_an_older_one(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await made(tmp_path)
        bench.store.close()
        tamper(bench.file, "UPDATE vault_meta SET generation = 0")
        bench = await bench.again()
        assert bench.vaulting.status()["fault"]["code"] == "vault_damaged"
        for verb, args in (("vault.unseal", {}), ("vault.restore", {"accept_older": True})):
            with pytest.raises(BadInput, match="vault_damaged"):
                await bench.ask(verb, **args)

    run(main())


def test_one_that_could_not_be_opened_stays_sealed_too_when_an_operator_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await made(tmp_path)
        bench.source.down = True
        bench = await bench.again()
        done = await bench.ask("vault.seal")
        assert done == {"state": "sealed", "sealed": False, "durable": True}
        bench.source.down = False
        bench = await bench.again()
        assert bench.vault.state == "sealed"
        assert await bench.ask("vault.seal") == {"state": "sealed", "sealed": False}  # known already
        await bench.ask("vault.unseal")
        assert (await bench.again()).vault.state == "open"

    run(main())


def test_who_seals_while_another_opens_has_the_last_word_over_restarts_too(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await made(tmp_path)
        await bench.ask("vault.seal")
        loop, opening = asyncio.get_running_loop(), bench.source.open

        def slowly(generation: int, answers: Sequence[bytes]) -> RootKeys:
            done = asyncio.run_coroutine_threadsafe(bench.ask("vault.seal", BOB), loop).result(10)
            assert done["state"] == "sealed"
            return opening(generation, answers)

        bench.source.open = slowly
        with pytest.raises(Unavailable, match="vault_sealed"):
            await bench.ask("vault.unseal")
        assert bench.vault.state == "sealed"
        bench.source.open = opening
        bench = await bench.again()
        assert bench.vault.state == "sealed"
        assert (await bench.ask("vault.unseal"))["state"] == "open"

    run(main())


def test_sealing_happens_although_the_log_cannot_be_written_and_opening_does_not(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await made(tmp_path)
        bench.journal.broken.add("note")
        seal = bench.vaulting.tightening()["vault.seal"]
        done = await seal(call("vault.seal", {}, kind="operate", subject=ROOT))
        assert done == {"state": "sealed", "sealed": True, "durable": False}
        assert [event.type for event in bench.journal.of("count")] == ["vault_sealed"]
        with pytest.raises(AuditError):
            await bench.ask("vault.unseal")
        assert bench.vault.state == "sealed"

    run(main())


def test_a_passphrase_opens_it_and_another_does_not(tmp_path: Path) -> None:
    async def main() -> None:
        bench = Bench(tmp_path / "vault.db", "passphrase")
        await bench.ask("vault.init", upload=bench.hand_in(b"correct horse battery\n"))
        bench = await bench.again()
        assert bench.vault.state == "sealed"
        with pytest.raises(Refused, match="root_key_wrong"):
            await bench.ask("vault.unseal", upload=bench.hand_in(b"correct horse"))
        with pytest.raises(Unavailable, match="root_key_sealed"):
            await bench.ask("vault.unseal")
        done = await bench.ask("vault.unseal", upload=bench.hand_in(b"correct horse battery"))
        assert done == {"state": "open", "unsealed": True}
        assert b"horse" not in json.dumps([dict(e.body) for e in bench.journal.of("note")]).encode()

    run(main())


def test_shares_come_one_by_one_from_several_operators_and_none_is_recorded(tmp_path: Path) -> None:
    async def main() -> None:
        bench, shares = await shared(tmp_path)
        bench = await bench.again()
        done = await bench.ask("vault.unseal", upload=bench.hand_in(shares[0]))
        assert done == {"state": "sealed", "brought": 1, "threshold": 2}
        again = await bench.ask("vault.unseal", upload=bench.hand_in(shares[0]))
        assert again["brought"] == 1
        with pytest.raises(Refused, match="root_key_wrong"):
            await bench.ask("vault.unseal", BOB, upload=bench.hand_in(b"share 9 9", BOB))
        assert (await bench.ask("vault.status"))["shares"] == {"brought": 1, "threshold": 2}
        assert (await bench.ask("vault.unseal", BOB, upload=bench.hand_in(shares[2], BOB)))["state"] == "open"
        assert (await bench.ask("vault.status"))["shares"]["brought"] == 0
        assert "share" not in json.dumps([dict(e.body) for e in bench.journal.of("note")]).replace("shamir", "")

    run(main())


def test_shares_that_wait_too_long_are_forgotten(tmp_path: Path) -> None:
    async def main() -> None:
        bench, shares = await shared(tmp_path)
        bench = await bench.again()
        await bench.ask("vault.unseal", upload=bench.hand_in(shares[0]))
        bench.clock.seconds += COLLECT_S
        done = await bench.ask("vault.unseal", upload=bench.hand_in(shares[1]))
        assert (done["state"], done["brought"]) == ("sealed", 1)

    run(main())


def test_new_shares_count_only_once_enough_of_them_were_brought_back(tmp_path: Path) -> None:
    async def main() -> None:
        bench, old = await shared(tmp_path)
        done = await bench.ask("vault.rotate", what="root")
        new = bench.fetch(done["download"]).splitlines()
        assert (bench.vault.generation, done["generation"]) == (1, 2)
        with pytest.raises(Refused, match="root_key_wrong"):
            await bench.ask("vault.rotate", what="root", upload=bench.hand_in(b"\n".join(old[:2])))
        assert bench.vault.generation == 1
        done = await bench.ask("vault.rotate", what="root", upload=bench.hand_in(b"\n".join(new[1:])))
        assert (done["generation"], done["rewrapped"], bench.vault.read(ANA, "key")) == (2, 1, VALUE)
        with pytest.raises(Refused, match="nothing_to_confirm"):
            await bench.ask("vault.rotate", what="root", upload=bench.hand_in(b"\n".join(new[1:])))
        bench = await bench.again()
        assert (await bench.ask("vault.unseal", upload=bench.hand_in(b"\n".join(new[:2]))))["state"] == "open"

    run(main())


def test_a_rotation_keeps_the_old_root_until_all_is_under_the_new_one(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await made(tmp_path)
        done = await bench.ask("vault.rotate", what="root")
        assert done == {"what": "root", "generation": 2, "rewrapped": 1, "old_root_left": ""}
        assert list(bench.source.kept) == [2]
        bench.source.kept[3] = (b"left by a core that was killed", frozenset())
        done = await bench.ask("vault.rotate", what="root")
        assert (done["generation"], list(bench.source.kept)) == (4, [3, 4])
        done = await bench.ask("vault.rotate", what="tenant", tenant="acme")
        assert (done["rewrapped"], bench.vault.read(ANA, "key")) == (1, VALUE)
        assert (await bench.again()).vault.read(ANA, "key") == VALUE

    run(main())


def test_an_old_root_that_cannot_be_removed_is_told_and_the_rotation_stands(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await made(tmp_path)
        bench.journal.gate = asyncio.Event()
        task = asyncio.ensure_future(bench.ask("vault.rotate", what="root"))
        await bench.journal.reached.wait()
        bench.source.down = True
        bench.journal.gate.set()
        assert "does not answer" in (await task)["old_root_left"]
        assert bench.vault.generation == 2

    run(main())


def test_who_goes_away_in_the_middle_leaves_nothing_half_done(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await made(tmp_path)
        bench.journal.gate = asyncio.Event()
        bench.journal.reached.clear()
        task = asyncio.ensure_future(bench.ask("vault.rotate", what="root"))
        await bench.journal.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        bench.journal.gate.set()
        await bench.ask("vault.backup")  # waits for its turn
        assert (bench.vault.generation, list(bench.source.kept)) == (2, [2])

    run(main())


def test_a_file_that_is_older_than_the_log_knows_is_not_used_until_an_operator_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await made(tmp_path)
        kept = tmp_path / "copy"
        bench.store.close()
        shutil.copy(bench.file, kept)
        bench = await bench.again()
        await bench.put(b"second")
        put_back(bench, kept)
        bench = await bench.again()
        for verb in ("vault.unseal", "vault.list", "vault.backup"):
            with pytest.raises(Refused, match=r"vault_rolled_back.*--accept-older"):
                await bench.ask(verb)
        assert bench.vaulting.status()["fault"]["code"] == "vault_rolled_back"
        done = await bench.ask("vault.restore", accept_older=True)
        assert (done["state"], bench.vault.read(ANA, "key")) == ("open", VALUE)
        with pytest.raises(Refused, match="not_rolled_back"):
            await bench.ask("vault.restore", accept_older=True)
        put_back(bench, kept)  # once is not for ever
        with pytest.raises(Refused, match="vault_rolled_back"):
            await (await bench.again()).ask("vault.list")

    run(main())


def test_a_file_that_is_gone_is_no_reason_to_begin_anew_without_a_word(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await made(tmp_path)
        blob = bench.fetch((await bench.ask("vault.backup"))["download"])
        bench.store.close()
        gone(bench)
        bench = await bench.again()
        for verb in ("vault.init", "vault.list"):
            with pytest.raises(Refused, match=r"vault_gone.*--anew"):
                await bench.ask(verb)
        await bench.ask("vault.restore", upload=bench.hand_in(blob), sha256=sha256(blob))
        assert bench.vault.read(ANA, "key") == VALUE
        assert (await bench.again()).vault.read(ANA, "key") == VALUE

    run(main())


def test_who_gives_the_old_vault_up_begins_anew_after_all_that_the_log_knows(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await made(tmp_path)
        bench.store.close()
        gone(bench)
        bench = await bench.again()
        await bench.ask("vault.init", anew=True)
        assert (bench.vault.listed(), bench.vault.generation) == ([], 2)
        assert (await bench.again()).vault.state == "open"

    run(main())


def test_a_backup_comes_back_whole_and_counts_as_newer_than_what_it_replaces(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await made(tmp_path)
        done = await bench.ask("vault.backup")
        blob = bench.fetch(done["download"])
        assert (sha256(blob), len(blob)) == (done["sha256"], done["bytes"])
        assert VALUE not in blob
        await bench.put(b"second")
        await bench.ask("vault.restore", upload=bench.hand_in(blob), sha256=sha256(blob))
        assert bench.vault.read(ANA, "key") == VALUE
        bench = await bench.again()
        assert bench.vault.read(ANA, "key") == VALUE
        with pytest.raises(Refused, match="upload_changed"):
            await bench.ask("vault.restore", upload=bench.hand_in(blob + b"x"), sha256=sha256(blob))
        cut = blob[:-1]
        with pytest.raises(BadInput, match="bad_backup"):
            await bench.ask("vault.restore", upload=bench.hand_in(cut), sha256=sha256(cut))
        assert bench.vault.read(ANA, "key") == VALUE

    run(main())


@pytest.mark.parametrize("args", [
    {}, {"accept_older": True, "upload": "x", "sha256": "y"}, {"upload": "x"}, {"sha256": "y"}, {"upload": 3},
    {"accept_older": True, "sha256": "y"}, {"file": "/etc/passwd"}])
def test_a_restore_says_exactly_what_it_means(tmp_path: Path, args: dict[str, Json]) -> None:
    async def main() -> None:
        bench = await made(tmp_path)
        with pytest.raises(BadInput, match="bad_act"):
            await bench.ask("vault.restore", **args)

    run(main())


def test_two_operators_restore_the_same_backup_each_with_their_own_copy_of_it(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await made(tmp_path)
        blob = bench.fetch((await bench.ask("vault.backup"))["download"])
        await bench.put(b"second")
        named = {one.name: NamedOperator(name=one.name, uid=one.uid, roles=("admin",)) for one in (ROOT, BOB)}
        people = TwoPeople(Operators(named=named, two_person=("vault.restore",)), bench.journal, bench.clock)
        bench.acts = people.guarded(bench.acts)

        async def ask(who: Operator, data: bytes, name: str) -> Json:
            return await bench.ask("vault.restore", who, upload=bench.hand_in(data, who), sha256=name)

        assert "proposed" in await ask(ROOT, blob, sha256(blob))
        bench.clock.seconds += LIFE_S  # the first one's copy is forgotten long before the second comes
        with pytest.raises(Refused, match="upload_changed"):
            await ask(BOB, b"another backup", sha256(blob))
        assert "proposed" in await ask(ROOT, blob, sha256(blob))
        assert (await ask(BOB, blob, sha256(blob)))["state"] == "open"
        assert bench.vault.read(ANA, "key") == VALUE

    run(main())


def test_there_is_one_vault(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await made(tmp_path)
        for anew in (False, True):
            with pytest.raises(Refused, match="vault_exists"):
                await bench.ask("vault.init", anew=anew)
        assert (await bench.ask("vault.unseal")) == {"state": "open", "unsealed": False}
        with pytest.raises(RingwallError, match="operator_only"):
            await bench.acts["vault.backup"](call("vault.backup", {}, kind="operate"))

    run(main())


def test_a_root_key_that_a_killed_init_left_is_never_overwritten(tmp_path: Path) -> None:
    async def main() -> None:
        bench = Bench(tmp_path / "vault.db")
        bench.source.kept[1] = (b"perhaps of a vault elsewhere", frozenset())
        assert (await bench.ask("vault.init"))["generation"] == 2
        assert list(bench.source.kept) == [1, 2]

    run(main())
