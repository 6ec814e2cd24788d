"""Blocks, scans and jumps of a plan as Python's loops: the control flow of a generated function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ringwall.policy.plan.limits import MAX_BLOCK_DEPTH, MAX_LOOPS
from ringwall.policy.plan.reader import broken


@dataclass(slots=True)
class Construct:
    """An open Python loop: what an undefined statement in it does, and whether jumps pass through it."""

    loop: str  # "while" or "for"
    passed: bool = False


@dataclass(slots=True)
class _Frame:
    """A Python function being written: its open constructs, innermost last."""

    constructs: list[Construct] = field(default_factory=list[Construct])
    saves: list[str] = field(default_factory=list[str])  # memos put aside by the `with`s we are in


class FlowWriter:
    """Lines of one Python function, and the loops that are open in it."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._indent = 1
        self._used: set[int] = set()  # locals of the function being written
        self._frames = [_Frame()]
        self._fresh = 0

    def _emit(self, line: str) -> None:
        self._lines.append(" " * self._indent + line)

    def _emit_deeper(self, line: str) -> None:
        self._lines.append(" " * (self._indent + 1) + line)

    def _name(self, stem: str) -> str:
        self._fresh += 1
        return f"{stem}{self._fresh}"

    @property
    def _frame(self) -> _Frame:
        return self._frames[-1]

    def _jump(self, index: int) -> None:
        """Leave the construct ``index`` levels out: 0 is what an undefined statement does."""
        depth = 0
        for level, frame in enumerate(reversed(self._frames)):
            here = len(frame.constructs)
            if depth + here > index:
                self._leave(frame, index - depth, level)
                return
            depth += here
        raise broken("a jump leaves its function")

    def _leave(self, frame: _Frame, outward: int, level: int) -> None:
        target = len(frame.constructs) - 1 - outward
        for construct in frame.constructs[target + 1:]:
            self._crossed(construct)
        if level:  # the target is outside of the nested function: its caller goes on jumping
            for between in self._frames[len(self._frames) - level:]:
                for construct in between.constructs:
                    self._crossed(construct)
            self._emit(f"return {self._outward(level) + outward + 1}")
        elif outward:
            self._emit(f"b = {outward}")
            self._emit("break")
        else:
            self._emit("continue" if frame.constructs[target].loop == "for" else "break")

    def _outward(self, level: int) -> int:
        """Constructs of the frames between this one and ``level`` frames out (both exclusive)."""
        return sum(len(frame.constructs) for frame in self._frames[len(self._frames) - level:-1])

    @staticmethod
    def _crossed(construct: Construct) -> None:
        if construct.loop == "for":
            raise broken("a jump leaves a scan")  # OPA's planner writes none, and its meaning is unclear
        construct.passed = True

    def _after(self, construct: Construct) -> None:
        """Go on with a jump that passed through ``construct``, which has just been closed."""
        if not construct.passed:
            return
        frame = self._frame
        if not frame.constructs:  # the top of a nested function: the jump goes on in its caller
            self._emit("if b:")
            self._emit(" return b")
            return
        self._emit("if b:")
        self._indent += 1
        self._emit("b -= 1")
        if frame.constructs[-1].loop == "for":
            self._emit("continue")  # _crossed refuses jumps out of a scan: a jump that gets here ends here
        else:
            self._emit("break")
        self._indent -= 1

    def _once(self, body: Callable[[], None], flag: str = "") -> Construct:
        """A loop around ``body`` that runs once; the caller goes on with ``_after``."""
        construct = Construct("while")

        def loop() -> None:
            self._emit("while True:")
            self._inside(construct, body)
            self._emit_deeper("break")
        if len(self._frame.constructs) < MAX_LOOPS:
            loop()
            return construct
        return self._nested(lambda: (loop(), self._after(construct)), flag)

    def _inside(self, construct: Construct, body: Callable[[], None]) -> None:
        self._frame.constructs.append(construct)
        self._indent += 1
        if self._indent > MAX_BLOCK_DEPTH:
            raise broken("blocks nest too deep")
        body()
        self._indent -= 1
        self._frame.constructs.pop()

    def _nested(self, body: Callable[[], object], flag: str = "") -> Construct:
        """``body`` in a nested function that says how many constructs its caller has to leave."""
        name, mark, outer = self._name("q"), len(self._lines), self._used
        self._used = set()
        self._frames.append(_Frame())
        self._emit(f"def {name}():")
        self._indent += 1
        self._emit("b = 0")
        body()
        self._emit("return 0")
        names = [f"l{n}" for n in sorted(self._used)] + ([flag] if flag else [])
        if names:
            self._lines.insert(mark + 1, " " * self._indent + f"nonlocal {', '.join(names)}")
        self._indent -= 1
        self._frames.pop()
        self._used |= outer
        self._emit(f"b = {name}()")
        return Construct("while", passed=True)

    def _undefined_if(self, condition: str) -> None:
        self._emit(f"if {condition}:")
        self._indent += 1
        self._jump(0)
        self._indent -= 1
