from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.vault.safe import ANA, ANA_READER, BEN, ZOE, Safe, bytes_on_disk, opened, seen, tamper

from ringwall.errors import BadInput, Refused, RingwallError, Unavailable
from ringwall.keys.file import FileRootKeys
from ringwall.vault.embedded import EmbeddedVault
from ringwall.vault.interface import Owner
from ringwall.vault.schema import KEPT_VERSIONS, MAX_VALUE, VersionInfo

VALUE = b"planted-value-7361"
USES: dict[str, Callable[[EmbeddedVault], object]] = {
    "put": lambda vault: vault.put(ANA, "db", b"x"),
    "read": lambda vault: vault.read(ANA, "db"),
    "delete": lambda vault: vault.delete(ANA, "db", 1),
    "undelete": lambda vault: vault.undelete(ANA, "db", 1),
    "destroy": lambda vault: vault.destroy(ANA, "db", 1),
    "versions": lambda vault: vault.versions(ANA, "db"),
    "listed": lambda vault: vault.listed(),
    "rotate_root": lambda vault: vault.rotate_root(FileRootKeys(bytes(32)), 2),
    "rotate_tenant": lambda vault: vault.rotate_tenant("acme"),
    "keep": lambda vault: vault.keep(ANA, "lease", b"x"),
    "opened": lambda vault: vault.opened(ANA, "lease", b"x"),
    "backup": lambda vault: vault.backup(),
    "restore": lambda vault: vault.restore(b"x"),
    "advance": lambda vault: vault.advance(9),
}


@pytest.fixture
def safe(tmp_path: Path) -> Generator[Safe]:
    made = opened(tmp_path)
    yield made
    made.stop()


def code(work: Callable[[], object]) -> str:
    with pytest.raises(RingwallError) as found:
        work()
    assert found.value.remedy
    assert VALUE.decode() not in repr(found.value) + str(found.value)
    return found.value.code


# --- what it does


def test_a_value_is_read_by_its_owner_also_after_a_restart(safe: Safe) -> None:
    assert safe.vault.put(ANA, "db", VALUE) == 1
    assert safe.vault.read(ANA, "db") == VALUE
    assert safe.again().read(ANA, "db") == VALUE
    assert VALUE not in bytes_on_disk(safe.file)


@pytest.mark.parametrize("other", [ANA_READER, BEN, ZOE, Owner.broker("acme")])
def test_another_owner_has_no_such_secret_and_may_have_one_of_the_same_name(safe: Safe, other: Owner) -> None:
    safe.vault.put(ANA, "db", VALUE)
    assert code(lambda: safe.vault.read(other, "db")) == "no_such_secret"
    safe.vault.put(other, "db", b"other")
    assert safe.vault.read(ANA, "db") == VALUE
    assert safe.vault.read(other, "db") == b"other"


def test_versions_count_up_and_older_ones_stay_readable(safe: Safe) -> None:
    for number in (1, 2, 3):
        safe.clock.seconds = 1000.0 + number
        assert safe.vault.put(ANA, "db", b"%d" % number) == number
    assert safe.vault.read(ANA, "db", 2) == b"2"
    assert safe.vault.read(ANA, "db") == b"3"
    assert safe.vault.versions(ANA, "db")[1] == VersionInfo(version=2, created=1002.0, state="live")
    for wrong in (0, 4, -1):
        assert code(lambda wrong=wrong: safe.vault.read(ANA, "db", wrong)) == "no_such_secret"


def test_check_and_set_writes_over_what_was_seen_only(safe: Safe) -> None:
    assert code(lambda: safe.vault.put(ANA, "db", b"x", cas=1)) == "version_conflict"
    assert safe.vault.put(ANA, "db", b"x", cas=0) == 1
    assert code(lambda: safe.vault.put(ANA, "db", b"y", cas=0)) == "version_conflict"
    assert safe.vault.put(ANA, "db", b"y", cas=1) == 2
    safe.vault.destroy(ANA, "db", 2)
    assert code(lambda: safe.vault.put(ANA, "db", b"z", cas=0)) == "version_conflict"
    assert safe.vault.read(ANA, "db", 1) == b"x"


