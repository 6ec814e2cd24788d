"""Changes to a manifest's text that leave every other byte as it was: comments, order, spacing.

``tomlkit`` keeps the layout; what it wrote is parsed again by the strict loader before anybody sees it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import InlineTable, Table

from ringwall.call import Json
from ringwall.errors import ManifestError

Path: TypeAlias = tuple[str, ...]
"""Keys of tables, outermost first."""
CONTEXT: Final = 3  # lines around a change, as everybody's diff has them


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change: ``value`` at ``path``, or its items added to the array that is there."""

    path: Path
    value: Json
    append: bool = False


class Text:
    """A manifest's text, and what stands where in it.

    Raises:
        ManifestError: it is not TOML, or writing it back unchanged would not give the same text.

    """

    def __init__(self, text: str) -> None:
        self.text = text
        document = _parsed(text)
        if tomlkit.dumps(document) != text:
            raise _not_editable("it would not be written back as it is")
        self._plain = cast("Mapping[str, Any]", document.unwrap())

    def at(self, path: Path) -> Json:
        """The plain value at a place; None if nothing is there."""
        found: Any = self._plain
        for name in path:
            if not isinstance(found, Mapping) or name not in found:
                return None
            found = cast("Mapping[str, Any]", found)[name]
        return found

    def edited(self, edits: Sequence[Edit]) -> str:
        """The text with these changes. Raises ManifestError if one cannot be made."""
        document = _parsed(self.text)
        if not all(_printable([edit.path, edit.value]) for edit in edits):
            # An agent chose these texts: a terminal would obey them, or show something else than they say.
            raise _not_editable("a change of it would hold characters that do not print")
        try:
            for edit in edits:
                _apply(document, edit)
            written = tomlkit.dumps(document)
        except (TOMLKitError, KeyError, TypeError, ValueError, AttributeError, IndexError) as fault:
            raise _not_editable(f"a change of it cannot be spelled ({type(fault).__name__})") from fault
        if _parsed(written).unwrap() != _wanted(self._plain, edits):
            raise _not_editable("the change would alter something else as well")
        return written


def diff(old: str, new: str, name: str) -> str:
    """A unified diff that ``patch -p1`` takes."""
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{name}", f"b/{name}", n=CONTEXT
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _parsed(text: str) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(text)
    except (TOMLKitError, ValueError, RecursionError) as fault:
        raise _not_editable("it is not TOML") from fault


def _not_editable(why: str) -> ManifestError:
    return ManifestError((f"the manifest cannot be edited: {why}",), remedy="edit it by hand")


def _printable(value: Any) -> bool:
    if isinstance(value, Mapping):
        named = cast("Mapping[str, Any]", value)
        return _printable([*named, *named.values()])
    if isinstance(value, list | tuple):
        return all(_printable(inner) for inner in cast("Sequence[Any]", value))
    return not isinstance(value, str) or value.isprintable()


def _apply(document: Any, edit: Edit) -> None:
    *tables, last = edit.path
    parents: list[Any] = [document]
    for name in tables:
        place = parents[-1]
        if name not in place:
            value = _nested(edit.path[len(parents) :], edit.value)
            return _put(parents, edit.path[: len(parents)], value)
        parents.append(place[name])
    if not edit.append:
        return _put(parents, edit.path, edit.value)
    array = parents[-1][last]  # tomlkit keeps the layout of what is there
    for value in edit.value:
        array.append(value)
    return None


def _nested(path: Path, value: Json) -> Json:
    """``value`` in the tables of ``path``."""
    for name in reversed(path):
        value = {name: value}
    return value


def _put(parents: Sequence[Any], path: Path, value: Json) -> None:
    place, name = parents[-1], path[-1]
    if isinstance(place, InlineTable) and name not in place:
        # tomlkit would move the space before the brace; one more member is put in front of it instead.
        inside = place.as_string()[1:-1]
        kept = inside.rstrip()
        more = f"{kept}, {_member(name, value)}{inside[len(kept) :]}" if kept else f" {_member(name, value)} "
        parents[-2][path[-2]] = tomlkit.value(f"{{{more}}}")
    elif isinstance(value, dict) and isinstance(place, Table | tomlkit.TOMLDocument) and _has_headers(place):
        place[name] = _table(cast("dict[str, Json]", value))
    else:
        place[name] = tomlkit.value(_spelled(value))


def _has_headers(table: Any) -> bool:
    """Whether the tables in this one have headers of their own, so that a new one gets one too."""
    return any(isinstance(value, Table) for value in table.values())


def _table(values: Mapping[str, Json]) -> Table:
    table = tomlkit.table()
    for name, value in values.items():
        table.add(name, tomlkit.value(_spelled(value)))
    return table


def _spelled(value: Json) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(_member(name, inner) for name, inner in cast('dict[str, Json]', value).items())} }}"
    return cast("Any", tomlkit.item(value)).as_string()


def _member(name: str, value: Json) -> str:
    return f"{tomlkit.key(name).as_string()} = {_spelled(value)}"


def _wanted(plain: Mapping[str, Any], edits: Sequence[Edit]) -> dict[str, Any]:
    """What the edited text must say."""
    wanted = _copied(plain)
    for edit in edits:
        *tables, last = edit.path
        place = wanted
        for name in tables:
            place = place.setdefault(name, {})
        place[last] = [*place[last], *edit.value] if edit.append else edit.value
    return wanted


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _copied(inner) for name, inner in cast("Mapping[str, Any]", value).items()}
    return [_copied(inner) for inner in cast("list[Any]", value)] if isinstance(value, list) else value
