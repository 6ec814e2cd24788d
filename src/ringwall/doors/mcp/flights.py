"""One call through the wall, in a task of its own: its client may go, come back, or ask for it to be cancelled."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from ringwall.call import Approval, Call, Denied, Json, Last, as_object
from ringwall.doors.interface import Answer, Desk, Judge
from ringwall.errors import BadInput, RingwallError
from ringwall.interface import HeldCall, Origin, Refusal, Stopped
from ringwall.wire.mcp.rpc import Fault, parse_fault

log = logging.getLogger("ringwall.doors")

MAX_AHEAD: Final = 16  # pieces that nobody has read yet; a server that says more waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The server says something while it works."""

    method: str
    params: dict[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """The server asks the client something, and waits."""

    number: int
    method: str
    params: dict[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The end: what came back, released. ``value``: the method's own result."""

    value: Json
    record: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """The end: the server's own error, released."""

    fault: Fault
    record: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Not:
    """The end: there is no result. ``code`` and ``reason`` are ours."""

    code: str
    reason: str
    remedy: str = ""
    record: str = ""
    errors: tuple[str, ...] = ()
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """The end: it was cancelled."""


End: TypeAlias = Result | Broken | Not | Gone
Item: TypeAlias = Said | Asks | End


def of_refusal(refusal: Refusal) -> Not:
    """The wall said no."""
    return Not(code=refusal.code, reason=refusal.reason, remedy=refusal.remedy, record=refusal.record,
               errors=refusal.errors, retry_after=refusal.retry_after)


class Flight:
    """One call. ``next`` gives what comes back, piece by piece; its last piece comes when the outcome is recorded.

    Args:
        wall: lets it through or not.
        origin: who asks.
        raw: as ``doors.envelopes`` makes it; the attempt was counted.
        desk: where a held call waits.
        seconds: how long to wait for a human; 0: not at all.

    """

    def __init__(self, wall: Judge, origin: Origin, raw: bytes, desk: Desk, seconds: float) -> None:
        self._wall = wall
        self._origin = origin
        self._raw = raw
        self._desk = desk
        self._seconds = seconds
        self._items: asyncio.Queue[Item] = asyncio.Queue(MAX_AHEAD)
        self._back: Item | None = None
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(self._over)

    async def next(self) -> Item:
        """The next piece."""
        if self._back is not None:
            item, self._back = self._back, None
            return item
        return await self._items.get()

    def back(self, item: Item) -> None:
        """A piece that was taken too early is the next one again."""
        self._back = item

    async def end(self) -> None:
        """Cancel it, and wait until its outcome is recorded."""
        self.task.cancel()
        await asyncio.wait({self.task})

    async def _run(self) -> None:
        try:
            last = await self._fly()
        except asyncio.CancelledError:
            last = Gone()
        except RingwallError as fault:
            last = Not(code=fault.code, reason=fault.cause, remedy=fault.remedy, record=fault.record)
        except Exception:
            log.exception("a call over MCP failed")
            last = Not(code="internal", reason="the door failed; the call's record tells whether it ran")
        if isinstance(last, Gone):
            self._gone()
        else:
            await self._items.put(last)

    def _over(self, task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step, or while its last piece waits, says nothing by itself."""
        if task.cancelled():
            self._gone()

    def _gone(self) -> None:
        while not self._items.empty():
            self._items.get_nowait()  # nobody is told any more, and the end must fit
        self._items.put_nowait(Gone())

    async def _fly(self) -> End:
        call = await self._wall.admit(self._origin, "tool", self._raw, counted=True)
        if isinstance(call, Refusal):
            return of_refusal(call)
        end = await self._perform(call)
        if isinstance(end, HeldCall) and self._seconds and await self._desk.decided(end.record, self._seconds):
            end = await self._perform(replace(call, approval=Approval(record=end.record)))
        return _held(end) if isinstance(end, HeldCall) else end

    async def _perform(self, call: Call) -> End | HeldCall:
        async with self._wall.perform(call) as passage:
            if isinstance(passage, HeldCall):
                return passage
            # The outcome is recorded when this block is left, and so before anybody is told the end.
            return of_refusal(passage) if isinstance(passage, Refusal) else await self._collect(passage)

    async def _collect(self, passage: Answer) -> End:
        end: End | None = None
        try:
            async for chunk in passage.chunks():
                item = _item(chunk.value, passage.record)
                if isinstance(item, Said | Asks):
                    await self._items.put(item)
                elif end is None:
                    end = item
                else:
                    end = Not(code="bad_answer", reason="the tool gave more than one answer", record=passage.record)
        except Stopped as stop:
            return _stopped(stop.denied, passage.record)
        except BadInput as fault:
            return Not(code="bad_answer", reason=f"what the tool says has no form of MCP: {fault.cause}",
                       record=passage.record)
        last = passage.last or Last(end="unknown")
        return end or _nothing(last, passage.record)


def _item(value: Json, record: str) -> Item:
    """One released piece. Raises BadInput if it has none of the forms of the contract."""
    fields = as_object(value)
    if fields is None:
        return Result(value=value, record=record)  # of the listing
    match list(fields):
        case ["event"]:
            method, params = _message(fields["event"])
            return Said(method=method, params=params)
        case ["ask"]:
            method, params = _message(fields["ask"])
            number = fields["ask"].get("number")
            if type(number) is not int:
                raise BadInput("a question has no number", code="bad_answer")
            return Asks(number=number, method=method, params=params)
        case ["fault"]:
            return Broken(fault=parse_fault(fields["fault"]), record=record)
        case ["result"]:
            return Result(value=fields["result"], record=record)
        case _:
            raise BadInput("a piece is no event, question, fault or result", code="bad_answer")


def _message(value: Json) -> tuple[str, dict[str, Json]]:
    fields = as_object(value) or {}
    method, params = fields.get("method"), as_object(fields.get("params", {}))
    if not isinstance(method, str) or params is None:
        raise BadInput("a message has no method, or odd parameters", code="bad_answer")
    return method, params


def _held(held: HeldCall) -> Not:
    return Not(code="held", reason="a human must approve this call first", record=held.record,
               remedy=f'repeat it with "ringwall/approval": "{held.record}" in _meta')


def _stopped(denied: Denied, record: str) -> Not:
    return Not(code=denied.code, reason=denied.reason, remedy=denied.remedy, record=record,
               retry_after=denied.retry_after)


def _nothing(last: Last, record: str) -> Not:
    error = last.error or {}
    unknown = "it is not known whether the effect happened" if last.end == "unknown" else "the effect failed"
    return Not(code=error.get("code") or f"effect_{last.end}", reason=error.get("reason") or unknown, record=record)
