"""Dates and durations. The clock is the decision's; policies should take ``input.time`` instead."""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo

from ringwall import regex
from ringwall.policy.builtins import layouts
from ringwall.policy.builtins.table import Builtin, BuiltinError, integer, number, string
from ringwall.policy.plan.ops import Context
from ringwall.policy.plan.values import Value

_MIN: Final = -(1 << 63)
_MAX: Final = (1 << 63) - 1
_SECOND: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_RFC3339: Final = regex.text(r"\A(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:[.,](\d{1,30}))?(Z|[+-]\d\d:\d\d)\z")
_PIECE: Final = regex.text(r"(\d{1,19}(?:\.\d{0,19})?|\.\d{1,19})(ns|us|µs|μs|ms|[smhdwy])")
_UNITS: Final = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 10**6, "s": _SECOND, "m": 60 * _SECOND,
                 "h": 3600 * _SECOND, "d": 86400 * _SECOND, "w": 7 * 86400 * _SECOND, "y": 365 * 86400 * _SECOND}


def _range(ns: int) -> int:
    if not _MIN <= ns <= _MAX:
        raise BuiltinError("time outside of valid range")
    return ns


def _zone(name: str) -> tzinfo:
    if name in ("", "UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise BuiltinError(f"unknown time zone {name[:40]}") from error


def _moment(value: Value) -> datetime:
    """``ns``, or ``[ns, zone]``, to the microsecond."""
    parts = value if type(value) is list else [value]
    if not parts:
        raise BuiltinError("operand 1 must be either number (ns) or [number (ns), string (tz)]")
    ns = number(parts[0])
    if (type(ns) is float and not ns.is_integer()) or not _MIN <= ns <= _MAX:
        raise BuiltinError("timestamp too big")
    zone = _zone(string(parts[1])) if len(parts) > 1 else UTC
    return (_EPOCH + timedelta(microseconds=int(ns) // 1000)).astimezone(zone)


def _ns(moment: datetime) -> int:
    gone = moment - _EPOCH
    return (gone.days * 86400 + gone.seconds) * _SECOND + gone.microseconds * 1000


def now(context: Context) -> int:
    """The decision's time."""
    if context.now_ns is None:
        raise BuiltinError("this decision has no clock: use input.time")
    return context.now_ns


def date(value: Value) -> list[Value]:
    """Year, month, day."""
    at = _moment(value)
    return [at.year, at.month, at.day]


def clock(value: Value) -> list[Value]:
    """Hour, minute, second."""
    at = _moment(value)
    return [at.hour, at.minute, at.second]


def add_date(value: Value, years: Value, months: Value, days: Value) -> int:
    """Later by calendar units; what a month does not have runs over into the next, as in Go."""
    at = _moment(value)
    months_on = at.month - 1 + integer(months, 3)
    year = at.year + integer(years, 2) + months_on // 12
    rest = number(value[0] if type(value) is list else value) % 1000
    try:
        first = at.replace(year=year, month=months_on % 12 + 1, day=1)
        return _range(_ns(first + timedelta(days=at.day - 1 + integer(days, 4))) + int(rest))
    except (ValueError, OverflowError) as error:
        raise BuiltinError("time outside of valid range") from error


def difference(a: Value, b: Value) -> list[Value]:
    """Years, months, days, hours, minutes and seconds between."""
    first, second = _moment(a), _moment(b)
    second = second.astimezone(first.tzinfo)
    first, second = (second, first) if first > second else (first, second)
    borrow = [(second.second - first.second, 60), (second.minute - first.minute, 60),
              (second.hour - first.hour, 24), (second.day - first.day, _days_in_month(first)),
              (second.month - first.month, 12), (second.year - first.year, 1 << 30)]
    found: list[Value] = []
    carry = 0
    for difference_, size in borrow:
        amount = difference_ + carry
        carry = -1 if amount < 0 else 0
        found.append(amount + size if amount < 0 else amount)
    return found[::-1]


def _days_in_month(at: datetime) -> int:
    return (at.replace(day=28) + timedelta(days=4)).replace(day=1).toordinal() - at.replace(day=1).toordinal()


def parse_rfc3339(value: Value) -> int:
    """Nanoseconds since the epoch."""
    found: Any = _RFC3339.search(string(value))
    if found is None:
        raise BuiltinError("the text is no RFC 3339 time")
    day, hour, fraction, zone = (found.group(i) for i in (1, 2, 3, 4))
    try:
        at = datetime.fromisoformat(f"{day}T{hour}{'+00:00' if zone == 'Z' else zone}")
    except ValueError as error:
        raise BuiltinError("the text is no RFC 3339 time") from error
    return _range(_ns(at) + int(((fraction or "") + "0" * 9)[:9]))


def parse_duration(value: Value) -> int:
    """Nanoseconds of ``1h30m``; besides Go's units days, weeks and years of 365 days."""
    text = string(value)
    plain = text[1:] if text[:1] in ("+", "-") else text
    if plain == "0":
        return 0
    pieces: list[Any] = list(_PIECE.finditer(plain))
    if not pieces or "".join(piece.group() for piece in pieces) != plain:
        raise BuiltinError("invalid duration")
    total = sum(_piece(piece.group(1), _UNITS[piece.group(2)]) for piece in pieces)
    return _range(-total if text[:1] == "-" else total)


def _piece(digits: str, unit: int) -> int:
    main, _, fraction = digits.partition(".")
    return int(main or 0) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)


def formatted(value: Value) -> str:
    """A time as text: ``ns``, or ``[ns, zone]``, or ``[ns, zone, layout]``."""
    layout = string(value[2]) if type(value) is list and len(value) > 2 else ""
    at = _moment(value)
    ns: Value = value[0] if type(value) is list else value
    return layouts.shown(at, int(ns) % _SECOND, layout)


def parse_layout(layout: Value, value: Value) -> int:
    """Nanoseconds since the epoch of a time in a layout."""
    at, nanoseconds = layouts.parsed(string(value, 2), string(layout, 1))
    return _range(_ns(at) + nanoseconds)


TIMES: Final[Mapping[str, Builtin]] = MappingProxyType({
    "time.now_ns": Builtin(now, 0, context=True), "time.date": Builtin(date, 1), "time.clock": Builtin(clock, 1),
    "time.weekday": Builtin(lambda v: _DAYS[_moment(v).weekday()], 1), "time.add_date": Builtin(add_date, 4),
    "time.diff": Builtin(difference, 2), "time.parse_rfc3339_ns": Builtin(parse_rfc3339, 1),
    "time.format": Builtin(formatted, 1), "time.parse_ns": Builtin(parse_layout, 2),
    "time.parse_duration_ns": Builtin(parse_duration, 1),
})
