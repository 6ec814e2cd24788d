"""One request that is a call: from its parameters to the last message, with what the server says and asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ringwall.call import Json, Trait, as_object
from ringwall.doors.envelopes import tool_call
from ringwall.doors.interface import Desk, Judge
from ringwall.doors.mcp.driving import MAX_ROUNDS, answers, wants_input
from ringwall.doors.mcp.flights import Asks, Broken, End, Flight, Gone, Item, Not, Result, Said
from ringwall.doors.mcp.parked import Parked, Parking
from ringwall.doors.mcp.reply import Reply, as_fault, tool_error
from ringwall.doors.mcp.sessions import Question, Session, traits
from ringwall.errors import BadInput
from ringwall.interface import Origin
from ringwall.wire.mcp import methods, results, revisions, rpc
from ringwall.wire.mcp.rpc import Fault

PAUSED: Final = "ringwall/paused"  # said by the sidecar, never by a server: that one ended its stream for now
GATHER_S: Final = 0.05  # for the other questions of a server that asks several things at once
_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_TRACE_LENGTH: Final = 55  # of a W3C traceparent of version 00
_TRACE: Final = frozenset("0123456789abcdef-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it was understood. ``session`` is None in 2026-07-28; ``at`` is the server of the path."""

    id: rpc.Id
    method: str
    params: methods.Params
    origin: Origin
    launch: str
    at: str
    session: Session | None
    seconds: float

    @property
    def token(self) -> str | int | None:
        """What the client wants to be told of progress under."""
        token = self.params.meta.get("progressToken")
        return token if isinstance(token, str) or type(token) is int else None

    @property
    def answers(self) -> dict[str, Json]:
        """What this client can be asked."""
        if self.session is not None:
            return self.session.capabilities
        return as_object(self.params.meta.get(revisions.CAPABILITIES_KEY)) or {}

    @property
    def client(self) -> tuple[Trait, ...]:
        """What the server may know of this client."""
        return traits(self.answers) if self.session is None else self.session.client


