"""Finds what a page tells a reader to type (fenced ``console`` blocks, lines that begin with ``$ ``) or to save."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(r"^( *)(```+|~~~+)(\S*)")
_NOTE = re.compile(r"^ *<!-- (not run|exits|file): (.+) -->$")
TYPED = "$ "


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block.

    ``not_run``: why it is not run; ``exits``: the code its last command ends with;
    ``file``: where a reader saves it.
    """

    line: int
    language: str
    lines: tuple[str, ...]
    not_run: str = ""
    exits: int = 0
    file: str = ""

    @property
    def commands(self) -> tuple[str, ...]:
        """What a reader types: a backslash at the end of a line takes the next one in."""
        found: list[str] = []
        more = False
        for line in self.lines:
            if more:
                found[-1] += "\n" + line.removeprefix("> ")
            elif line.startswith(TYPED):
                found.append(line.removeprefix(TYPED))
            more = (more or line.startswith(TYPED)) and line.endswith("\\")
        return tuple(found)

    @property
    def shown(self) -> tuple[str, ...]:
        """What the page says such a command prints, without the spaces around each line."""
        if self.language != "console":
            return ()
        typed = {line for command in self.commands for line in command.splitlines()}
        return tuple(line.strip() for line in self.lines if line.strip()
                     and not {line.removeprefix(TYPED), line.removeprefix("> ")} & typed)


def blocks(text: str) -> list[Block]:
    """Every fenced block of a page, with the note that stands right before it."""
    found: list[Block] = []
    notes: dict[str, str] = {}
    open_at: tuple[int, str, str, int] | None = None  # line, fence, language, indent
    inside: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if open_at is None:
            if fence:
                open_at, inside = (number, fence[2], fence[3], len(fence[1])), []
            elif note := _NOTE.match(line):
                notes[note[1]] = note[2]
            elif line.strip():
                notes = {}
        elif fence and fence[2].startswith(open_at[1]) and not fence[3]:
            found.append(Block(line=open_at[0], language=open_at[2], lines=tuple(inside),
                               not_run=notes.get("not run", ""), exits=int(notes.get("exits", "0")),
                               file=notes.get("file", "")))
            open_at, notes = None, {}
        else:
            inside.append(line[open_at[3]:])
    return found
