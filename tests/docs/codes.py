"""Every error code in the source: what stands where a code is given, in Python and in Rego."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

_REGO = re.compile(r'"code": "([a-z_]+)"')
_CODE = re.compile(r"[a-z][a-z0-9_]{2,40}")
_NEVER = frozenset({"card_too_large"})  # composed like others, and bounded before: a card comes detached
_NEWS = frozenset({"listening", "updated"})  # ``what`` a tool server tells, and no beginning of a code
_TABLES = frozenset({"REASONS", "_FAILURES"})  # texts by code


def codes(source: Path) -> set[str]:
    """The codes of a package. ``redteam`` is left out: it is a suite, not the product."""
    found: set[str] = set()
    for file in source.rglob("*.rego"):
        found |= set(_REGO.findall(file.read_text()))
    beginnings: set[str] = set()
    for file in source.rglob("*.py"):
        if "redteam" not in file.parts:
            tree = ast.parse(file.read_text())
            places = _places(tree)
            found |= {text for node in ast.walk(tree) for text in _given(node, places)}
            beginnings |= {text for node in ast.walk(tree) for text in _begun(node)}
    found |= {f"{first}{code}" for first in beginnings for code in found if code.startswith("_")}
    return {code for code in found if _CODE.fullmatch(code)} - _NEVER


def _begun(node: ast.AST) -> Iterator[str]:
    """What codes of one function begin with, for different callers: ``what="card"`` for ``f"{what}_header"``."""
    named = isinstance(node, ast.keyword) and node.arg == "what"
    if named and isinstance(node.value, ast.Constant) and node.value.value not in _NEWS:
        yield str(node.value.value)


def _places(tree: ast.AST) -> dict[str, int]:
    """Functions of a file that take a code by position, and where."""
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [argument.arg for argument in node.args.args if argument.arg not in {"self", "cls"}]
            if "code" in names:
                found[node.name] = names.index("code")
    return found


def _given(node: ast.AST, places: dict[str, int]) -> Iterator[str]:
    match node:
        case ast.Call():
            yield from _in_call(node, places)
        case ast.Dict():
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "code":
                    yield from _texts(value)
        case ast.Assign() | ast.AnnAssign() if node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from _in_assignment({t.id for t in targets if isinstance(t, ast.Name)}, node.value)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from _in_defaults(node.args)
        case _:
            pass


def _in_call(node: ast.Call, places: dict[str, int]) -> Iterator[str]:
    for keyword in node.keywords:
        if keyword.arg == "code":
            yield from _texts(keyword.value)
    place = places.get(node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", ""))
    if place is not None and place < len(node.args):
        yield from _texts(node.args[place])


def _in_assignment(names: set[str], value: ast.expr) -> Iterator[str]:
    if names & {"code", "default_code"}:
        yield from _texts(value)
    if names & _TABLES:
        for table in ast.walk(value):
            if isinstance(table, ast.Dict):
                yield from (key.value for key in table.keys if isinstance(key, ast.Constant))


def _in_defaults(arguments: ast.arguments) -> Iterator[str]:
    plain = zip(reversed(arguments.args), reversed(arguments.defaults), strict=False)
    named = ((a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d)
    for argument, default in [*plain, *named]:
        if argument.arg == "code":
            yield from _texts(default)


def _texts(value: ast.AST) -> Iterator[str]:
    """The text itself, or each that a condition chooses from."""
    match value:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp():
            yield from _texts(value.body)
            yield from _texts(value.orelse)
        case ast.BoolOp():
            for one in value.values:
                yield from _texts(one)
        case ast.JoinedStr(values=[ast.FormattedValue(value=ast.Name(id="what")), ast.Constant(value=str(end))]):
            yield end  # begins as ``_begun`` says
        case _:
            pass
