"""Objects and graphs."""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from ringwall.policy.builtins.table import Builtin, BuiltinError, array, elements, obj, wrong
from ringwall.policy.plan.ops import Context, dot
from ringwall.policy.plan.values import U, Value, equal, freeze, is_set, ordered, set_of


def get(value: Value, path: Value, default: Value) -> Value:
    """``value[path]``, an array being a path through it, or the default."""
    found: Value = obj(value)
    for key in path if type(path) is list else [path]:
        found = dot(found, key)
        if found is U:
            return default
    return found


def keys(value: Value) -> Value:
    """The set of keys."""
    return frozenset(obj(value))


def _key_set(value: Value) -> frozenset[Value]:
    if type(value) is list:
        return set_of(value)
    if type(value) is dict or is_set(value):
        return frozenset(value)
    raise wrong(2, value, "object", "set", "array")


def remove(value: Value, wanted: Value) -> Value:
    """Without these keys."""
    gone = _key_set(wanted) if type(value) is dict else obj(value)
    return {key: item for key, item in value.items() if key not in gone}


def keep(value: Value, wanted: Value) -> Value:
    """These keys only."""
    kept = _key_set(wanted) if type(value) is dict else obj(value)
    return {key: item for key, item in value.items() if key in kept}


def union(a: Value, b: Value) -> Value:
    """Objects joined recursively; the second wins."""
    first, second = obj(a, 1), obj(b, 2)
    merged = dict(first)
    for key, item in second.items():
        old = merged.get(key)
        merged[key] = union(old, item) if type(old) is dict and type(item) is dict else item
    return merged


def union_all(items: Value) -> Value:
    """The same over an array."""
    merged: Value = {}
    for item in array(items):
        merged = union(merged, obj(item))
    return merged


def subset(context: Context, bigger: Value, smaller: Value) -> bool:
    """Whether the second is contained in the first."""
    if type(bigger) is dict and type(smaller) is dict:
        return _object_subset(context, bigger, smaller)
    if is_set(bigger) and is_set(smaller):
        return bigger >= smaller
    if type(bigger) is list and type(smaller) is list:
        return _array_subset(context, bigger, smaller)
    if type(bigger) is list and is_set(smaller):
        return smaller <= set_of(bigger)
    raise BuiltinError("both arguments object.subset must be of the same type or array and set")


def _object_subset(context: Context, bigger: dict[Value, Value], smaller: dict[Value, Value]) -> bool:
    context.charge(len(smaller))
    for key, item in smaller.items():
        found = bigger.get(key, U)
        if found is U:
            return False
        if equal(found, item):
            continue
        same = (type(found) is type(item) and type(item) in (dict, list)) or (is_set(found) and is_set(item))
        if not same or not subset(context, found, item):
            return False
    return True


def _array_subset(context: Context, bigger: list[Value], smaller: list[Value]) -> bool:
    width = len(smaller)
    places = max(len(bigger) - width + 1, 0)
    context.charge(len(bigger) + places * width)  # alike but for the last element at every place
    return any(equal(bigger[start:start + width], smaller) for start in range(places))


def _edges(node: Value, graph: Mapping[Any, Value]) -> list[Value] | None:
    found = graph.get(freeze(node), U)
    if found is U:
        return None
    return ordered(found) if is_set(found) else found if type(found) is list else []


def reachable(context: Context, graph: Value, initial: Value) -> Value:
    """All nodes that can be reached."""
    edges, queue = obj(graph), list(elements(initial, 2))
    found: set[Value] = set()
    while queue:
        node = queue.pop()
        frozen = freeze(node)
        if frozen in found or (following := _edges(node, edges)) is None:
            continue
        found.add(frozen)
        context.charge(1 + len(following))
        queue += following
    return frozenset(found)


def reachable_paths(context: Context, graph: Value, initial: Value) -> Value:
    """All paths; a cycle ends one."""
    edges = obj(graph)
    found: set[Value] = set()
    for root in elements(initial, 2):
        if (following := _edges(root, edges)) is None:
            continue
        if not following:
            found.add(freeze([root]))
        for node in following:
            found.update(freeze(path) for path in _paths(context, edges, node, [root]))
    return frozenset(found)


def _paths(
    context: Context, graph: Mapping[Any, Value], start: Value, before: list[Value]
) -> Iterator[list[Value]]:
    stack: list[tuple[Value, list[Value], frozenset[Value]]] = [(start, before, set_of(before))]
    while stack:
        node, path, seen = stack.pop()
        context.charge(1 + len(path))
        following = _edges(node, graph)
        if following is None:
            yield path
            continue
        path, seen = [*path, node], seen | {freeze(node)}
        if not following:
            yield path
        for neighbour in following:
            if freeze(neighbour) in seen:
                yield path
            else:
                stack.append((neighbour, path, seen))


OBJECTS: Final[Mapping[str, Builtin]] = MappingProxyType({
    "object.get": Builtin(get, 3), "object.keys": Builtin(keys, 1),
    "object.remove": Builtin(remove, 2, deep=True),
    "object.filter": Builtin(keep, 2, deep=True),
    "object.union": Builtin(union, 2, deep=True), "object.union_n": Builtin(union_all, 1, deep=True),
    "object.subset": Builtin(subset, 2, context=True, deep=True),
    "graph.reachable": Builtin(reachable, 2, context=True),
    "graph.reachable_paths": Builtin(reachable_paths, 2, context=True),
})
