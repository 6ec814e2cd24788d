"""Between JSON values and the flat list of texts a guard scans: where a text came from, and cutting it there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from ringwall.call import Json
from ringwall.errors import BadInput
from ringwall.guard.interface import Category, Finding

MAX_DEPTH: Final = 200  # of a JSON value; the strict parser allows less
LONG_NUMBER: Final = 10**11  # numbers from 12 digits on may be card numbers and are scanned as text

MARKERS: Final[Mapping[Category, str]] = {
    "secret": "[secret withheld]", "card": "[card withheld]", "iban": "[IBAN withheld]",
    "email": "[e-mail withheld]", "injection": "[withheld]", "hidden": ""}
_GRAVEST: Final[Sequence[Category]] = ("secret", "card", "iban", "email", "injection", "hidden")

Pointer: TypeAlias = tuple[str | int, ...]
Range: TypeAlias = tuple[int, int, Category]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A text in a JSON value. ``key``: it is the name of a member, and ``pointer`` that of its value.

    ``encoded``: it is what the text there says in Base64, so that nothing can be cut out of it.
    """

    pointer: Pointer
    text: str
    key: bool = False
    encoded: bool = False

    @property
    def argument(self) -> str:
        """The pointer as resources spell it: ``to/0``."""
        return "/".join(map(str, self.pointer))


def leaves(value: Json, skip: frozenset[str] = frozenset()) -> list[Leaf]:
    """Every text in a JSON value in document order: names, strings, and numbers of 12 digits or more.

    Args:
        value: the value.
        skip: members of these names are left out, with all that is in them.

    Raises:
        BadInput: code ``too_deep``.

    """
    found: list[Leaf] = []
    stack: list[tuple[Pointer, Any, bool]] = [((), value, False)]
    while stack:
        pointer, item, key = stack.pop()
        if isinstance(item, str):
            found.append(Leaf(pointer, item, key))
        elif isinstance(item, (int, float)) and abs(item) >= LONG_NUMBER:
            found.append(Leaf(pointer, _number(item)))
        elif isinstance(item, (dict, list)):
            if len(pointer) >= MAX_DEPTH:
                raise BadInput(f"the value is nested deeper than {MAX_DEPTH}", code="too_deep")
            stack += _children(pointer, cast("dict[str, Any] | list[Any]", item), skip)
    return found


def _children(pointer: Pointer, item: dict[str, Any] | list[Any],
              skip: frozenset[str]) -> list[tuple[Pointer, Any, bool]]:
    """What is in a container, last first, as a stack wants it."""
    if isinstance(item, list):
        return [((*pointer, place), item[place], False) for place in range(len(item) - 1, -1, -1)]
    children: list[tuple[Pointer, Any, bool]] = []
    for name, inner in reversed(item.items()):
        if name not in skip:
            children += [((*pointer, name), inner, False), ((*pointer, name), name, True)]
    return children


def ranges(found: Iterable[Finding]) -> list[Range]:
    """The findings of one text as ranges that do not overlap; where they did, the gravest category stays."""
    joined: list[Range] = []
    for finding in sorted(found, key=lambda f: (f.start, f.end)):
        if joined and finding.start < joined[-1][1]:
            start, end, category = joined[-1]
            gravest: Category = next(c for c in _GRAVEST if c in {category, finding.category})
            joined[-1] = (start, max(end, finding.end), gravest)
        else:
            joined.append((finding.start, finding.end, finding.category))
    return joined


def redact(text: str, cuts: Sequence[Range], *, start: int = 0, end: int | None = None) -> str:
    """``text[start:end]`` with each range replaced by its marker. The ranges do not overlap."""
    end = len(text) if end is None else end
    pieces: list[str] = []
    at = start
    for first, stop, category in cuts:
        if stop <= at or first >= end:
            continue
        pieces += [text[at:max(first, at)], MARKERS[category]]
        at = min(stop, end)
    pieces.append(text[at:end])
    return "".join(pieces)


def at(value: Json, pointer: Pointer) -> str:
    """The text of a leaf's place as it stands there: numbers are spelled as :func:`leaves` does."""
    for place in pointer:
        value = value[place]
    return value if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def replace(value: Json, texts: Mapping[Pointer, str]) -> Json:
    """A copy of a JSON value with other texts at some places; what is not on the way there is shared."""
    if () in texts:
        return texts[()]
    inside: dict[str | int, dict[Pointer, str]] = {}
    for pointer, text in texts.items():
        inside.setdefault(pointer[0], {})[pointer[1:]] = text
    copy: Any = value.copy()
    for place, inner in inside.items():
        copy[place] = replace(value[place], inner)
    return copy
