"""Rego values as Python values.

null, booleans, numbers, strings, arrays and objects are None, bool, int or float, str, list and dict; a set is a
(frozen)set. Set elements and object keys are kept *frozen*: hashable, and reversible by :func:`thaw`. Booleans
need their own frozen form because Python holds ``True == 1`` and Rego does not. Equality and order are Rego's:
the type decides first.
"""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Iterable
from functools import cmp_to_key
from typing import Any, Final

from ringwall.errors import PolicyError

Value = Any  # a Rego value as described above


class _Undefined:
    """The one value that is no value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "undefined"

    def __bool__(self) -> bool:
        raise TypeError("undefined has no truth value")


U: Final = _Undefined()


class FrozenBool:
    """A boolean as an element or key: equal to itself only."""

    __slots__ = ("value",)

    def __init__(self, value: bool) -> None:
        self.value = value


_TRUE: Final = FrozenBool(True)
_FALSE: Final = FrozenBool(False)


class FrozenObject:
    """An object as an element or key: a set of (frozen key, frozen value)."""

    __slots__ = ("_hash", "pairs")

    def __init__(self, pairs: frozenset[tuple[Value, Value]]) -> None:
        self.pairs = pairs
        self._hash = hash(("object", pairs))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FrozenObject) and self.pairs == other.pairs


def freeze(value: Value) -> Value:
    """The hashable form of a value. Raises PolicyError for what is no Rego value."""
    kind = type(value)
    if kind is str or kind is int or kind is float or value is None:
        return value
    if kind is bool:
        return _TRUE if value else _FALSE
    if kind is list:
        return tuple([freeze(item) for item in value])
    if kind is dict:
        return FrozenObject(frozenset([(key, freeze(item)) for key, item in value.items()]))
    if kind is frozenset:
        return value
    if kind is set:
        return frozenset(value)
    raise PolicyError(f"{kind.__name__} is no value that a policy can hold", code="policy_failed")


def thaw(frozen: Value) -> Value:
    """The value that :func:`freeze` made this of."""
    kind = type(frozen)
    if kind is FrozenBool:
        return frozen.value
    if kind is tuple:
        return [thaw(item) for item in frozen]
    if kind is FrozenObject:
        pairs = dict(frozen.pairs)  # in order, because the hashes of strings differ from run to run
        return {key: thaw(pairs[key]) for key in (sorted(pairs) if _plain({*map(type, pairs)}) else pairs)}
    return frozen


_RANKS: Final = {type(None): 0, bool: 1, int: 2, float: 2, str: 3, list: 4, dict: 5, set: 6, frozenset: 6}


def rank(value: Value) -> int:
    """The place of the value's type in Rego's order of types. Raises PolicyError for what is no Rego value."""
    found = _RANKS.get(type(value))
    if found is None:
        raise PolicyError(f"{type(value).__name__} is no value that a policy can hold", code="policy_failed")
    return found


def equal(a: Value, b: Value) -> bool:
    """Rego's equality: type first, so that ``true`` is not ``1``."""
    if a is U or b is U:
        return a is b
    kind = type(a)
    if kind is str or kind is not type(b):
        return rank(a) == rank(b) and a == b
    if kind is list:
        return len(a) == len(b) and all(map(equal, a, b))
    if kind is dict:
        if len(a) != len(b):
            return False
        return all(key in b and equal(item, b[key]) for key, item in a.items())
    return a == b


def compare(a: Value, b: Value) -> int:
    """Rego's total order: negative, zero or positive."""
    left, right = rank(a), rank(b)
    if left != right:
        return left - right
    if left <= 3:  # null, boolean, number, string: strings by code point, which is the order of their UTF-8
        return 0 if a is None or a == b else (-1 if a < b else 1)
    if left == 4:
        return _compare_sequences(a, b)
    if left == 6:
        return _compare_sequences(ordered(a), ordered(b))
    keys_a, keys_b = ordered(a), ordered(b)
    for key_a, key_b in zip(keys_a, keys_b, strict=False):
        if found := compare(key_a, key_b) or compare(a[freeze(key_a)], b[freeze(key_b)]):
            return found
    return len(keys_a) - len(keys_b)


def _compare_sequences(a: list[Value], b: list[Value]) -> int:
    for x, y in zip(a, b, strict=False):
        if found := compare(x, y):
            return found
    return len(a) - len(b)


def _plain(types: set[type]) -> bool:
    """Whether Python's order of values of these types is Rego's."""
    return len(types) == 1 and types <= {str, int}


def sort(values: Iterable[Value]) -> list[Value]:
    """Values in Rego's order."""
    items = list(values)
    return sorted(items) if _plain({*map(type, items)}) else sorted(items, key=cmp_to_key(compare))


def ordered(collection: Value) -> list[Value]:
    """Keys of an object or elements of a set, thawed, in Rego's order."""
    if _plain({*map(type, collection)}):
        return sorted(collection)
    return sorted(map(thaw, collection), key=cmp_to_key(compare))


def items_of(collection: Value) -> list[Value]:
    """The elements of an array or set, in order."""
    return collection if type(collection) is list else ordered(collection)


def is_set(value: Value) -> bool:
    """Whether the value is a set."""
    return type(value) is frozenset or type(value) is set


def set_of(values: Iterable[Value]) -> frozenset[Value]:
    """A set of values."""
    return frozenset(map(freeze, values))


def type_name(value: Value) -> str:
    """What ``type_name`` says of the value."""
    return ("null", "boolean", "number", "string", "array", "object", "set")[rank(value)]
