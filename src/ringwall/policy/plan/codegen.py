"""One Python function of each function and entry point of a plan, and of rules that are looked up."""

from __future__ import annotations

from typing import Final

from ringwall.policy.plan.flow import based
from ringwall.policy.plan.index import Indexer, Layout, Path, Run, Unit
from ringwall.policy.plan.reader import Node
from ringwall.policy.plan.statements import StatementWriter

DATA: Final = 1  # the local that holds the data document
_SPEND: Final = "c.steps -= 1\n if c.steps < 0:\n  raise exhausted()"


def _joined(locals_: tuple[int, ...]) -> str:
    """Locals as a value or a target."""
    return ", ".join(f"l{n}" for n in locals_)


class FunctionWriter(StatementWriter):
    """Writes one plan function, or one entry point, as Python source."""

    def function(self, blocks: list[Node], least: int) -> str:
        """The source of a plan function: undefined unless a block returns. ``least`` rules are an index."""
        self._based = frozenset(f"l{n}" for n in based(blocks, DATA))
        indexer = Indexer(blocks, self._params, self._strings, least)
        self._layout(indexer, indexer.layout(), frozenset())
        self._return("U")
        if self._memo is None:
            return self._finish([_SPEND])
        return self._finish(["m = c.memo", f"r = m.get({self._memo}, MISSING)", "if r is not MISSING:",
                             " return r", _SPEND])

    def entry_point(self, blocks: list[Node]) -> str:
        """The source of an entry point: the list of its results."""
        self._based = frozenset(f"l{n}" for n in based(blocks, DATA))
        for block in blocks:
            self._block(block)
        self._emit("return rs")
        return self._finish(["rs = []", _SPEND])

    def _finish(self, prologue: list[str]) -> str:
        params = ", ".join(["c", *(f"l{p}" for p in self._params)])
        locals_ = sorted(self._used - set(self._params))
        head = [f"def {self.name}({params}):", *(f" {line}" for line in prologue), " b = 0"]
        head += [f" {' = '.join(f'l{n}' for n in locals_)} = U"] if locals_ else []
        return "\n".join([*head, *self._lines, ""])

    # -- rules that are looked up

    def rules(self, indexer: Indexer, layout: Layout, known: frozenset[Path], results: tuple[int, ...]) -> str:
        """The source of the rules behind one constant: it gives back the locals that they set for others."""
        self._layout(indexer, layout, known)
        self._emit(f"return {_joined(results)}")
        return self._finish([])

    def _layout(self, indexer: Indexer, layout: Layout, known: frozenset[Path]) -> None:
        for part in layout.parts:
            if isinstance(part, Run):
                self._run(indexer, part, known | {part.path})
            else:
                self._unit(part)

    def _unit(self, unit: Unit) -> None:
        for block in unit.blocks:
            self._block(block)

    def _run(self, indexer: Indexer, run: Run, known: frozenset[Path]) -> None:
        table: dict[str, str] = {}
        params = [*self._params, *(n for n in run.carried if n not in self._params)]
        for constant, units in run.table.items():
            name = table[constant] = f"u{len(self._module.sources)}"
            self._module.sources.append("")  # its number is taken; what it needs itself comes behind it
            writer = FunctionWriter(self._module, name=name, params=params, rule=self._rule, parts=self._based)
            self._module.sources[int(name[1:])] = writer.rules(indexer, indexer.within(units, known), known,
                                                               run.results)
        self._used |= {*run.carried, *run.results}
        found = f"l{run.path[0]}"
        for key in run.path[1]:
            found = f"dot({found}, {key!r})"
        self._emit(f"t = {found}")
        self._emit(f"t = T{len(self._module.tables)}.get(t) if type(t) is str else None")
        self._emit("if t is not None:")
        given = f"{_joined(run.results)} = " if run.results else ""
        self._emit_deeper(f"{given}t(c, {_joined(tuple(params))})")
        self._module.tables.append(table)