def test_a_deleted_version_is_refused_until_it_is_undeleted(safe: Safe) -> None:
    safe.vault.put(ANA, "db", b"x")
    safe.vault.put(ANA, "db", VALUE)
    safe.vault.delete(ANA, "db", 2)
    assert code(lambda: safe.again().read(ANA, "db")) == "secret_deleted"  # never the older one in its place
    assert safe.vault.read(ANA, "db", 1) == b"x"
    safe.vault.undelete(ANA, "db", 2)
    assert safe.again().read(ANA, "db") == VALUE


def test_a_destroyed_version_never_comes_back_and_its_number_is_not_used_again(safe: Safe) -> None:
    safe.vault.put(ANA, "db", VALUE)
    body = seen(safe.file, "SELECT body FROM vault_values")[0][0]
    wrapped = seen(safe.file, "SELECT mark FROM vault_marks")[0][0][-60:]
    safe.vault.destroy(ANA, "db", 1)
    safe.vault.destroy(ANA, "db", 1)
    for use in (safe.vault.undelete, safe.vault.delete, safe.vault.read):
        assert code(lambda use=use: use(ANA, "db", 1)) == "secret_destroyed"
    for planted in (body, wrapped):
        assert planted not in bytes_on_disk(safe.file)
    assert safe.again().put(ANA, "db", b"new") == 2
    assert [one.state for one in safe.vault.versions(ANA, "db")] == ["destroyed", "live"]


def test_what_a_busy_file_kept_of_a_destroyed_version_goes_with_the_next_write(
    safe: Safe, monkeypatch: pytest.MonkeyPatch
) -> None:
    safe.vault.put(ANA, "db", VALUE)
    body = seen(safe.file, "SELECT body FROM vault_values")[0][0]
    with monkeypatch.context() as busy:
        busy.setattr(safe.store, "scrub", lambda: False)
        safe.vault.destroy(ANA, "db", 1)
        assert body in bytes_on_disk(safe.file)
    safe.vault.put(BEN, "other", b"x")
    assert body not in bytes_on_disk(safe.file)


def test_of_many_versions_the_oldest_are_destroyed(safe: Safe) -> None:
    for number in range(KEPT_VERSIONS + 2):
        safe.vault.put(ANA, "db", b"%d" % number)
    assert [one.version for one in safe.vault.versions(ANA, "db")] == list(range(3, KEPT_VERSIONS + 3))
    assert code(lambda: safe.vault.read(ANA, "db", 2)) == "secret_destroyed"
    assert safe.vault.read(ANA, "db", 3) == b"2"
    assert len(seen(safe.file, "SELECT version FROM vault_values")) == KEPT_VERSIONS


def test_listing_names_and_shows_no_value(safe: Safe) -> None:
    safe.vault.put(ZOE, "z", VALUE)
    safe.vault.put(BEN, "b", VALUE)
    safe.vault.put(ANA, "a", VALUE)
    safe.vault.delete(ANA, "a", 1)
    assert [(entry.owner, entry.name, entry.version, entry.state) for entry in safe.vault.listed("acme")] == [
        (ANA, "a", 1, "deleted"), (BEN, "b", 1, "live")]
    vault = safe.vault
    shown = repr([vault.listed(), vault.versions(BEN, "b"), vault, vars(vault), vars(vault._opened())])
    assert VALUE.decode() not in shown


@given(st.text(max_size=140).filter(lambda text: not (text.isascii() and text.isprintable() and " " not in text
                                                      and 0 < len(text) <= 128)))
