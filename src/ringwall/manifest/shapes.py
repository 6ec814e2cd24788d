"""How values are written in TOML: the shapes that loader, JSON Schema and reference share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


class Wrong(Exception):
    """A text is not what it must be; the message says what was expected. Never leaves the package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A string. ``read`` makes the value of it or raises Wrong; ``pattern`` lets editors see the same early."""

    what: str  # "a rate such as \"60/min burst 10\""
    read: Callable[[str], object] = str
    pattern: str = ""  # accepts at least all that read accepts


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of a few words. ``later``: words with a meaning that this version does not have."""

    options: tuple[str, ...]
    later: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """true or false."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A whole number, both bounds included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number, both bounds included."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A path: absolute, or relative to the manifest's folder; never ``..``, ``~`` or ``/`` itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOf:
    """A list without repetitions unless ``repeats``."""

    item: Text | Choice | File | Record
    repeats: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOf:
    """A table whose keys are names. ``name`` checks each; ``only`` lists them where they are few."""

    value: Shape
    name: Text
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A table with the keys of one type."""

    of: type


Shape: TypeAlias = Text | Choice | Flag | Whole | Number | File | ListOf | MapOf | Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One key of a table: its spelling, its shape, what it means, the field of the type that holds it."""

    key: str
    shape: Shape
    doc: str
    attr: str = ""  # the field's name where it differs from the key
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How one type is written."""

    of: type
    entries: tuple[Entry, ...]
    key_attr: str = ""  # the field that holds the key under which the table stands
    later: Mapping[str, str] = field(default_factory=dict[str, str])  # key -> what it will be
    short: str = ""  # a bare list stands for a table with this key only
    one_of: tuple[str, ...] = ()  # exactly one of these keys
    rest: Entry | None = None  # a MapOf of every name that is no key: a table each, into this field
