"""Server-sent events: a reader for streams from models and tools, and a writer towards agents.

Source: WHATWG HTML, section 9.2. Two things differ from a browser, because an event that is lost in silence is an
answer that nobody judged: a stream that ends within an event is an error, and so is one that is too long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringwall.errors import BadInput

MARGIN: Final = 64  # bytes of a line beside its data: the field's name
MAX_NAME: Final = 1024  # bytes of an event's name or id; real ones have some dozens
MAX_RETRY_DIGITS: Final = 9  # milliseconds: eleven days; more is no pause, and costs time to parse
_BOM: Final = b"\xef\xbb\xbf"
_ENDS: Final = ("\r", "\n", "\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event.

    Args:
        data: its data lines, joined by line feeds. Bytes: whoever parses them decides about their encoding.
        name: its ``event`` field; empty: ``message``.
        id: the stream's last ``id`` so far; empty: there was none.
        retry: milliseconds to wait before connecting again, if the stream said so since the event before.

    """

    data: bytes
    name: str = ""
    id: str = ""
    retry: int | None = None


class Lines:
    """Bytes in, whole lines out, whichever of CR, LF and CRLF ends them and however they are cut.

    Args:
        max_line: longest line, in bytes.
        max_stream: how many bytes there may be in all.

    """

    def __init__(self, *, max_line: int, max_stream: int) -> None:
        self._max_line = max_line
        self._left = max_stream
        self._line = bytearray()
        self._after_cr = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take received bytes, give the lines they complete. Raises BadInput (``result_too_large``)."""
        self._left -= len(data)
        if self._left < 0:
            raise BadInput("the stream is longer than it may be", code="result_too_large")
        if not data:
            return []
        after_cr, self._after_cr = self._after_cr, data.endswith(b"\r")
        if after_cr:
            data = data.removeprefix(b"\n")
        *ended, rest = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        whole: list[bytes] = []
        for line in ended:
            self._more(line)
            whole.append(bytes(self._line))
            self._line.clear()
        self._more(rest)
        return whole

    @property
    def open(self) -> bool:
        """Whether a line came that no line end has ended yet."""
        return bool(self._line)

    def _more(self, part: bytes) -> None:
        self._line += part
        if len(self._line) > self._max_line:
            raise BadInput("a line of the stream is longer than an event may be", code="result_too_large")


class Reader:
    """Bytes in, whole events out. After an error it is of no more use.

    Args:
        max_event: longest data of one event, in bytes.
        max_stream: how many bytes there may be in all.

    """

    def __init__(self, *, max_event: int, max_stream: int) -> None:
        self._lines = Lines(max_line=max_event + MARGIN, max_stream=max_stream)
        self._max_event = max_event
        self._first = True
        self._data: bytearray | None = None
        self._name = self._id = ""
        self._retry: int | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Take received bytes, give the events they complete.

        Raises:
            BadInput: ``bad_sse``: a name or id that is no UTF-8 or too long; ``result_too_large``.

        """
        events: list[Event] = []
        for line in self._lines.feed(data):
            if self._first:
                self._first = False
                line = line.removeprefix(_BOM)  # noqa: PLW2901
            if line:
                self._take(line)
            else:
                self._give(events)
        return events

    def end(self) -> None:
        """The stream ended. Raises BadInput (``truncated``) if an event was not whole."""
        if self._lines.open or self._data is not None:
            raise BadInput("the stream ended in the middle of an event", code="truncated")

    def _give(self, events: list[Event]) -> None:
        if self._data is not None:
            events.append(Event(data=bytes(self._data), name=self._name, id=self._id, retry=self._retry))
            self._retry = None
        self._data, self._name = None, ""

    def _take(self, line: bytes) -> None:
        field, _, value = line.partition(b":")  # a comment has the empty field, which nobody knows
        value = value.removeprefix(b" ")
        if field == b"data":
            if self._data is None:
                self._data = bytearray(value)
            else:
                self._data += b"\n" + value
            if len(self._data) > self._max_event:
                raise BadInput("an event is larger than it may be", code="result_too_large")
        elif field == b"event":
            self._name = _text(value)
        elif field == b"id" and b"\0" not in value:
            self._id = _text(value)
        elif field == b"retry" and value.isdigit() and len(value) <= MAX_RETRY_DIGITS:
            self._retry = int(value)


def event(data: bytes, *, name: str = "", id: str = "", retry: int | None = None) -> bytes:  # noqa: A002
    """One event as bytes.

    Args:
        data: one line, for instance JSON.
        name: the ``event`` field; empty: left out.
        id: the ``id`` field; empty: left out.
        retry: milliseconds to wait before connecting again.

    Raises:
        BadInput: ``bad_sse``: one of them would break out of its line.

    """
    if b"\n" in data or b"\r" in data:
        raise BadInput("an event's data has one line", code="bad_sse")
    if any(end in text for text in (name, id) for end in _ENDS) or (retry is not None and retry < 0):
        raise BadInput("an event's name, id or retry does not fit into a line", code="bad_sse")
    try:
        head = "".join((f"event: {name}\n" if name else "", f"id: {id}\n" if id else "",
                        f"retry: {retry}\n" if retry is not None else "")).encode()
    except UnicodeEncodeError:
        raise BadInput("an event's name or id is no text", code="bad_sse") from None
    return b"".join((head, b"data: ", data, b"\n\n"))


def _text(value: bytes) -> str:
    if len(value) > MAX_NAME:
        raise BadInput(f"an event's name or id has more than {MAX_NAME} bytes", code="bad_sse")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BadInput("an event's name or id is not UTF-8", code="bad_sse") from None
