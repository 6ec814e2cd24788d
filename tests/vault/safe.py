"""A vault in a folder, and an attacker's hands in its file."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.fakes import FakeClock

from ringwall.keys.file import FileRootKeys
from ringwall.store.sqlite import SqliteStore
from ringwall.vault.embedded import EmbeddedVault
from ringwall.vault.interface import Owner

ANA = Owner(tenant="acme", agent="ana", role="clerk")
ANA_READER = Owner(tenant="acme", agent="ana", role="reader")
BEN = Owner(tenant="acme", agent="ben", role="clerk")
ZOE = Owner(tenant="zeta", agent="ana", role="clerk")


class Safe:
    """A vault with its store, its root keys and its file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "vault.db"
        self.clock = FakeClock()
        self.start()

    def start(self) -> None:
        self.store = SqliteStore(self.file)
        self.vault = EmbeddedVault(self.store, self.clock)

    def root(self, generation: int = 1) -> FileRootKeys:
        return FileRootKeys.open_or_create(self.folder / f"root-{generation}.key")

    def stop(self) -> None:
        """Everything is in the one file."""
        self.store.close()

    def again(self, generation: int = 1) -> EmbeddedVault:
        """A new process: closed, opened, unsealed."""
        self.stop()
        self.start()
        self.vault.unseal(self.root(generation))
        return self.vault

    def copy(self, name: str) -> Path:
        """The file as it is now."""
        self.stop()
        kept = self.folder / name
        shutil.copy2(self.file, kept)
        self.again(self.vault.generation)
        return kept

    def put_back(self, kept: Path) -> None:
        """An older file in the place of the present one, while nothing runs."""
        self.stop()
        shutil.copy2(kept, self.file)
        self.start()


def opened(folder: Path) -> Safe:
    """A new vault, open."""
    safe = Safe(folder)
    safe.vault.init(safe.root(), 1)
    return safe


def tamper(file: Path, sql: str, values: Sequence[Any] = ()) -> int:
    """Change rows as somebody who can write the file; how many."""
    with closing(sqlite3.connect(file)) as connection, connection:
        return connection.execute(sql, values).rowcount


def seen(file: Path, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Rows as somebody sees them who can read the file."""
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(sql, values).fetchall()


def bytes_on_disk(file: Path) -> bytes:
    """The file with everything that lies beside it."""
    return b"".join(path.read_bytes() for path in sorted(file.parent.glob(file.name + "*")))
