"""The agent's door: few requests, each of which is one call through the wall (docs/openapi.json).

The body goes to the wall as it came. Nothing here judges or remembers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Final, Protocol

import msgspec

from ringwall.call import Approval, Call, Json, Kind, Last, Process, as_object
from ringwall.doors.a2a import PREFIX, MessageDoor, message, named
from ringwall.doors.http import (
    Problem,
    encode_result,
    is_json,
    of_denied,
    of_refusal,
    prefer_wait,
    read_body,
    send_json,
    send_problem,
    status_of,
)
from ringwall.doors.interface import Answer, Desk, Judge, Receive, Scope, Send
from ringwall.doors.models.judging import Judging
from ringwall.doors.models.offers import Offers
from ringwall.doors.protocol import CONNECTION, PRESENCE, Presence
from ringwall.errors import RingwallError
from ringwall.identity.registry import Attestation, Connection, Registry
from ringwall.interface import HeldCall, Origin, Refusal, Stopped
from ringwall.wall import LISTING

log = logging.getLogger("ringwall.doors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What a path means: a kind of call, and the only body it takes if the call is fixed."""

    kind: Kind
    fixed: bytes | None = None
    shape: type[msgspec.Struct] | None = None  # of the body, where others of its kind have paths of their own


class _Reading(msgspec.Struct, forbid_unknown_fields=True):
    """An SVID is a call of kind "secret" too, and comes over its own socket only."""

    read: str


ROUTES: Final[Mapping[str, Route]] = {
    "/v1/tools/call": Route(kind="tool"),
    "/v1/tools/list": Route(kind="tool", fixed=b'{"tool":"%s","args":{}}' % LISTING.encode()),
    "/v1/models/complete": Route(kind="model"),
    "/v1/secrets/read": Route(kind="secret", shape=_Reading),
}
MESSAGES: Final = "/v1/messages/send/"  # and the peer's name
MAX_WAIT_S: Final = 3600.0  # how long one request may wait for a human; asking again is cheap
_EMPTY: Final = frozenset({b"", b"{}"})


class Voices(Protocol):
    """Answers requests in a protocol of its own: A2A, a model provider's, MCP."""

    async def answer(self, scope: Scope, raw: bytes, presence: Presence, origin: Origin, send: Send) -> None:
        """Answer one request."""
        ...


@dataclass(frozen=True, slots=True)
class _Reply:
    """What will be sent: a problem with its status, or else the body of 200."""

    status: int
    body: bytes = b""
    problem: Problem | None = None


