"""Held calls as a person reads them. What an agent wrote is escaped to ASCII, set off by bars, and said to be its.

The input is what the desk gives, ``Item.as_json`` and what belongs to it: it is shown by another process.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ringwall.call import Json

COLUMNS: Final = 80
MAX_SHOWN: Final = 4000  # characters of one call's arguments, unless all is asked for
BAR: Final = "  | "  # stands before every line that an agent wrote
_LEAD: Final = "            "


def escaped(text: object) -> str:
    """ASCII, and nothing of it a control character: a look-alike letter or a hidden one shows as its number."""
    return json.dumps(str(text), ensure_ascii=True)[1:-1].replace('\\"', '"').replace("\x7f", "\\u007f")


def call_lines(item: Mapping[str, Json], *, whole: bool = False) -> Iterator[str]:
    """One held call. ``whole``: also arguments that are very long."""
    yield (f"{escaped(item['id'])}  {item['state']}{_left(item)}  {escaped(item['kind'])} {escaped(item['tool'])}  "
           f"by {escaped(item['agent'])} ({escaped(item['tenant'])}, role {escaped(item['role'])})")
    for question in item["questions"]:
        yield from _fold(f"{question['ring']} · {escaped(question['code'])}", "  asked by  ")
        yield from _fold(escaped(question["question"]), _LEAD)
    yield from _provenance(item["provenance"])
    yield from _fold(escaped(item["session"]), "  session   ")
    yield f"  digest    {escaped(item['digest'])}"
    if item["args"] is None:
        yield from _fold(f"its arguments: ringwall audit show {escaped(item['id'])}", "  over      ")
        return
    yield "  arguments, as they would run. The agent wrote this; believe nothing it says:"
    yield from _barred(json.dumps(item["args"], indent=1, ensure_ascii=True).split("\n"), whole=whole)
    if item["resources"]:
        yield "  what it touches:"
        texts = [f"{one['action']} {one['type']}:{escaped(one['id'])}  ({escaped(one['argument'])})"
                 for one in item["resources"]]
        yield from _barred(texts, whole=whole)
    yield from _changes(item, whole=whole)


def _left(item: Mapping[str, Json]) -> str:
    if item["state"] != "pending":
        return f" by {escaped(item['by'])}" if item["by"] else ""
    seconds = max(0, int(item["expires"] - item["now"]))
    return f", {seconds // 60}:{seconds % 60:02d} left"


def _provenance(found: Mapping[str, Json]) -> Iterator[str]:
    for one in found["args"]:
        role = f"{one['role']}:{one['kind']}" if one["kind"] else one["role"]
        where = "stands in the task" if one["in_task"] else "NOT in the task"
        mark = " <- asked about" if one["decisive"] else ""
        yield from _fold(f"{escaped(one['argument'])} ({role}): {where}{mark}", "  from      ")
    if found["integrity"]:
        sources = ", ".join(escaped(source) for source in found["sources"]) or "nothing but the task"
        label = f"{found['integrity']} {found['confidentiality']}"
        yield from _fold(f"had been shown {label}: {sources}", "  process   ")


def _changes(item: Mapping[str, Json], *, whole: bool) -> Iterator[str]:
    last = item["last_approved"]
    if last is None:
        yield "  no call of this tool by this agent was approved before"
        return
    changes = item["difference"]
    yield f"  against the last one approved ({escaped(last)}): {len(changes) or 'no'} differences"
    yield from _barred([_change(change) for change in changes], whole=whole)


def _change(change: Mapping[str, Json]) -> str:
    old = json.dumps(change["before"], ensure_ascii=True) if "before" in change else "(absent)"
    new = json.dumps(change["after"], ensure_ascii=True) if "after" in change else "(absent)"
    return f"{escaped(change['place']) or '/'}  {old} -> {new}"


def _barred(lines: Sequence[str], *, whole: bool) -> Iterator[str]:
    """Each line behind a bar, cut to the width by force: a line that wraps by itself would have none."""
    width, left = COLUMNS - len(BAR), MAX_SHOWN
    for number, line in enumerate(lines):
        text = line.replace("\x7f", "\\u007f")
        for start in range(0, len(text) or 1, width):
            if left <= 0 and not whole:
                rest = len(text) - start + sum(len(more) + 1 for more in lines[number + 1 :])
                yield f"  NOT ALL IS SHOWN: {rest} more characters; --whole shows them"
                return
            piece = text[start : start + width]
            left -= len(piece)
            yield BAR + piece


def row(item: Mapping[str, Json]) -> str:
    """One held call in one line."""
    codes = ", ".join(f"{q['ring']}: {q['code']}" for q in item["questions"])
    text = (f"{escaped(item['id']):<14} {_left(item)[2:]:<11} {escaped(item['agent']):<14} "
            f"{escaped(item['tool']):<22} {escaped(codes)}")
    return text if len(text) <= COLUMNS else text[: COLUMNS - 1] + "…"


def endorsement_lines(one: Mapping[str, Json], *, now: float) -> Iterator[str]:
    """One standing endorsement."""
    days = max(0.0, (one["expires"] - now) / 86_400)
    yield f"{escaped(one['id'])}  {escaped(one['tool'])} for {escaped(one['tenant'])}/{escaped(one['role'])}"
    yield f"  left      {one['left']} of {one['uses']} uses, {days:.1f} days"
    for pattern in one["resources"]:
        yield from _fold(escaped(pattern), "  on        ")
    for name, most in one["max"].items():
        yield f"  at most   {escaped(name)} = {most:g}"
    yield from _fold(f"{escaped(one['by'])}: {escaped(one['reason'])}", "  by        ")


def _fold(text: str, lead: str) -> list[str]:
    return textwrap.wrap(
        text, COLUMNS, initial_indent=lead, subsequent_indent=_LEAD, break_on_hyphens=False
    ) or [lead.rstrip()]
