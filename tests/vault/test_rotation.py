from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.vault.safe import ANA, BEN, ZOE, Safe, bytes_on_disk, opened, seen, tamper

from ringwall.errors import BadInput, Refused

VALUES = {(ANA, "db"): b"value-a", (BEN, "db"): b"value-b", (ZOE, "db"): b"value-z"}


@pytest.fixture
def safe(tmp_path: Path) -> Generator[Safe]:
    made = opened(tmp_path)
    for (owner, name), value in VALUES.items():
        made.vault.put(owner, name, b"older")
        made.vault.put(owner, name, value)
    yield made
    made.stop()


def all_there(safe: Safe) -> None:
    for (owner, name), value in VALUES.items():
        assert safe.vault.read(owner, name) == value
        assert safe.vault.read(owner, name, 1) == b"older"


def test_after_a_root_rotation_the_new_root_opens_everything_and_the_old_one_nothing(safe: Safe) -> None:
    assert safe.vault.rotate_root(safe.root(2), 2) == 6
    assert safe.vault.generation == 2
    all_there(safe)
    safe.vault.seal()
    with pytest.raises(Refused, match="root_key_wrong"):
        safe.vault.unseal(safe.root(1))
    safe.again(2)
    all_there(safe)


def test_a_root_rotation_leaves_nothing_of_the_old_wrapping_on_disk_and_touches_no_value(safe: Safe) -> None:
    wraps = [mark[-60:] for (mark,) in seen(safe.file, "SELECT mark FROM vault_marks")]
    bodies = seen(safe.file, "SELECT body FROM vault_values")
    safe.vault.rotate_root(safe.root(2), 2)
    there = bytes_on_disk(safe.file)
    assert not [wrap for wrap in wraps if wrap in there]
    assert seen(safe.file, "SELECT body FROM vault_values") == bodies


def test_a_tenant_rotation_moves_that_tenant_only(safe: Safe) -> None:
    zeta = seen(safe.file, "SELECT * FROM vault_marks WHERE tenant = 'zeta'")
    salts = dict(seen(safe.file, "SELECT tenant, salt FROM vault_tenants"))
    wraps = [mark[-60:] for (mark,) in seen(safe.file, "SELECT mark FROM vault_marks WHERE tenant = 'acme'")]
    assert safe.vault.rotate_tenant("acme") == 4
    after = dict(seen(safe.file, "SELECT tenant, salt FROM vault_tenants"))
    assert after["zeta"] == salts["zeta"]
    assert after["acme"] != salts["acme"]
    assert seen(safe.file, "SELECT * FROM vault_marks WHERE tenant = 'zeta'") == zeta
    assert not [wrap for wrap in wraps if wrap in bytes_on_disk(safe.file)]
    all_there(safe)
    safe.again()
    all_there(safe)


def test_what_was_kept_elsewhere_opens_after_both_rotations(safe: Safe) -> None:
    blob = safe.vault.keep(ANA, "lease-1", b"handle")
    safe.vault.rotate_tenant("acme")
    safe.vault.rotate_root(safe.root(2), 2)
    assert safe.again(2).opened(ANA, "lease-1", blob) == b"handle"


def test_destroyed_versions_stay_destroyed(safe: Safe) -> None:
    safe.vault.destroy(ANA, "db", 2)
    safe.vault.delete(BEN, "db", 2)
    assert safe.vault.rotate_root(safe.root(2), 2) == 5
    with pytest.raises(BadInput, match="secret_destroyed"):
        safe.again(2).read(ANA, "db")
    safe.vault.undelete(BEN, "db", 2)
    assert safe.vault.read(BEN, "db") == b"value-b"


@pytest.mark.parametrize("generation", [0, 1])
def test_a_rotation_leads_to_a_later_generation(safe: Safe, generation: int) -> None:
    with pytest.raises(Refused, match="generation_conflict"):
        safe.vault.rotate_root(safe.root(2), generation)
    all_there(safe)


def test_a_rotation_leads_to_another_root(safe: Safe) -> None:
    with pytest.raises(Refused, match="root_key_same"):
        safe.vault.rotate_root(safe.root(1), 2)
    assert safe.vault.generation == 1


def test_a_tenant_that_has_nothing_is_told(safe: Safe) -> None:
    with pytest.raises(Refused, match="no_such_tenant"):
        safe.vault.rotate_tenant("nobody")


def test_reads_and_writes_go_on_while_keys_rotate(safe: Safe) -> None:
    """Readers in other threads, from the first rotation to the last: none ever fails."""
    faults: list[BaseException] = []
    over = threading.Event()
    reads = [0, 0, 0]

    def read(number: int) -> None:
        try:
            while not over.is_set():
                all_there(safe)
                reads[number] += 1
        except BaseException as fault:  # noqa: BLE001 (told below)
            faults.append(fault)

    def put() -> None:
        try:
            while not over.is_set():
                safe.vault.put(ANA, "busy", b"x")
        except BaseException as fault:  # noqa: BLE001 (told below)
            faults.append(fault)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    threads.append(threading.Thread(target=put))
    for thread in threads:
        thread.start()
    for generation in range(2, 12):
        safe.vault.rotate_root(safe.root(generation), generation)
        safe.vault.rotate_tenant("acme")
    over.set()
    for thread in threads:
        thread.join()
    assert not faults
    assert all(reads)
    safe.again(11)
    all_there(safe)


def test_a_mark_damaged_in_the_file_stops_no_reader_and_a_rotation_writes_it_anew(safe: Safe) -> None:
    """What is in memory counts."""
    assert tamper(safe.file, "UPDATE vault_marks SET mark = x'00' WHERE agent = 'ben'") == 1
    all_there(safe)
    safe.vault.rotate_root(safe.root(2), 2)
    safe.again(2)
    all_there(safe)
