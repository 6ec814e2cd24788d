"""Go's layouts of time ("Mon Jan 2 15:04:05 2006"), for ``time.format`` and ``time.parse_ns``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from ringwall.policy.builtins.table import BuiltinError

MAX_LAYOUT: Final = 4096  # characters of a layout or of a time
NAMED: Final[Mapping[str, str]] = MappingProxyType({
    "ANSIC": "Mon Jan _2 15:04:05 2006", "UnixDate": "Mon Jan _2 15:04:05 MST 2006",
    "RubyDate": "Mon Jan 02 15:04:05 -0700 2006", "RFC822": "02 Jan 06 15:04 MST",
    "RFC822Z": "02 Jan 06 15:04 -0700", "RFC850": "Monday, 02-Jan-06 15:04:05 MST",
    "RFC1123": "Mon, 02 Jan 2006 15:04:05 MST", "RFC1123Z": "Mon, 02 Jan 2006 15:04:05 -0700",
    "RFC3339": "2006-01-02T15:04:05Z07:00", "RFC3339Nano": "2006-01-02T15:04:05.999999999Z07:00",
})
_MONTHS: Final = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
                  "November", "December")
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# Longest first where one starts another. "Jan" and "Mon" end where no lower-case letter follows.
_CHUNKS: Final = (
    "January", "Jan", "Monday", "Mon", "MST", "01", "02", "03", "04", "05", "06", "002", "15", "1", "2006", "2",
    "_2", "__2", "3", "4", "5", "PM", "pm", "-070000", "-07:00:00", "-0700", "-07:00", "-07",
    "Z070000", "Z07:00:00", "Z0700", "Z07:00", "Z07",
)
_DIGITS: Final = frozenset("0123456789")
_LOWER: Final = frozenset("abcdefghijklmnopqrstuvwxyz")
_UPPER: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _chunk_at(layout: str, index: int) -> str:
    """The chunk that starts here, or nothing."""
    if layout[index] in ".," and layout[index + 1:index + 2] in ("0", "9"):
        stop = index + 1
        while layout[stop:stop + 1] == layout[index + 1]:
            stop += 1
        return "" if layout[stop:stop + 1] in _DIGITS else layout[index:stop]
    if layout.startswith("_2006", index):
        return ""  # an underscore, and then the year
    for chunk in _CHUNKS:
        if layout.startswith(chunk, index):
            after = layout[index + len(chunk):index + len(chunk) + 1]
            if chunk not in ("Jan", "Mon") or after not in _LOWER:
                return chunk
    return ""


def _chunks(layout: str) -> list[tuple[str, str]]:
    """(text in front, chunk) pairs; the last chunk is empty."""
    if len(layout) > MAX_LAYOUT:
        raise BuiltinError(f"a layout has more than {MAX_LAYOUT} characters")
    found: list[tuple[str, str]] = []
    start = index = 0
    while index < len(layout):
        chunk = _chunk_at(layout, index)
        if chunk:
            found.append((layout[start:index], chunk))
            start = index = index + len(chunk)
        else:
            index += 1
    return [*found, (layout[start:], "")]


def _fraction(chunk: str, nanoseconds: int) -> str:
    digits = f"{nanoseconds:09d}"[:len(chunk) - 1].ljust(len(chunk) - 1, "0")
    if chunk[1] == "0":
        return chunk[0] + digits
    digits = digits.rstrip("0")
    return chunk[0] + digits if digits else ""


def _offset(chunk: str, at: datetime) -> str:
    seconds = int((at.utcoffset() or timedelta()).total_seconds())
    if chunk[0] == "Z" and seconds == 0:
        return "Z"
    minutes = int(seconds / 60)  # towards zero, as Go divides
    sign, minutes, rest = ("-" if minutes < 0 else "+"), abs(minutes), abs(seconds) % 60
    parts = [f"{minutes // 60:02d}", f"{minutes % 60:02d}", f"{rest:02d}"][:len(chunk.replace(":", "")[1:]) // 2]
    return sign + (":" if ":" in chunk else "").join(parts)


def _zone_name(at: datetime) -> str:
    return at.tzname() or _offset("-0700", at)


_SHOWN: Final[Mapping[str, Callable[[datetime], str]]] = MappingProxyType({
    "January": lambda t: _MONTHS[t.month - 1], "Jan": lambda t: _MONTHS[t.month - 1][:3],
    "Monday": lambda t: _DAYS[t.weekday()], "Mon": lambda t: _DAYS[t.weekday()][:3], "MST": _zone_name,
    "1": lambda t: str(t.month), "01": lambda t: f"{t.month:02d}", "2": lambda t: str(t.day),
    "02": lambda t: f"{t.day:02d}", "_2": lambda t: f"{t.day:2d}", "3": lambda t: str(t.hour % 12 or 12),
    "002": lambda t: f"{t.timetuple().tm_yday:03d}", "__2": lambda t: f"{t.timetuple().tm_yday:3d}",
    "03": lambda t: f"{t.hour % 12 or 12:02d}", "15": lambda t: f"{t.hour:02d}", "4": lambda t: str(t.minute),
    "04": lambda t: f"{t.minute:02d}", "5": lambda t: str(t.second), "05": lambda t: f"{t.second:02d}",
    "06": lambda t: f"{t.year % 100:02d}", "2006": lambda t: f"{t.year:04d}",
    "PM": lambda t: "PM" if t.hour >= 12 else "AM", "pm": lambda t: "pm" if t.hour >= 12 else "am",
})


def shown(at: datetime, nanoseconds: int, layout: str) -> str:
    """A time in a layout.

    Args:
        at: the time, in its zone.
        nanoseconds: of its second.
        layout: Go's, or the name of one of its constants; empty: RFC3339Nano.

    """
    out: list[str] = []
    for text, chunk in _chunks(NAMED.get(layout, layout) or NAMED["RFC3339Nano"]):
        out.append(text)
        if chunk in _SHOWN:
            out.append(_SHOWN[chunk](at))
        elif chunk:
            out.append(_fraction(chunk, nanoseconds) if chunk[0] in ".," else _offset(chunk, at))
    return "".join(out)


@dataclass(slots=True)
class _Reading:
    """What was read so far. Fields that a layout does not have keep Go's defaults."""

    rest: str
    year: int = 0
    month: int = -1
    day: int = -1
    yday: int = -1
    hour: int = 0
    minute: int = 0
    second: int = 0
    nanoseconds: int = 0
    afternoon: bool | None = None
    offset: int = 0  # seconds

    def take(self, many: int) -> str:
        if len(self.rest) < many:
            raise _bad()
        taken, self.rest = self.rest[:many], self.rest[many:]
        return taken

    def digits(self, least: int, most: int) -> int:
        many = 0
        while many < most and self.rest[many:many + 1] in _DIGITS and many < len(self.rest):
            many += 1
        if many < least:
            raise _bad()
        return int(self.take(many))

    def within(self, least: int, most: int, *, fixed: bool) -> int:
        found = self.digits(2 if fixed else 1, 2)
        if not least <= found <= most:
            raise _bad()
        return found

    def name(self, names: tuple[str, ...], length: int | None) -> int:
        for index, name in enumerate(names):
            wanted = name[:length]
            if self.rest[:len(wanted)].lower() == wanted.lower() and self.rest[:len(wanted)].isascii():
                self.rest = self.rest[len(wanted):]
                return index
        raise _bad()

    def fraction(self, many: int) -> int:
        """A point or comma and digits, ``many`` characters in all."""
        taken = self.take(many)
        if taken[0] not in ".," or not _DIGITS.issuperset(taken[1:]):
            raise _bad()
        return int(taken[1:10].ljust(9, "0"))

    def fraction_length(self) -> int:
        """How long a fraction that begins here is; 0: none does."""
        if self.rest[:1] not in (".", ",") or not self.rest[1:2] or self.rest[1] not in _DIGITS:
            return 0
        return 1 + len(self.rest[1:]) - len(self.rest[1:].lstrip("0123456789"))


