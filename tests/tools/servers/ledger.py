"""An ordinary module of somebody who knows nothing of MCP."""

from dataclasses import dataclass
from datetime import date


@dataclass
class Entry:
    """A line of the ledger."""

    when: date
    cents: int


def total(cents: list[int], *, vat: float = 0.0) -> float:
    """Add amounts."""
    print("printing must not break the protocol")
    return sum(cents) * (1 + vat)


async def greet(name: str | list[str]) -> str:
    """Greet somebody."""
    return f"hello {name!r}"


def entry(when: date, cents: int) -> Entry:
    """Make an entry."""
    return Entry(when, cents)


def nothing() -> None:
    """Return nothing."""


def broken() -> None:
    """Fail."""
    raise ValueError("not today")


def _private() -> None:
    raise AssertionError
