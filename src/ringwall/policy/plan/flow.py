"""Which locals a plan's blocks read from outside of themselves: definite assignment over OPA's IR.

A statement that is undefined leaves its block, so whatever stands behind a statement runs only after it has
succeeded. ``BreakStmt`` leaves more blocks than one.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, cast

from ringwall.policy.plan import reader
from ringwall.policy.plan.reader import Node, broken

_DYNAMIC_LEVELS: Final = 3  # how many blocks more an undefined CallDynamicStmt leaves


@dataclass(frozen=True, slots=True)
class _Shape:
    """Where a kind of statement has its locals, and whether it can be undefined."""

    reads: tuple[str, ...] = ()  # fields: a local's number, an operand, or a list of either
    writes: str = ""
    fails: bool = False


_ALWAYS: Final = _Shape(writes="target")
_SHAPES: Final[Mapping[str, _Shape]] = MappingProxyType({
    "ArrayAppendStmt": _Shape(("array", "value")), "AssignIntStmt": _ALWAYS,
    "AssignVarOnceStmt": _Shape(("source", "target"), "target"), "AssignVarStmt": _Shape(("source",), "target"),
    "CallDynamicStmt": _Shape(("args", "path"), "result", fails=True),
    "CallStmt": _Shape(("args",), "result", fails=True),
    "DotStmt": _Shape(("source", "key"), "target", fails=True), "EqualStmt": _Shape(("a", "b"), fails=True),
    "IsArrayStmt": _Shape(("source",), fails=True), "IsDefinedStmt": _Shape(("source",), fails=True),
    "IsObjectStmt": _Shape(("source",), fails=True), "IsSetStmt": _Shape(("source",), fails=True),
    "IsUndefinedStmt": _Shape(("source",), fails=True), "LenStmt": _Shape(("source",), "target", fails=True),
    "MakeArrayStmt": _ALWAYS, "MakeNullStmt": _ALWAYS, "MakeNumberIntStmt": _ALWAYS,
    "MakeNumberRefStmt": _ALWAYS, "MakeObjectStmt": _ALWAYS, "MakeSetStmt": _ALWAYS, "NopStmt": _Shape(),
    "NotEqualStmt": _Shape(("a", "b"), fails=True), "ObjectInsertOnceStmt": _Shape(("object", "key", "value")),
    "ObjectInsertStmt": _Shape(("object", "key", "value")), "ObjectMergeStmt": _Shape(("a", "b"), "target"),
    "ResetLocalStmt": _ALWAYS, "ResultSetAddStmt": _Shape(("value",)), "ReturnLocalStmt": _Shape(("source",)),
    "SetAddStmt": _Shape(("set", "value")),
})


def _locals_in(value: object) -> set[int]:
    """The locals that a field names: a number, an operand, or several."""
    if isinstance(value, list):
        return {found for item in cast("list[object]", value) for found in _locals_in(item)}
    if isinstance(value, dict):
        operand = cast("Node", value)
        return _locals_in(operand.get("value")) if operand.get("type") == "local" else set()
    return {value} if type(value) is int else set()


def target(kind: str, stmt: Node) -> int | None:
    """The local that a statement sets, if it is of a kind that sets one."""
    shape = _SHAPES.get(kind)
    return reader.local(stmt, shape.writes) if shape is not None and shape.writes else None


State = frozenset[int] | None  # locals that are set for sure; None: this place is never reached


def _both(states: list[frozenset[int]]) -> State:
    return states[0].intersection(*states[1:]) if states else None


class Reads:
    """What a sequence of blocks reads from outside (``carried``), and what it may set (``written``)."""

    def __init__(self, blocks: list[Node], given: AbstractSet[int]) -> None:
        self.carried: set[int] = set()
        self.written: set[int] = set()
        self.returns = False
        self._exits: list[list[frozenset[int]]] = []
        state: State = frozenset(given)
        for block in blocks:
            if state is not None:
                state = self._block(block, state)[0]

    def _block(self, block: Node, given: frozenset[int]) -> tuple[State, State]:
        """(state behind the block, state at its very end)."""
        exits: list[frozenset[int]] = []
        self._exits.append(exits)
        state: State = given
        for statement in reader.nodes(block, "stmts"):
            if state is None:
                break
            state = self._statement(reader.text(statement, "type"), reader.field(statement, "stmt"), state)
        self._exits.pop()
        return _both([*exits, *([] if state is None else [state])]), state

    def _leave(self, level: int, state: frozenset[int]) -> None:
        if level < len(self._exits):
            self._exits[-1 - level].append(state)

    def _statement(self, kind: str, stmt: Node, state: frozenset[int]) -> State:
        match kind:
            case "BreakStmt":
                self._leave(reader.whole(stmt, "index"), state)
                return None
            case "BlockStmt":
                return self._blocks(stmt, state)
            case "NotStmt":
                self._leave(0, state)
                self._block(reader.field(stmt, "block"), state)
                return state
            case "WithStmt":
                return self._with(stmt, state)
            case "ScanStmt":
                return self._scan(stmt, state)
            case _:
                return self._plain(kind, stmt, state)

    def _blocks(self, stmt: Node, state: frozenset[int]) -> State:
        after: State = state
        for block in reader.nodes(stmt, "blocks"):
            if after is not None:
                after = self._block(block, after)[0]
        return after

    def _with(self, stmt: Node, state: frozenset[int]) -> State:
        changed = {reader.local(stmt, "local")}  # and put back at the end: nobody else sees it
        self.carried |= (_locals_in(stmt.get("value")) | changed) - state
        self._leave(0, state)
        return self._block(reader.field(stmt, "block"), state)[1]

    def _scan(self, stmt: Node, state: frozenset[int]) -> State:
        self.carried |= {reader.local(stmt, "source")} - state
        each = {reader.local(stmt, "key"), reader.local(stmt, "value")}
        self.written |= each
        self._block(reader.field(stmt, "block"), state | each)
        return state

    def _plain(self, kind: str, stmt: Node, state: frozenset[int]) -> State:
        shape = _SHAPES.get(kind)
        if shape is None:
            raise broken(f"statement {kind[:40]!r} is not known")
        self.returns |= kind == "ReturnLocalStmt"
        for name in shape.reads:
            self.carried |= _locals_in(stmt.get(name)) - state
        if shape.fails:
            self._leave(0, state)
        if kind == "CallDynamicStmt":
            self._leave(_DYNAMIC_LEVELS, state)
        if not shape.writes:
            return None if kind == "ReturnLocalStmt" else state
        written = reader.local(stmt, shape.writes)
        self.written.add(written)
        return state | {written}


def _statements(blocks: list[Node]) -> list[tuple[str, Node]]:
    """All statements, those of inner blocks too."""
    found: list[tuple[str, Node]] = []
    stack = list(blocks)
    while stack:
        for statement in reader.nodes(stack.pop(), "stmts"):
            kind, stmt = reader.text(statement, "type"), reader.field(statement, "stmt")
            found.append((kind, stmt))
            stack += reader.nodes(stmt, "blocks") + ([reader.field(stmt, "block")] if "block" in stmt else [])
    return found


def based(blocks: list[Node], data: int) -> frozenset[int]:
    """The locals that only ever hold a part of the base data, looked up from ``data`` step by step."""
    lookups: dict[int, set[int]] = {}
    others: set[int] = set()
    for kind, stmt in _statements(blocks):
        made = target(kind, stmt)
        source = reader.field(stmt, "source") if kind == "DotStmt" else {}
        if made is not None and source.get("type") == "local":
            lookups.setdefault(made, set()).add(reader.local(source, "value"))
        elif made is not None:
            others.add(made)
        elif kind == "ScanStmt":
            others |= {reader.local(stmt, "key"), reader.local(stmt, "value")}
    found = {made for made in lookups if made not in others}
    while loose := {made for made in found if not lookups[made] <= found | {data}}:
        found -= loose
    return frozenset(found | {data})
