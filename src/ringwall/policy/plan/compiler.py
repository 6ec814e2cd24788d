"""A plan's functions as Python functions: checked, written, compiled together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ringwall.policy.builtins.table import Builtin, lenient
from ringwall.policy.plan import ops, reader
from ringwall.policy.plan.codegen import FunctionWriter
from ringwall.policy.plan.limits import MAX_CALL_DEPTH, MAX_FUNCTIONS, MAX_STATEMENTS
from ringwall.policy.plan.reader import Node, broken
from ringwall.policy.plan.statements import Module, Names
from ringwall.policy.plan.values import U, Value, freeze, thaw

_TOGETHER: Final = 100  # functions compiled at once: the syntax tree of many rules takes gigabytes
_RUNTIME: Final[Mapping[str, object]] = {
    "U": U, "MISSING": ops.MISSING, "SETS": ops.SETS, "BOXES": ops.BOXES, "SIZED": ops.SIZED,
    "conflict": ops.conflict, "dot": ops.dot, "dot_base": ops.dot_base, "dynamic": ops.dynamic,
    "exhausted": ops.exhausted, "freeze": freeze, "heavy": ops.heavy, "insert_once": ops.insert_once,
    "length": ops.length, "merge": ops.merge, "same": ops.same, "scan": ops.scan, "upsert": ops.upsert,
    "weigh": ops.weigh,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A value that a rule put into its set, and where that rule stands."""

    value: Value
    file: str  # as it was named when the policy was compiled
    row: int  # from 1 on
    rule: str  # as ``data.ringwall.site.deny``


class Program:
    """The compiled entry points of a plan.

    Args:
        tree: the plan.
        builtins: those it declares.
        strict: a built-in's error ends the decision.
        indexed: from how many rules on a run of them is looked up.
        traced: note members of rules' sets in the decision's context.

    Raises:
        PolicyError: ``bad_plan``.

    """

    def __init__(self, tree: Node, builtins: Mapping[str, Builtin], *, strict: bool, indexed: int,
                 traced: bool) -> None:
        static = reader.field(tree, "static")
        functions = reader.nodes(reader.field(tree, "funcs") if tree.get("funcs") is not None else {}, "funcs")
        points = reader.nodes(reader.field(tree, "plans"), "plans")
        if len(functions) + len(points) > MAX_FUNCTIONS:
            raise broken("there are too many functions")
        _refuse_recursion(functions)
        self._params = {reader.text(item, "name"): _params(item) for item in functions}
        if len(self._params) != len(functions):
            raise broken("a function is there twice")
        self._paths = [_path(item) for item in functions]
        self._files = [reader.text(item, "value") for item in reader.nodes(static, "files")]
        self._module = Module(
            names=Names(functions={name: (index, len(locals_))
                                   for index, (name, locals_) in enumerate(self._params.items())},
                        builtins={name: (index, one) for index, (name, one) in enumerate(builtins.items())}),
            strings=[reader.text(item, "value") for item in reader.nodes(static, "strings")], traced=traced)
        sources = self._written(functions, points, indexed)
        self.entries = self._compiled(sources, builtins, [reader.text(item, "name") for item in points], strict)

    def _written(self, functions: list[Node], points: list[Node], indexed: int) -> list[str]:
        sources: list[str] = []
        for index, item in enumerate(functions):
            locals_ = self._params[reader.text(item, "name")]
            rule = (index, reader.local(item, "return")) if self._paths[index] else None
            writer = FunctionWriter(self._module, name=f"f{index}", params=locals_, rule=rule,
                                    memo=index if len(locals_) == 2 else None)
            sources.append(writer.function(reader.nodes(item, "blocks"), indexed))
        for index, item in enumerate(points):
            writer = FunctionWriter(self._module, name=f"p{index}", params=[0, 1])
            sources.append(writer.entry_point(reader.nodes(item, "blocks")))
        return [*sources, *self._module.sources]

    def _compiled(self, sources: list[str], builtins: Mapping[str, Builtin], points: list[str],
                  strict: bool) -> Mapping[str, Callable[..., Any]]:
        module: dict[str, Any] = dict(_RUNTIME)
        for index, builtin in enumerate(builtins.values()):
            module[f"B{index}"] = builtin.function if strict else lenient(builtin.function)
        for start in range(0, len(sources), _TOGETHER):
            text = "\n".join(sources[start:start + _TOGETHER])
            exec(compile(text, "<plan>", "exec"), module)  # noqa: S102 (our own output: codegen's promise)
        module["D"] = {tuple(path): module[f"f{index}"]
                       for index, (path, params) in enumerate(zip(self._paths, self._params.values(), strict=True))
                       if path and len(params) == 2}
        for index, table in enumerate(self._module.tables):
            module[f"T{index}"] = {constant: module[name] for constant, name in table.items()}
        return {name: module[f"p{index}"] for index, name in enumerate(points)}

    def member(self, frozen: Value, function: int, file: int, row: int) -> Member:
        """What a traced decision noted."""
        named = self._files[file] if file < len(self._files) else ""
        return Member(value=thaw(frozen), file=named, row=row, rule=".".join(["data", *self._paths[function][1:]]))


def _params(item: Node) -> list[int]:
    found = [reader.local({"params": number}, "params") for number in reader.array(item, "params")]
    if len(found) < 2 or len(set(found)) != len(found):
        raise broken("a function's parameters are not input, data and its own")
    return found


def _path(item: Node) -> list[str]:
    return [reader.text({"path": part}, "path") for part in reader.array(item, "path")]


def _calls(block: object) -> set[str]:
    """The names called anywhere in a tree of blocks."""
    found: set[str] = set()
    stack: list[object] = [block]
    seen = 0
    while stack:
        seen += 1
        if seen > 50 * MAX_STATEMENTS:
            raise broken("there are too many statements")
        item = stack.pop()
        if isinstance(item, dict):
            if isinstance(name := item.get("func"), str):  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
                found.add(name)
            stack.extend(item.values())  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(item, list):
            stack.extend(item)  # pyright: ignore[reportUnknownArgumentType]
    return found


def _refuse_recursion(functions: list[Node]) -> None:
    """Rego has no recursion; a plan that has is not OPA's. Also bounds how deep calls nest."""
    calls = {reader.text(item, "name"): _calls(item.get("blocks")) for item in functions}
    depth: dict[str, int] = {}
    open_: set[str] = set()

    def measure(name: str, level: int) -> int:
        if name in depth or name not in calls:
            return depth.get(name, 0)
        if name in open_ or level > MAX_CALL_DEPTH:
            raise broken("its functions call each other too deep or in a circle")
        open_.add(name)
        found = 1 + max((measure(called, level + 1) for called in sorted(calls[name])), default=0)
        open_.discard(name)
        depth[name] = found
        return found

    if max((measure(name, 0) for name in calls), default=0) > MAX_CALL_DEPTH:
        raise broken("its functions call each other too deep or in a circle")
