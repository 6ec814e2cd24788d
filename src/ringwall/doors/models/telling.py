"""The released pieces of one completion on their way to the agent, as they come or all at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from ringwall.call import Json, Last
from ringwall.doors.interface import Answer, Send
from ringwall.doors.models import replies
from ringwall.doors.models.judging import Judging
from ringwall.doors.models.replies import Reply
from ringwall.interface import Stopped
from ringwall.wire.models import wire
from ringwall.wire.models.interface import Api

Ending: TypeAlias = Reply | Callable[[], Awaitable[None]]
"""What is still to send once the call is settled: a whole answer, or the end of a stream."""


class Telling:
    """One answer.

    Args:
        api: in whose words.
        request: the canonical request.
        send: ASGI.
        passage: the call that was let through.
        judging: weighs tool calls.

    """

    def __init__(self, api: Api, request: Json, send: Send, passage: Answer, judging: Judging) -> None:
        self._api: Api = api
        self._send = send
        self._passage = passage
        self._judging = judging
        self._record = passage.record
        self._writer = wire(api).writer(request) if request.get("stream") is True else None
        self._begun = False

    async def tell(self) -> Ending:
        """Send what can be sent as it comes."""
        whole: list[Json] = []
        try:
            async for chunk in self._passage.chunks():
                if self._writer is None:
                    whole.append(chunk.value)
                else:
                    await self._out(self._writer.feed(await self._judging.piece(chunk.value)))
        except Stopped as stop:
            return self._broken(replies.stopped(self._api, stop.denied, self._record), stop.denied.code,
                                stop.denied.reason)
        last = self._passage.last or Last(end="unknown")
        if last.end != "done":
            return self._broken(replies.failed(self._api, last, self._record), *replies.why(last))
        if self._writer is not None:
            rest = self._writer.end()
            return lambda: self._close(rest)
        if len(whole) != 1:
            return replies.wrong(self._api, 502, "bad_result", "the model gave no answer, or several",
                                 record=self._record)
        return replies.good(msgspec.json.encode(await self._judging.whole(self._api, whole[0])), self._record)

    def _broken(self, instead: Reply, code: str, reason: str) -> Ending:
        """The answer stops here: with a status if nothing of it is out, else with the provider's error event."""
        if self._writer is None or not self._begun:
            return instead
        error = self._writer.error(code, reason, self._record)
        return lambda: self._close(error)

    async def _out(self, events: bytes) -> None:
        if not events:
            return
        if not self._begun:
            self._begun = True
            headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"),
                       *replies.recorded(self._record)]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": events, "more_body": True})

    async def _close(self, events: bytes) -> None:
        await self._out(events)
        await self._send({"type": "http.response.body", "body": b""})
