"""JSON as text, and changes to documents by path."""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from ringwall.policy.builtins.table import Builtin, BuiltinError, array, bounded, elements, obj, string, wrong
from ringwall.policy.builtins.text import to_json
from ringwall.policy.plan.values import U, Value, equal, freeze, is_set, ordered

_HTML: Final = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}  # as Go's encoder escapes them


def _encode(value: Value, **style: Any) -> str:
    text = json.dumps(to_json(value), ensure_ascii=False, sort_keys=True, allow_nan=False, **style)
    return bounded(text.translate(_HTML))


def marshal(value: Value) -> str:
    """The value as JSON."""
    return _encode(value, separators=(",", ":"))


def marshal_with(value: Value, options: Value) -> str:
    """The value as JSON, perhaps over several lines."""
    chosen = obj(options, 2)
    if unknown := set(chosen) - {"prefix", "indent", "pretty"}:
        raise BuiltinError(f"object contained unknown key {min(map(str, unknown))}")
    prefix, indent = string(chosen.get("prefix", ""), 2), string(chosen.get("indent", "\t"), 2)
    pretty = chosen.get("pretty", "prefix" in chosen or "indent" in chosen)
    if type(pretty) is not bool:
        raise BuiltinError("key pretty failed cast to bool")
    if not pretty:
        return marshal(value)
    text = _encode(value, indent=indent, separators=(",", ": "))
    return bounded("\n".join(prefix + line for line in text.split("\n")))


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def parse(value: Value) -> Value:
    """JSON text as a value."""
    try:
        return json.loads(string(value), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BuiltinError("the text is no JSON") from error


def parses(value: Value) -> bool:
    """Whether a text is JSON."""
    if type(value) is not str:
        return False
    try:
        parse(value)
    except BuiltinError:
        return False
    return True


def _path(value: Value) -> list[Value]:
    """A JSON pointer, or an array of keys."""
    if type(value) is list:
        return value
    if type(value) is not str:
        raise BuiltinError("operand 2 must hold string paths or arrays of path segments")
    if not value:
        return []
    return [part.replace("~1", "/").replace("~0", "~") for part in value.lstrip("/").split("/")]


def _paths_tree(paths: Value) -> Value:
    """Paths as nested objects whose leaves are null."""
    root: dict[Value, Value] = {}
    for path in map(_path, elements(paths, 2)):
        inner: Value = root
        for part in path[:-1]:
            inner = inner.setdefault(freeze(part), {})
            if inner is None:
                break
        if path and inner is not None:
            inner[freeze(path[-1])] = None
    return root


def remove(value: Value, paths: Value) -> Value:
    """Without what the paths name."""
    obj(value)
    return _removed(value, _paths_tree(paths))


def _removed(value: Value, tree: Value) -> Value:
    """The value without the leaves of the tree; U when it is a leaf itself."""
    if tree is None:
        return U
    if type(tree) is not dict:
        return value
    if type(value) is dict:
        return {key: left for key, item in value.items()
                if (left := _removed(item, tree.get(key, U))) is not U}
    if type(value) is list:
        return [left for index, item in enumerate(value)
                if (left := _removed(item, tree.get(str(index), U))) is not U]
    if is_set(value):
        return frozenset(freeze(left) for item in ordered(value)
                         if (left := _removed(item, tree.get(freeze(item), U))) is not U)
    return value


def keep(value: Value, paths: Value) -> Value:
    """Only what the paths name."""
    obj(value)
    return _kept(value, _paths_tree(paths))


def _kept(value: Value, tree: Value) -> Value:
    if tree is None or type(value) not in (dict, list, set, frozenset):
        return value
    if type(value) is dict:
        return {key: _kept(value[key], inner) for key, inner in tree.items() if key in value}
    if type(value) is list:
        return [_kept(item, tree[str(index)]) for index, item in enumerate(value) if str(index) in tree]
    return frozenset(freeze(_kept(item, tree[freeze(item)])) for item in ordered(value) if freeze(item) in tree)


def patch(value: Value, operations: Value) -> Value:
    """RFC 6902, which here also reaches into sets."""
    for operation in array(operations, 2):
        if type(operation) is not dict:
            raise BuiltinError("must be an array of JSON-Patch objects, but at least one element is not an object")
        value = _apply(value, operation)
    return value


def _attribute(operation: dict[Value, Value], name: str) -> Value:
    if name not in operation:
        raise BuiltinError(f"missing required attribute '{name}'")
    return operation[name]


def _apply(value: Value, operation: dict[Value, Value]) -> Value:
    path = _path(_attribute(operation, "path"))
    name = _attribute(operation, "op")
    if name == "add":
        return _change(value, path, _adder(_attribute(operation, "value")))
    if name == "remove":
        return _change(value, path, _delete)
    if name == "replace":
        without = _change(value, path, _delete) if path else value
        return _change(without, path, _adder(_attribute(operation, "value")))
    if name == "test":
        if not equal(_at(value, path), _attribute(operation, "value")):
            raise BuiltinError("a patch test failed")
        return value
    if name not in ("move", "copy"):
        raise BuiltinError("unrecognized op")
    origin = _path(_attribute(operation, "from"))
    found = _at(value, origin)
    if name == "move":
        value = _change(value, origin, _delete)
    return _change(value, path, _adder(found))


Edit = Callable[[Value, Value], Value]  # (container, key) -> changed copy


def _at(value: Value, path: list[Value]) -> Value:
    for part in path:
        value = _child(value, part)
    return value


def _child(value: Value, key: Value) -> Value:
    if type(value) is list:
        return value[_index(value, key, len(value))]
    if type(value) is dict and freeze(key) in value:
        return value[freeze(key)]
    if is_set(value) and freeze(key) in value:
        return key
    raise BuiltinError("a patch path does not exist")


def _index(items: list[Value], key: Value, stop: int) -> int:
    if type(key) is str and key.isascii() and key.isdecimal() and (key == "0" or key[0] != "0") and len(key) < 10:
        key = int(key)
    if type(key) is not int or not 0 <= key < stop:
        raise BuiltinError("a patch path names no index of the array")
    return key


def _change(value: Value, path: list[Value], edit: Edit) -> Value:
    """A copy of the value, edited at the path."""
    if not path:
        return edit(U, U)
    if len(path) == 1:
        return edit(value, path[0])
    changed = _change(_child(value, path[0]), path[1:], edit)
    if is_set(value):
        return (frozenset(value) - {freeze(path[0])}) | {freeze(changed)}
    if type(value) is list:
        copy = list(value)
        copy[_index(copy, path[0], len(copy))] = changed
        return copy
    return {**value, freeze(path[0]): changed}


def _delete(container: Value, key: Value) -> Value:
    if container is U:
        raise BuiltinError("the root cannot be patched away")
    _child(container, key)
    if is_set(container):
        return frozenset(container) - {freeze(key)}
    if type(container) is list:
        index = _index(container, key, len(container))
        return container[:index] + container[index + 1:]
    return {name: item for name, item in container.items() if name != freeze(key)}


def _adder(new: Value) -> Edit:
    def add(container: Value, key: Value) -> Value:
        if container is U:
            return new
        if type(container) is list:
            index = len(container) if key == "-" else _index(container, key, len(container) + 1)
            return [*container[:index], new, *container[index:]]
        if is_set(container):
            if not equal(key, new):
                raise BuiltinError("in a set, key and value of an add are the same")
            return frozenset(container) | {freeze(new)}
        if type(container) is dict:
            return {**container, freeze(key): new}
        raise wrong(1, container, "array", "object", "set")
    return add


DOCUMENTS: Final[Mapping[str, Builtin]] = MappingProxyType({
    "json.marshal": Builtin(marshal, 1, deep=True),
    "json.marshal_with_options": Builtin(marshal_with, 2, deep=True),
    "json.unmarshal": Builtin(parse, 1), "json.is_valid": Builtin(parses, 1),
    "json.remove": Builtin(remove, 2, deep=True), "json.filter": Builtin(keep, 2, deep=True),
    "json.patch": Builtin(patch, 2, deep=True),
})
