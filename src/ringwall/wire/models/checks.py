"""Checks that the request schemas of all model wires share."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from ringwall.call import Json, as_array, as_object
from ringwall.errors import BadInput

STATE: Final = "would be kept at the provider, outside the wall"
RUNS: Final = "would run at the provider, past the wall"
FETCHED: Final = "the provider would fetch it, past the wall"
OPERATOR: Final = "set by the operator at the upstream, not by a request"
IMAGES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")
PDF: Final = ("application/pdf",)

_T = TypeVar("_T")


def bad(cause: str, code: str = "bad_request") -> BadInput:
    """The refusal of a request."""
    return BadInput(cause[:500], code=code, remedy="leave out what the cause names, or send what it refers to")


def bad_answer(cause: str) -> BadInput:
    """The refusal of an upstream's answer."""
    return BadInput(cause[:300], code="bad_answer")


def fields_of(value: Json, what: str) -> dict[str, Json]:
    """A copy of a JSON object without the members that are null. Raises BadInput."""
    fields = as_object(value)
    if fields is None:
        raise bad(f"{what} is a JSON object")
    return {name: item for name, item in fields.items() if item is not None}


def items_of(value: Json, what: str) -> list[Json]:
    """A JSON array. Raises BadInput."""
    items = as_array(value)
    if items is None:
        raise bad(f"{what} must be a list")
    return items


def same(one: Json, other: Json) -> bool:
    """Whether two JSON values are equal, and of one type: 1 is not true."""
    return type(one) is type(other) and one == other


def refuse(fields: dict[str, Json], refused: Mapping[str, str], harmless: Mapping[str, tuple[Json, ...]],
           what: str = "") -> None:
    """Refuse members by name, with the reason; those that say what is the case anyway are taken out.

    Args:
        fields: changed in place; without nulls.
        refused: why, by name.
        harmless: by name, the values that say nothing.
        what: whose members they are, for the message.

    """
    for name in [name for name in fields if name in refused]:
        if not any(same(fields[name], value) for value in harmless.get(name, ())):
            raise bad(f"`{name}`{what} is refused: {refused[name]}")
        del fields[name]


def typed(fields: Json, shape: Callable[[Json], _T], what: str) -> _T:
    """Convert to a closed shape. Raises BadInput naming the member."""
    try:
        return shape(fields)
    except (msgspec.ValidationError, RecursionError) as fault:
        raise bad(f"{what} is malformed: {fault}") from fault


def check_base64(data: str, what: str) -> None:
    """Raises BadInput unless it is Base64 in its one canonical spelling."""
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not raw or base64.b64encode(raw).decode("ascii") != data:
        raise bad(f"{what} is not Base64")


def check_data_url(url: str, kinds: tuple[str, ...], what: str) -> None:
    """Raises BadInput unless it is a ``data:`` URL of one of these kinds, in Base64."""
    head, _, data = url.partition(",")
    if head not in {f"data:{kind};base64" for kind in kinds}:
        raise bad(f"{what} must be a data: URL ({', '.join(kinds)}) in Base64: of anything else, {FETCHED}")
    check_base64(data, what)


def no_remote_refs(schema: Json) -> None:
    """A ``$ref`` out of a schema would be fetched by whoever validates it. Raises BadInput."""
    stack: list[Json] = [schema]
    while stack:
        item = stack.pop()
        if (fields := as_object(item)) is not None:
            for name in ("$ref", "$dynamicRef"):
                reference = fields.get(name)
                if isinstance(reference, str) and not reference.startswith("#"):
                    raise bad(f"a schema refers to {reference[:80]!r}; only references into itself are taken")
            stack += fields.values()
        elif (items := as_array(item)) is not None:
            stack += items
