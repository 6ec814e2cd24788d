"""What a database must do here: transactions that are durable when they return, and rows.

SQL is written in the subset that SQLite and PostgreSQL share; parameters are ``?``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, TypeVar

Value: TypeAlias = str | bytes | int | float | None
Row: TypeAlias = tuple[Value, ...]
T = TypeVar("T")


class Writer(Protocol):
    """One transaction."""

    def execute(self, sql: str, values: Sequence[Value] = ()) -> int:
        """Change rows; how many. Raises Unavailable (``store_unwritable``)."""
        ...

    def executemany(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """The same statement for many rows."""
        ...

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        """Read inside of the transaction."""
        ...


class Store(Protocol):
    """One database. Methods block: call them off the event loop where they write."""

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        """Read what is committed. Raises Unavailable (``store_unreadable``)."""
        ...

    def write(self, work: Callable[[Writer], T]) -> T:
        """Run one transaction: all of it durable on return, or nothing of it.

        Raises:
            Unavailable: ``store_unwritable``: a full disk, for instance. Nothing was changed.

        """
        ...

    def scrub(self) -> bool:
        """Leave no copy of what was deleted where the database can overwrite it; whether it could just now."""
        ...

    def close(self) -> None:
        """Write no more."""
        ...
