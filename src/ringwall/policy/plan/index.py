"""Rule indexing: rules that begin with ``input.x == "const"`` are looked up instead of being tried in turn.

OPA plans each rule as a block of its function. A block that begins with lookups along constant keys and the
comparison of what they find with a constant string does nothing at all while that string is another one. A run of
such blocks with a lookup in common therefore becomes one dictionary, from the constant to the blocks to run.

Nothing changes but the time it takes: the part that is skipped is free of effects, the locals it would have set
are read by nobody (``flow.Reads``), and the blocks of one constant keep their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from ringwall.policy.plan import reader
from ringwall.policy.plan.flow import Reads, target
from ringwall.policy.plan.reader import Node

MIN_RUN: Final = 8  # rules: looking one up costs about as much as trying this many

Path = tuple[int, tuple[str, ...]]  # a parameter of the function, and constant keys
_SILENT: Final = frozenset({  # without an effect but on the local they set
    "ResetLocalStmt", "DotStmt", "AssignVarStmt", "EqualStmt", "NotEqualStmt", "IsArrayStmt", "IsObjectStmt",
    "IsSetStmt", "IsUndefinedStmt", "MakeNumberRefStmt", "MakeNumberIntStmt", "MakeNullStmt", "AssignIntStmt",
    "LenStmt", "NopStmt",
})


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A rule: its block, and the block that takes its value over, if there is one."""

    blocks: tuple[Node, ...]
    guards: Mapping[Path, str]  # what has to be equal to what before the rule has any effect
    carried: frozenset[int]
    written: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Rules that one lookup decides between."""

    path: Path
    table: Mapping[str, Sequence[Unit]]
    carried: tuple[int, ...]  # locals that some of them read from outside, or set for outside
    results: tuple[int, ...]  # locals that some of them set for outside


@dataclass(frozen=True, slots=True)
class Layout:
    """A function's blocks, with what can be looked up put together."""

    parts: Sequence[Unit | Run]


