"""Aggregates, arrays, sets, types and casts."""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from ringwall.policy.builtins.numbers import plus, times
from ringwall.policy.builtins.table import Builtin, BuiltinError, a_set, array, elements, integer, number, wrong
from ringwall.policy.plan.limits import MAX_NUMBER_TEXT
from ringwall.policy.plan.ops import BOXES, Context, dot, weigh
from ringwall.policy.plan.values import U, Value, equal, freeze, is_set, ordered, set_of, sort, type_name


def count(value: Value) -> Value:
    """Elements, keys or characters."""
    if type(value) in (list, dict, str, set, frozenset):
        return len(value)
    raise wrong(1, value, "array", "object", "set", "string")


def total(value: Value) -> Value:
    """Sum of numbers."""
    found: Any = 0
    for item in elements(value):
        found = plus(found, number(item))
    return found


def product(value: Value) -> Value:
    """Product of numbers."""
    found: Any = 1
    for item in elements(value):
        found = times(found, number(item))
    return found


def largest(value: Value) -> Value:
    """The greatest element; undefined when there is none."""
    items = sort(elements(value))
    return items[-1] if items else U


def smallest(value: Value) -> Value:
    """The least element; undefined when there is none."""
    items = sort(elements(value))
    return items[0] if items else U


def member(context: Context, item: Value, collection: Value) -> bool:
    """``item in collection``."""
    if type(item) in BOXES:
        weigh(context, item)
    if is_set(collection):
        return freeze(item) in collection
    if type(collection) in BOXES:
        weigh(context, collection)
    if type(collection) is list:
        return any(equal(item, other) for other in collection)
    return type(collection) is dict and any(equal(item, other) for other in collection.values())


def member_with_key(key: Value, item: Value, collection: Value) -> bool:
    """``key, item in collection``."""
    if is_set(collection):
        return freeze(key) in collection and equal(key, item)
    found = dot(collection, key)
    return found is not U and equal(item, found)


def concat(a: Value, b: Value) -> Value:
    """Arrays end to end."""
    return array(a, 1) + array(b, 2)


def flatten(a: Value) -> Value:
    """One level of nested arrays opened."""
    found: list[Value] = []
    for item in array(a):
        found += item if type(item) is list else [item]
    return found


def part(a: Value, start: Value, stop: Value) -> Value:
    """A slice; indices out of range are cut."""
    items = array(a, 1)
    last = min(max(integer(stop, 3), 0), len(items))
    return items[min(max(integer(start, 2), 0), last):last]


def union(sets: Value) -> Value:
    """Union of a set of sets."""
    return frozenset().union(*(a_set(item) for item in a_set(sets)))


def intersection(sets: Value) -> Value:
    """Intersection of a set of sets; of none, the empty set."""
    items = [frozenset(a_set(item)) for item in a_set(sets)]
    return frozenset.intersection(*items) if items else frozenset[Value]()


def to_number(value: Value) -> Value:
    """null, booleans, numbers and their texts as a number."""
    if value is None:
        return 0
    if type(value) is bool:
        return int(value)
    if type(value) is not str:
        return number(value)
    return parse_number(value)


def parse_number(text: str) -> int | float:
    """A number from its text, as Go's ParseFloat reads it, without names for infinity."""
    if len(text) > MAX_NUMBER_TEXT or not text.isascii() or text != text.strip() or "_" in text:
        raise BuiltinError("operand 1 must be a valid number string")
    if text.lstrip("+-").lower() in {"inf", "infinity", "nan"}:
        raise BuiltinError("operand 1 must be a valid number string")
    try:
        return int(text) if text.lstrip("+-").isdecimal() else float(text)
    except ValueError as error:
        raise BuiltinError("operand 1 must be a valid number string") from error


def _cast(*kinds: type) -> Any:
    def cast(value: Value) -> Value:
        if type(value) not in kinds:
            raise wrong(1, value, kinds[0].__name__)
        return value
    return cast


def _is(*kinds: type) -> Any:
    return lambda value: type(value) in kinds


def everything(value: Value) -> bool:
    """Whether each element is true."""
    return all(item is True for item in elements(value))


def anything(value: Value) -> bool:
    """Whether an element is true."""
    return any(item is True for item in elements(value))


def walk(context: Context, value: Value) -> list[Value]:
    """[path, value] of every node of a document, in document order."""
    found: list[Value] = []
    stack: list[tuple[list[Value], Value]] = [([], value)]
    while stack:
        path, item = stack.pop()
        context.charge(1 + len(path))
        found.append([path, item])
        stack += reversed([([*path, key], inner) for key, inner in _children(item)])
    return found


def _children(item: Value) -> list[tuple[Value, Value]]:
    if type(item) is list:
        return list(enumerate(item))
    if type(item) is dict:
        return [(key, item[freeze(key)]) for key in ordered(item)]
    return [(element, element) for element in ordered(item)] if is_set(item) else []


COLLECTIONS: Final[Mapping[str, Builtin]] = MappingProxyType({
    "count": Builtin(count, 1, small=True), "sum": Builtin(total, 1), "product": Builtin(product, 1),
    "max": Builtin(largest, 1, deep=True), "min": Builtin(smallest, 1, deep=True),
    "sort": Builtin(lambda v: sort(elements(v)), 1, deep=True),
    "all": Builtin(everything, 1), "any": Builtin(anything, 1),
    "internal.member_2": Builtin(member, 2, context=True, small=True),
    "internal.member_3": Builtin(member_with_key, 3, deep=True, small=True),
    "array.concat": Builtin(concat, 2), "array.flatten": Builtin(flatten, 1), "array.slice": Builtin(part, 3),
    "array.reverse": Builtin(lambda a: array(a)[::-1], 1),
    "and": Builtin(lambda a, b: a_set(a, 1) & a_set(b, 2), 2),
    "or": Builtin(lambda a, b: a_set(a, 1) | a_set(b, 2), 2),
    "union": Builtin(union, 1), "intersection": Builtin(intersection, 1),
    "to_number": Builtin(to_number, 1), "cast_array": Builtin(elements, 1),
    "cast_set": Builtin(lambda v: set_of(elements(v)), 1, deep=True), "cast_string": Builtin(_cast(str), 1),
    "cast_boolean": Builtin(_cast(bool), 1), "cast_null": Builtin(_cast(type(None)), 1),
    "cast_object": Builtin(_cast(dict), 1),
    "is_null": Builtin(_is(type(None)), 1, small=True), "is_boolean": Builtin(_is(bool), 1, small=True),
    "is_number": Builtin(_is(int, float), 1, small=True), "is_string": Builtin(_is(str), 1, small=True),
    "is_array": Builtin(_is(list), 1, small=True),
    "is_object": Builtin(_is(dict), 1, small=True), "is_set": Builtin(_is(set, frozenset), 1, small=True),
    "type_name": Builtin(type_name, 1), "walk": Builtin(walk, 1, context=True),
})
