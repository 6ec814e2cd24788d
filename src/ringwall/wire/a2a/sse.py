"""Server-sent events: writing one, and reading a stream from an untrusted server or peer.

Source: WHATWG HTML, section 9.2. Readers there drop what they do not know and what is not whole; here both are
errors, because an event that is lost in silence is an answer that nobody judged.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Final

from ringwall.errors import BadInput
from ringwall.wire.a2a.rpc import MAX_ANSWER
from ringwall.wire.sse import MARGIN, Lines

MAX_EVENT: Final = MAX_ANSWER  # bytes of one event's data
MAX_STREAM: Final = 64 << 20  # bytes of one answer in all: eight of the largest events
MAX_ENVELOPE: Final = 16 << 10  # bytes of a compact JWS: a chain of 16 names of 255 bytes has 6 KiB
_JWS: Final = frozenset(string.ascii_letters + string.digits + "-_.")
_IGNORED: Final = frozenset({b"event", b"id", b"retry"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SseEvent:
    """One event. ``envelope``: the JWS of its ``ringwall`` line; empty: it has none."""

    data: bytes
    envelope: str = ""


def _bad(cause: str, code: str = "a2a_bad_sse") -> BadInput:
    return BadInput(cause, code=code)


def sse_event(data: bytes, envelope: str = "", *, error: bool = False) -> bytes:
    """One event as bytes.

    Args:
        data: JSON in one line.
        envelope: goes on a line of its own, which readers that do not know it ignore.
        error: name the event ``error``: how HTTP+JSON tells an error from an event.

    Raises:
        BadInput: ``a2a_bad_sse``: data or envelope would break out of its line.

    """
    if b"\n" in data or b"\r" in data or not _JWS.issuperset(envelope):
        raise _bad("an event's data and envelope have one line each")
    first = f"ringwall: {envelope}\n".encode() if envelope else b""
    name = b"event: error\n" if error else b""
    return b"".join((name, first, b"data: ", data, b"\n\n"))


class SseReader:
    """Bytes in, whole events out.

    Args:
        max_event: longest data of one event, in bytes.
        max_stream: how many bytes there may be in all.

    """

    def __init__(self, *, max_event: int = MAX_EVENT, max_stream: int = MAX_STREAM) -> None:
        self._max_event = max_event
        self._lines = Lines(max_line=max_event + MARGIN, max_stream=max_stream)
        self._data: list[bytes] = []
        self._size = 0
        self._envelope = ""
        self._open = False  # lines of an event came that no empty line has ended yet

    def feed(self, data: bytes) -> list[SseEvent]:
        """Take received bytes, give the events they complete. After an error the reader is of no more use.

        Raises:
            BadInput: ``a2a_bad_sse``, or ``result_too_large``.

        """
        events: list[SseEvent] = []
        for line in self._lines.feed(data):
            self._take(line, events)
        return events

    def end(self) -> None:
        """The stream ended. Raises BadInput (``a2a_truncated``) if an event was not whole."""
        if self._lines.open or self._open:
            raise _bad("the stream ended in the middle of an event", "a2a_truncated")

    def _take(self, line: bytes, events: list[SseEvent]) -> None:
        if not line:
            if self._data:
                events.append(SseEvent(data=b"\n".join(self._data), envelope=self._envelope))
            elif self._envelope:
                raise _bad("an event has an envelope and no data")
            self._data, self._size, self._envelope, self._open = [], 0, "", False
            return
        if line.startswith(b":"):
            return  # a comment: how servers keep connections alive
        self._open = True
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._size += len(value) + 1
            if self._size > self._max_event:
                raise _bad("an event is larger than it may be", "result_too_large")
            self._data.append(value)
        elif name == b"ringwall":
            self._sealed(value)
        elif name not in _IGNORED:
            raise _bad(f"an event has no field {name[:80]!r}")

    def _sealed(self, value: bytes) -> None:
        text = value.decode("latin-1")
        if self._envelope or not 0 < len(text) <= MAX_ENVELOPE or not _JWS.issuperset(text):
            raise _bad("an event has one envelope, a compact JWS")
        self._envelope = text
