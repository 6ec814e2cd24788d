"""The core's end of one tenant's sidecar: calls go out, answers come in, and every call gets an end.

The sidecar may be taken over. Its frames are decoded into closed types; a frame that no honest sidecar could
send closes the link. What it can still do is lie about its own tenant's answers, which cross the rings.
An effect that may have happened is never reported as one that did not: once the frame has left, a lost
sidecar, a lost server or a time-out is an unknown end.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, cast

from ringwall.call import Chunk, Json, Last, canonical
from ringwall.clock import Clock
from ringwall.errors import BadInput, Unavailable
from ringwall.tools import protocol
from ringwall.tools.keeper import Keeper, Spawn, Verify
from ringwall.tools.link import SidecarLink
from ringwall.tools.pending import Pending, is_definition, last
from ringwall.tools.protocol import REASONS, Attach, CallModel, CallTool, Changed, Hello, ListTools, Lost, Ready

MAX_NAME: Final = 128  # characters, as in the protocol
NEWS: Final = 64  # frames about servers, beyond those that starts and listings explain


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long the core waits, in seconds."""

    tool_s: float = 30.0
    model_s: float = 120.0
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
    ) -> None:
        self._hello = hello
        self._times = times or Times()
        self._news = NEWS  # how many more frames about servers the sidecar may send
        self.link = SidecarLink(clock=clock, on_news=self._hear, on_lost=self._lost, on_down=on_down)
        """For what else travels over it, see ``peers.line``."""
        self._keepers = {
            name: Keeper(
                name=name,
                spawn=spawn,
                hand_over=self._hand_over,
                listing=self._list,
                verify=verify,
                clock=clock,
                start_s=self._times.start_s,
            )
            for name, server in hello.servers.items()
            if not server.builtin
        }

    async def attach(self, link: socket.socket, descriptors: socket.socket) -> None:
        """Talk to a fresh sidecar over these two sockets, which are ours from now on."""
        self._news = NEWS
        await self.link.open(link, descriptors, self._hello)

    @property
    def alive(self) -> bool:
        """The link is up."""
        return self.link.alive

    def close(self) -> None:
        """Close both sockets; an honest sidecar ends then. Pending calls end as unknown."""
        self.link.close()

    async def definitions(self, server: str) -> list[Json]:
        """What the server offers now: objects with ``name``, ``inputSchema`` and what else MCP has.

        Starts the server if need be. These are not compared with anything: whoever pins them asks here.

        Raises:
            Unavailable: with the code.

        """
        keeper = self._keepers.get(server)
        if keeper is not None:
            await keeper.started()
        return await self._list(server)

    async def run_tool(
        self,
        server: str,
        op: str,
        args: Json,
        *,
        seconds: float | None = None,
        still: Callable[[], bool] = lambda: True,
        call: str = "",
    ) -> AsyncGenerator[Chunk | Last, None]:
        """Call an operation of a tool server: one whole Chunk if there is an answer, then a Last.

        Args:
            server: name in the hello.
            op: the operation.
            args: a JSON object, as judged.
            seconds: how long to wait for the answer; None: ``times.tool_s``.
            still: asked when the server is ready, right before anything is sent: a server that had to be started
                again may list other definitions than those the call was judged by.
            call: the id of the judged call, for ``afterwards``.

        """
        try:
            raw = canonical(args)
            if server not in self._hello.servers:
                raise BadInput(REASONS["no_such_server"], code="no_such_server")
            if not 1 <= len(op) <= MAX_NAME or len(raw) > protocol.MAX_RESULT:
                raise BadInput(REASONS["bad_arguments"], code="bad_arguments")
            keeper = self._keepers.get(server)
            if keeper is not None:
                await keeper.ready()
            if not still():
                raise Unavailable(REASONS["definition_changed"], code="definition_changed")
        except (BadInput, Unavailable) as fault:
            yield last("failed", fault.code, fault.cause)
            return
        except (TypeError, ValueError):
            yield last("failed", "bad_arguments", REASONS["bad_arguments"])
            return
        wait = self._times.tool_s if seconds is None else seconds
        calls = self.link.exchange(
            lambda number: CallTool(id=number, server=server, op=op, args=raw),
            seconds=wait,
            late=("unknown", "tool_timeout"),
            pending=Pending(server, call),
        )
        async with aclosing(calls):
            async for item in calls:
                if isinstance(item, Last):
                    yield item
                    return
                try:
                    value = protocol.decode_value(item)
                except BadInput as fault:
                    yield last("unknown", fault.code, REASONS[fault.code])
                    return
                yield Chunk(value=value)

    async def run_model(
        self, upstream: str, body: bytes, headers: Mapping[str, str], *, seconds: float | None = None
    ) -> AsyncGenerator[bytes | Last, None]:
        """Send a request to a model upstream: the answer's JSON, not yet believed, then a Last.

        Args:
            upstream: name in the hello.
            body: the request's JSON.
            headers: what to inject, for instance the key; kept nowhere.
            seconds: how long to wait for the answer; None: ``times.model_s``.

        """
        if upstream not in self._hello.models or len(body) > protocol.MAX_RESULT:
            code = "no_such_server" if upstream not in self._hello.models else "bad_arguments"
            yield last("failed", code, REASONS[code])
            return
        calls = self.link.exchange(
            lambda number: CallModel(id=number, upstream=upstream, body=body, headers=dict(headers)),
            seconds=self._times.model_s if seconds is None else seconds,
            late=("failed", "model_timeout"),
            pending=Pending(),
        )
        async with aclosing(calls):
            async for item in calls:
                yield item

    async def _list(self, server: str) -> list[Json]:
        if server not in self._hello.servers:
            raise Unavailable(REASONS["no_such_server"], code="no_such_server")
        raw = b""
        self._news += 1
        calls = self.link.exchange(
            lambda number: ListTools(id=number, server=server),
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

    def _hand_over(self, message: Attach, pipes: tuple[int, int]) -> None:
        """Pass a server's pipes. Ours are closed whatever happens. Raises Unavailable."""
        self._news += 3  # it gets ready, changes, is lost
        try:
            self.link.hand_over(message, pipes)
        finally:
            for number in pipes:
                os.close(number)

    def _hear(self, message: Ready | Lost | Changed) -> None:
        """News of a server. Raises BadInput for what no honest sidecar sends."""
        self._news -= 1
        if self._news < 0:
            raise BadInput("the sidecar tells more news of its servers than there can be", code="bad_frame")
        keeper = self._keepers.get(message.server)
        if keeper is None:
            raise BadInput("the sidecar speaks of a server it was never given", code="bad_frame")
        match message:
            case Ready():
                keeper.shook_hands(message.generation)
            case Lost():
                keeper.lost(message.generation)
                self.link.calls.server_lost(message.server)
            case Changed():
                keeper.changed(message.generation)

    def _lost(self) -> None:
        for keeper in self._keepers.values():
            keeper.sidecar_lost()
