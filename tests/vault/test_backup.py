from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.vault.safe import ANA, BEN, ZOE, Safe, opened, tamper

from ringwall.errors import BadInput, Unavailable
from ringwall.keys.file import FileRootKeys
from ringwall.vault import backup

VALUE = b"planted-value-7361"
HEAD = len(b"ringwall-vault-backup-v1\n")


@pytest.fixture
def safe(tmp_path: Path) -> Generator[Safe]:
    made = opened(tmp_path)
    made.vault.put(ANA, "db", b"older")
    made.vault.put(ANA, "db", VALUE)
    made.vault.put(BEN, "db", b"bens")
    made.vault.destroy(ANA, "db", 1)
    yield made
    made.stop()


def elsewhere(tmp_path: Path) -> Safe:
    (tmp_path / "new").mkdir()
    return Safe(tmp_path / "new")


def test_a_backup_brings_everything_back_where_nothing_is(safe: Safe, tmp_path: Path) -> None:
    blob = safe.vault.backup()
    assert VALUE not in blob
    assert backup.generation_of(blob) == 1
    new = elsewhere(tmp_path)
    new.vault.restore(blob, safe.root())
    assert (new.vault.state, new.vault.generation) == ("open", 1)
    new.stop()
    new.start()
    new.vault.unseal(safe.root())
    assert new.vault.read(ANA, "db") == VALUE
    assert new.vault.read(BEN, "db") == b"bens"
    with pytest.raises(BadInput, match="secret_destroyed"):
        new.vault.read(ANA, "db", 1)
    assert new.vault.put(ANA, "db", b"next") == 3
    new.stop()


def test_a_restore_replaces_all_that_is_there_and_counts_on(safe: Safe) -> None:
    blob = safe.vault.backup()
    safe.vault.put(ANA, "db", b"later")
    safe.vault.put(ANA, "new", b"x")
    before = safe.vault.sequence
    safe.vault.restore(blob)
    assert safe.vault.sequence == before + 1
    safe.again()
    assert safe.vault.read(ANA, "db") == VALUE
    assert [entry.name for entry in safe.vault.listed()] == ["db", "db"]


def test_what_was_kept_elsewhere_since_the_backup_stays_readable(safe: Safe) -> None:
    blob = safe.vault.backup()
    old, late = safe.vault.keep(ANA, "lease-1", b"handle"), safe.vault.keep(ZOE, "lease-2", b"late")
    safe.vault.restore(blob)
    assert safe.again().opened(ANA, "lease-1", old) == b"handle"
    assert safe.vault.opened(ZOE, "lease-2", late) == b"late"


def test_another_installations_backup_comes_under_the_own_root_and_keeps_what_was_kept(
    safe: Safe, tmp_path: Path
) -> None:
    new = elsewhere(tmp_path)
    new.vault.init(new.root(), 1)
    kept = new.vault.keep(ANA, "lease-1", b"handle")
    with pytest.raises(BadInput, match="bad_backup"):
        new.vault.restore(safe.vault.backup())
    new.vault.restore(safe.vault.backup(), safe.root())
    assert new.again().read(ANA, "db") == VALUE
    assert new.vault.opened(ANA, "lease-1", kept) == b"handle"
    new.stop()


def test_a_backup_of_before_a_rotation_needs_the_root_of_its_time_and_comes_under_the_new_one(safe: Safe) -> None:
    blob = safe.vault.backup()
    safe.vault.rotate_root(safe.root(2), 2)
    with pytest.raises(BadInput, match="bad_backup"):
        safe.vault.restore(blob)
    safe.vault.restore(blob, safe.root(1))
    assert safe.vault.generation == 2
    assert safe.again(2).read(ANA, "db") == VALUE


def test_a_backup_of_before_a_tenant_rotation_comes_back(safe: Safe) -> None:
    blob = safe.vault.backup()
    safe.vault.rotate_tenant("acme")
    safe.vault.restore(blob)
    assert safe.again().read(ANA, "db") == VALUE


def test_a_wrong_root_restores_nothing(safe: Safe, tmp_path: Path) -> None:
    blob = safe.vault.backup()
    new = elsewhere(tmp_path)
    with pytest.raises(BadInput, match="bad_backup"):
        new.vault.restore(blob, FileRootKeys(bytes(32)))
    with pytest.raises(Unavailable, match="vault_absent"):
        new.vault.restore(blob)
    assert new.vault.state == "absent"
    new.stop()


@given(place=st.integers(0, 1 << 20), mask=st.integers(1, 255))
def test_any_changed_byte_is_found(tmp_path_factory: pytest.TempPathFactory, place: int, mask: int) -> None:
    safe = opened(tmp_path_factory.mktemp("v"))
    safe.vault.put(ANA, "db", VALUE)
    blob = bytearray(safe.vault.backup())
    blob[place % len(blob)] ^= mask
    sequence = safe.vault.sequence
    with pytest.raises(BadInput, match="bad_backup"):
        safe.vault.restore(bytes(blob))
    assert (safe.vault.read(ANA, "db"), safe.vault.sequence) == (VALUE, sequence)
    safe.stop()


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda b: b"ringwall-vault-backup-v1\n" + b)))
def test_garbage_is_no_backup(garbage: bytes) -> None:
    with pytest.raises(BadInput, match="bad_backup"):
        backup.opened(garbage, FileRootKeys(bytes(32)))


@pytest.mark.parametrize("generation", [0, 2**32, 2**63, 2**64 - 1])
def test_a_generation_that_cannot_be_is_no_backups(safe: Safe, generation: int) -> None:
    blob = safe.vault.backup()
    with pytest.raises(BadInput, match="bad_backup"):
        backup.generation_of(blob[:HEAD] + generation.to_bytes(8) + blob[HEAD + 8:])


def test_a_cut_backup_is_refused(safe: Safe) -> None:
    blob = safe.vault.backup()
    for length in (0, HEAD, HEAD + 8, HEAD + 40, len(blob) // 2, len(blob) - 1):
        with pytest.raises(BadInput, match="bad_backup"):
            safe.vault.restore(blob[:length])


def test_rows_of_another_form_under_a_right_mac_are_refused(safe: Safe) -> None:
    contents = safe.vault._opened()
    blob = b"ringwall-vault-backup-v1\n" + (1).to_bytes(8) + b"\x93\x01\x02\x03"
    with pytest.raises(BadInput, match=r"bad_backup: .* form"):
        safe.vault.restore(blob + contents.macs.backup(blob))


def test_a_backup_is_not_made_of_what_would_not_come_back(safe: Safe) -> None:
    tamper(safe.file, "UPDATE vault_values SET body = zeroblob(40) WHERE agent = 'ben'")
    with pytest.raises(BadInput, match="vault_damaged: version 1 of db of acme/ben/clerk"):
        safe.vault.backup()
    tamper(safe.file, "UPDATE vault_values SET version = 'text' WHERE agent = 'ben'")
    with pytest.raises(BadInput, match="vault_damaged"):
        safe.vault.backup()


def test_a_backup_over_the_limit_is_neither_made_nor_read(safe: Safe, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = safe.vault.backup()
    monkeypatch.setattr("ringwall.vault.backup.MAX_BACKUP", len(blob) - 1)
    with pytest.raises(Unavailable, match="backup_too_large"):
        safe.vault.backup()
    with pytest.raises(BadInput, match="bad_backup"):
        safe.vault.restore(blob)
