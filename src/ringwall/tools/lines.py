"""Newline-delimited messages of a stdio tool server, out of whatever pieces the pipe gives. Sans-I/O.

The MCP standard forbids a server to write anything to its standard output that is no message, so a line that
is too long or unfinished at the end is a fault of the protocol and not something to skip.
"""

from __future__ import annotations

from typing import Final

from ringwall.errors import BadInput

MAX_LINE: Final = 18 << 20  # bytes: a result of 8 MiB is in a line twice (text and structured), escaped


class Lines:
    """Bytes in, whole lines out, without their newline."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._parts: list[bytes] = []
        self._length = 0
        self._limit = limit

    def feed(self, data: bytes) -> list[bytes]:
        """Take received bytes. Raises BadInput for a line longer than the limit."""
        *whole, rest = data.split(b"\n")
        lines: list[bytes] = []
        for piece in whole:
            self._keep(piece)
            lines.append(b"".join(self._parts))
            self._parts, self._length = [], 0
        if rest:
            self._keep(rest)
        return lines

    def _keep(self, piece: bytes) -> None:
        self._length += len(piece)
        if self._length > self._limit:
            raise BadInput(f"a tool server wrote a line of more than {self._limit} bytes", code="line_too_long")
        self._parts.append(piece)

    @property
    def pending(self) -> int:
        """Bytes of an unfinished line."""
        return self._length
