"""One message to an MCP server over HTTP, and what comes back: JSON, or a stream of events.

Source: MCP 2025-11-25 and 2026-07-28, streamable HTTP. A POST is never sent again by itself. A stream that ends
before its answer is asked for the rest by a GET, where the server gave its events ids: that repeats nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from ringwall.errors import BadInput
from ringwall.tools import mcp_rpc
from ringwall.tools.answer import HttpAnswer
from ringwall.tools.mcp_headers import SESSION
from ringwall.tools.mcp_rpc import Answer, Note, Request
from ringwall.tools.outside import Outside, OutsideFault
from ringwall.tools.protocol import Code
from ringwall.tools.values import NoAnswer
from ringwall.wire.sse import Event, Reader

NO_REQUEST: Final = -1  # no number of ours
MAX_RESUMED: Final = 16  # streams for one answer
MAX_PAUSE_S: Final = 5.0  # before asking for the rest, whatever the server says
PAUSE_S: Final = 0.2  # where it says nothing
SPARE: Final = 1 << 20  # bytes of a stream beside its answer: events, keep-alives, framing

PAUSED: Final = Note("ringwall/paused", b"{}")
"""Said in the server's place: it ended its stream, and the rest is asked for."""

Hear: TypeAlias = Callable[[Request | Note], None]
"""Takes what the server says before its answer. May raise BadInput or NoAnswer, which ends the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """What a POST gave. ``session``: the server's name for a new one; ``answer``: None where there is none."""

    status: int
    session: str = ""
    answer: Answer | None = None

    @property
    def fault(self) -> NoAnswer:
        """What an answer that is missing means."""
        match self.status:
            case 401 | 403:
                return NoAnswer("failed", "upstream_denied", self.status)
            case 429:
                return NoAnswer("failed", "upstream_limited", self.status)
            case status if 300 <= status < 400:
                return NoAnswer("failed", "upstream_redirect", status)
            case status if 400 <= status < 500:
                return NoAnswer("failed", "upstream_refused", status)
            case status if status >= 500:
                return NoAnswer("unknown", "upstream_failed", status)
            case status:
                return NoAnswer("unknown", "bad_answer", status)


@dataclass(slots=True)
class _Rest:
    """Where a stream that ended can be taken up again."""

    id: str = ""
    pause_s: float = PAUSE_S


