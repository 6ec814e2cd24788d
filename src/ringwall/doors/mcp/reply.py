"""The answer to one HTTP request of MCP: one JSON message, or a stream of events from the first event on."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Final

from ringwall.call import Json
from ringwall.doors.interface import Message, Send
from ringwall.doors.mcp.flights import Not
from ringwall.doors.mcp.tapes import RETRY_MS, Tape, Tapes
from ringwall.wire import sse
from ringwall.wire.mcp import rpc
from ringwall.wire.mcp.revisions import STATUS
from ringwall.wire.mcp.rpc import Fault

SESSION_HEADER: Final = b"mcp-session-id"
PING_S: Final = 15.0  # of silence on a stream
EARLY_S: Final = 1.0  # of silence before a stream begins that its client may come back to
_PING: Final = b": still here\n\n"
Fields = list[tuple[bytes, bytes]]


class Reply:
    """One answer.

    Args:
        send: ASGI.
        stateless: the client speaks 2026-07-28, where some errors have an HTTP status of their own.
        streams: the client takes a stream of events; without, events are left out.
        tapes: where a stream is kept that its client may come back to.

    """

    def __init__(self, send: Send, *, stateless: bool, streams: bool, tapes: Tapes) -> None:
        self._send = send
        self._tapes = tapes
        self._tape: Tape | None = None
        self._paused = asyncio.Event()
        self.stateless = stateless
        self.streams = streams
        self._begun = False

    @property
    def quiet_s(self) -> float:
        """After how many seconds of silence to say something: what can be resumed is begun early."""
        return EARLY_S if self._tape is not None and not self._begun else PING_S

    def resumable(self, tape: Tape) -> None:
        """From here on, what this client is told is kept."""
        self._tape = tape

    @property
    def kept(self) -> bool:
        """The client knows that it can come back."""
        return self._tape is not None and self._begun

    def gone(self) -> None:
        """The client hung up; what is said is kept only."""
        self._send = _nowhere

    async def pause(self) -> None:
        """End the stream before its last message, if its client can come back for the rest."""
        if self._tape is not None and not self._paused.is_set():
            await self._begin()
            await self._send({"type": "http.response.body", "body": b""})
            self.gone()
            self._paused.set()

    async def lasts(self, work: asyncio.Task[None]) -> bool:
        """Wait for the work that answers here; False: the stream was paused first. Cancelled, the work goes on."""
        paused = asyncio.create_task(self._paused.wait())
        try:
            await asyncio.wait({work, paused}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            paused.cancel()
        return work.done()

    async def replay(self, tape: Tape, number: int) -> None:
        """What comes after one event of a stream that this client was told before."""
        await self._stream(_PING)
        events = tape.after(number)
        async with aclosing(events):
            async for name, message in events:
                await self._stream(sse.event(message, name="message", id=name))
        await self._send({"type": "http.response.body", "body": b""})

    async def event(self, message: bytes) -> None:
        """A message before the last, at once."""
        await self._begin()
        await self._stream(self._framed(message))

    async def ping(self) -> None:
        """Nothing to say: keeps time-outs of a client that waits from ending."""
        if self.streams:
            await self._stream(_PING)

    async def result(self, id: rpc.Id, value: Json, fields: Fields | None = None) -> None:  # noqa: A002
        """The last message."""
        await self._last(200, rpc.result(id, value), fields or [])

    async def fault(self, id: rpc.Id | None, fault: Fault, status: int = 0) -> None:  # noqa: A002
        """The last message, an error; ``status``: of HTTP, 0: what the revision says."""
        usual = STATUS.get(fault.code, 200) if self.stateless else 200
        await self._last(status or usual, rpc.error(id, fault), [])

    async def empty(self, status: int, fields: Fields | None = None) -> None:
        """No message at all."""
        await self._whole(status, b"", fields or [])

    async def nothing(self) -> None:
        """The end without a last message: the client has cancelled its request."""
        if self._tape is not None:
            self._tapes.done(self._tape)
        if self._begun or self.streams:
            await self._stream(b"")
            await self._send({"type": "http.response.body", "body": b""})
        else:
            await self.empty(202)

    async def open(self) -> None:
        """Begin a stream that may stay silent."""
        await self._stream(_PING)

    async def begin_early(self) -> None:
        """A session's client that takes a stream gets one, as from other servers."""
        if self.streams and not self.stateless:
            await self.open()

    async def _last(self, status: int, message: bytes, fields: Fields) -> None:
        if self._begun:
            body = self._framed(message)
            if self._tape is not None:
                self._tapes.done(self._tape)
            await self._send({"type": "http.response.body", "body": body})
        else:
            await self._whole(status, message, [(b"content-type", b"application/json"), *fields])

    async def _whole(self, status: int, body: bytes, fields: Fields) -> None:
        fields = [*fields, (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
        await self._send({"type": "http.response.start", "status": status, "headers": fields})
        await self._send({"type": "http.response.body", "body": body})

    def _framed(self, message: bytes) -> bytes:
        if self._tape is None:
            return sse.event(message, name="message")
        name = self._tape.add(message)
        self._tapes.trim(self._tape)
        return sse.event(message, name="message", id=name)

    async def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        fields = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await self._send({"type": "http.response.start", "status": 200, "headers": fields})
        if self._tape is not None:
            self._tapes.keep(self._tape)
            first = sse.event(b"", id=self._tape.id(0), retry=RETRY_MS)
            await self._send({"type": "http.response.body", "body": first, "more_body": True})

    async def _stream(self, piece: bytes) -> None:
        await self._begin()
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})


async def _nowhere(_: Message) -> None:
    """Nobody reads it."""


def tool_error(no: Not) -> dict[str, Json]:
    """A refusal as the result of a tool, so that a model can read what to do about it."""
    return {
        "content": [{"type": "text", "text": words(no)}],
        "isError": True,
        "_meta": {"ringwall/code": no.code, **({"ringwall/record": no.record} if no.record else {})},
    }


def as_fault(no: Not) -> Fault:
    """A refusal as a JSON-RPC error."""
    data = {"code": no.code, "reason": no.reason, "remedy": no.remedy, "record": no.record}
    more: dict[str, Json] = {} if no.retry_after is None else {"retry_after": no.retry_after}
    return Fault(code=rpc.REFUSED, message=words(no), data={**{k: v for k, v in data.items() if v}, **more})


def words(no: Not) -> str:
    """Code, reason, schema errors, remedy and record, in one text."""
    told = [f"{no.code}: {'; '.join([no.reason, *no.errors])}"]
    if no.remedy:
        told.append(f"What to do: {no.remedy}.")
    if no.retry_after is not None:
        told.append(f"Try again in {no.retry_after:.0f} s.")
    if no.record:
        told.append(f"Record: {no.record}")
    return "\n".join(told)
