"""Tools that could be taken for another server's: by their name, by their title, or by naming it in their texts.

Only what the manifest declares is usable, so a server cannot add a tool called like another's. What is left:
servers whose names the operator did not notice look alike, operations whose name contains another tool's, and
titles and descriptions, which a server writes as it likes and a model reads as it likes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final

from ringwall.manifest.types import ToolServer

CODE: Final = "shadowed_tool"
_SEPARATORS: Final = frozenset("-_./:\\|")
# Two letters that look like one, then single ones: ASCII first, then Greek and Cyrillic after case folding (from
# the Unicode confusables table, those that fonts draw like a Latin letter).
_PAIRS: Final = (("rn", "m"), ("vv", "w"), ("cl", "d"))
_SINGLE: Final = str.maketrans({
    "1": "l", "i": "l", "0": "o", "5": "s",
    "α": "a", "ο": "o", "ρ": "p", "ν": "v", "ι": "l", "κ": "k", "τ": "t", "υ": "u", "ε": "e",
    "а": "a", "е": "e", "о": "o", "р": "p", "с": "c", "у": "y", "х": "x", "і": "l", "ѕ": "s", "ј": "j", "ԁ": "d",
    "һ": "h", "ԛ": "q", "ԝ": "w", "к": "k", "м": "m", "т": "t", "в": "b", "н": "h", "ӏ": "l", "ı": "l", "ⅼ": "l",
})
_JOINS: Final = ("/", "__")  # how a tool's full name is written: in records, and to models and MCP clients
_BESIDE: Final = frozenset("_-/.")  # beside these a name is part of a longer path or word


def folded(text: str) -> str:
    """What a reader in a hurry sees: one case, no separators, marks or invisible characters, look-alikes as one."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text)).casefold()
    seen = "".join(c for c in plain if unicodedata.category(c)[0] not in "MCZ" and c not in _SEPARATORS)
    out = seen.translate(_SINGLE)
    for pair, one in _PAIRS:
        out = out.replace(pair, one)
    return out


class Names:
    """The full names of all tools that the manifest declares.

    Args:
        servers: by name.

    """

    def __init__(self, servers: Mapping[str, ToolServer]) -> None:
        self._ops = {name: tuple(server.ops) for name, server in servers.items()}
        self._alike: dict[str, list[str]] = {}
        for name in self._ops:
            self._alike.setdefault(folded(name), []).append(name)
        self._flat: dict[str, set[str]] = {}
        for name, ops in self._ops.items():
            for op in ops:
                self._flat.setdefault(f"{name}__{op}", set()).add(name)
        self._titles: dict[str, set[str]] = {}
        for name, ops in self._ops.items():
            for op in ops:
                self._titles.setdefault(folded(f"{name}{op}"), set()).add(name)

    def shadowed(self, server: str, op: str) -> str:
        """Why this tool's own name could be taken for another server's tool; empty: it could not."""
        for other in self._alike.get(folded(server), ()):
            if other != server:
                return f"{CODE}: its server's name looks like {other}; rename one of them in the manifest"
        if len(self._flat.get(f"{server}__{op}", ())) > 1:
            return f"{CODE}: {server}__{op} is the name of two tools; rename one of them in the manifest"
        lowered = op.casefold()
        for other, name in self._others(server):
            if any(f"{other}{join}{name}".casefold() in lowered for join in _JOINS):
                return f"{CODE}: its name contains that of {other}/{name}; rename it in the manifest"
        return ""

    def imitates(self, server: str, texts: Mapping[str, str]) -> str:
        """Why a text of a server's passes its tool off as another server's, or speaks of one; empty: none does.

        Args:
            server: whose texts they are.
            texts: ``title``, ``description`` and whatever else is read, by where it stands.

        """
        others = tuple(self._others(server))
        for what, text in texts.items():
            taken = self._titles.get(folded(text), set()) - {server} if what.endswith("title") else ()
            if taken:
                return f"{CODE}: its title reads like a tool of {min(taken)}"
            plain = unicodedata.normalize("NFKC", text).casefold()
            plain = "".join(c for c in plain if unicodedata.category(c) != "Cf")
            for other, name in others:
                if any(_stands(plain, f"{other}{join}{name}".casefold()) for join in _JOINS):
                    return f"{CODE}: its {what} speaks of {other}/{name}, a tool of another server"
        return ""

    def _others(self, server: str) -> Iterator[tuple[str, str]]:
        return ((other, op) for other, ops in self._ops.items() if other != server for op in ops)


def _stands(text: str, name: str) -> bool:
    """Whether a name stands in a text as a word of its own: ``src/main`` not in ``src/main/java``."""
    at = text.find(name)
    while at >= 0:
        before, after = text[at - 1:at], text[at + len(name):at + len(name) + 2]
        if not _joins(before) and not _joins(after[:1], after[1:]):
            return True
        at = text.find(name, at + 1)
    return False


def _joins(char: str, behind: str = "") -> bool:
    """Whether a character makes a longer word; a full stop at a sentence's end does not."""
    if char == ".":
        return behind.isalnum()
    return char.isalnum() or char in _BESIDE if char else False