class Poster:
    """Sends to one server.

    Args:
        url: of the server.
        outside: the HTTP client.
        max_bytes: how long an answer may be.
        quiet_s: how long a stream may be silent; whoever waits for the answer has a limit of their own.

    """

    def __init__(self, *, url: str, outside: Outside, max_bytes: int, quiet_s: float) -> None:
        self._url = url
        self._outside = outside
        self._max_bytes = max_bytes
        self._quiet_s = quiet_s

    async def post(self, body: bytes, headers: Mapping[str, str], *, number: int | None = None,
                   hear: Hear | None = None) -> Posted:
        """Send one message.

        Args:
            body: the message.
            headers: all of them.
            number: of the request; None: it is none, and gets no answer.
            hear: see Hear.

        Raises:
            NoAnswer: there was none; with the end this means for a request that had an effect.
            BadInput: ``bad_answer``, ``result_too_large``.

        """
        try:
            stream = self._outside.stream("POST", self._url, headers, body, quiet_s=self._quiet_s)
            async with stream as (status, got, pieces):
                kind = HttpAnswer(status=status, headers=got).kind
                session = got.get(SESSION, "")
                if number is None or status in {202, 204}:
                    return Posted(status=status, session=session)
                if status == 200 and kind == "text/event-stream":
                    answer, rest = await self._stream(pieces, number, hear)
                else:
                    found = await self._json(status, kind, pieces, number)
                    return Posted(status=status, session=session, answer=found)
            if answer is None:
                answer = await self._resumed(rest, headers, number, hear)
            return Posted(status=200, session=session, answer=answer)
        except OutsideFault as fault:
            raise _ended(fault) from fault

    async def listen(self, headers: Mapping[str, str], opened: Callable[[], None], hear: Hear) -> None:
        """Hear what the server says on a stream of its own, until that ends. Raises as ``post``."""
        asked = {**{name: value for name, value in headers.items() if name != "content-type"},
                 "accept": "text/event-stream"}
        try:
            stream = self._outside.stream("GET", self._url, asked, quiet_s=self._quiet_s)
            async with stream as (status, got, pieces):
                if status != 200 or HttpAnswer(status=status, headers=got).kind != "text/event-stream":
                    raise Posted(status=status).fault
                opened()
                await self._stream(pieces, NO_REQUEST, hear)
        except OutsideFault as fault:
            raise _ended(fault) from fault

    async def _json(self, status: int, kind: str, pieces: AsyncIterator[bytes], number: int) -> Answer | None:
        """The answer in a body that is JSON. Of a refusal, the error inside if there is one."""
        if kind != "application/json":
            return None
        body = await self._whole(pieces)
        try:
            found = mcp_rpc.parse(body)
        except BadInput:
            if status == 200:
                raise
            return None
        refused = status != 200 and isinstance(found, Answer) and found.error is not None
        if isinstance(found, Answer) and (found.id == number or (refused and found.id is None)):
            return found if refused or status == 200 else None
        if status == 200:
            raise BadInput("a tool server answers what was not asked", code="bad_answer")
        return None

    async def _whole(self, pieces: AsyncIterator[bytes]) -> bytes:
        parts: list[bytes] = []
        length = 0
        async for piece in pieces:
            length += len(piece)
            if length > self._max_bytes:
                raise BadInput("a tool server's answer is too long", code="result_too_large")
            parts.append(piece)
        return b"".join(parts)

    async def _stream(self, pieces: AsyncIterator[bytes], number: int,
                      hear: Hear | None) -> tuple[Answer | None, _Rest]:
        """Events until the answer; or where to go on, if the stream ended before it."""
        reader = Reader(max_event=self._max_bytes, max_stream=self._max_bytes + SPARE)
        rest = _Rest()
        try:
            async for piece in pieces:
                for event in reader.feed(piece):
                    answer = _take(event, rest, number, hear)
                    if answer is not None:
                        return answer, rest
        except OutsideFault as fault:
            if fault.code != "upstream_broken" or not rest.id:
                raise
        except BadInput as fault:
            code: Code = "result_too_large" if fault.code == "result_too_large" else "bad_answer"
            raise BadInput(fault.cause, code=code) from fault
        return None, rest

    async def _resumed(self, rest: _Rest, headers: Mapping[str, str], number: int, hear: Hear | None) -> Answer:
        """The answer out of the rest of a stream that ended."""
        asked = {name: value for name, value in headers.items() if name != "content-type"}
        asked["accept"] = "text/event-stream"
        for _ in range(MAX_RESUMED):
            if not rest.id:
                break
            if hear is not None:
                hear(PAUSED)
            await asyncio.sleep(rest.pause_s)
            asked["last-event-id"] = rest.id
            stream = self._outside.stream("GET", self._url, asked, quiet_s=self._quiet_s)
            async with stream as (status, got, pieces):
                if status != 200 or HttpAnswer(status=status, headers=got).kind != "text/event-stream":
                    break
                answer, further = await self._stream(pieces, number, hear)
            if answer is not None:
                return answer
            rest = _Rest(further.id or rest.id, further.pause_s)
        raise NoAnswer("unknown", "upstream_broken")

    async def delete(self, headers: Mapping[str, str]) -> None:
        """Say that a session is over; whatever the server thinks of it."""
        try:
            await self._outside.send("DELETE", self._url, headers)
        except OutsideFault:
            pass  # it forgets the session by itself


def _take(event: Event, rest: _Rest, number: int, hear: Hear | None) -> Answer | None:
    """One event: the answer, or something on the way. Answers to other requests are nobody's."""
    if event.id and event.id.isascii() and event.id.isprintable():
        rest.id = event.id
    if event.retry is not None:
        rest.pause_s = min(event.retry / 1000, MAX_PAUSE_S)
    if not event.data or event.name not in {"", "message"}:
        return None
    message = mcp_rpc.parse(event.data)
    if isinstance(message, Answer):
        return message if message.id == number else None
    if hear is not None:
        hear(message)
    return None


def _ended(fault: OutsideFault) -> NoAnswer:
    return NoAnswer("unknown" if fault.sent else "failed", fault.code, fault.status)