def _bad() -> BuiltinError:
    return BuiltinError("the text is no time of this layout")


def _year_of_two(reading: _Reading) -> None:
    found = reading.digits(2, 2)
    reading.year = found + (1900 if found >= 69 else 2000)


def _second(reading: _Reading, *, fixed: bool, following: str) -> None:
    reading.second = reading.within(0, 59, fixed=fixed)
    if following[:1] not in (".", ",") and (many := reading.fraction_length()):
        reading.nanoseconds = reading.fraction(many)  # Go takes a fraction that the layout does not have


def _half(reading: _Reading, chunk: str) -> None:
    taken = reading.take(2)
    if taken not in (("AM", "PM") if chunk == "PM" else ("am", "pm")):
        raise _bad()
    reading.afternoon = taken[0] in "Pp"


def _read_offset(reading: _Reading, chunk: str) -> None:
    if chunk[0] == "Z" and reading.rest[:1] == "Z":
        reading.take(1)
        return
    sign, total = reading.take(1), 0
    for index, (size, most) in enumerate(((3600, 24), (60, 60), (1, 60))[:len(chunk.replace(":", "")[1:]) // 2]):
        if index and ":" in chunk and reading.take(1) != ":":
            raise _bad()
        found = reading.digits(2, 2)
        if found > most:
            raise _bad()
        total += found * size
    if sign not in ("+", "-"):
        raise _bad()
    reading.offset = -total if sign == "-" else total


def _read_zone(reading: _Reading) -> None:
    """A zone's abbreviation. Go reads it as a name without a meaning unless the machine's own zone has it."""
    rest = reading.rest
    upper = len(rest[:6]) - len(rest[:6].lstrip("".join(_UPPER)))
    if rest[:4] in ("ChST", "MeST"):
        many = 4
    elif rest[:3] in ("UTC", "GMT"):
        many = 3 + (_signed_length(rest[3:]) if rest[:3] == "GMT" else 0)
    elif rest[:1] in ("+", "-"):
        many = _signed_length(rest)
    elif upper == 3 or (upper == 4 and (rest[3] == "T" or rest[:4] == "WITA")) or (upper == 5 and rest[4] == "T"):
        many = upper
    else:
        many = 0
    if not many:
        raise _bad()
    reading.take(many)


def _signed_length(text: str) -> int:
    digits = len(text[1:]) - len(text[1:].lstrip("0123456789"))
    if text[:1] not in ("+", "-") or not 0 < digits < 10 or int(text[1:1 + digits]) > 23:
        return 0
    return 1 + digits


def _read(reading: _Reading, chunk: str, following: str) -> None:  # noqa: C901 (one line a chunk)
    match chunk:
        case "06":
            _year_of_two(reading)
        case "2006":
            reading.year = reading.digits(4, 4)
        case "Jan" | "January":
            reading.month = 1 + reading.name(_MONTHS, 3 if chunk == "Jan" else None)
        case "1" | "01":
            reading.month = reading.within(1, 12, fixed=chunk == "01")
        case "Mon" | "Monday":
            reading.name(_DAYS, 3 if chunk == "Mon" else None)
        case "2" | "_2" | "02":
            reading.rest = reading.rest[1:] if chunk == "_2" and reading.rest[:1] == " " else reading.rest
            reading.day = reading.within(0, 99, fixed=chunk == "02")
        case "002" | "__2":
            for _ in range(2 if chunk == "__2" else 0):
                reading.rest = reading.rest[1:] if reading.rest[:1] == " " else reading.rest
            reading.yday = reading.digits(3 if chunk == "002" else 1, 3)
        case "15":
            reading.hour = reading.within(0, 23, fixed=False)
        case "3" | "03":
            reading.hour = reading.within(0, 12, fixed=chunk == "03")
        case "4" | "04":
            reading.minute = reading.within(0, 59, fixed=chunk == "04")
        case "5" | "05":
            _second(reading, fixed=chunk == "05", following=following)
        case "PM" | "pm":
            _half(reading, chunk)
        case "MST":
            _read_zone(reading)
        case _ if chunk[0] in ".,":
            many = len(chunk) if chunk[1] == "0" else reading.fraction_length()
            reading.nanoseconds = reading.fraction(many) if many else 0
        case _:
            _read_offset(reading, chunk)


def _skip(reading: _Reading, prefix: str) -> None:
    """The text in front of a chunk; a blank stands for any number of blanks, none too at the end."""
    while prefix:
        if prefix[0] == " ":
            if reading.rest and reading.rest[0] != " ":
                raise _bad()
            prefix, reading.rest = prefix.lstrip(" "), reading.rest.lstrip(" ")
        elif reading.take(1) != prefix[0]:
            raise _bad()
        else:
            prefix = prefix[1:]


def parsed(text: str, layout: str) -> tuple[datetime, int]:
    """(the time in UTC to the second, nanoseconds of its second). Raises BuiltinError."""
    if len(text) > MAX_LAYOUT:
        raise BuiltinError(f"a time has more than {MAX_LAYOUT} characters")
    reading, chunks = _Reading(text), _chunks(NAMED.get(layout, layout))
    for index, (prefix, chunk) in enumerate(chunks):
        _skip(reading, prefix)
        if chunk:
            front, following = chunks[index + 1]
            _read(reading, chunk, "" if front else following)
    if reading.rest:
        raise _bad()
    if reading.afternoon and reading.hour < 12:
        reading.hour += 12
    elif reading.afternoon is False and reading.hour == 12:
        reading.hour = 0
    try:
        day = _day(reading) + timedelta(hours=reading.hour, minutes=reading.minute, seconds=reading.second)
        return day - timedelta(seconds=reading.offset), reading.nanoseconds
    except (ValueError, OverflowError) as error:
        raise BuiltinError("the text names a day that does not exist, or one out of range") from error


def _day(reading: _Reading) -> datetime:
    if reading.yday < 0:
        return datetime(reading.year, max(reading.month, 1),
                        1 if reading.day < 0 else reading.day, tzinfo=UTC)
    if reading.yday == 0:
        raise ValueError("there is no day 0")
    found = datetime(reading.year, 1, 1, tzinfo=UTC) + timedelta(days=reading.yday - 1)
    if found.year != reading.year or reading.month not in (-1, found.month) or reading.day not in (-1, found.day):
        raise ValueError("the day of the year is another one")
    return found
