"""What a policy's plan may not hold: the two shapes that OPA evaluates otherwise than its own plan says.

Seen in OPA 1.21.3. A key into base data is looked up by its text when OPA evaluates (``"1"`` is found for 1), and
by its type in the plan. A reference with a computed key over a tree of rules leaves rules out in the plan, and a
negation of it then holds. Both are read off the plan, because it says what is data, what is a rule and what is only
a variable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import msgspec

from ringwall.policy.bundle.lint import Finding
from ringwall.policy.plan import reader

Node = dict[str, Any]
_DATA: Final = "data"
_UNKNOWN: Final = ""
_STRINGS: Final = frozenset({
    "concat", "lower", "upper", "sprintf", "format_int", "replace", "substring", "trim", "trim_left", "trim_prefix",
    "trim_right", "trim_space", "trim_suffix", "strings.reverse", "strings.replace_n", "internal.template_string",
    "base64.encode", "hex.encode", "crypto.sha256", "json.marshal", "type_name", "urlquery.encode",
})  # built-ins whose result is a string


@dataclass(frozen=True, slots=True)
class _Scope:
    """What is known of the local variables of one function."""

    paths: dict[int, str] = field(default_factory=dict[int, str])  # local -> where its value comes from
    typed: set[int] = field(default_factory=set[int])  # locals that hold a string, or a key as data has it


def check_plan(plan: bytes) -> Iterator[Finding]:
    """Every such shape in a plan that OPA made."""
    tree = reader.node(msgspec.json.decode(plan), "the plan")
    static = reader.field(tree, "static")
    strings = [reader.text(item, "value") for item in reader.nodes(static, "strings")]
    files = [reader.text(item, "value") for item in reader.nodes(static, "files")]
    for function in reader.nodes(cast("Node", tree.get("funcs") or {}), "funcs"):
        params = reader.array(function, "params")
        check = _Check(strings, files)
        check.scope.paths.update({params[0]: "input", params[1]: _DATA})
        for block in reader.nodes(function, "blocks"):
            yield from check.block(block, frozenset())


class _Check:
    """Walks one function's statements in order."""

    def __init__(self, strings: list[str], files: list[str]) -> None:
        self.scope = _Scope()
        self._strings = strings
        self._files = files
        self._dynamic: set[tuple[int, int]] = set()  # lines with a computed reference: found once

    def block(self, block: Node, known: frozenset[str]) -> Iterator[Finding]:
        """A block's findings. ``known``: values that hold a string here, because something around it says so."""
        statements = reader.nodes(block, "stmts")
        known |= self._said(statements)
        for statement in statements:
            kind, body = reader.text(statement, "type"), reader.field(statement, "stmt")
            yield from self._statement(kind, body, known)
            for inner in _blocks(body):
                yield from self.block(inner, known)

    def _said(self, statements: Sequence[Node]) -> frozenset[str]:
        """Paths of which ``is_string`` is asked in this very block, whose rest fails where it is not so."""
        found: set[str] = set()
        paths = dict(self.scope.paths)
        for statement in statements:
            kind, body = reader.text(statement, "type"), reader.field(statement, "stmt")
            self._follow(kind, body, paths)
            if kind == "CallStmt" and body.get("func") == "is_string":
                found.add(paths.get(_local(body["args"][0]), _UNKNOWN))
        return frozenset(found - {_UNKNOWN})

    def _statement(self, kind: str, body: Node, known: frozenset[str]) -> Iterator[Finding]:
        if kind == "CallDynamicStmt":
            self._dynamic.add((body["file"], body["row"]))
            yield self._finding(body, "dynamic_rule", "a computed key chooses among rules",
                                "make one rule whose value is an object, and look the key up in that")
        elif kind == "DotStmt" and self._untyped(body, known) and (body["file"], body["row"]) not in self._dynamic:
            yield self._finding(body, "untyped_key", "a key into data may be a number here",
                                "add is_string(…) of that key to this rule")
        elif kind == "CallStmt" and body.get("func") in _STRINGS:
            self.scope.typed.add(body["result"])
        elif kind == "ScanStmt" and self._path(body["source"]).startswith(_DATA):
            self.scope.typed.add(body["key"])
        elif kind in {"AssignVarStmt", "AssignVarOnceStmt"} and self._is_typed(body["source"]):
            self.scope.typed.add(body["target"])
        self._follow(kind, body, self.scope.paths)

    def _untyped(self, body: Node, known: frozenset[str]) -> bool:
        key = body["key"]
        if not self._path(_local(body["source"])).startswith(_DATA) or self._is_typed(key):
            return False
        return self._path(_local(key)) not in known

    def _is_typed(self, operand: Node) -> bool:
        return operand["type"] == "string_index" or _local(operand) in self.scope.typed

    def _path(self, local: int) -> str:
        return self.scope.paths.get(local, _UNKNOWN)

    def _follow(self, kind: str, body: Node, paths: dict[int, str]) -> None:
        """Where the value of a statement's target comes from."""
        if kind == "DotStmt":
            source = paths.get(_local(body["source"]), _UNKNOWN)
            paths[body["target"]] = f"{source}/{self._key(body['key'], paths)}" if source else _UNKNOWN
        elif kind in {"AssignVarStmt", "AssignVarOnceStmt"}:
            paths[body["target"]] = paths.get(_local(body["source"]), _UNKNOWN)
        elif kind == "ScanStmt":
            source = paths.get(body["source"], _UNKNOWN)
            paths[body["value"]] = f"{source}/*" if source.startswith(_DATA) else _UNKNOWN
            paths[body["key"]] = _UNKNOWN
        elif kind == "CallStmt":
            paths[body["result"]] = _UNKNOWN

    def _key(self, operand: Node, paths: Mapping[int, str]) -> str:
        if operand["type"] == "string_index":
            return self._strings[int(operand["value"])]
        return f"[{paths.get(_local(operand), _UNKNOWN)}]"

    def _finding(self, body: Node, check: str, what: str, instead: str) -> Finding:
        file = self._files[int(body["file"])]
        return Finding(file=file, row=body["row"], check=check, what=what, instead=instead)


def _local(operand: object) -> int:
    """The number of a local variable; -1: a constant."""
    if isinstance(operand, int):
        return operand
    typed = cast("Node", operand)
    return int(typed["value"]) if typed["type"] == "local" else -1


def _blocks(body: Node) -> Iterator[Node]:
    """The blocks inside a statement."""
    for name in ("block", "blocks"):
        inner = body.get(name)
        if isinstance(inner, dict):
            yield cast("Node", inner)
        elif isinstance(inner, list):
            yield from cast("list[Node]", inner)
