"""Typed access to a plan's JSON: a field of the wrong type is a PolicyError, never another exception."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

from ringwall.errors import PolicyError
from ringwall.policy.plan.limits import MAX_LOCALS

Node: TypeAlias = dict[str, Any]


def broken(what: str) -> PolicyError:
    """The error of a plan that OPA did not write like this."""
    return PolicyError(f"the plan is damaged: {what}", code="bad_plan",
                       remedy="build it again with `python -m ringwall.policy.build` or `opa build -t plan`")


def node(value: object, what: str) -> Node:
    """An object."""
    if not isinstance(value, dict):
        raise broken(f"{what} is not an object")
    return cast("Node", value)


def field(holder: Node, name: str) -> Node:
    """An object-valued field."""
    return node(holder.get(name), name)


def nodes(holder: Node, name: str) -> list[Node]:
    """A field that is a list of objects; absent or null is empty, as Go writes it."""
    return [node(item, name) for item in array(holder, name)]


def array(holder: Node, name: str) -> list[Any]:
    """A list-valued field; absent or null is empty, as Go writes it."""
    value = holder.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise broken(f"{name} is not a list")
    return cast("list[Any]", value)


def text(holder: Node, name: str) -> str:
    """A string field."""
    value = holder.get(name)
    if not isinstance(value, str):
        raise broken(f"{name} is not a string")
    return value


def whole(holder: Node, name: str, *, below: int | None = None) -> int:
    """An integer field; with ``below``, from 0 up to it."""
    value = holder.get(name)
    if type(value) is not int or (below is not None and not 0 <= value < below):
        raise broken(f"{name} is not a number in range")
    return value


def local(holder: Node, name: str) -> int:
    """A field that names a local variable."""
    return whole(holder, name, below=MAX_LOCALS)
