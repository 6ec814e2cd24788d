"""The core's end of one tenant's sidecar: calls go out, answers come in, and every call gets an end.

The sidecar may be taken over. Its frames are decoded into closed types; a frame that no honest sidecar could
send closes the link. What it can still do is lie about its own tenant's answers, which cross the rings.
An effect that may have happened is never reported as one that did not: once the frame has left, a lost
sidecar, a lost server or a time-out is an unknown end.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, cast

import msgspec

from ringwall.call import Chunk, Form, Json, Last, Trait, canonical
from ringwall.clock import Clock
from ringwall.errors import BadInput, Unavailable
from ringwall.tools import protocol
from ringwall.tools.answer import HttpAnswer, HttpRequest, decode_answer, fits
from ringwall.tools.asking import Asking
from ringwall.tools.keeper import Spawn, Verify
from ringwall.tools.keepers import Keepers
from ringwall.tools.link import SidecarLink
from ringwall.tools.pending import Pending, is_definition, last
from ringwall.tools.protocol import (
    REASONS,
    CallHttp,
    CallModel,
    CallTool,
    Hello,
    ListTools,
    News,
    OutletRefused,
)
from ringwall.tools.shape import Shape
from ringwall.wire.models.interface import Api

MAX_NAME: Final = 128  # characters, as in the protocol
STREAM_S: Final = 3600.0  # a streamed answer in all: beyond the longest by far, so that none goes on for ever


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How the answer of a tool is wanted (``call.Form``), and what goes along with the arguments.

    Args:
        session: whose session of an ``mcp`` server; empty: the tenant's own.
        headers: what the core injects into requests to an ``mcp`` server.
        progress: whether to hear of progress.
        trace: a W3C traceparent.
        client: what the caller's own MCP client says of itself: a server may ask back only what that can answer,
            and one that speaks both revisions is asked in the client's.
        inputs: answers to what the tool had asked for, and its state, as JSON; empty: nothing.
        credential: names what was given to a worker for this call (``tools.giving``).

    """

    form: Form = "value"
    session: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    progress: bool = False
    trace: str = ""
    client: tuple[Trait, ...] = ()
    inputs: bytes = b""
    credential: str = ""

    def frame(self, number: int, server: str, op: str, args: bytes) -> CallTool:
        """The order to the sidecar."""
        return CallTool(
            id=number,
            server=server,
            op=op,
            args=args,
            form=self.form,
            session=self.session,
            headers=dict(self.headers),
            progress=self.progress,
            trace=self.trace,
            client=self.client,
            inputs=self.inputs,
            credential=self.credential,
        )


