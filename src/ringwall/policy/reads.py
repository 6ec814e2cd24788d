"""Whether a policy can see the time, read off its plan: what it cannot see cannot change what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from ringwall.errors import PolicyError
from ringwall.policy.plan import reader
from ringwall.policy.plan.reader import Node

_NO_LOCALS: Final = frozenset({"file", "row", "col", "end_row", "end_col", "index", "Index", "capacity"})
_TIME: Final = "time"


def reads_time(plan: bytes) -> bool:
    """Whether anything in this plan may look at ``input.time``.

    False only where every use of the input is a look-up of another constant key, or hands the input on to a
    function of the same plan. Anything else (a computed key, a loop over the input, the whole input as a value,
    ``with input...``) counts as looking.

    Args:
        plan: the bytes of a plan that was loaded, and so is not damaged.

    """
    tree = reader.node(msgspec.json.decode(plan), "the plan")
    strings = [reader.text(item, "value") for item in reader.nodes(reader.field(tree, "static"), "strings")]
    functions = reader.nodes(reader.field(tree, "funcs") if tree.get("funcs") is not None else {}, "funcs")
    known = frozenset(reader.text(item, "name") for item in functions)
    bodies: list[tuple[int, object]] = [(0, item.get("blocks"))
                                        for item in reader.nodes(reader.field(tree, "plans"), "plans")]
    bodies += [(reader.array(item, "params")[0], item.get("blocks")) for item in functions]
    try:
        return any(_Look(given, strings, known).into(blocks) for given, blocks in bodies)
    except PolicyError:
        return True  # a form that is not known here


class _Look:
    """One function: the local that holds its input, and what is done with it."""

    def __init__(self, given: int, strings: list[str], functions: frozenset[str]) -> None:
        self._given = given
        self._strings = strings
        self._functions = functions

    def into(self, blocks: object) -> bool:
        """Whether any statement below may see the time."""
        stack: list[object] = [blocks]
        while stack:
            item = stack.pop()
            if isinstance(item, list):
                stack.extend(cast("list[object]", item))
            elif isinstance(item, dict):
                held = cast("Node", item)
                if isinstance(held.get("type"), str) and isinstance(held.get("stmt"), dict):
                    if self._sees(held["type"], held["stmt"]):
                        return True
                    held = held["stmt"]
                stack.extend(held.get(name) for name in ("blocks", "block", "stmts"))
        return False

    def _sees(self, kind: str, stmt: Node) -> bool:
        match kind:
            case "DotStmt" if self._is_input(stmt.get("source")):
                return self._key(stmt) == _TIME or self._is_input(stmt.get("target"))
            case "CallStmt" if stmt.get("func") in self._functions:
                arguments = reader.array(stmt, "args")
                return any(self._is_input(one) for one in arguments[1:]) or self._is_input(stmt.get("result"))
            case "CallDynamicStmt":
                path = reader.array(stmt, "path")
                return any(self._is_input(one) for one in [*reader.array(stmt, "args")[1:], *path])
            case "MakeNumberIntStmt" | "AssignIntStmt":
                return self._is_input(stmt.get("target"))
            case _:
                return self._mentions(stmt)

    def _key(self, stmt: Node) -> str:
        key = reader.field(stmt, "key")
        if key.get("type") != "string_index":
            return _TIME  # computed: it may be
        return self._strings[reader.whole(key, "value", below=len(self._strings))]

    def _mentions(self, stmt: Mapping[str, Any]) -> bool:
        fields = [value for name, value in stmt.items() if name not in _NO_LOCALS]
        flat = [one for value in fields
                for one in (cast("list[object]", value) if isinstance(value, list) else [value])]
        return any(self._is_input(one) for one in flat)

    def _is_input(self, operand: object) -> bool:
        if isinstance(operand, dict):
            held = cast("Node", operand)
            return held.get("type") == "local" and held.get("value") == self._given
        return type(operand) is int and operand == self._given