class Indexer:
    """Finds the runs of one function.

    Args:
        blocks: the function's blocks.
        params: its parameters.
        strings: the plan's strings.
        least: how many rules make a run.

    """

    def __init__(self, blocks: Sequence[Node], params: Sequence[int], strings: Sequence[str], least: int) -> None:
        self._strings = strings
        self._least = least
        whole = Reads(list(blocks), set(params))
        self._roots = set(params) - whole.written
        self._params = set(params)
        self._units = self._grouped(blocks)
        self._needed = frozenset[int]().union(*(unit.carried for unit in self._units))

    def layout(self) -> Layout:
        """The whole function."""
        return self._arrange(self._units, frozenset())

    def within(self, units: Sequence[Unit], known: AbstractSet[Path]) -> Layout:
        """Rules of which some lookups are decided already."""
        return self._arrange(units, known)

    # -- one rule

    def _grouped(self, blocks: Sequence[Node]) -> list[Unit]:
        found: list[Unit] = []
        index = 0
        while index < len(blocks):
            first = reader.nodes(blocks[index], "stmts")
            own = target("ResetLocalStmt", reader.field(first[0], "stmt")) \
                if first and first[0].get("type") == "ResetLocalStmt" else None
            size = 2 if own is not None and index + 1 < len(blocks) and _takes(blocks[index + 1], own) else 1
            found.append(self._unit(tuple(blocks[index:index + size]), first))
            index += size
        return found

    def _unit(self, blocks: tuple[Node, ...], first: list[Node]) -> Unit:
        reads = Reads(list(blocks), self._params)
        guards = {} if reads.returns else self._guards(first)
        return Unit(blocks=blocks, guards=guards, carried=frozenset(reads.carried),
                    written=frozenset(reads.written))

    def _guards(self, statements: list[Node]) -> dict[Path, str]:
        """The comparisons with constants at the front. Resetting a rule's own value first is part of it."""
        found: dict[Path, str] = {}
        known: dict[int, Path] = {root: (root, ()) for root in self._roots}
        own: int | None = None
        for position, statement in enumerate(statements):
            kind, stmt = reader.text(statement, "type"), reader.field(statement, "stmt")
            if kind not in _SILENT or (kind == "ResetLocalStmt" and position > 0):
                break
            if kind == "EqualStmt":
                self._compare(stmt, known, found)
            elif (made := target(kind, stmt)) is not None:
                if made == own:
                    break  # the rule has its value already
                own = made if kind == "ResetLocalStmt" else own
                path = self._path(kind, stmt, known)
                known.pop(made, None)
                if path is not None:
                    known[made] = path
        return found

    def _path(self, kind: str, stmt: Node, known: Mapping[int, Path]) -> Path | None:
        if kind not in ("DotStmt", "AssignVarStmt"):
            return None
        source = reader.field(stmt, "source")
        base = known.get(reader.local(source, "value")) if source.get("type") == "local" else None
        if base is None or kind == "AssignVarStmt":
            return base
        key = self._text(reader.field(stmt, "key"))
        return None if key is None else (base[0], (*base[1], key))

    def _compare(self, stmt: Node, known: Mapping[int, Path], found: dict[Path, str]) -> None:
        a, b = reader.field(stmt, "a"), reader.field(stmt, "b")
        for variable, constant in ((a, b), (b, a)):
            text = self._text(constant)
            path = known.get(reader.local(variable, "value")) if variable.get("type") == "local" else None
            if text is not None and path is not None:
                found.setdefault(path, text)

    def _text(self, operand: Node) -> str | None:
        if operand.get("type") != "string_index":
            return None
        return self._strings[reader.whole(operand, "value", below=len(self._strings))]

    # -- many rules

    def _arrange(self, units: Sequence[Unit], known: AbstractSet[Path]) -> Layout:
        parts: list[Unit | Run] = []
        stretch: list[Unit] = []
        common: set[Path] = set()
        for unit in units:
            paths = self._usable(unit) - known
            if stretch and not common & paths:
                parts += self._closed(stretch, common)
                stretch = []
            common = common & paths if stretch else set(paths)
            stretch.append(unit)
        return Layout([*parts, *self._closed(stretch, common)])

    def _usable(self, unit: Unit) -> set[Path]:
        """A unit's lookups, unless skipping it would leave a local unset that others read."""
        return set() if self._skipped_writes(unit) & self._needed else set(unit.guards)

    @staticmethod
    def _skipped_writes(unit: Unit) -> set[int]:
        found: set[int] = set()
        for statement in reader.nodes(unit.blocks[0], "stmts"):
            kind = reader.text(statement, "type")
            if kind not in _SILENT:
                break
            made = target(kind, reader.field(statement, "stmt"))
            found |= set() if made is None else {made}
        return found

    def _closed(self, stretch: Sequence[Unit], common: AbstractSet[Path]) -> Sequence[Unit | Run]:
        tables = {path: _table(stretch, path) for path in sorted(common)}
        best = max(tables, key=lambda path: len(tables[path]), default=None)
        if best is None or len(stretch) < self._least or len(tables[best]) < 2:
            return stretch
        results = frozenset[int]().union(*(unit.written for unit in stretch)) & self._needed
        carried = results.union(*(unit.carried for unit in stretch)) - self._params
        return [Run(path=best, table=tables[best], carried=tuple(sorted(carried)),
                    results=tuple(sorted(results)))]


def _takes(block: Node, own: int) -> bool:
    """Whether a block has no effect while the local is undefined."""
    statements = reader.nodes(block, "stmts")
    return bool(statements) and statements[0].get("type") == "IsDefinedStmt" \
        and reader.local(reader.field(statements[0], "stmt"), "source") == own


def _table(units: Sequence[Unit], path: Path) -> dict[str, list[Unit]]:
    found: dict[str, list[Unit]] = {}
    for unit in units:
        found.setdefault(unit.guards[path], []).append(unit)
    return found
