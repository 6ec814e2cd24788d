from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringwall.errors import Unavailable
from ringwall.store.interface import Writer
from ringwall.store.sqlite import SqliteStore


@pytest.fixture
def store(tmp_path: Path) -> Generator[SqliteStore]:
    made = SqliteStore(tmp_path / "s.db")
    made.write(lambda writer: writer.execute("CREATE TABLE things (name TEXT PRIMARY KEY, body BYTEA)"))
    yield made
    made.close()


def put(name: str, body: bytes = b"x") -> Callable[[Writer], int]:
    return lambda writer: writer.execute("INSERT INTO things VALUES (?, ?)", (name, body))


def names(store: SqliteStore) -> list[object]:
    return [row[0] for row in store.rows("SELECT name FROM things ORDER BY name")]


def test_what_was_written_is_there_after_a_restart(store: SqliteStore, tmp_path: Path) -> None:
    assert store.write(put("a", b"\0\xff")) == 1
    store.close()
    again = SqliteStore(tmp_path / "s.db")
    assert again.rows("SELECT * FROM things") == [("a", b"\0\xff")]
    again.close()


def test_a_transaction_that_raises_changes_nothing_and_the_next_one_works(store: SqliteStore) -> None:
    def broken(writer: Writer) -> None:
        put("a")(writer)
        assert writer.rows("SELECT name FROM things") == [("a",)]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.write(broken)
    assert names(store) == []
    with pytest.raises(sqlite3.IntegrityError):
        store.write(lambda writer: writer.executemany("INSERT INTO things VALUES (?, ?)", [("b", b""), ("b", b"")]))
    store.write(put("c"))
    assert names(store) == ["c"]


def test_readers_see_what_is_committed_only(store: SqliteStore) -> None:
    def work(writer: Writer) -> list[object]:
        put("a")(writer)
        return names(store)

    assert store.write(work) == []
    assert names(store) == ["a"]


def test_reading_cannot_write(store: SqliteStore) -> None:
    with pytest.raises(Unavailable, match="store_unreadable"):
        store.rows("DELETE FROM things")


def test_the_file_and_all_beside_it_are_its_owners_alone(store: SqliteStore, tmp_path: Path) -> None:
    store.write(put("a"))
    store.rows("SELECT 1")
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert found == {"s.db": 0o600, "s.db-wal": 0o600, "s.db-shm": 0o600}


def test_the_umask_decides_nothing(tmp_path: Path) -> None:
    before = os.umask(0o277)
    try:
        SqliteStore(tmp_path / "s.db").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "s.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["s.db", "s.db-wal", "s.db-journal"])
@pytest.mark.parametrize("how", ["link", "folder", "mode", "second name"])
def test_a_file_that_others_may_have_is_refused(tmp_path: Path, name: str, how: str) -> None:
    path = tmp_path / name
    other = tmp_path / "other"
    other.touch(0o600)
    if how == "link":
        path.symlink_to(other)
    elif how == "folder":
        path.mkdir(0o700)
    elif how == "mode":
        path.touch()
        path.chmod(0o640)
    else:
        path.hardlink_to(other)
    with pytest.raises(Unavailable) as found:
        SqliteStore(tmp_path / "s.db")
    assert found.value.code == "store_exposed"
    assert str(path) in found.value.cause
    assert other.read_bytes() == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_another_users_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.touch(0o600)
    os.chown(path, 12345, 12345)
    with pytest.raises(Unavailable, match=r"store_exposed: .* belongs to uid 12345"):
        SqliteStore(path)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="store_unreadable"):
        SqliteStore(tmp_path / "none" / "s.db")


@given(st.binary(min_size=1, max_size=8192))
def test_garbage_is_no_database(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    path = tmp_path_factory.mktemp("g") / "s.db"
    path.touch(0o600)
    path.write_bytes(garbage)
    with pytest.raises(Unavailable, match="store_damaged"):
        SqliteStore(path)


def test_a_truncated_file_is_told_and_not_read_as_less(store: SqliteStore, tmp_path: Path) -> None:
    for number in range(50):
        store.write(put(f"n{number:02}", b"y" * 4000))
    store.close()
    path = tmp_path / "s.db"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 // 4096 * 4096)
    with pytest.raises(Unavailable, match="store_damaged"):
        again = SqliteStore(path)
        try:
            again.rows("SELECT name, body FROM things")
        finally:
            again.close()


def test_a_file_that_was_replaced_is_neither_written_nor_read(store: SqliteStore, tmp_path: Path) -> None:
    shutil.copy2(tmp_path / "s.db", tmp_path / "copy")
    (tmp_path / "copy").replace(tmp_path / "s.db")
    with pytest.raises(Unavailable, match=r"store_damaged: .* was replaced"):
        store.write(put("a"))
    with pytest.raises(Unavailable, match="store_damaged"):
        store.rows("SELECT 1")
    (tmp_path / "s.db").unlink()
    with pytest.raises(Unavailable, match="store_damaged"):
        store.write(put("a"))


def test_a_full_disk_refuses_and_loses_nothing_that_was_written(store: SqliteStore, tmp_path: Path) -> None:
    store.write(put("before"))
    size = (tmp_path / "s.db-wal").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
    try:
        with pytest.raises(Unavailable, match="store_unwritable") as found:
            store.write(put("never", b"z" * 50_000))
        assert found.value.remedy
        assert names(store) == ["before"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    store.write(put("after"))
    assert names(store) == ["after", "before"]


def test_what_was_deleted_is_gone_from_all_files_after_scrubbing(store: SqliteStore, tmp_path: Path) -> None:
    planted = b"planted-ciphertext-" * 400  # over several pages
    store.write(put("a", planted))
    assert store.scrub()
    store.write(lambda writer: writer.execute("DELETE FROM things"))
    assert store.scrub()
    everything = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"planted-ciphertext" not in everything


def test_scrubbing_says_that_a_reader_is_in_the_way(store: SqliteStore, tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringwall.store.sqlite._WAIT_S", 0.0)
    store.close()
    store = SqliteStore(tmp_path / "s.db")
    store.write(put("a"))
    with closing(sqlite3.connect(tmp_path / "s.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM things").fetchall()
        store.write(put("b"))
        assert not store.scrub()
    assert store.scrub()
    store.close()
    assert not store.scrub()


def test_many_threads_read_and_write_at_once(store: SqliteStore) -> None:
    faults: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(20):
                store.write(put(f"{number}-{step}"))
                assert f"{number}-{step}" in names(store)
        except BaseException as fault:  # noqa: BLE001 (told below)
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert len(names(store)) == 120


def test_a_closed_store_refuses(store: SqliteStore) -> None:
    store.close()
    store.close()
    with pytest.raises(Unavailable, match="store_unwritable"):
        store.write(put("a"))
    with pytest.raises(Unavailable, match="store_unreadable"):
        store.rows("SELECT 1")
