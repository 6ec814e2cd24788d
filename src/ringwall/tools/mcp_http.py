"""One MCP server over streamable HTTP, in both revisions. Runs in the sidecar only.

2026-07-28 has no sessions: each request says all there is to know. It is tried first, with ``server/discover``, and
what the server turned out to speak is remembered. For 2025-11-25 each launch has a session of its own, named by
``CallTool.session``. A credential comes with each call and is kept no longer; it must not come back.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec

from ringwall.call import Json
from ringwall.errors import BadInput, Unavailable
from ringwall.tools import mcp_headers, mcp_ops, mcp_rpc
from ringwall.tools.echo import Echoes, of_headers
from ringwall.tools.mcp_call import EVENTS, Exchange, Tell, exchange
from ringwall.tools.mcp_headers import BASE, OWNED
from ringwall.tools.mcp_news import ACKNOWLEDGED, LISTS, Ear, Ears, subscription, until
from ringwall.tools.mcp_post import PAUSED, Hear, Posted, Poster
from ringwall.tools.mcp_rpc import Answer, Note, Request
from ringwall.tools.mcp_sessions import Key, Session, Sessions
from ringwall.tools.outside import Outside
from ringwall.tools.patience import MAX_ASKING_S, Patience
from ringwall.tools.protocol import CallTool, Listen, ServerConfig
from ringwall.tools.values import NoAnswer
from ringwall.wire.mcp import rpc

UNSUPPORTED: Final = -32022  # MCP 2026-07-28: it does not speak that revision
DISCOVER_S: Final = 5.0  # an older server may leave a question unanswered that it does not know
MAX_ASIDE: Final = 64  # messages of ours under way beside the calls: replies, cancellations
ASIDE_S: Final = 5.0  # seconds for one
WATCHING: Final = frozenset({"resources/subscribe", "resources/unsubscribe"})
MAX_LEVELS: Final = 256  # sessions whose level of logging is kept


@dataclass(frozen=True, slots=True)
class _Way:
    """How a client's requests go out: whose session, with which headers, what it can be asked, and whether rather
    in a revision with sessions."""

    session: str
    headers: Mapping[str, str]
    asks: tuple[str, ...] = ()
    older: bool = False

    @property
    def key(self) -> Key:
        return self.session, self.asks


class McpHttp:
    """A server.

    Args:
        config: where it is, and its limits.
        on_changed: called when its definitions may have changed.
        outside: the HTTP client, by default its own.

    """

    def __init__(self, config: ServerConfig, *, on_changed: Callable[[], None],
                 outside: Outside | None = None) -> None:
        self._config = config
        self._on_changed = on_changed
        host = urlsplit(config.url).hostname or ""
        self._outside = outside or Outside(private=config.private, literal=[host], timeout_s=config.timeout_s,
                                           max_bytes=config.max_bytes)
        self._poster = Poster(url=config.url, outside=self._outside, max_bytes=config.max_bytes,
                              quiet_s=config.timeout_s + MAX_ASKING_S)
        self._numbers = itertools.count(1)
        self._modern: bool | None = None  # None: not known yet
        self._handshakes = True  # or so we think
        self._deciding = asyncio.Lock()
        self._sessions = Sessions(retire=self._retire)
        self._ears = Ears()
        self._mirrored: dict[str, mcp_headers.Mirrored] = {}
        self._levels: dict[str, str] = {}
        self._asides: set[asyncio.Task[None]] = set()

    async def call(self, message: CallTool, args: Json, left: Callable[[], bool], tell: Tell) -> Json:
        """What the operation's answer becomes (``mcp_call``). Cancelled while ``left``, it tells the server to stop
        and waits for its last word, or as long as a call may take.

        Raises:
            ToolFailed: the tool said no.
            BadInput: bad_answer, result_too_large, bad_arguments, tool_input_required.
            NoAnswer: with its end.
            Unavailable: abandoned, it was left and is over.

        """
        if message.op in mcp_ops.ANSWERS:
            return await self._answer(message, args)
        secrets = of_headers(message.headers.values())
        asked = exchange(next(self._numbers), message, args, tell, secrets)
        way = self._way(message)
        work = asyncio.create_task(self._run(asked, way))
        try:
            answer = await asyncio.shield(work)
        except asyncio.CancelledError:
            self._stop(asked, way, work)
            if not left():
                work.cancel()
                raise
            await self._last_word(asked, work)
            raise Unavailable("nobody waited for the answer", code="abandoned") from None
        if asked.method == "tools/call" and _unknown_tool(answer):
            self._on_changed()
        return asked.outcome(answer)

    def _way(self, message: CallTool | Listen) -> _Way:
        asks = tuple(one for one in self._config.asks if one in message.client)
        return _Way(message.session, message.headers, asks, "handshake" in message.client)

    def _stop(self, asked: Exchange, way: _Way, work: asyncio.Task[Answer]) -> None:
        """Tell the server that nobody waits any more: by the end of the stream, or in so many words."""
        session = self._sessions.known(way.key)
        if session is None or not asked.in_session:
            work.cancel()
        elif not work.done():
            said = rpc.notification("notifications/cancelled", {"requestId": asked.number})
            self._aside(self._say(session, said, way.headers))

    async def _last_word(self, asked: Exchange, work: asyncio.Task[Answer]) -> None:
        """Wait for the end of a call that nobody waits for. Without a stream, nobody will ever tell."""
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        try:
            await asyncio.wait([work])
            if work.cancelled() and asked.sent:
                await asyncio.sleep(self._config.timeout_s)
        finally:
            work.cancel()

    async def listen(self, message: Listen, tell: Callable[[bytes], None]) -> None:
        """Hear what the server says by itself, until its stream ends. Raises as ``call``."""
        way = self._way(message)
        with self._ears.open(message, tell) as ear:
            asked = Exchange(number=next(self._numbers), method="subscriptions/listen",
                             params=subscription(message.uris))
            async with asyncio.timeout(self._config.timeout_s):
                stateless = await self._is_stateless(way)
            if stateless:
                sent = self._post_modern(asked, way, lambda said: self._overhear(said, ear))
                posted = await until(ear.full, sent)
                if posted is not None and (posted.answer is None or posted.answer.error is not None):
                    raise NoAnswer("failed", "upstream_refused", posted.status)
                return
            session = await self._sessions.open(way.key, lambda new: self._handshake(new, way.headers))
            with session.busy():
                headers = {**BASE, **session.headers, **way.headers}
                try:
                    await until(ear.full, self._poster.listen(
                        headers, ear.ready, lambda said: self._hear(asked, said, session, way.headers)))
                except NoAnswer as fault:
                    if fault.status == 404:
                        self._sessions.forget(session)  # the server forgot it
                    raise

    def _overhear(self, said: Request | Note, ear: Ear) -> None:
        """On a stream of this listener's own. Raises BadInput."""
        if isinstance(said, Note) and said.method == ACKNOWLEDGED:
            ear.ready()
        elif isinstance(said, Note):
            self._news(said)

    def _news(self, said: Note) -> None:
        if LISTS.get(said.method) == "tools":
            self._on_changed()
        self._ears.hear(said)

    async def definitions(self, headers: Mapping[str, str]) -> list[Json]:
        """All definitions, page by page. Raises as ``call`` does."""
        listing = mcp_rpc.Listing()
        cursor: str | None = None
        while True:
            params: dict[str, Json] = {"cursor": cursor} if cursor else {}
            asked = Exchange(number=next(self._numbers), method="tools/list", params=params)
            cursor = listing.add(await self._run(asked, _Way("", headers)))
            if cursor is None:
                break
        if Echoes(of_headers(headers.values())).whole(msgspec.json.encode(listing.tools)):
            raise NoAnswer("failed", "upstream_echoes_secret")
        self._mirrored = {tool["name"]: mcp_headers.mirrored(tool) for tool in listing.tools}
        return listing.tools

    async def close(self) -> None:
        """Say farewell to every session, for a moment, and close the connections."""
        self._sessions.close()
        if self._asides:
            await asyncio.wait(self._asides, timeout=1.0)
        for aside in self._asides:
            aside.cancel()
        await self._outside.close()

    async def _run(self, asked: Exchange, way: _Way) -> Answer:
        """One request, in whichever revision. Raises as ``call`` does."""
        try:
            async with asyncio.timeout(None) as limit:
                asked.patience = Patience(limit.reschedule, self._config.timeout_s)
                if await self._is_stateless(way):
                    return await self._stateless(asked, way)
                return await self._in_session(asked, way)
        except TimeoutError:
            raise NoAnswer("unknown" if asked.sent else "failed", "upstream_slow") from None

    async def _is_stateless(self, way: _Way) -> bool:
        """Whether this client's requests go out in 2026-07-28."""
        if not OWNED.isdisjoint(name.lower() for name in way.headers):
            raise NoAnswer("failed", "bad_arguments")
        modern = await self._speaks_modern(way.headers)
        return modern and not (way.older and await self._shakes_hands(way))

    async def _speaks_modern(self, headers: Mapping[str, str]) -> bool:
        async with self._deciding:
            if self._modern is None:
                with _before():
                    self._modern = await self._discover(headers)
            return self._modern

    async def _shakes_hands(self, way: _Way) -> bool:
        """Whether a server that speaks 2026-07-28 has sessions, too; if so, this one is open."""
        if self._handshakes:
            try:
                with _before():
                    await self._sessions.open(way.key, lambda new: self._handshake(new, way.headers))
            except NoAnswer as fault:
                if fault.code not in {"bad_answer", "upstream_refused"}:
                    raise
                self._handshakes = False
        return self._handshakes

    async def _discover(self, headers: Mapping[str, str]) -> bool:
        """Whether the server speaks 2026-07-28. What is no answer to that question is a no; an outage is not."""
        asked = Exchange(number=next(self._numbers), method="server/discover", params={})
        try:
            async with asyncio.timeout(min(DISCOVER_S, self._config.timeout_s / 2)):
                posted = await self._post_modern(asked, _Way("", headers), hear=None)
            found = mcp_rpc.fields(posted.answer.result) if posted.answer and posted.answer.result else {}
        except (BadInput, TimeoutError):
            return False
        if posted.answer is None and (posted.status in {401, 403, 429} or posted.status >= 500):
            raise posted.fault
        versions = found.get("supportedVersions")
        return isinstance(versions, list) and mcp_headers.MODERN in versions

    async def _post_modern(self, asked: Exchange, way: _Way, hear: Hear | None) -> Posted:
        level = self._levels.get(way.session, "")
        meta = mcp_headers.meta(mcp_rpc.CLIENT, way.asks, level)
        own = cast("dict[str, Json]", asked.params.get("_meta", {}))
        params = {**asked.params, "_meta": {**meta, **own}}
        mirrored = self._mirrored.get(str(params.get("name")), {})
        sent = {**mcp_headers.modern(asked.method, params, mirrored), **way.headers}
        body = rpc.request(asked.number, asked.method, params)
        return await self._poster.post(body, sent, number=asked.number, hear=hear)

    async def _stateless(self, asked: Exchange, way: _Way) -> Answer:
        if asked.method == "logging/setLevel":  # each request says it anew
            if len(self._levels) >= MAX_LEVELS:
                self._levels.pop(next(iter(self._levels)))
            self._levels[way.session] = str(asked.params.get("level"))
            return Answer(asked.number, result=b"{}")
        if asked.method in WATCHING:  # whoever listens says it
            return Answer(asked.number, result=b"{}")
        asked.sent = True
        posted = await self._post_modern(asked, way, hear=lambda said: self._hear(asked, said))
        if posted.answer is None:
            raise posted.fault
        if posted.answer.error is not None and mcp_rpc.error(posted.answer.error)["code"] == UNSUPPORTED:
            self._modern = None
        return posted.answer

    async def _in_session(self, asked: Exchange, way: _Way) -> Answer:
        """A request of a session; where the server forgot that one, once more in a new one: it did nothing."""
        for _ in range(2):
            with _before():
                session = await self._sessions.open(way.key, lambda new: self._handshake(new, way.headers))
            asked.sent = asked.in_session = True
            with session.busy():
                try:
                    posted = await self._poster.post(
                        asked.request(), {**BASE, **session.headers, **way.headers}, number=asked.number,
                        hear=lambda said, at=session: self._hear(asked, said, at, way.headers))
                finally:
                    for refusal in session.questions.over(asked):
                        self._aside(self._say(session, refusal, way.headers))
            if posted.status != 404 or not session.id:
                if posted.answer is None:
                    raise posted.fault
                return posted.answer
            asked.sent = False
            self._sessions.forget(session)
        raise NoAnswer("failed", "upstream_refused", 404)

    async def _handshake(self, session: Session, headers: Mapping[str, str]) -> None:
        """Raises NoAnswer or BadInput."""
        modern, self._modern = self._modern, None  # asked again, should this fail
        number = next(self._numbers)
        posted = await self._poster.post(mcp_rpc.initialize(number, session.key[1]), {**BASE, **headers},
                                         number=number)
        if posted.answer is None:
            raise posted.fault
        version = mcp_rpc.agreed(posted.answer)
        name = mcp_headers.session_id(posted.session)
        if posted.session and name is None:
            raise BadInput("a tool server's name for a session cannot be sent back", code="bad_answer")
        session.start(name or "", version)
        shaken = rpc.notification("notifications/initialized")
        await self._poster.post(shaken, {**BASE, **session.headers, **headers})
        self._modern = modern

    def _hear(self, asked: Exchange, said: Request | Note, session: Session | None = None,
              headers: Mapping[str, str] | None = None) -> None:
        """What the server says before its answer. Raises BadInput or NoAnswer."""
        if isinstance(said, Note):
            if said.method in EVENTS or said is PAUSED:  # the same object: no server can say it
                asked.hear(said)
            else:
                self._news(said)
        elif session is not None:
            reply = session.questions.put(said, asked)
            if reply is not None and not self._aside(self._say(session, reply, headers or {})):
                raise BadInput("a tool server asks without reading the answers", code="bad_answer")

    async def _answer(self, message: CallTool, args: Json) -> Json:
        """The answer to what the server asked in this session."""
        session = self._sessions.asking(message.session, cast("dict[str, Json]", args).get("number"))
        if session is None:
            raise BadInput("nobody asks that, or not any more", code="bad_arguments")
        posted = await self._poster.post(session.questions.answer(message.op, args, message.session),
                                         {**BASE, **session.headers, **message.headers})
        if not 200 <= posted.status < 300:
            raise posted.fault
        return {} if message.form == "value" else {"result": {}}

    async def _say(self, session: Session, body: bytes, headers: Mapping[str, str]) -> None:
        await self._poster.post(body, {**BASE, **session.headers, **headers})

    def _retire(self, session: Session) -> None:
        self._aside(self._poster.delete(session.headers))

    def _aside(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do something beside the calls, unless that is too much already."""
        if len(self._asides) >= MAX_ASIDE:
            work.close()
            return False
        task = asyncio.create_task(_quietly(work))
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)
        return True


async def _quietly(work: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(ASIDE_S):
            await work
    except (NoAnswer, BadInput, TimeoutError):
        pass  # nobody waits for it


@contextmanager
def _before() -> Generator[None]:
    """What goes wrong before the call itself was sent has done nothing."""
    try:
        yield
    except NoAnswer as fault:
        raise NoAnswer("failed", fault.code, fault.status) from fault
    except BadInput as fault:
        raise NoAnswer("failed", "bad_answer") from fault


def _unknown_tool(answer: Answer) -> bool:
    """Whether the answer may mean that the server's tools are others now."""
    if answer.error is None:
        return False
    return mcp_rpc.error(answer.error)["code"] in {rpc.METHOD_NOT_FOUND, rpc.INVALID_PARAMS}
