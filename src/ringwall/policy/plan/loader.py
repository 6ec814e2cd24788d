"""A plan (OPA's IR, ``opa build -t plan``) made executable.

Everything that can be refused is refused here, at load: a damaged plan, a built-in that is missing or not
allowed, recursion, nesting beyond what one decision may use.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import msgspec

from ringwall.errors import PolicyError
from ringwall.policy.builtins import BUILTINS
from ringwall.policy.builtins.table import Builtin, lenient
from ringwall.policy.plan import ops, reader
from ringwall.policy.plan.codegen import FunctionWriter, Names
from ringwall.policy.plan.limits import (
    MAX_CALL_DEPTH,
    MAX_FUNCTIONS,
    MAX_PLAN_BYTES,
    MAX_STATEMENTS,
    MAX_STEPS,
)
from ringwall.policy.plan.reader import Node, broken
from ringwall.policy.plan.values import U, Value, equal, freeze

_RUNTIME: Final[Mapping[str, object]] = {
    "U": U, "MISSING": ops.MISSING, "SETS": ops.SETS, "conflict": ops.conflict, "dot": ops.dot,
    "dynamic": ops.dynamic, "equal": equal, "exhausted": ops.exhausted, "freeze": freeze,
    "insert_once": ops.insert_once, "length": ops.length, "merge": ops.merge, "scan": ops.scan,
    "upsert": ops.upsert,
}


class Plan:
    """The entry points of one plan. Immutable after construction and safe to share between threads.

    Args:
        plan: the bytes of ``plan.json``.
        allowed: the built-ins that the plan may use; None: all that exist here.
        strict: a built-in's error ends the decision (OPA: ``strict-builtin-errors``); otherwise it is undefined,
            as OPA has it by default.

    Raises:
        PolicyError: ``bad_plan``, or ``unsupported_builtin``.

    """

    def __init__(self, plan: bytes, *, allowed: Collection[str] | None = None, strict: bool = True) -> None:
        tree = _parse(plan)
        static = reader.field(tree, "static")
        builtins = _builtins(static, allowed)
        try:
            self._entries = _compile(tree, static, builtins, strict=strict)
        except (RecursionError, MemoryError, SyntaxError, ValueError, OverflowError) as error:
            raise broken("it is too large or nests too deep for this Python") from error

    def evaluate(self, entry_point: str, document: Value, data: Value, *, max_steps: int = MAX_STEPS,
                 now_ns: int | None = None) -> list[Value]:
        """The results of an entry point, each an object of bindings; empty: undefined.

        Args:
            entry_point: as named at build time, for instance ``ringwall/decide/call``.
            document: ``input``; ``U`` for none. Never changed.
            data: the base data document. Never changed.
            max_steps: what this decision may take.
            now_ns: nanoseconds since the epoch for the time built-ins; None: they fail.

        Raises:
            PolicyError: unknown entry point, limit reached, or evaluation failed.

        """
        entry = self._entries.get(entry_point)
        if entry is None:
            raise PolicyError(f"the policy has no entry point {entry_point[:80]!r}", code="unknown_entry_point")
        context = ops.Context(steps=max_steps, now_ns=now_ns)
        try:
            return entry(context, document, data)
        except PolicyError:
            raise
        except RecursionError as error:
            raise PolicyError("the decision nests too deep", code="policy_limit") from error
        except Exception as error:  # whatever went wrong, it is a refusal
            raise PolicyError(f"evaluating the policy failed: {error}", code="policy_failed") from error


def _parse(plan: bytes) -> Node:
    if len(plan) > MAX_PLAN_BYTES:
        raise broken(f"it has {len(plan)} bytes, more than {MAX_PLAN_BYTES}")
    try:
        return reader.node(msgspec.json.decode(plan), "the plan")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise broken("it is not JSON") from error


def _builtins(static: Node, allowed: Collection[str] | None) -> dict[str, Builtin]:
    found: dict[str, Builtin] = {}
    for item in reader.nodes(static, "builtin_funcs"):
        name = reader.text(item, "name")
        builtin = BUILTINS.get(name)
        if builtin is None or (allowed is not None and name not in allowed):
            raise PolicyError(f"built-in {name[:80]} is not supported", code="unsupported_builtin",
                              remedy="compute it before the decision and pass it as a fact")
        found[name] = builtin
    return found


def _compile(tree: Node, static: Node, builtins: Mapping[str, Builtin], *,
             strict: bool) -> Mapping[str, Callable[..., Any]]:
    functions = reader.nodes(reader.field(tree, "funcs") if tree.get("funcs") is not None else {}, "funcs")
    entries = reader.nodes(reader.field(tree, "plans"), "plans")
    if len(functions) + len(entries) > MAX_FUNCTIONS:
        raise broken("there are too many functions")
    strings = [reader.text(item, "value") for item in reader.nodes(static, "strings")]
    params = {reader.text(item, "name"): _params(item) for item in functions}
    if len(params) != len(functions):
        raise broken("a function is there twice")
    _refuse_recursion(functions)
    names = Names(functions={name: (index, len(locals_)) for index, (name, locals_) in enumerate(params.items())},
                  builtins={name: (index, builtin.arity, builtin.context)
                            for index, (name, builtin) in enumerate(builtins.items())})
    sources: list[str] = []
    for index, item in enumerate(functions):
        locals_ = params[reader.text(item, "name")]
        writer = FunctionWriter(name=f"f{index}", params=locals_, memo=index if len(locals_) == 2 else None,
                                strings=strings, names=names)
        sources.append(writer.function(reader.nodes(item, "blocks")))
    points = [reader.text(item, "name") for item in entries]
    for index, item in enumerate(entries):
        writer = FunctionWriter(name=f"p{index}", params=[0, 1], memo=None, strings=strings, names=names)
        sources.append(writer.entry_point(reader.nodes(item, "blocks")))
    module: dict[str, Any] = dict(_RUNTIME)
    for index, builtin in enumerate(builtins.values()):
        module[f"B{index}"] = builtin.function if strict else lenient(builtin.function)
    exec(compile("\n".join(sources), "<plan>", "exec"), module)  # noqa: S102 (our own output: codegen's promise)
    module["D"] = {tuple(path): module[f"f{index}"] for index, item in enumerate(functions)
                   if len(params[reader.text(item, "name")]) == 2 and (path := _path(item))}
    return {name: module[f"p{index}"] for index, name in enumerate(points)}


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
