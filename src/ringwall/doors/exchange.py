"""One A2A request through the wall, and its answer: whole, or event by event as it comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from ringwall.call import Approval, Call, Last
from ringwall.doors.interface import Answer, Desk, Judge, Send
from ringwall.doors.protocol import Presence
from ringwall.doors.voices import Voice, Written, fault_in
from ringwall.interface import HeldCall, Origin, Refusal, Stopped
from ringwall.wire import a2a

SPEAK = Callable[[Call | None], Voice]
"""The binding of the answer; before there is a call, as far as it can be told."""


class Exchange:
    """One request.

    Args:
        wall: every call goes through it.
        presence: whether the asker is still there.
        send: ASGI.
        speak: the binding.

    """

    def __init__(self, wall: Judge, presence: Presence, send: Send, speak: SPEAK) -> None:
        self._wall = wall
        self._presence = presence
        self._send = send
        self._speak = speak

    async def run(self, origin: Origin, raw: bytes, desk: Desk | None = None, seconds: float = 0.0) -> None:
        """From the bytes to the last byte of the answer.

        Args:
            origin: who asks.
            raw: as the resolver of messages wants it.
            desk: where held calls wait; None: they are answered as held at once.
            seconds: how long to wait for a human.

        """
        call = await self._wall.admit(origin, "message", raw)
        if isinstance(call, Refusal):
            await write(self._send, self._speak(None).whole(_refused(call), call.record))
            return
        held = await self._once(call)
        if held is None:
            return
        if desk is not None and seconds:
            with self._presence.waiting():
                over = await desk.decided(held.record, seconds)
            if over:
                held = await self._once(replace(call, approval=Approval(record=held.record)))
                if held is None:
                    return
        reason = f"a human must approve this call first; repeat it with the approval {held.record}"
        await write(self._send, self._speak(call).whole(a2a.fault_of("held", reason, held.record), held.record))

    async def _once(self, call: Call) -> HeldCall | None:
        voice = self._speak(call)
        async with self._wall.perform(call) as passage:
            if isinstance(passage, HeldCall):
                return passage
            if isinstance(passage, Refusal):
                written = voice.whole(_refused(passage), passage.record)
            else:
                with self._presence.waiting():
                    written = await _Telling(voice, self._send, passage).tell(call.args["method"] in a2a.STREAMS)
        # The outcome is recorded before the last byte goes out.
        await (write(self._send, written) if isinstance(written, Written) else written())
        return None


class _Telling:
    """The released pieces of one answer."""

    def __init__(self, voice: Voice, send: Send, passage: Answer) -> None:
        self._voice = voice
        self._send = send
        self._passage = passage
        self._record = passage.record
        self._streaming = False

    async def tell(self, stream: bool) -> Written | Callable[[], Awaitable[None]]:
        """Send what can be sent; give what is still to send once the call is settled."""
        whole: Written | None = None
        try:
            async for chunk in self._passage.chunks():
                fault = fault_in(chunk.value)
                if stream and (fault is None or self._streaming):
                    await self._event(self._voice.event(fault or chunk.value, self._record))
                else:
                    whole = self._voice.whole(fault or chunk.value, self._record)
        except Stopped as stop:
            return self._ended(a2a.fault_of(stop.denied.code, stop.denied.reason, self._record))
        last = self._passage.last or Last(end="unknown")
        if whole is not None and not self._streaming:
            return whole
        if last.end == "done" or (last.error or {}).get("code") == "peer_error":
            return self._close if self._streaming else self._ended(_no_answer(self._record))
        error = last.error or {}
        unknown = "it is not known whether the message arrived" if last.end == "unknown" else "the message failed"
        reason = error.get("reason") or unknown
        return self._ended(a2a.fault_of(error.get("code") or f"effect_{last.end}", reason, self._record))

    def _ended(self, fault: a2a.Fault) -> Written | Callable[[], Awaitable[None]]:
        if not self._streaming:
            return self._voice.whole(fault, self._record)
        last = self._voice.event(fault, self._record)

        async def end() -> None:
            await self._event(last)
            await self._close()

        return end

    async def _event(self, event: bytes) -> None:
        if not self._streaming:
            self._streaming = True
            headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": event, "more_body": True})

    async def _close(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})


async def write(send: Send, written: Written) -> None:
    """Send a whole answer."""
    headers = [*written.headers, (b"content-length", b"%d" % len(written.body))]
    await send({"type": "http.response.start", "status": written.status, "headers": headers})
    await send({"type": "http.response.body", "body": written.body})


def _refused(refusal: Refusal) -> a2a.Fault:
    reason = "; ".join([refusal.reason, *refusal.errors])
    return a2a.fault_of(refusal.code, reason, refusal.record, retry_after=refusal.retry_after)


def _no_answer(record: str) -> a2a.Fault:
    return a2a.fault_of("no_answer", "the peer gave no answer", record)
