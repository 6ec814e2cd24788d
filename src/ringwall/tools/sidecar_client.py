"""The core's end of one tenant's sidecar: calls go out, answers come in, and every call gets an end.

The sidecar may be taken over. Its frames are decoded into closed types; a frame that no honest sidecar could
send closes the link. What it can still do is lie about its own tenant's answers, which cross the rings.
An effect that may have happened is never reported as one that did not: once the frame has left, a lost
sidecar, a lost server or a time-out is an unknown end.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Literal, cast

from ringwall.call import Chunk, End, Json, Last, Usage, canonical
from ringwall.clock import Clock
from ringwall.errors import BadInput, Unavailable
from ringwall.tools import protocol
from ringwall.tools.keeper import Keeper, Spawn, Verify
from ringwall.tools.pending import Pending, item_of, last
from ringwall.tools.protocol import (
    REASONS,
    Attach,
    CallModel,
    CallTool,
    Cancel,
    Changed,
    Definitions,
    Ended,
    FromSidecar,
    Hello,
    ListTools,
    Lost,
    Piece,
    Ready,
    ToSidecar,
)
from ringwall.wire.frames import Link

MAX_PENDING: Final = 1024  # calls of one tenant at once
MAX_QUEUED: Final = 64 << 20  # bytes the sidecar has not read; more means that it does not read
MAX_NAME: Final = 128  # characters, as in the protocol


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
        self._clock = clock
        self._times = times or Times()
        self._on_down = on_down
        self._link: Link | None = None
        self._descriptors: socket.socket | None = None
        self._epoch = 0
        self._fault = ""
        self._next = 1
        self._pending: dict[int, Pending] = {}
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
        self.close()
        self._epoch += 1
        epoch = self._epoch
        self._fault = ""
        descriptors.setblocking(False)
        self._descriptors = descriptors
        self._link = await Link.open(link, lambda raw: self._frame(epoch, raw), lambda: self._closed(epoch))
        self._link.send(protocol.encode(self._hello))

    @property
    def alive(self) -> bool:
        """The link is up."""
        return self._link is not None and self._link.alive

    def close(self) -> None:
        """Close both sockets; an honest sidecar ends then. Pending calls end as unknown."""
        if self._link is not None:
            self._link.close()
        self._lose()

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
    ) -> AsyncGenerator[Chunk | Last, None]:
        """Call an operation of a tool server: one whole Chunk if there is an answer, then a Last.

        Args:
            server: name in the hello.
            op: the operation.
            args: a JSON object, as judged.
            seconds: how long to wait for the answer; None: ``times.tool_s``.
            still: asked when the server is ready, right before anything is sent: a server that had to be started
                again may list other definitions than those the call was judged by.

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
        calls = self._exchange(
            lambda number: CallTool(id=number, server=server, op=op, args=raw),
            seconds=wait,
            late=("unknown", "tool_timeout"),
        )
        async with aclosing(calls):
            async for item in calls:
                if isinstance(item, Last):
                    yield item
                    return
                try:
                    value = protocol.decode_value(item)
                except BadInput:
                    yield last("unknown", "bad_answer", REASONS["bad_answer"])
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
        calls = self._exchange(
            lambda number: CallModel(id=number, upstream=upstream, body=body, headers=dict(headers)),
            seconds=self._times.model_s if seconds is None else seconds,
            late=("failed", "model_timeout"),
        )
        async with aclosing(calls):
            async for item in calls:
                yield item

    async def _list(self, server: str) -> list[Json]:
        if server not in self._hello.servers:
            raise Unavailable(REASONS["no_such_server"], code="no_such_server")
        raw = b""
        calls = self._exchange(
            lambda number: ListTools(id=number, server=server),
            seconds=self._times.list_s,
            late=("failed", "tool_timeout"),
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
        if not isinstance(listed, list) or not all(map(_is_definition, cast("list[Json]", listed))):
            raise Unavailable(f"tool server {server} gave definitions that are none", code="bad_answer")
        return cast("list[Json]", listed)

    async def _exchange(
        self, make: Callable[[int], ToSidecar], *, seconds: float, late: tuple[End, str]
    ) -> AsyncGenerator[bytes | Last, None]:
        """Send one call, give its answer piece by piece, end with a Last whatever happens."""
        started = self._clock.monotonic()
        number, fault = self._send_call(make)
        if fault:
            yield last("failed", fault, REASONS[fault])
            return
        pending = self._pending[number]
        timer = asyncio.get_running_loop().call_later(seconds, pending.expire)
        open_ = True
        try:
            while isinstance(item := await pending.next(), bytes):
                yield item
            open_ = False
            if item is None:
                self._cancel(number, "timeout")
                item = last(*late, REASONS[late[1]])
            yield Last(end=item.end, error=item.error, usage=Usage(seconds=self._clock.monotonic() - started))
        finally:
            timer.cancel()
            self._pending.pop(number, None)
            if open_:
                self._cancel(number, "caller")

    def _send_call(self, make: Callable[[int], ToSidecar]) -> tuple[int, str]:
        """Send a call: its number, or the code of why nothing was sent."""
        link = self._link
        if link is None or not link.alive:
            return 0, "sidecar_unavailable"
        if len(self._pending) >= MAX_PENDING or link.queued > MAX_QUEUED:
            return 0, "sidecar_busy"
        number = self._next
        try:
            payload = protocol.encode(make(number))
            link.send(payload)
        except Unavailable:
            return 0, "sidecar_unavailable"
        except (BadInput, ValueError):
            return 0, "bad_arguments"
        self._next += 1
        self._pending[number] = Pending()
        return number, ""

    def _cancel(self, number: int, why: Literal["caller", "timeout"]) -> None:
        if self._link is not None and self._link.alive:
            self._link.send(protocol.encode(Cancel(id=number, why=why)))

    def _hand_over(self, message: Attach, pipes: tuple[int, int]) -> None:
        """Pass a server's pipes. Ours are closed whatever happens. Raises Unavailable."""
        try:
            if self._descriptors is None:
                raise Unavailable(REASONS["sidecar_unavailable"], code="sidecar_unavailable")
            socket.send_fds(self._descriptors, [protocol.encode(message)], list(pipes))
        except BlockingIOError as fault:
            raise Unavailable(REASONS["sidecar_busy"], code="sidecar_busy") from fault
        except OSError as fault:
            raise Unavailable(REASONS["sidecar_unavailable"], code="sidecar_unavailable") from fault
        finally:
            for number in pipes:
                os.close(number)

    def _frame(self, epoch: int, raw: bytes) -> None:
        if epoch != self._epoch or self._link is None or not self._link.alive:
            return
        try:
            self._hear(protocol.decode_from_sidecar(raw))
        except BadInput as fault:
            self._fault = str(fault)
            self._link.close()

    def _hear(self, message: FromSidecar) -> None:
        """One frame of the sidecar. Raises BadInput for what no honest sidecar sends."""
        if isinstance(message, Piece | Ended | Definitions):
            if message.id >= self._next:
                raise BadInput("the sidecar answers a call that was never made", code="bad_frame")
            pending = self._pending.get(message.id)
            if pending is not None:  # else cancelled meanwhile
                pending.add(item_of(message))
            return
        keeper = self._keepers.get(message.server)
        if keeper is None:
            raise BadInput("the sidecar speaks of a server it was never given", code="bad_frame")
        match message:
            case Ready():
                keeper.shook_hands(message.generation)
            case Lost():
                keeper.lost(message.generation)
            case Changed():
                keeper.changed(message.generation)

    def _closed(self, epoch: int) -> None:
        if epoch != self._epoch:
            return
        down = self._link is not None
        self._lose()
        if down and self._on_down is not None:
            self._on_down(self._fault or "the sidecar closed its link")

    def _lose(self) -> None:
        """End every call under way: it may have taken effect."""
        self._link = None
        if self._descriptors is not None:
            self._descriptors.close()
            self._descriptors = None
        for pending in self._pending.values():
            pending.items.put_nowait(last("unknown", "sidecar_lost", REASONS["sidecar_lost"]))
        for keeper in self._keepers.values():
            keeper.sidecar_lost()


def _is_definition(item: Json) -> bool:
    if not isinstance(item, dict):
        return False
    fields = cast("dict[str, Json]", item)
    return isinstance(fields.get("name"), str) and isinstance(fields.get("inputSchema"), dict)