PLAIN: Final = Wish()
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long the core waits, in seconds."""

    tool_s: float = 30.0
    list_s: float = 10.0
    start_s: float = 20.0  # a Python server imports an SDK first, on a busy machine


class SidecarClient:
    """One tenant's sidecar, across its restarts.

    Args:
        hello: tenant, servers and upstreams; sent first on every new link.
        spawn: starts a tool server of this tenant, confined.
        verify: refuses definitions that are not the pinned ones; asked after every start and change.
        clock: for durations and back-off.
        times: limits.
        on_down: told once, with the cause, when a sidecar is lost; the runtime ends and starts it anew.
        on_refused: told what a server's outlet refused.

    """

    def __init__(
        self,
        *,
        hello: Hello,
        spawn: Spawn,
        verify: Verify,
        clock: Clock,
        times: Times | None = None,
        on_down: Callable[[str], None] | None = None,
        on_refused: Callable[[OutletRefused], None] = lambda _: None,
    ) -> None:
        self._hello = hello
        self._times = times or Times()
        self.link = SidecarLink(
            clock=clock,
            on_news=self._hear,
            on_lost=self._lost,
            on_down=on_down,
        )
        """For what else travels over it, see ``peers.line``."""
        self._asking = Asking()
        self._keepers = Keepers(
            hello.servers,
            spawn=spawn,
            pass_on=self.link.hand_over,
            gone=self.link.calls.server_lost,
            listing=self._list,
            verify=verify,
            refused=on_refused,
            clock=clock,
            start_s=self._times.start_s,
        )

    async def attach(self, link: socket.socket, descriptors: socket.socket) -> None:
        """Talk to a fresh sidecar over these two sockets, which are ours from now on."""
        self._keepers.fresh()
        await self.link.open(link, descriptors, self._hello)

    @property
    def alive(self) -> bool:
        """The link is up."""
        return self.link.alive

    def close(self) -> None:
        """Close both sockets; an honest sidecar ends then. Pending calls end as unknown."""
        self.link.close()

    async def definitions(self, server: str, headers: Mapping[str, str] = NOTHING) -> list[Json]:
        """What the server offers now: objects with ``name``, ``inputSchema`` and what else MCP has.

        Starts the server if need be. These are not compared with anything: whoever pins them asks here.
        ``headers``: what the core injects into requests to an ``mcp`` server.

        Raises:
            Unavailable: with the code.

        """
        await self._keepers.started(server)
        return await self._list(server, headers)

    async def started(self, server: str) -> None:
        """Return when the server can be asked. Raises Unavailable."""
        await self._keepers.started(server)

    async def compare(self, server: str, headers: Mapping[str, str] = NOTHING) -> None:
        """Hold the server's definitions to the pinned ones now: it says that they changed. Raises Unavailable."""
        await self._keepers.compare(server, headers)

    async def run_tool(
        self,
        server: str,
        op: str,
        args: Json,
        *,
        seconds: float | None = None,
        still: Callable[[], bool] = lambda: True,
        call: str = "",
        wish: Wish = PLAIN,
    ) -> AsyncGenerator[Chunk | Last, None]:
        """Call an operation of a tool server: one whole Chunk if there is an answer, then a Last.

        In the form of MCP there may be more: what the server tells and asks meanwhile.

        Args:
            server: name in the hello.
            op: the operation.
            args: a JSON object, as judged.
            seconds: how long to wait for the answer; None: ``times.tool_s``.
            still: asked when the server is ready, right before anything is sent: a server that had to be started
                again may list other definitions than those the call was judged by.
            call: the id of the judged call, for ``afterwards``.
            wish: how the answer is wanted, and what goes along.

        """
        try:
            raw = canonical(args)
            if server not in self._hello.servers:
                raise BadInput(REASONS["no_such_server"], code="no_such_server")
            if not 1 <= len(op) <= MAX_NAME or len(raw) > protocol.MAX_RESULT:
                raise BadInput(REASONS["bad_arguments"], code="bad_arguments")
            await self._keepers.ready(server, wish.headers)
            if not still():
                raise Unavailable(REASONS["definition_changed"], code="definition_changed")
        except (BadInput, Unavailable) as fault:
            yield last("failed", fault.code, fault.cause)
            return
        except (TypeError, ValueError):
            yield last("failed", "bad_arguments", REASONS["bad_arguments"])
            return
        wait = self._times.tool_s if seconds is None else seconds
        asking = self._asking.of(f"{server}/{wish.session}")  # each session counts its own
        calls = self.link.exchange(
            lambda number: wish.frame(number, server, op, raw),
            seconds=wait,
            late=("unknown", "tool_timeout"),
            pending=Pending(server, call),
            patience=asking.begin,
        )
        shape = Shape(wish.form, self._hello.servers[server].asks)
        try:
            async with aclosing(calls):
                async for item in calls:
                    if isinstance(item, Last):
                        if item.end == "done":
                            self._asking.answered(f"{server}/{wish.session}", op, args)
                        lacks = item.end == "done" and not shape.complete
                        yield last("unknown", "bad_answer", REASONS["bad_answer"]) if lacks else item
                        return
                    try:
                        value = shape.check(protocol.decode_value(item))
                    except BadInput as fault:
                        yield last("unknown", fault.code, REASONS[fault.code])
                        return
                    if wish.form == "mcp":
                        asking.hear(value)
                    yield Chunk(value=value)
        finally:
            asking.over()

    async def run_model(
        self,
        upstream: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        seconds: float,
        api: Api = "chat",
        stream: bool = False,
    ) -> AsyncGenerator[bytes | Last, None]:
        """Send a request to a model upstream: the answer's JSON, not yet believed, then a Last.

        Args:
            upstream: name in the hello.
            body: the request's JSON.
            headers: what to inject, for instance the key; kept nowhere.
            seconds: how long to wait for the answer; of a stream, for its next piece.
            api: in whose words the request is.
            stream: the answer comes in pieces (``wire.models.pieces``), each of them JSON.

        """
        if upstream not in self._hello.models or len(body) > protocol.MAX_RESULT:
            code = "no_such_server" if upstream not in self._hello.models else "bad_arguments"
            yield last("failed", code, REASONS[code])
            return
        calls = self.link.exchange(
            lambda number: CallModel(
                id=number, upstream=upstream, body=body, headers=dict(headers), api=api, stream=stream
            ),
            seconds=seconds,
            late=("failed", "model_timeout"),
            pending=Pending(most=protocol.MAX_STREAM_PIECES if stream else 1),
            over=STREAM_S if stream else None,
        )
        async with aclosing(calls):
            async for item in calls:
                yield item

    async def run_http(
        self,
        server: str,
        request: HttpRequest,
        *,
        injected: Mapping[str, str] = NOTHING,
        withheld: Sequence[str] = (),
        seconds: float | None = None,
        call: str = "",
    ) -> tuple[HttpAnswer | None, Last]:
        """Ask a server over HTTP, below its prefixes: its answer, if there is one, and how it ended.

        Args:
            server: name in the hello.
            request: what to send.
            injected: headers that hold secrets; kept nowhere, and they must not come back.
            withheld: secrets that are in the body; neither must they.
            seconds: how long to wait for the answer; None: ``times.tool_s``.
            call: the id of the judged call, for ``afterwards``.

        """
        code = "" if server in self._hello.servers else "no_such_server"
        message = CallHttp(
            id=1, server=server, method=request.method, url=request.url, headers=dict(request.headers),
            injected=dict(injected), withheld=tuple(withheld), body=request.body)
        if code or not fits(message):
            return None, last("failed", code or "bad_arguments", REASONS[code or "bad_arguments"])
        raw = b""
        calls = self.link.exchange(
            lambda number: msgspec.structs.replace(message, id=number),
            seconds=self._times.tool_s if seconds is None else seconds,
            late=("unknown", "tool_timeout"),
            pending=Pending("", call),
        )
        end = last("unknown", "sidecar_lost", REASONS["sidecar_lost"])
        async with aclosing(calls):
            async for item in calls:
                if isinstance(item, Last):
                    end = item
                else:
                    raw += item
        if end.end != "done":
            return None, end
        try:
            return decode_answer(raw), end
        except BadInput as fault:
            return None, last("unknown", fault.code, REASONS[fault.code])

    async def _list(self, server: str, headers: Mapping[str, str]) -> list[Json]:
        if server not in self._hello.servers:
            raise Unavailable(REASONS["no_such_server"], code="no_such_server")
        raw = b""
        self._keepers.asked()
        calls = self.link.exchange(
            lambda number: ListTools(id=number, server=server, headers=dict(headers)),
            seconds=self._times.list_s,
            late=("failed", "tool_timeout"),
            pending=Pending(server),
        )
        async with aclosing(calls):
            async for item in calls:
                if not isinstance(item, Last):
                    raw += item
                elif item.error is not None:
                    raise Unavailable(item.error["reason"], code=item.error["code"])
        try:
            listed = protocol.decode_value(raw)
        except BadInput as fault:
            raise Unavailable(fault.cause, code=fault.code) from fault
        if not isinstance(listed, list) or not all(map(is_definition, cast("list[Json]", listed))):
            raise Unavailable(f"tool server {server} gave definitions that are none", code="bad_answer")
        return cast("list[Json]", listed)

    def afterwards(self, call: str, free: Callable[[], Awaitable[None]]) -> bool:
        """See ``SidecarLink.afterwards``."""
        return self.link.afterwards(call, free)

    def _hear(self, message: News) -> None:
        self._keepers.hear(message)

    def _lost(self) -> None:
        self._keepers.lost()