class Caller:
    """Performs requests that are calls.

    Args:
        wall: every call goes through it.
        desk: where held calls wait.

    """

    def __init__(self, wall: Judge, desk: Desk) -> None:
        self._wall = wall
        self._desk = desk
        self.parking = Parking()

    async def listing(self, origin: Origin) -> Json | Not:
        """What the agent may call, as ``ringwall/list`` says."""
        flight = self._flight(origin, b'{"tool":"ringwall/list","args":{}}', 0.0)
        end = await self._end(flight)
        return end.value if isinstance(end, Result) else end

    async def call(self, asked: Asked, server: str, op: str, args: Json, reply: Reply) -> None:
        """One call of an operation, answered."""
        approval = asked.params.meta.get("ringwall/approval", "")
        if not isinstance(approval, str):
            raise BadInput("`ringwall/approval` in `_meta` must be a text", code="mcp_bad_params")

        def fly(inputs: Json, approval: str = "") -> Flight:
            raw = tool_call(f"{server}/{op}", args, progress=asked.token is not None, client=asked.client,
                            approval=approval, trace=_trace(asked.params.meta), inputs=inputs)
            return self._flight(asked.origin, raw, asked.seconds)

        await self._follow(_Following(asked, server, fly(_inputs(asked.params), approval), {}, fly), reply)

    async def resume(self, asked: Asked, parked: Parked, reply: Reply) -> None:
        """Go on with a call that waits for this client's answers (2026-07-28)."""
        given: dict[str, Json] = getattr(asked.params, "input_responses", None) or {}
        missing: dict[str, Asks] = {}
        following = _Following(asked, parked.server, parked.flight, missing, None)
        async with _ended_if_left(parked.flight):
            for key, question in parked.questions.items():
                if key not in given:
                    missing[key] = question
                    continue
                await self.tell(asked.origin, parked.server, question.number, question.method, given[key])
            if missing:
                await self._park(following, reply)
                return
        await self._follow(following, reply)

    async def tell(self, origin: Origin, server: str, number: int, method: str, answer: Json) -> Not | None:
        """Give a server the answer to its question, which is a call like any other.

        ``answer`` is the result, or ``{"error": {"code", "message"}}``. One that the wall refuses is replaced by an
        error, so that the server need not wait for ever.

        Returns:
            Why the answer did not get there.

        """
        raw = tool_call(f"{server}/{methods.ANSWERS[method]}", {"number": number, "answer": answer})
        end = await self._end(self._flight(origin, raw, 0.0))
        if isinstance(end, Result):
            return None
        if set(answer) != {"error"}:
            await self.tell(origin, server, number, method, _no("the answer was refused"))
        return end

    def _flight(self, origin: Origin, raw: bytes, seconds: float) -> Flight:
        return Flight(self._wall, origin, raw, self._desk, seconds)

    async def _end(self, flight: Flight) -> Result | Not:
        """The end of a call that nobody is told about while it runs."""
        async with _ended_if_left(flight):
            while True:
                match await flight.next():
                    case Said() | Asks():
                        continue
                    case Broken() as broken:
                        return Not(code="tool_error", reason=broken.fault.message, record=broken.record)
                    case Gone():
                        return Not(code="cancelled", reason="the call was cancelled")
                    case end:
                        return end

    async def subscribe(self, origin: Origin, server: str, uri: str, client: tuple[Trait, ...]) -> bool:
        """Whether this client may watch this resource, and the server was told so (2026-07-28).

        One request may name many: each is an attempt of its own.
        """
        raw = tool_call(f"{server}/resources.subscribe", {"uri": uri}, client=client)
        if self._wall.knock(origin, "tool", raw) is not None:
            return False
        return isinstance(await self._end(self._flight(origin, raw, 0.0)), Result)

    async def _follow(self, following: _Following, reply: Reply) -> None:
        asked = following.asked
        shown: list[str] = []
        try:
            end = await self._until_end(following, shown, reply)
            for _ in range(MAX_ROUNDS):
                if not (asked.session and following.fly and isinstance(end, Result) and wants_input(end.value)):
                    break
                inputs = await answers(asked.session, asked.id, end, reply, shown)
                if isinstance(inputs, Not | Gone):
                    end = inputs
                    break
                following.flight = following.fly(inputs)
                end = await self._until_end(following, shown, reply)
            if end is not None:
                await _finish(asked, end, reply)
        finally:
            if asked.session is not None:
                asked.session.running.pop(asked.id, None)
                for name in shown:
                    asked.session.questions.pop(name, None)

    async def _until_end(self, following: _Following, shown: list[str], reply: Reply) -> End | None:
        """Pass on what comes before the end; None: the client's request is answered, and the call goes on."""
        asked, flight = following.asked, following.flight
        if asked.session is not None:
            asked.session.running[asked.id] = flight.task
        async with _ended_if_left(flight):
            while True:
                item = await _soon(flight, reply)
                if isinstance(item, Said):
                    await _say(asked, item, reply)
                elif not isinstance(item, Asks):
                    return item
                elif await self._asks(following, item, shown, reply):
                    return None

    async def _asks(self, following: _Following, item: Asks, shown: list[str], reply: Reply) -> bool:
        """Put a server's question to the client; whether the client's request is answered with it."""
        asked = following.asked
        if asked.session is None and await self._gather(following, item):
            await self._park(following, reply)
            return True
        name = None
        if asked.session is not None and reply.streams and _can(asked, item.method):
            name = asked.session.ask(Question(server=following.server, number=item.number, method=item.method))
        if name is not None:
            shown.append(name)
            await reply.event(rpc.request(name, item.method, item.params))
        elif asked.session is not None and item.method in methods.ANSWERS:
            await self._cannot(following, item)
        return False

    async def _gather(self, following: _Following, first: Asks) -> bool:
        """Collect what the server asks at once; whether any of it can be put to the client."""
        waiting = [first]
        try:
            async with asyncio.timeout(GATHER_S):
                while isinstance(item := await following.flight.next(), Asks | Said):
                    if isinstance(item, Asks):
                        waiting.append(item)
                following.flight.back(item)
        except TimeoutError:
            pass
        for item in waiting:
            if _can(following.asked, item.method):
                following.questions[f"ask-{item.number}"] = item
            elif item.method in methods.ANSWERS:
                await self._cannot(following, item)
        return bool(following.questions)

    async def _cannot(self, following: _Following, item: Asks) -> None:
        answer = _no("the client cannot be asked this")
        await self.tell(following.asked.origin, following.server, item.number, item.method, answer)

    async def _park(self, following: _Following, reply: Reply) -> None:
        asked = following.asked
        parked = Parked(flight=following.flight, launch=asked.launch, at=asked.at, method=asked.method,
                        operands=methods.operands(asked.params), server=following.server,
                        questions=dict(following.questions))
        state = self.parking.park(parked)
        wanted = {key: {"method": one.method, "params": one.params} for key, one in parked.questions.items()}
        value = {"resultType": results.INPUT_REQUIRED, "inputRequests": wanted, "requestState": state}
        await reply.result(asked.id, value)