def test_a_name_that_is_none_is_refused(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    safe = opened(tmp_path_factory.mktemp("v"))
    assert code(lambda: safe.vault.put(ANA, name, b"x")) == "bad_secret_name"
    assert code(lambda: safe.vault.read(Owner(tenant=name, agent="a", role="r"), "db")) == "bad_secret_name"
    safe.stop()


def test_a_value_has_1_byte_to_64_kib(safe: Safe) -> None:
    for wrong in (b"", bytes(MAX_VALUE + 1)):
        assert code(lambda wrong=wrong: safe.vault.put(ANA, "db", wrong)) == "bad_secret_value"
        assert code(lambda wrong=wrong: safe.vault.keep(ANA, "db", wrong)) == "bad_secret_value"
    largest = secrets.token_bytes(MAX_VALUE)
    safe.vault.put(ANA, "db", largest)
    assert safe.vault.read(ANA, "db") == largest


def test_a_full_vault_refuses_another_secret_and_takes_versions(
    safe: Safe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringwall.vault.contents.MAX_SECRETS", 1)
    safe.vault.put(ANA, "db", b"x")
    assert code(lambda: safe.vault.put(ANA, "dc", b"x")) == "vault_full"
    assert safe.vault.put(ANA, "db", b"y") == 2


def test_small_things_are_kept_for_an_owner_and_a_purpose(safe: Safe) -> None:
    blob = safe.vault.keep(ANA, "lease-1", VALUE)
    assert VALUE not in blob
    assert safe.again().opened(ANA, "lease-1", blob) == VALUE
    assert safe.vault.keep(ANA, "lease-1", VALUE) != blob
    for owner, purpose in ((BEN, "lease-1"), (ANA_READER, "lease-1"), (ANA, "lease-2"), (ZOE, "lease-1")):
        assert code(lambda owner=owner, purpose=purpose: safe.vault.opened(owner, purpose, blob)) == "vault_damaged"
    for wrong in (blob[:-1], b"", blob[:12], bytes(len(blob))):
        assert code(lambda wrong=wrong: safe.vault.opened(ANA, "lease-1", wrong)) == "vault_damaged"


# --- sealed, absent, the wrong root


@pytest.mark.parametrize("use", USES)
def test_sealed_every_use_is_refused(safe: Safe, use: str) -> None:
    safe.vault.put(ANA, "db", VALUE)
    safe.vault.seal()
    assert safe.vault.state == "sealed"
    assert code(lambda: USES[use](safe.vault)) == "vault_sealed"
    safe.vault.unseal(safe.root())
    assert safe.vault.read(ANA, "db") == VALUE


@pytest.mark.parametrize("use", USES)
def test_without_a_vault_every_use_is_refused(tmp_path: Path, use: str) -> None:
    safe = Safe(tmp_path)
    assert (safe.vault.state, safe.vault.generation, safe.vault.sequence) == ("absent", 0, 0)
    assert code(lambda: USES[use](safe.vault)) == "vault_absent"
    assert code(lambda: safe.vault.unseal(safe.root())) == "vault_absent"
    safe.stop()


def test_sealing_forgets_every_key(safe: Safe) -> None:
    safe.vault.put(ANA, "db", VALUE)
    safe.vault.seal()
    safe.vault.seal()
    assert safe.vault._open is None
    assert safe.vault.generation == 1


def test_a_wrong_root_is_told_before_anything_is_used(safe: Safe) -> None:
    safe.vault.put(ANA, "db", VALUE)
    safe.vault.seal()
    sequence = safe.vault.sequence
    assert code(lambda: safe.vault.unseal(safe.root(2))) == "root_key_wrong"
    assert (safe.vault.state, safe.vault.sequence) == ("sealed", sequence)
    safe.vault.unseal(safe.root())
    safe.vault.unseal(safe.root(2))  # open already
    assert safe.vault.read(ANA, "db") == VALUE


def test_a_second_vault_is_not_made_over_the_first(safe: Safe) -> None:
    safe.vault.put(ANA, "db", VALUE)
    assert code(lambda: safe.vault.init(safe.root(2), 2)) == "vault_exists"
    safe.vault.seal()
    assert code(lambda: safe.vault.init(safe.root(2), 2)) == "vault_exists"
    assert safe.again().read(ANA, "db") == VALUE


# --- an attacker with the file


def shut(safe: Safe) -> Path:
    safe.stop()
    return safe.file


def refused_at_opening(safe: Safe) -> None:
    safe.start()
    assert code(lambda: safe.vault.unseal(safe.root())) == "vault_damaged"
    assert safe.vault.state == "sealed"


@pytest.mark.parametrize(("column", "value"), [("tenant", "zeta"), ("agent", "ben"), ("role", "reader"),
                                               ("name", "dc")])
def test_a_mark_moved_to_another_path_opens_nothing(safe: Safe, column: str, value: str) -> None:
    safe.vault.put(ANA, "db", VALUE)
    safe.vault.put(ZOE, "other", b"x")
    sql = {"tenant": "UPDATE vault_marks SET tenant = ? WHERE agent = 'ana' AND name = 'db'",
           "agent": "UPDATE vault_marks SET agent = ? WHERE name = 'db'",
           "role": "UPDATE vault_marks SET role = ? WHERE name = 'db'",
           "name": "UPDATE vault_marks SET name = ? WHERE name = 'db'"}[column]
    assert tamper(shut(safe), sql, (value,)) == 1
    refused_at_opening(safe)


@pytest.mark.parametrize("other", [BEN, ANA_READER, ZOE])
@pytest.mark.parametrize("running", [True, False])
def test_a_value_moved_to_another_owner_does_not_open(safe: Safe, other: Owner, running: bool) -> None:
    safe.vault.put(ANA, "db", VALUE)
    safe.vault.put(other, "db", b"theirs")
    if not running:
        shut(safe)
    body = seen(safe.file, "SELECT body FROM vault_values WHERE (tenant, agent, role) = ('acme', 'ana', 'clerk')")
    assert tamper(safe.file, "UPDATE vault_values SET body = ? WHERE tenant = ? AND agent = ? AND role = ?",
                  (body[0][0], other.tenant, other.agent, other.role)) == 1
    vault = safe.vault if running else safe.again()
    assert code(lambda: vault.read(other, "db")) == "vault_damaged"
    assert vault.read(ANA, "db") == VALUE  # the rest goes on


@pytest.mark.parametrize("running", [True, False])
def test_swapped_versions_do_not_open(safe: Safe, running: bool) -> None:
    safe.vault.put(ANA, "db", b"old")
    safe.vault.put(ANA, "db", b"new")
    if not running:
        shut(safe)
    bodies = dict(seen(safe.file, "SELECT version, body FROM vault_values"))
    for version in (1, 2):
        tamper(safe.file, "UPDATE vault_values SET body = ? WHERE version = ?", (bodies[3 - version], version))
    vault = safe.vault if running else safe.again()
    for version in (1, 2):
        assert code(lambda version=version: vault.read(ANA, "db", version)) == "vault_damaged"


PATHS = "tenant, agent, role, name"


@pytest.mark.parametrize("running", [True, False])
def test_an_older_version_replayed_with_its_old_mark_is_refused(safe: Safe, running: bool) -> None:
    safe.vault.put(ANA, "db", b"old")
    safe.vault.put(BEN, "other", b"x")
    kept = safe.copy("kept.db")
    safe.vault.put(ANA, "db", b"new")
    if not running:
        shut(safe)
    mark, mac = seen(kept, "SELECT mark, mac FROM vault_marks WHERE name = 'db'")[0]
    assert tamper(safe.file, "UPDATE vault_marks SET mark = ?, mac = ? WHERE name = 'db'", (mark, mac)) == 1
    tamper(safe.file, "DELETE FROM vault_values WHERE name = 'db' AND version = 2")
    if running:  # what is in memory counts
        assert code(lambda: safe.vault.read(ANA, "db")) == "vault_damaged"
        safe.stop()
    refused_at_opening(safe)


@pytest.mark.parametrize("tables", [["vault_marks"], ["vault_marks", "vault_values"],
                                    ["vault_marks", "vault_values", "vault_tenants"]])
def test_a_secret_or_a_tenant_that_vanished_is_missed(safe: Safe, tables: list[str]) -> None:
    safe.vault.put(ANA, "db", VALUE)
    safe.vault.put(ZOE, "other", b"x")
    file = shut(safe)
    for table in tables:
        assert tamper(file, f"DELETE FROM {table} WHERE tenant = 'zeta'") == 1  # noqa: S608
    refused_at_opening(safe)


def test_a_deleted_version_cannot_be_undeleted_in_the_file(safe: Safe) -> None:
    safe.vault.put(ANA, "db", VALUE)
    mark, mac = seen(safe.file, "SELECT mark, mac FROM vault_marks")[0]
    safe.vault.delete(ANA, "db", 1)
    later = seen(safe.file, "SELECT mark FROM vault_marks")[0][0]
    file = shut(safe)
    assert tamper(file, "UPDATE vault_marks SET mark = ?", (later.replace(b"deleted", b"live"),)) == 1
    refused_at_opening(safe)
    shut(safe)
    assert tamper(file, "UPDATE vault_marks SET mark = ?, mac = ?", (mark, mac)) == 1
    refused_at_opening(safe)


@pytest.mark.parametrize("running", [True, False])
def test_a_destroyed_version_put_back_from_a_copy_stays_destroyed(safe: Safe, running: bool) -> None:
    safe.vault.put(ANA, "db", VALUE)
    body = seen(safe.file, "SELECT body FROM vault_values")[0][0]  # as the write-ahead log has it
    safe.vault.destroy(ANA, "db", 1)
    if not running:
        shut(safe)
    tamper(safe.file, "INSERT INTO vault_values VALUES ('acme', 'ana', 'clerk', 'db', 1, ?)", (body,))
    vault = safe.vault if running else safe.again()
    assert code(lambda: vault.read(ANA, "db", 1)) == "secret_destroyed"
    assert vault.put(ANA, "db", b"new") == 2


def test_a_row_put_where_the_next_version_will_be_is_overwritten(safe: Safe) -> None:
    safe.vault.put(ANA, "db", b"old")
    tamper(safe.file, "INSERT INTO vault_values VALUES ('acme', 'ana', 'clerk', 'db', 2, x'00')")
    assert safe.vault.put(ANA, "db", VALUE) == 2
    assert safe.vault.read(ANA, "db") == VALUE


@pytest.mark.parametrize("changed", [
    "UPDATE vault_meta SET sequence = sequence + 1", "UPDATE vault_meta SET sequence = sequence - 1",
    "UPDATE vault_meta SET mac = x'00'", "UPDATE vault_tenants SET salt = zeroblob(16)",
    "UPDATE vault_tenants SET keeping = zeroblob(60)", "UPDATE vault_tenants SET mac = zeroblob(32)",
    "UPDATE vault_tenants SET salt = 7", "UPDATE vault_marks SET mark = x'92'",
    "UPDATE vault_marks SET mac = 'text'",
    "UPDATE vault_meta SET root_check = 1.5", "UPDATE vault_marks SET agent = 1",
])
def test_any_other_change_of_the_rows_keeps_it_sealed(safe: Safe, changed: str) -> None:
    safe.vault.put(ANA, "db", VALUE)
    assert tamper(shut(safe), changed) == 1
    with pytest.raises(BadInput, match="vault_damaged"):
        safe.start()
        safe.vault.unseal(safe.root())


def test_another_generation_or_check_is_a_wrong_root(safe: Safe) -> None:
    tamper(shut(safe), "UPDATE vault_meta SET generation = 2")
    safe.start()
    assert code(lambda: safe.vault.unseal(safe.root())) == "root_key_wrong"


@pytest.mark.parametrize(("generation", "sequence"), [(0, 9), (-1, 9), (1 << 32, 9), (1, 0)])
def test_a_number_that_cannot_be_is_damage_and_no_crash(safe: Safe, generation: int, sequence: int) -> None:
    tamper(shut(safe), "UPDATE vault_meta SET generation = ?, sequence = ?", (generation, sequence))
    safe.start()
    assert (safe.vault.state, safe.vault.generation) == ("sealed", 0)
    assert code(lambda: safe.vault.unseal(safe.root())) == "vault_damaged"


def test_a_newer_format_is_told(safe: Safe) -> None:
    tamper(shut(safe), "UPDATE vault_meta SET format = 'ringwall-vault-v9'")
    safe.start()
    assert code(lambda: safe.vault.unseal(safe.root())) == "vault_newer"
    tamper(safe.file, "UPDATE vault_meta SET format = 'ringwall-vault-v1'")
    safe.start()


def test_a_file_changed_while_it_was_open_takes_no_writes(safe: Safe) -> None:
    safe.vault.put(ANA, "db", VALUE)
    tamper(safe.file, "UPDATE vault_meta SET sequence = sequence - 1")
    for use in ("put", "delete", "destroy", "rotate_root", "rotate_tenant", "advance"):
        assert code(lambda use=use: USES[use](safe.vault)) == "vault_damaged", use
    assert safe.vault.read(ANA, "db") == VALUE


def test_an_older_file_put_back_whole_is_told_by_the_number_of_writes(safe: Safe) -> None:
    safe.vault.put(ANA, "db", b"old")
    kept = safe.copy("kept.db")
    safe.vault.put(ANA, "db", b"new")
    logged = safe.vault.sequence
    safe.vault.check_sequence(logged)
    safe.put_back(kept)
    assert code(lambda: safe.vault.check_sequence(logged)) == "vault_rolled_back"
    safe.vault.unseal(safe.root())
    assert code(lambda: safe.vault.check_sequence(logged)) == "vault_rolled_back"


def test_an_accepted_older_file_counts_on_after_the_newer_one(safe: Safe) -> None:
    safe.vault.put(ANA, "db", b"old")
    kept = safe.copy("kept.db")
    safe.vault.put(ANA, "db", b"new")
    logged = safe.vault.sequence
    newer = safe.copy("newer.db")
    safe.put_back(kept)
    safe.vault.unseal(safe.root())
    safe.vault.advance(logged)
    accepted = safe.vault.sequence
    assert accepted > logged
    safe.vault.advance(logged)  # again: nothing
    assert safe.again().sequence == accepted
    assert safe.vault.read(ANA, "db") == b"old"
    safe.put_back(newer)
    assert code(lambda: safe.vault.check_sequence(accepted)) == "vault_rolled_back"


def test_every_write_counts(safe: Safe) -> None:
    counted = [safe.vault.sequence]
    for work in (lambda: safe.vault.put(ANA, "db", VALUE), lambda: safe.vault.delete(ANA, "db", 1),
                 lambda: safe.vault.undelete(ANA, "db", 1), lambda: safe.vault.destroy(ANA, "db", 1),
                 lambda: safe.vault.keep(ZOE, "x", b"x"), lambda: safe.vault.rotate_tenant("acme"),
                 lambda: safe.vault.rotate_root(safe.root(2), 2), lambda: safe.vault.restore(safe.vault.backup())):
        work()
        counted.append(safe.vault.sequence)
    assert counted == list(range(1, len(counted) + 1))


def test_a_value_that_disappeared_or_is_of_another_type_is_damage(safe: Safe) -> None:
    safe.vault.put(ANA, "db", VALUE)
    tamper(safe.file, "UPDATE vault_values SET body = 'text'")
    assert code(lambda: safe.vault.read(ANA, "db")) == "vault_damaged"
    tamper(safe.file, "DELETE FROM vault_values")
    assert code(lambda: safe.vault.read(ANA, "db")) == "vault_damaged"


@given(data=st.data())
def test_a_file_with_changed_bytes_gives_the_value_or_an_error_with_a_code(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("v")
    safe = opened(folder)
    safe.vault.put(ANA, "db", VALUE)
    safe.stop()
    whole = safe.file.read_bytes()
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        del changed[data.draw(st.integers(1, len(changed) - 1)):]
    safe.file.write_bytes(changed)
    try:
        safe.start()
        if safe.vault.state != "absent":
            safe.vault.unseal(safe.root())
            assert safe.vault.read(ANA, "db") == VALUE
    except (BadInput, Unavailable, Refused) as fault:
        assert fault.code in {"vault_damaged", "vault_newer", "store_damaged", "store_unreadable",
                              "store_unwritable", "root_key_wrong"}
    finally:
        safe.stop()
        shutil.rmtree(folder)


def test_a_write_that_came_between_a_mark_and_its_value_is_no_damage(
    safe: Safe, monkeypatch: pytest.MonkeyPatch
) -> None:
    safe.vault.put(ANA, "db", VALUE)
    rows, done = safe.store.rows, list[int]()

    def late(*query: Any) -> list[Any]:
        if not done:
            done.append(1)
            safe.vault.destroy(ANA, "db", 1)
        return rows(*query)

    monkeypatch.setattr(safe.store, "rows", late)
    assert code(lambda: safe.vault.read(ANA, "db")) == "secret_destroyed"