class AgentDoor:
    """The ASGI app.

    Args:
        wall: every call goes through it.
        registry: says who is behind a connection.
        desk: says when a held call waits no more.
        others: who answers below a path's first part, in another protocol.
        offers: whose completions are judged before the agent sees their tool calls; None: nobody's.

    """

    def __init__(
        self, wall: Judge, registry: Registry, desk: Desk, others: Mapping[str, Voices] = MappingProxyType({}),
        offers: Offers | None = None,
    ) -> None:
        self._offers = offers
        self._wall = wall
        self._registry = registry
        self._desk = desk
        self._others: Mapping[str, Voices] = {PREFIX.strip("/"): MessageDoor(wall, desk), **others}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. When the peer goes, a call that runs for it is cancelled."""
        raw = await read_body(receive)
        if raw is None:
            return
        presence: Presence = scope["extensions"][PRESENCE]
        try:
            other = self._others.get(scope["raw_path"].decode("ascii")[1:].partition("/")[0])
            if other is not None:
                origin = self._origin(scope["extensions"][CONNECTION])
                await other.answer(scope, raw, presence, origin, send)
                return
            reply = await self._reply(scope, raw, presence)
        except asyncio.CancelledError:
            if presence.gone:
                return  # nobody is left to answer; the wall has settled and recorded the call
            raise
        except RingwallError as fault:
            reply = _wrong(503, fault.code, fault.cause, fault.remedy)
        except Exception:
            log.exception("the agent's door failed")
            reply = _wrong(500, "internal", "the door failed; the call's record tells whether it ran")
        await _send(send, reply)

    async def _reply(self, scope: Scope, raw: bytes, presence: Presence) -> _Reply:
        path = scope["raw_path"].decode("ascii")
        peer = path.removeprefix(MESSAGES) if path.startswith(MESSAGES) else ""
        route = Route(kind="message") if named(peer) else ROUTES.get(path)
        origin = self._origin(scope["extensions"][CONNECTION])
        if route is None:
            known = ", ".join([*ROUTES, f"{MESSAGES}<peer>"])
            self._wall.turned_away(origin, "tool", "unknown_path")
            return _wrong(404, "unknown_path", "there is nothing at this path", f"the paths are {known}")
        wrong = _check(scope, route, raw)
        if wrong is not None:
            self._wall.turned_away(origin, route.kind, wrong.problem.code if wrong.problem else "")
            return wrong
        if peer:
            raw = message("sdk", raw, peer=peer)
        call = await self._wall.admit(origin, route.kind, raw if route.fixed is None else route.fixed)
        if isinstance(call, Refusal):
            return _refused(call)
        reply = await self._perform(call, presence, origin)
        seconds = min(prefer_wait(scope["headers"]), MAX_WAIT_S)
        if not isinstance(reply, HeldCall) or not seconds:
            return _held(reply) if isinstance(reply, HeldCall) else reply
        return await self._later(call, reply, seconds, presence, origin)

    async def _perform(self, call: Call, presence: Presence, origin: Origin) -> _Reply | HeldCall:
        async with self._wall.perform(call) as passage:
            if isinstance(passage, Refusal):
                return _refused(passage)
            if isinstance(passage, HeldCall):
                return passage
            with presence.waiting():
                reply = await _collect(passage, self._seen(call, origin))
        return reply

    def _seen(self, call: Call, origin: Origin) -> Callable[[Json], Awaitable[Json]]:
        """What becomes of a result on its last step: tool calls that would be refused leave a completion."""
        if call.kind != "model" or self._offers is None:
            return _as_it_is
        return partial(Judging(self._wall, self._offers, origin).whole, call.args["api"])

    async def _later(
        self, call: Call, held: HeldCall, seconds: float, presence: Presence, origin: Origin
    ) -> _Reply:
        """Wait for a human, outside the wall; then the same call crosses every ring again, with what was said."""
        with presence.waiting():
            over = await self._desk.decided(held.record, seconds)
        if not over:
            return _held(held)
        reply = await self._perform(replace(call, approval=Approval(record=held.record)), presence, origin)
        return _held(reply) if isinstance(reply, HeldCall) else reply

    def _origin(self, connection: Connection) -> Origin:
        """Who asks. An unattested process asks too: the identity ring refuses it, on the record."""
        launch = connection.launch
        found = self._registry.attest(connection.number)
        subject = Process(
            spiffe_id=launch.spiffe_id,
            launch=launch.id,
            connection=connection.number,
            number=found.number if isinstance(found, Attestation) else 0,
        )
        return Origin(subject=subject, session=launch.session, key=str(launch.spiffe_id))


def _check(scope: Scope, route: Route, raw: bytes) -> _Reply | None:
    """What is wrong with the request before anybody looks into its body."""
    if scope["method"] != "POST":
        return _wrong(405, "unknown_method", "this path takes POST only")
    if scope["query_string"]:
        return _wrong(400, "bad_query", "this path takes no query")
    if not is_json(scope["headers"]):
        return _wrong(415, "unknown_type", "the body must be JSON in UTF-8", "send Content-Type: application/json")
    if route.fixed is not None and raw.strip() not in _EMPTY:
        return _wrong(400, "bad_body", "this path takes an empty body or {}")
    if route.shape is not None and not _fits(raw, route.shape):
        return _wrong(400, "bad_body", 'this path takes {"read": NAME}')
    return None


def _fits(raw: bytes, shape: type[msgspec.Struct]) -> bool:
    """Whether the body can be this at all; what it is in every letter is the resolver's to say."""
    try:
        msgspec.json.decode(raw, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _wrong(status: int, code: str, reason: str, remedy: str = "") -> _Reply:
    return _Reply(status, problem=Problem(code=code, reason=reason, remedy=remedy))


async def _as_it_is(result: Json) -> Json:
    return result


async def _collect(passage: Answer, seen: Callable[[Json], Awaitable[Json]]) -> _Reply:
    """Let the effect run to its end and put its pieces together."""
    whole: list[Json] = []
    deltas: list[str] = []
    try:
        async for chunk in passage.chunks():
            if not chunk.whole and isinstance(chunk.value, str):
                deltas.append(chunk.value)
            else:
                whole.append(chunk.value)
    except Stopped as stop:
        return _Reply(403, problem=of_denied(stop.denied, passage.record))
    last = passage.last or Last(end="unknown")
    if last.end != "done":
        return _failed(last, passage.record, whole)
    if len(whole) > 1 or (whole and deltas):
        return _unfit(passage.record, "the effect gave more than one result")
    body = encode_result(await seen(whole[0]) if whole else "".join(deltas) if deltas else None, passage.record)
    return _Reply(200, body=body) if body is not None else _unfit(passage.record, "the result is not JSON")


def _failed(last: Last, record: str, released: list[Json]) -> _Reply:
    """A tool's own words come as a released piece: they crossed the rings like any other result."""
    error = last.error or {}
    words = (as_object(released[0]) or {}).get("error") if len(released) == 1 else None
    words = (as_object(words) or {}).get("message", words)  # a peer's error is an object
    if isinstance(words, str) and last.end == "failed":
        return _Reply(502, problem=Problem(code=error.get("code") or "effect_failed", reason=words, record=record))
    unknown = "it is not known whether the effect happened" if last.end == "unknown" else "the effect failed"
    code = error.get("code") or f"effect_{last.end}"
    return _Reply(502, problem=Problem(code=code, reason=error.get("reason") or unknown, record=record))


def _unfit(record: str, reason: str) -> _Reply:
    return _Reply(502, problem=Problem(code="bad_result", reason=reason, record=record))


def _refused(refusal: Refusal) -> _Reply:
    return _Reply(status_of(refusal), problem=of_refusal(refusal))


def _held(held: HeldCall) -> _Reply:
    reason, remedy = "a human must approve this call first", f"repeat it with the approval {held.record}"
    return _Reply(409, problem=Problem(code="held", reason=reason, remedy=remedy, record=held.record))


async def _send(send: Send, reply: _Reply) -> None:
    if reply.problem is None:
        await send_json(send, reply.body)
        return
    extra = ((b"allow", b"POST"),) if reply.status == 405 else ()
    await send_problem(send, reply.status, reply.problem, extra)
