"""The store in one SQLite file, for one machine.

One connection writes and also makes every checkpoint; others read only. With two that write or checkpoint, SQLite
before 3.51.3 can lose committed pages ("WAL-reset"). Nothing is mapped into memory, and nothing spills into
temporary files.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, TypeVar

from ringwall.errors import RingwallError, Unavailable
from ringwall.store.interface import Row, Value, Writer

T = TypeVar("T")

_WAIT_S: Final = 5.0  # a checkpoint waits so long for readers; each of them reads for milliseconds
_MAX_IDLE: Final = 4  # reading connections that are kept open: as many threads seldom read at once
_MIN_FILE: Final = 512  # bytes: SQLite's smallest page; it takes a shorter file for an empty one
_VERSIONS: Final = 1 << 31  # user_version is a signed number of 32 bits; nothing reads ours
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_WRITER: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # durable when COMMIT returns, also when the power fails
    "PRAGMA secure_delete = ON",  # what is deleted is overwritten with zeros
    "PRAGMA mmap_size = 0",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
)
_READER: Final = ("PRAGMA query_only = ON", "PRAGMA mmap_size = 0", "PRAGMA temp_store = MEMORY",
                  "PRAGMA trusted_schema = OFF", "PRAGMA cell_size_check = ON")


class SqliteStore:
    """One database file. Implements ``store.interface.Store``; safe to use from several threads.

    Args:
        path: the file, mode 0600; made if it is not there.

    Raises:
        Unavailable: ``store_exposed`` (a symbolic link, not a plain file, another owner, a second name, or a mode
            that lets others in), ``store_unreadable``, ``store_damaged`` (it is no database).

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()  # of the writer
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        self._inode = _own(path)
        self._writer = self._open("rw", _WRITER)

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        """Read what is committed. See ``Store``."""
        try:
            connection = self._idle.pop()
        except IndexError:  # all are in use
            self._same_file("store_unreadable")
            connection = self._open("ro", _READER)
        keep = False
        try:
            found: list[Row] = connection.execute(sql, values).fetchall()
            keep = not self._closed and len(self._idle) < _MAX_IDLE
        except (sqlite3.DatabaseError, UnicodeDecodeError) as fault:
            raise self._fault(fault, "store_unreadable") from None
        finally:
            if keep:
                self._idle.append(connection)
            else:
                connection.close()
        return found

    def write(self, work: Callable[[Writer], T]) -> T:
        """Run one transaction. See ``Store``. What ``work`` raises ends it, with nothing changed."""
        with self._lock:
            self._same_file("store_unwritable")
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                made = work(_Transaction(self._writer))
                self._writer.execute("COMMIT")
            except sqlite3.IntegrityError:  # the work's own fault: two rows of one key
                self._undo()
                raise
            except (sqlite3.DatabaseError, UnicodeDecodeError) as fault:
                self._undo()
                self._bury()
                raise self._fault(fault, "store_unwritable") from None
            except BaseException:
                self._undo()
                raise
        return made

    def scrub(self) -> bool:
        """Move all of the write-ahead log into the file and empty it. See ``Store``."""
        with self._lock:
            if self._closed:
                return False
            try:
                busy, *_ = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.OperationalError:  # a full disk: the log stays, and with it everything in it
                return False
        return not busy

    def close(self) -> None:
        """Write no more: the last connection moves the write-ahead log into the file. Idempotent."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().close()
            self._writer.close()

    def _open(self, mode: str, pragmas: tuple[str, ...]) -> sqlite3.Connection:
        try:
            made = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode={mode}", uri=True, timeout=_WAIT_S,
                                   isolation_level=None, check_same_thread=False)
            try:
                for pragma in pragmas:
                    with closing(made.execute(pragma)) as cursor:
                        cursor.fetchall()
                made.execute("SELECT count(*) FROM sqlite_master").fetchall()  # reads the first page: is it one?
            except sqlite3.Error:
                made.close()
                raise
        except (sqlite3.DatabaseError, UnicodeDecodeError) as fault:
            raise self._fault(fault, "store_unreadable") from None
        return made

    def _undo(self) -> None:
        """Leave no transaction open, whatever state the failed one left behind."""
        try:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        except sqlite3.Error:
            self._writer.close()  # SQLite rolls back by itself
            self._writer = self._open("rw", _WRITER)

    def _bury(self) -> None:
        """A commit may fail after all of it was written, and the next process would find it in the log: write over
        it. Where this fails too, the next write that works does so."""
        try:
            version = self._writer.execute("PRAGMA user_version").fetchone()[0]
            self._writer.execute(f"PRAGMA user_version = {(int(version) + 1) % _VERSIONS}")
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            return

    def _same_file(self, code: str) -> None:
        """The path still names the file that was opened: what is written into another would be lost."""
        if self._closed:
            raise Unavailable(f"the database {self._path} was closed", code=code, remedy="start Ringwall again")
        try:
            found = self._path.lstat()
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._inode:
            raise Unavailable(
                f"{self._path} was replaced while Ringwall used it", code="store_damaged",
                remedy="start Ringwall again; if nobody here put a file there, treat the folder as tampered with",
            )

    def _fault(self, fault: sqlite3.DatabaseError | UnicodeDecodeError, code: str) -> RingwallError:
        if isinstance(fault, UnicodeDecodeError):  # of what SQLite quotes from a damaged schema
            return _damaged(self._path, "it holds a text that is none")
        primary = getattr(fault, "sqlite_errorcode", 0) & 0xFF  # the extended code's low byte
        if primary in _DAMAGED:
            return _damaged(self._path, str(fault))
        done = "written" if code == "store_unwritable" else "read"
        return Unavailable(
            f"the database {self._path} cannot be {done}: {fault}", code=code,
            remedy="see that its disk has space and works, then try again: nothing was changed",
        )


class _Transaction:
    """What one transaction may do: ``store.interface.Writer``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Value] = ()) -> int:
        return self._connection.execute(sql, values).rowcount

    def executemany(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        self._connection.executemany(sql, rows)

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        return self._connection.execute(sql, values).fetchall()


def _own(path: Path) -> tuple[int, int]:
    """Make the file or check it, and what lies beside it; device and inode."""
    try:
        _make(path)
        for suffix in ("-wal", "-shm", "-journal"):  # SQLite gives them the file's own mode when it makes them
            if os.path.lexists(beside := path.with_name(path.name + suffix)):
                _check(beside, beside.lstat())
        found = path.lstat()
    except OSError as fault:
        raise Unavailable(
            f"the database {path} cannot be opened: {fault.strerror}", code="store_unreadable",
            remedy=f"make {path.parent} a folder of this user, on a disk with space",
        ) from None
    _check(path, found)
    if 0 < found.st_size < _MIN_FILE:
        raise _damaged(path, "it is shorter than one page")
    return found.st_dev, found.st_ino


def _make(path: Path) -> None:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    try:
        os.fchmod(fd, 0o600)  # whatever the umask says
    finally:
        os.close(fd)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _damaged(path: Path, how: str) -> Unavailable:
    return Unavailable(f"the database {path} is damaged: {how}", code="store_damaged",
                       remedy="stop Ringwall, keep a copy of the file, and restore a backup")


def _check(path: Path, found: os.stat_result) -> None:
    problem, remedy = "", "keep Ringwall's state in a folder that only this user can enter"
    if not stat.S_ISREG(found.st_mode):
        problem = "is not a plain file"
    elif found.st_uid != os.geteuid():
        problem = f"belongs to uid {found.st_uid}, not to this process's uid {os.geteuid()}"
    elif found.st_nlink != 1:
        problem = "has a second name"  # two names have two write-ahead logs, which damages the file
    elif stat.S_IMODE(found.st_mode) & 0o177:
        problem = f"has mode {stat.S_IMODE(found.st_mode):04o}, others may read or change it"
        remedy = f"chmod 600 {path}"
    if problem:
        raise Unavailable(f"the database {path} {problem}", code="store_exposed", remedy=remedy)
