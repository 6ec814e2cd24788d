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
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Literal, cast

from ringwall.call import Chunk, End, Json, Last, Usage, canonical
from ringwall.clock import Clock
from ringwall.errors import BadInput, Unavailable
from ringwall.tools import protocol
from ringwall.tools.keeper import Keeper, Spawn, Verify
from ringwall.tools.pending import Calls, Pending, is_definition, last, then
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
        self._clock = clock
        self._times = times or Times()
        self._on_down = on_down
        self._link: Link | None = None
        self._descriptors: socket.socket | None = None
        self._epoch = 0
        self._fault = ""
        self._next = 1
        self._calls = Calls()
        self._news = NEWS  # how many more frames about servers the sidecar may send
        self._freeing: set[asyncio.Task[None]] = set()
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
        self._news = NEWS
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
        calls = self._exchange(
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
        calls = self._exchange(
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
        calls = self._exchange(
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
        """Give something back only when a call can do nothing more, although nobody waits for it.

        Args:
            call: the id of the judged call.
            free: run once its tool has answered, or is gone, or its time is over; may raise Unavailable.

        Returns:
            False: it can do nothing more now; ``free`` was not run.

        """
        over = self._calls.after(call)
        if over is None:
            return False
        task = asyncio.ensure_future(then(over, free))
        self._freeing.add(task)
        task.add_done_callback(self._freeing.discard)
        return True

    async def _exchange(
        self, make: Callable[[int], ToSidecar], *, seconds: float, late: tuple[End, str], pending: Pending
    ) -> AsyncGenerator[bytes | Last, None]:
        """Send one call, give its answer piece by piece, end with a Last whatever happens."""
        started = self._clock.monotonic()
        number, fault = self._send_call(make, pending)
        if fault:
            yield last("failed", fault, REASONS[fault])
            return
        timer = asyncio.get_running_loop().call_later(seconds, pending.expire)
        why: Literal["caller", "timeout", ""] = "caller"
        try:
            while isinstance(item := await pending.next(), bytes):
                self._calls.taken(pending, len(item))
                yield item
            why = "" if item is not None else "timeout"
            end = last(*late, REASONS[late[1]]) if item is None else item
            yield Last(end=end.end, error=end.error, usage=Usage(seconds=self._clock.monotonic() - started))
        finally:
            timer.cancel()
            left = timer.when() - asyncio.get_running_loop().time()
            self._leave(number, pending, why, max(left, 0.0) if why == "caller" and pending.call else None)

    def _leave(self, number: int, pending: Pending, why: Literal["caller", "timeout", ""],
               seconds: float | None) -> None:
        """Nobody waits for this call any more: tell the sidecar, unless it said the end itself."""
        if why and self._link is not None and self._link.alive:
            self._link.send(protocol.encode(Cancel(id=number, why=why)))
        try:
            self._calls.leave(number, pending, seconds, lambda: self._too_late(number))
        except BadInput as fault:
            self._break(fault)

    def _too_late(self, number: int) -> None:
        """A call that was left took all its time, too."""
        if self._link is not None and self._link.alive:
            self._link.send(protocol.encode(Cancel(id=number, why="timeout")))

    def _send_call(self, make: Callable[[int], ToSidecar], pending: Pending) -> tuple[int, str]:
        """Send a call: its number, or the code of why nothing was sent."""
        link = self._link
        if link is None or not link.alive:
            return 0, "sidecar_unavailable"
        if len(self._calls) >= MAX_PENDING or link.queued > MAX_QUEUED:
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
        self._calls.sent(number, pending)
        return number, ""

    def _hand_over(self, message: Attach, pipes: tuple[int, int]) -> None:
        """Pass a server's pipes. Ours are closed whatever happens. Raises Unavailable."""
        self._news += 3  # it gets ready, changes, is lost
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
            self._break(fault)

    def _break(self, fault: BadInput) -> None:
        """End the link: what speaks there is no honest sidecar."""
        self._fault = str(fault)
        if self._link is not None:
            self._link.close()

    def _hear(self, message: FromSidecar) -> None:
        """One frame of the sidecar. Raises BadInput for what no honest sidecar sends."""
        if isinstance(message, Piece | Ended | Definitions):
            self._calls.hear(message)
            return
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
                self._calls.server_lost(message.server)
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
        self._calls.lose()
        for keeper in self._keepers.values():
            keeper.sidecar_lost()
