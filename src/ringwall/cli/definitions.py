"""Two definitions of one tool, as a person compares them: what changed, one line each, and what is hidden."""

from __future__ import annotations

import difflib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from ringwall.cli.text import COLUMNS, fold, plain

_LEAD: Final = 16  # columns before what is said of a part
MAX_CHANGES: Final = 40  # places that are named; the difference below has them all
_SHORT: Final = 40  # characters of a value that fit beside the other one
# Letters of these scripts that fonts draw like Latin ones make a word that reads as another.
_FOREIGN: Final = ("CYRILLIC", "GREEK", "FULLWIDTH", "MATHEMATICAL", "ARMENIAN", "CHEROKEE")
_PARTS: Final = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")


def summary(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Each part that changed and how, then what the new definition hides from the eye."""
    said = 0
    for part in (*_PARTS, *sorted((set(was) | set(now)) - set(_PARTS))):
        before, after = was.get(part), now.get(part)
        if _same(before, after):
            continue
        for change in _changes(before, after):
            said += 1
            if said <= MAX_CHANGES:
                yield from fold(change, f"  {plain(part):<{_LEAD - 2}}")
    if said > MAX_CHANGES:
        yield f"  {'':<{_LEAD - 2}}and {said - MAX_CHANGES} more places, below"
    yield from _warnings(now)


def _same(was: Any, now: Any) -> bool:
    """As JSON: ``true`` is not 1."""
    return json.dumps(was, sort_keys=True) == json.dumps(now, sort_keys=True)


def _changes(was: Any, now: Any) -> Iterator[str]:
    if isinstance(was, str) and isinstance(now, str):
        yield _sentences(was, now)
    else:
        yield from _walk(was, now, "")


def _sentences(was: str, now: str) -> str:
    """How much of a text was taken out and put in, by its sentences."""
    before, after = was.replace("\n", ". ").split(". "), now.replace("\n", ". ").split(". ")
    gone = added = 0
    for what, i, j, m, n in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if what != "equal":
            gone, added = gone + j - i, added + n - m
    return f"{gone} sentences out, {added} in" if gone + added else "spaces and line ends differ"


def _walk(was: Any, now: Any, at: str) -> Iterator[str]:
    """The smallest places that differ, as JSON pointers with both values."""
    if isinstance(was, dict) and isinstance(now, dict):
        one, two = cast("dict[str, Any]", was), cast("dict[str, Any]", now)
        for key in sorted(set(one) | set(two)):
            place = f"{at}/{key}"
            if key not in one:
                yield f"{plain(place)} added: {_value(two[key])}"
            elif key not in two:
                yield f"{plain(place)} removed: {_value(one[key])}"
            elif not _same(one[key], two[key]):
                yield from _walk(one[key], two[key], place)
    elif isinstance(was, str) and isinstance(now, str) and max(len(was), len(now)) > _SHORT:
        yield f"{plain(at)}: {_sentences(was, now)}"
    else:
        yield f"{plain(at)} {_value(was)} -> {_value(now)}".lstrip()


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, sort_keys=True)
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}... ({len(text)} characters)"


def _warnings(now: Mapping[str, Any]) -> Iterator[str]:
    """Characters that a terminal, an editor or an eye would not show for what they are."""
    for part, text in _texts(now, ""):
        hidden = Counter(c for c in text if not c.isprintable() and c not in "\n\t")
        for char, times in sorted(hidden.items()):
            name = unicodedata.name(char, "CONTROL CHARACTER")
            yield from fold(f"{plain(part)} holds U+{ord(char):04X} {name}, {times} times", "  ! hidden    ")
        for word in dict.fromkeys(word for word in text.split() if _mixed(word)):
            yield from fold(f"{plain(part)} mixes alphabets in {word[:COLUMNS // 2]!a}", "  ! look-alike ")


def _texts(node: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        yield at, node
    elif isinstance(node, dict):
        for key, value in cast("dict[str, Any]", node).items():
            yield f"a name in {at or 'it'}", key
            yield from _texts(value, f"{at}/{key}" if at else str(key))
    elif isinstance(node, list):
        for number, value in enumerate(cast("list[Any]", node)):
            yield from _texts(value, f"{at}/{number}")


def _mixed(word: str) -> bool:
    """Whether a word has Latin letters beside ones that are drawn like them."""
    if word.isascii():
        return False
    scripts = {unicodedata.name(c, "").partition(" ")[0] for c in word if c.isalpha()}
    return "LATIN" in scripts and not scripts.isdisjoint(_FOREIGN)
