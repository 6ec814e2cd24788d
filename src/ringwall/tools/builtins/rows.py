"""A database's rows as JSON. What JSON has no exact form for stays the text that the server gives."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from ringwall.errors import BadInput
from ringwall.wire import strict
from ringwall.wire.postgres import Answer

EXACT: Final = 1 << 53  # whole numbers from here on are not the same to every reader of JSON (RFC 8259, section 6)


def result(answer: Answer) -> dict[str, Any]:
    """``columns``, ``rows``, ``count`` (rows given or changed) and ``more`` (there were more rows)."""
    kinds = [_READERS.get(column.type, _plain) for column in answer.columns]
    rows = [[None if value is None else read(value) for read, value in zip(kinds, row, strict=True)]
            for row in answer.rows]
    return {"columns": [column.name for column in answer.columns], "rows": rows, "count": max(answer.count, 0),
            "more": answer.more}


def _plain(text: str) -> Any:
    return text


def _boolean(text: str) -> Any:
    return {"t": True, "f": False}.get(text, text)


def _whole(text: str) -> Any:
    if len(text) > 20 or not text.removeprefix("-").isdecimal() or not text.isascii():
        return text
    number = int(text)
    return number if abs(number) < EXACT else text


def _float(text: str) -> Any:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _bytes(text: str) -> Any:
    try:
        return base64.b64encode(bytes.fromhex(text.removeprefix("\\x"))).decode("ascii")
    except ValueError:
        return text


def _json(text: str) -> Any:
    try:
        return strict.parse(text.encode())
    except (BadInput, UnicodeError):
        return text


def _time(text: str) -> Any:
    """ISO 8601 from PostgreSQL's ISO style: ``2026-11-23 07:00:00+00``."""
    day, space, rest = text.partition(" ")
    if not space or " " in rest:  # infinity, or before Christ
        return text
    return f"{day}T{rest}" + (":00" if rest[-3:-2] in {"+", "-"} else "")


_READERS: Final[Mapping[int, Callable[[str], Any]]] = MappingProxyType({  # by oid: PostgreSQL's pg_type.dat
    16: _boolean, 17: _bytes, 20: _whole, 21: _whole, 23: _whole, 26: _whole, 114: _json, 700: _float, 701: _float,
    1114: _time, 1184: _time, 3802: _json,
})
