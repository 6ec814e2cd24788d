"""MCP at an agent's own door. Nothing here judges: what has an effect is one call through the wall."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from ringwall.call import Json, Process
from ringwall.clock import Clock
from ringwall.doors.http import is_json, status_of
from ringwall.doors.interface import Desk, Ears, Judge, Scope, Send
from ringwall.doors.mcp import offers as listed
from ringwall.doors.mcp.asking import Asked, Caller, unknown_state
from ringwall.doors.mcp.flights import Not, of_refusal
from ringwall.doors.mcp.following import Following
from ringwall.doors.mcp.incoming import From
from ringwall.doors.mcp.news import News
from ringwall.doors.mcp.offers import Offers, Shelf
from ringwall.doors.mcp.parked import PREFIX
from ringwall.doors.mcp.places import accepts, foreign, header, server_of
from ringwall.doors.mcp.reply import SESSION_HEADER, Reply, as_fault
from ringwall.doors.mcp.sessions import Session, Sessions
from ringwall.doors.mcp.tapes import Tape, Tapes
from ringwall.doors.protocol import Presence
from ringwall.errors import BadInput
from ringwall.interface import Origin
from ringwall.wire.mcp import methods, results, revisions, rpc
from ringwall.wire.mcp.rpc import Answer, Fault, Notification, Request

SERVER: Final[Json] = {"name": "ringwall", "version": "1"}  # no exact version: it would be a fingerprint
LAST_EVENT_HEADER: Final = b"last-event-id"
_CODES: Final[Mapping[str, int]] = {
    "mcp_unknown_method": rpc.METHOD_NOT_FOUND, "mcp_bad_params": rpc.INVALID_PARAMS,
    "mcp_bad_rpc": rpc.INVALID_REQUEST, "mcp_bad_version": rpc.INVALID_REQUEST,
}  # fmt: skip


class McpDoor:
    """Answers ``/mcp`` and ``/mcp/<server>``.

    Args:
        wall: every call goes through it.
        desk: where held calls wait.
        clock: for idle sessions.
        ears: hears what servers say by themselves.

    """

    def __init__(self, wall: Judge, desk: Desk, clock: Clock, ears: Ears) -> None:
        self._wall = wall
        self._caller = Caller(wall, desk)
        self._sessions = Sessions(clock)
        self._news = News(ears)
        self._following = Following(self._news, self._caller)
        self._tapes = Tapes()
        self._offers = Shelf(clock)

    def changed(self, tenant: str) -> None:
        """A tenant's tools are other ones now: whoever listens is told to list again."""
        self._offers.forget(tenant)
        self._news.changed(tenant)

    async def close(self) -> None:
        """End what waits for an answer of a client's between two requests, or runs for one that may come back."""
        await self._tapes.close()
        await self._caller.parking.close()

    async def answer(self, scope: Scope, raw: bytes, presence: Presence, origin: Origin, send: Send) -> None:
        """Answer one request."""
        at = server_of(scope["raw_path"].decode("ascii"))
        reply = Reply(send, stateless=False, streams=accepts(scope, "text/event-stream"), tapes=self._tapes)
        refusal = self._wall.knock(origin, "tool", raw)
        if refusal is not None:
            await reply.fault(rpc.rpc_id(raw), as_fault(of_refusal(refusal)), status_of(refusal))
            return
        wrong = "there is nothing at this path" if at is None else foreign(scope)
        if at is None or wrong:
            code = "unknown_path" if at is None else "mcp_foreign"
            self._wall.turned_away(origin, "tool", code=code)
            await reply.fault(None, _wrong(wrong), 404 if at is None else 403)
            return
        launch = origin.subject.launch if isinstance(origin.subject, Process) else ""
        one = From(scope=scope, origin=origin, launch=launch, at=at, presence=presence, reply=reply)
        match scope["method"]:
            case "POST":
                await self._post(one, raw)
            case "GET":
                await self._get(one)
            case "DELETE":
                await self._delete(one)
            case _:
                await reply.empty(405, [(b"allow", b"GET, POST, DELETE")])

    # --- what a request is

    async def _post(self, one: From, raw: bytes) -> None:
        reply = one.reply
        if not is_json(one.scope["headers"]):
            await reply.fault(None, _wrong("send Content-Type: application/json"), 415)
            return
        if not reply.streams and not accepts(one.scope, "application/json"):
            await reply.fault(None, _wrong("send Accept: application/json, text/event-stream"), 406)
            return
        try:
            message = rpc.parse(raw)
        except BadInput as fault:
            self._wall.turned_away(one.origin, "tool", fault.code)
            code = _CODES.get(fault.code, rpc.PARSE_ERROR)
            await reply.fault(rpc.rpc_id(raw), Fault(code=code, message=_said(fault)), 400)
            return
        try:
            await self._message(one, message)
        except BadInput as fault:
            self._wall.turned_away(one.origin, "tool", fault.code)
            wrong = Fault(code=_CODES.get(fault.code, rpc.INVALID_REQUEST), message=_said(fault))
            http = 400 if wrong.code == rpc.INVALID_REQUEST else 0
            await reply.fault(message.id if isinstance(message, Request) else None, wrong, http)

    async def _message(self, one: From, message: rpc.Message) -> None:
        headers = one.scope["headers"]
        meta = None if isinstance(message, Answer) else message.params.get("_meta")
        if revisions.stateless(headers, meta):
            one.reply.stateless = True
            await self._stateless(one, message)
            return
        if isinstance(message, Request):
            wrong = revisions.check_repeated(headers, message, needed=False)
            if wrong is not None:
                self._wall.turned_away(one.origin, "tool", code="mcp_headers_differ")
                await one.reply.fault(message.id, wrong, 400)
                return
            if message.method == "initialize":
                await self._initialize(one, message)
                return
        session = await self._session(one, message.id if isinstance(message, Request) else None)
        if session is None:
            return
        match message:
            case Request():
                params = methods.check(methods.WITH_SESSION, message.method, message.params)
                await self._ask(one, message, params, session)
            case Notification():
                if message.method == "notifications/cancelled":
                    _cancel(session, methods.cancelled(message.params))
                await one.reply.empty(202)
            case Answer():
                await self._told(one, session, message)

    async def _stateless(self, one: From, message: rpc.Message) -> None:
        """2026-07-28. There are no notifications of a client's that mean anything: to cancel is to hang up."""
        if isinstance(message, Notification):
            await one.reply.empty(202)
            return
        if isinstance(message, Answer):
            raise BadInput("an answer without a session answers nothing", code="mcp_bad_rpc")
        wrong = revisions.check_stateless(one.scope["headers"], message)
        if wrong is not None:
            self._wall.turned_away(one.origin, "tool", code="mcp_headers_differ")
            await one.reply.fault(message.id, wrong)
            return
        params = methods.check(methods.STATELESS, message.method, message.params)
        if isinstance(params, methods.Listen):
            await self._listen(one, message.id, params)
            return
        await self._ask(one, message, params, None)

    # --- sessions

    async def _initialize(self, one: From, message: Request) -> None:
        params = methods.convert(message.params, methods.Initialize)
        wished = params.protocol_version
        revision = wished if wished in revisions.WITH_SESSION else revisions.WITH_SESSION[0]
        found = await self._offered(one, fresh=True)
        if isinstance(found, Not):
            await one.reply.fault(message.id, as_fault(found))
            return
        session = self._sessions.open(one.launch, one.at, revision, params.capabilities)
        if session is None:
            busy = Not(code="too_many_sessions", reason="all sessions of this agent are in use",
                       remedy="end one with DELETE, or let its requests finish")
            await one.reply.fault(message.id, as_fault(busy), 429)
            return
        value = {"protocolVersion": revision, "capabilities": found.capabilities(),
                 "serverInfo": SERVER}
        await one.reply.result(message.id, value, [(SESSION_HEADER, session.id.encode())])

    async def _session(self, one: From, id: rpc.Id | None) -> Session | None:  # noqa: A002
        """The session of a request. None: it has none, and was answered so. Raises BadInput."""
        name = header(one.scope, SESSION_HEADER)
        session = self._sessions.find(name, one.launch, one.at) if name else None
        if session is None:
            missing = "send the Mcp-Session-Id that `initialize` was answered with"
            message = "there is no such session here: initialize again" if name else missing
            await one.reply.fault(id, _wrong(message), 404 if name else 400)
            return None
        revisions.need_version(one.scope["headers"], session.revision)
        return session

    async def _told(self, one: From, session: Session, answer: Answer) -> None:
        """The client answers a server's question."""
        question = session.questions.pop(answer.id, None)
        if question is None:
            raise BadInput("this answers no question that is open", code="mcp_bad_rpc")
        if question.waiting is not None:
            if not question.waiting.done():
                question.waiting.set_result(answer)
            await one.reply.empty(202)
            return
        given: Json = answer.result
        if answer.fault is not None:
            given = {"error": {"code": answer.fault.code, "message": answer.fault.message}}
        with one.presence.waiting():
            no = await self._caller.tell(one.origin, question.server, question.number, question.method, given)
        if no is None:
            await one.reply.empty(202)
        else:
            await one.reply.fault(None, as_fault(no), 403)

    async def _get(self, one: From) -> None:
        """A stream of news, in 2025-11-25."""
        if revisions.stateless(one.scope["headers"], None):
            await one.reply.empty(405, [(b"allow", b"POST")])
            return
        if not one.reply.streams:
            await one.reply.empty(406)
            return
        try:
            session = await self._session(one, None)
        except BadInput as fault:
            await one.reply.fault(None, _wrong(_said(fault)), 400)
            return
        if session is None:
            return
        last = header(one.scope, LAST_EVENT_HEADER)
        if last:
            await self._resume(one, session, last)
            return
        found = await self._offered(one)
        await self._following.session(one, session, () if isinstance(found, Not) else found.servers)

    async def _resume(self, one: From, session: Session, last: str) -> None:
        """The rest of a stream that its client lost."""
        found = self._tapes.find(last, one.launch, session.id)
        if found is None:
            await one.reply.fault(None, _wrong("that stream is over: send the request again"), 400)
            return
        with self._tapes.reading(found[0]), one.presence.waiting():
            await one.reply.replay(*found)

    async def _delete(self, one: From) -> None:
        if revisions.stateless(one.scope["headers"], None):
            await one.reply.empty(405, [(b"allow", b"POST")])
            return
        name = header(one.scope, SESSION_HEADER)
        session = self._sessions.find(name, one.launch, one.at)
        if session is None:
            await one.reply.empty(404 if name else 400)
            return
        self._sessions.close(session)
        await one.reply.empty(204)

    async def _listen(self, one: From, id: rpc.Id, params: methods.Listen) -> None:  # noqa: A002
        """A stream of news, in 2026-07-28: first what is told at all, of what was asked for."""
        if not one.reply.streams:
            await one.reply.empty(406)
            return
        found = await self._offered(one)
        if isinstance(found, Not):
            await one.reply.fault(id, as_fault(found))
            return
        await self._following.asked(one, id, params, found)

    # --- requests

    async def _ask(self, one: From, message: Request, params: methods.Params, session: Session | None) -> None:
        if session is not None and message.id in session.running:
            raise BadInput("a request with this `id` is under way", code="mcp_bad_rpc")
        asked = Asked(id=message.id, method=message.method, params=params, origin=one.origin, launch=one.launch,
                      at=one.at, session=session, seconds=one.seconds)
        with one.presence.waiting():
            match message.method:
                case "ping":
                    await one.reply.result(message.id, {})
                case "server/discover":
                    await self._discover(one, message.id)
                case "tools/list":
                    await self._list(one, message.id)
                case _ if session is not None and session.resumes and one.reply.streams:
                    await self._last_out(one, asked, session)
                case _:
                    await self._call(one, asked)

    async def _last_out(self, one: From, asked: Asked, session: Session) -> None:
        """A call that goes on for a while if its client hangs up and was told that it can come back."""
        tape = Tape(one.launch, session.id)
        one.reply.resumable(tape)
        work = asyncio.create_task(self._call(one, asked))
        try:
            if await one.reply.lasts(work):
                work.result()
            else:
                self._tapes.leave(tape, work)
        except asyncio.CancelledError:
            one.reply.gone()
            if one.presence.gone and one.reply.kept:
                self._tapes.leave(tape, work)
            else:
                work.cancel()
                await asyncio.wait({work})
            raise

    async def _discover(self, one: From, id: rpc.Id) -> None:  # noqa: A002
        found = await self._offered(one, fresh=True)
        if isinstance(found, Not):
            await one.reply.fault(id, as_fault(found))
            return
        value: dict[str, Json] = {
            "supportedVersions": [revisions.STATELESS],
            "capabilities": found.capabilities(),
            "_meta": {revisions.SERVER_KEY: SERVER},
        }
        await one.reply.result(id, results.of_revision("server/discover", value, stateless=True))

    async def _list(self, one: From, id: rpc.Id) -> None:  # noqa: A002
        await one.reply.begin_early()
        found = await self._offered(one, fresh=True)
        if isinstance(found, Not):
            await one.reply.fault(id, as_fault(found))
            return
        value: dict[str, Json] = {"tools": list(found.tools)}
        await one.reply.result(id, results.of_revision("tools/list", value, stateless=one.reply.stateless))

    async def _call(self, one: From, asked: Asked) -> None:
        params = asked.params
        state = getattr(params, "request_state", None)
        if isinstance(state, str) and state.startswith(PREFIX):
            parked = self._caller.parking.take(state, one.launch, one.at, asked.method, methods.operands(params))
            if parked is None:
                await one.reply.fault(asked.id, unknown_state())
            else:
                await self._caller.resume(asked, parked, one.reply)
            return
        if isinstance(params, methods.CallTool):
            await self._tool(one, asked, params)
            return
        op = methods.OPERATIONS[asked.method]
        found = await self._offered(one)
        if isinstance(found, Not):
            await one.reply.fault(asked.id, as_fault(found))
            return
        server = found.server(op)
        if server is None:
            servers = ", ".join(found.reserved.get(op, ()))
            more = f": ask at /mcp/<server>, one of {servers}" if servers else ""
            message = f"there is no {asked.method} here{more}"
            await one.reply.fault(asked.id, Fault(code=rpc.METHOD_NOT_FOUND, message=message))
            return
        await self._caller.call(asked, server, op, methods.operands(params), one.reply)

    async def _tool(self, one: From, asked: Asked, params: methods.CallTool) -> None:
        server, op = listed.target(params.name, one.at)
        if not server or not op or op in methods.RESERVED:
            wrong = Fault(code=rpc.INVALID_PARAMS, message=f"there is no tool {params.name[:80]!a} here")
            await one.reply.fault(asked.id, wrong)
            return
        if one.reply.stateless:
            wanted = self._offers.headers(one.launch, one.at, params.name)
            wrong = revisions.check_arguments(one.scope["headers"], wanted, params.arguments)
            if wrong is not None:
                await one.reply.fault(asked.id, wrong)
                return
        await self._caller.call(asked, server, op, params.arguments, one.reply)

    async def _offered(self, one: From, *, fresh: bool = False) -> Offers | Not:
        """What this agent is listed at this path."""
        kept = None if fresh else self._offers.get(one.launch, one.at)
        if kept is not None:
            return kept
        listing = await self._caller.listing(one.origin)
        if isinstance(listing, Not):
            return listing
        found = listed.offers(listing, one.at)
        self._offers.put(one.launch, one.at, one.origin.subject.tenant, found)
        return found


def _cancel(session: Session, wish: methods.Cancelled) -> None:
    """Cancel the call under way of this session with that id; there may be none any more."""
    task = session.running.get(wish.request_id)
    if task is not None:
        task.cancel()


def _said(fault: BadInput) -> str:
    return f"{fault.cause} ({fault.remedy})" if fault.remedy else fault.cause


def _wrong(message: str) -> Fault:
    return Fault(code=rpc.INVALID_REQUEST, message=message)
