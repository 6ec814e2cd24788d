"""Parsed TOML to the frozen types, by the layout. Wrong values leave a placeholder and a problem."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Final, cast

from ringwall.manifest.layout import LAYOUTS
from ringwall.manifest.problems import Key, Problems, nearest, quoted
from ringwall.manifest.shapes import (
    Choice,
    Entry,
    File,
    Flag,
    Layout,
    ListOf,
    MapOf,
    Number,
    Record,
    Shape,
    Text,
    Whole,
    Wrong,
)

MAX_PATH: Final = 4096  # PATH_MAX, limits.h
_LATER = "is not available in this version"
_MISSING: Final = object()  # a wrong value; its problem is noted


class Builder:
    """Makes values of one manifest. Every method notes problems and goes on."""

    def __init__(self, base: Path, problems: Problems) -> None:
        self._base = base
        self._problems = problems

    def record(self, of: type, value: object, key: Key, **own: object) -> Any:
        """A value of type ``of``; only to be used if no problem was noted. ``own``: fields that are not written."""
        layout = LAYOUTS[of]
        written = self._table(layout, value, key)
        self._names(layout, written, key)
        fields: dict[str, object] = {}
        for entry in layout.entries:
            made = self._entry(entry, written, key)
            if made is not _MISSING:
                fields[entry.attr or entry.key] = made
            elif entry.required:
                fields[entry.attr or entry.key] = _placeholder(entry.shape)
        if layout.rest is not None:
            names = {name: written[name] for name in written if name not in {one.key for one in layout.entries}}
            fields[layout.rest.attr] = self._value(layout.rest.shape, names, key)
        if layout.key_attr:
            fields[layout.key_attr] = str(key[-1])
        self._exactly_one(layout, written, key)
        return of(**fields, **own)

    def _table(self, layout: Layout, value: object, key: Key) -> dict[str, object]:
        if layout.short and isinstance(value, list):
            return {layout.short: cast("list[object]", value)}
        if isinstance(value, dict):
            return cast("dict[str, object]", value)
        either = "a list or a table" if layout.short else "a table"
        self._problems.add(key, f"expected {either}, not {_seen(value)}")
        return {}

    def _names(self, layout: Layout, written: Mapping[str, object], key: Key) -> None:
        known = [entry.key for entry in layout.entries]
        for name in written:
            if name in layout.later:
                self._problems.add((*key, name), f"{_LATER} ({layout.later[name]})")
            elif name not in known and layout.rest is None:
                self._problems.unknown((*key, name), name, "no such key", known)

    def _entry(self, entry: Entry, written: Mapping[str, object], key: Key) -> object:
        if entry.key not in written:
            if entry.required:
                self._problems.add((*key, entry.key), "is missing",
                                   fix=f"write: {entry.key} = {_example(entry.shape)}")
            return _MISSING
        return self._value(entry.shape, written[entry.key], (*key, entry.key))

    def _exactly_one(self, layout: Layout, written: Mapping[str, object], key: Key) -> None:
        given = [name for name in layout.one_of if name in written]
        if layout.one_of and len(given) != 1 and not any(name in layout.later for name in written):
            has = f"has {' and '.join(given)}" if given else "has none of them"
            self._problems.add(key, f"needs exactly one of {', '.join(layout.one_of)}; it {has}")

    def _value(self, shape: Shape, value: object, key: Key) -> object:
        match shape:
            case Text() | Choice() | File():
                return self._text(shape, value, key)
            case Flag():
                return value if isinstance(value, bool) else self._wrong(key, "true or false", value)
            case Whole() | Number():
                return self._number(shape, value, key)
            case ListOf():
                return self._list(shape, value, key)
            case MapOf():
                return self._map(shape, value, key)
            case Record():
                return self.record(shape.of, value, key)

    def _wrong(self, key: Key, expected: str, value: object) -> object:
        self._problems.add(key, f"expected {expected}, not {_seen(value)}")
        return _MISSING

    def _text(self, shape: Text | Choice | File, value: object, key: Key) -> object:
        if not isinstance(value, str):
            return self._wrong(key, _what(shape), value)
        if isinstance(shape, Choice):
            return self._choice(shape, value, key)
        try:
            return shape.read(value) if isinstance(shape, Text) else self._path(value)
        except Wrong as wrong:
            self._problems.add(key, f"{quoted(value)}: {wrong}")
            return _MISSING

    def _choice(self, shape: Choice, value: str, key: Key) -> object:
        if value in shape.options:
            return value
        if value in shape.later:
            self._problems.add(key, f"{quoted(value)} {_LATER}", known=shape.options)
        else:
            self._problems.add(key, f"{quoted(value)} is not one of them{nearest(value, shape.options)}",
                               known=shape.options)
        return _MISSING

    def _path(self, value: str) -> Path:
        path = PurePosixPath(value)
        if not value or len(os.fsencode(value)) > MAX_PATH or "\n" in value:
            raise Wrong(f"expected a path of 1 to {MAX_PATH} bytes on one line")
        if ".." in path.parts:
            raise Wrong('".." hides which folder is meant; write the path it stands for')
        if value.startswith("~"):
            raise Wrong('"~" is nobody\'s home here; write the whole path')
        made = Path(os.path.normpath(self._base / path))
        if made == Path("/"):
            raise Wrong('"/" is the whole machine; name the folders that are needed')
        return made

    def _number(self, shape: Whole | Number, value: object, key: Key) -> object:
        right = isinstance(value, int) if isinstance(shape, Whole) else isinstance(value, (int, float))
        if not right or isinstance(value, bool):
            return self._wrong(key, _what(shape), value)
        number = cast("float", value)
        if not shape.low <= number <= shape.high:  # also refuses nan
            return self._wrong(key, _what(shape), value)
        return number if isinstance(shape, Whole) else float(number)

    def _list(self, shape: ListOf, value: object, key: Key) -> object:
        if not isinstance(value, list):
            return self._wrong(key, "a list", value)
        made: list[object] = []
        for index, item in enumerate(cast("list[object]", value)):
            one = self._value(shape.item, item, (*key, index))
            if one is not _MISSING and one in made and not shape.repeats:
                self._problems.add((*key, index), f"{_seen(item)} is there already")
            elif one is not _MISSING:
                made.append(one)
        return tuple(made)

    def _map(self, shape: MapOf, value: object, key: Key) -> object:
        if not isinstance(value, dict):
            return self._wrong(key, "a table", value)
        made: dict[str, object] = {}
        for name, item in cast("dict[str, object]", value).items():
            at = (*key, name)
            if shape.only and name not in shape.only:
                self._problems.unknown(at, name, "no such key", shape.only)
                continue
            try:
                shape.name.read(name)
            except Wrong as wrong:
                self._problems.add(at, str(wrong))
            one = self._value(shape.value, item, at)
            if one is not _MISSING:
                made[name] = one
        return MappingProxyType(made)


def _seen(value: object) -> str:
    """How a value of the wrong type or size is named."""
    match value:
        case str():
            return quoted(value)
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value) if -10**15 < value < 10**15 else "a number that large"
        case dict():
            return "a table"
        case list():
            return "a list"
        case _:
            return "a date or time"


def _what(shape: Text | Choice | File | Whole | Number) -> str:
    """What was expected, in words."""
    match shape:
        case Text():
            return shape.what
        case Choice():
            return "one of " + ", ".join(shape.options)
        case File():
            return "a path"
        case Whole():
            return str(shape.low) if shape.low == shape.high else f"a whole number from {shape.low} to {shape.high}"
        case Number():
            return f"a number from {shape.low:g} to {shape.high:g}"


def _example(shape: Shape) -> str:
    match shape:
        case Choice():
            return quoted(shape.options[0])
        case Whole():
            return str(shape.low)
        case MapOf() | Record():
            return "{}"
        case ListOf():
            return "[]"
        case _:
            return '"…"'


def _placeholder(shape: Shape) -> object:
    match shape:
        case Choice():
            return shape.options[0]
        case Whole():
            return shape.low
        case MapOf():
            return MappingProxyType(dict[str, object]())
        case File():
            return Path()
        case _:
            return ""
