"""What a built-in is, and the checks of operands that they share."""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ringwall.policy.plan.limits import MAX_TEXT
from ringwall.policy.plan.values import U, Value, is_set, items_of, type_name


class BuiltinError(Exception):
    """A built-in cannot give a value for these operands: an error in strict mode, undefined otherwise."""


@dataclass(frozen=True, slots=True)
class Builtin:
    """A built-in of OPA: the Python function, its arity, and what it costs and takes."""

    function: Callable[..., Value]
    arity: int
    context: bool = False  # it takes the decision's context first
    deep: bool = False  # it looks at everything inside of its operands
    small: bool = False  # it gives a boolean or a small number


def lenient(function: Callable[..., Value]) -> Callable[..., Value]:
    """The same function, undefined instead of failing."""
    def call(*arguments: Value) -> Value:
        try:
            return function(*arguments)
        except BuiltinError:
            return U
    return call


def wrong(position: int, value: Value, *wanted: str) -> BuiltinError:
    """The error for an operand of the wrong type."""
    return BuiltinError(f"operand {position} must be {' or '.join(wanted)} but got {type_name(value)}")


def string(value: Value, position: int = 1) -> str:
    """A string operand."""
    if type(value) is not str:
        raise wrong(position, value, "string")
    return value


def number(value: Value, position: int = 1) -> Any:
    """A number operand: int or float."""
    if type(value) is not int and type(value) is not float:
        raise wrong(position, value, "number")
    return value


def integer(value: Value, position: int = 1) -> int:
    """An integer operand."""
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is not int:
        raise wrong(position, value, "integer")
    return value


def array(value: Value, position: int = 1) -> list[Value]:
    """An array operand."""
    if type(value) is not list:
        raise wrong(position, value, "array")
    return value


def obj(value: Value, position: int = 1) -> dict[Value, Value]:
    """An object operand, with its keys frozen."""
    if type(value) is not dict:
        raise wrong(position, value, "object")
    return value


def a_set(value: Value, position: int = 1) -> Any:
    """A set operand, with its elements frozen."""
    if not is_set(value):
        raise wrong(position, value, "set")
    return value


def elements(value: Value, position: int = 1) -> list[Value]:
    """The elements of an array or set operand."""
    if type(value) is not list and not is_set(value):
        raise wrong(position, value, "array", "set")
    return items_of(value)


def strings(value: Value, position: int = 1) -> list[str]:
    """The elements of an array or set operand, all strings."""
    return [string(item, position) for item in elements(value, position)]


def bounded(made: str) -> str:
    """A string that a built-in made, unless it is too long."""
    if len(made) > MAX_TEXT:
        raise BuiltinError(f"the result would have more than {MAX_TEXT} characters")
    return made