@dataclass(slots=True)
class _Following:
    asked: Asked
    server: str
    flight: Flight
    questions: dict[str, Asks]
    fly: Callable[[Json], Flight] | None


class _ended_if_left:  # noqa: N801 (used like a function)
    """Cancels a flight if the task that follows it fails or is cancelled."""

    def __init__(self, flight: Flight) -> None:
        self._flight = flight

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            await self._flight.end()


async def _soon(flight: Flight, reply: Reply) -> Item:
    """The next piece; while there is none, a ping now and then."""
    while True:
        try:
            async with asyncio.timeout(reply.quiet_s):
                return await flight.next()
        except TimeoutError:
            await reply.ping()


async def _say(asked: Asked, item: Said, reply: Reply) -> None:
    """Pass on what the client wants to hear."""
    if not reply.streams:
        return
    params = item.params
    if item.method == PAUSED:
        await reply.pause()
    elif item.method == "notifications/progress" and asked.token is not None:
        kept = {name: params[name] for name in ("progress", "total", "message") if name in params}
        await reply.event(rpc.notification(item.method, {"progressToken": asked.token, **kept}))
    elif item.method == "notifications/message" and _loud_enough(asked, params.get("level")):
        kept = {name: params[name] for name in ("level", "logger", "data") if name in params}
        await reply.event(rpc.notification(item.method, kept))


def _loud_enough(asked: Asked, level: Json) -> bool:
    """In 2026-07-28 a request says from which level on it wants to hear of its log; before, the server knows."""
    if level not in _LEVELS:
        return False
    least = asked.params.meta.get(revisions.LOG_LEVEL_KEY)
    return asked.session is not None or (least in _LEVELS and _LEVELS.index(level) >= _LEVELS.index(least))


async def _finish(asked: Asked, end: End, reply: Reply) -> None:
    stateless = asked.session is None
    match end:
        case Result():
            try:
                value = results.accepted(asked.method, end.value, stateless=stateless)
            except BadInput as fault:
                await _refuse(asked, Not(code=fault.code, reason=fault.cause, record=end.record), reply)
                return
            _watch(asked)
            await reply.result(asked.id, value)
        case Broken():
            await reply.fault(asked.id, end.fault)
        case Not():
            await _refuse(asked, end, reply)
        case _:
            await reply.nothing()


def _watch(asked: Asked) -> None:
    """The server did what it was asked: if that was to tell of a resource, it is news for this client."""
    if asked.session is not None and isinstance(asked.params, methods.ReadResource):
        if asked.method == "resources/subscribe":
            asked.session.watched.add(asked.params.uri)
        elif asked.method == "resources/unsubscribe":
            asked.session.watched.remove(asked.params.uri)


async def _refuse(asked: Asked, no: Not, reply: Reply) -> None:
    if asked.method == "tools/call":
        value = results.of_revision(asked.method, tool_error(no), stateless=asked.session is None)
        await reply.result(asked.id, value)
    else:
        await reply.fault(asked.id, as_fault(no))


def _can(asked: Asked, method: str) -> bool:
    return method in methods.ANSWERS and methods.CLIENT_CAPABILITY[method] in asked.answers


def _no(why: str) -> Json:
    return {"error": {"code": rpc.REFUSED, "message": why}}


def _inputs(params: methods.Params) -> Json:
    """Answers to what the server asked in an earlier result."""
    responses, state = getattr(params, "input_responses", None), getattr(params, "request_state", None)
    if responses is None and state is None:
        return None
    return {"responses": responses or {}, "state": state or ""}


def _trace(meta: dict[str, Json]) -> str:
    """The traceparent of a request, if it is one; it names spans and nothing else."""
    found = meta.get("traceparent")
    good = isinstance(found, str) and len(found) == _TRACE_LENGTH and set(found) <= _TRACE
    return found if good and isinstance(found, str) else ""


def unknown_state() -> Fault:
    """A state that was not given out here, or not to this client, or was used already."""
    return Fault(code=rpc.INVALID_PARAMS, message="`requestState` is not known here: repeat the request without it")
