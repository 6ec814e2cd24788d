"""Reads the Rego terms that some compliance cases give as input: JSON with sets and any keys."""

from __future__ import annotations

import json
from typing import Any

from ringwall.policy.plan.values import freeze, set_of


def parse(text: str) -> Any:
    """One ground term."""
    value, stop = _value(text, 0)
    assert not text[stop:].strip()
    return value


def _skip(text: str, at: int) -> int:
    while at < len(text) and (text[at].isspace() or text[at] == ","):
        at += 1
    return at


def _value(text: str, at: int) -> tuple[Any, int]:
    at = _skip(text, at)
    if text.startswith("set()", at):
        return frozenset(), at + 5
    if text[at] == "[":
        return _items(text, at + 1, "]")
    if text[at] == "{":
        return _braces(text, at + 1)
    value, length = json.JSONDecoder().raw_decode(text[at:])
    return value, at + length


def _items(text: str, at: int, end: str) -> tuple[list[Any], int]:
    found: list[Any] = []
    while text[at := _skip(text, at)] != end:
        item, at = _value(text, at)
        found.append(item)
    return found, at + 1


def _braces(text: str, at: int) -> tuple[Any, int]:
    keys: list[Any] = []
    table: dict[Any, Any] = {}
    while text[at := _skip(text, at)] != "}":
        key, at = _value(text, at)
        at = _skip(text, at)
        keys.append(key)
        if text[at] == ":":
            table[freeze(key)], at = _value(text, at + 1)
    return (table if table or not keys else set_of(keys)), at + 1
