"""A tenant's sidecar: its hands. ``python -m ringwall.runtime.sidecar``, started confined by the supervisor.

Descriptor 3 is the framed stream to the core, descriptor 4 the SEQPACKET socket over which the core passes the
pipes of tool servers and the sockets for peers. The process reads no environment and no file, keeps nothing between
calls, decides nothing, and ends with the core's link.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import socket
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import msgspec
import uvloop

from ringwall import hidden
from ringwall.clock import SystemClock
from ringwall.errors import BadInput, Unavailable
from ringwall.peers.protocol import (
    MAX_INSIDE,
    Admit,
    Deliver,
    Dismiss,
    FetchCard,
    FetchOwn,
    Gate,
    Identity,
    Inside,
    Notify,
    PeerCall,
    Pipe,
    SendPeer,
    Trust,
)
from ringwall.tools import protocol
from ringwall.tools.host import ToolHost
from ringwall.tools.mcp_call import Told
from ringwall.tools.protocol import (
    Attach,
    CallHttp,
    CallModel,
    CallTool,
    Cancel,
    Code,
    Definitions,
    Ended,
    FromSidecar,
    Hello,
    Listen,
    ListTools,
    Outlet,
    Piece,
)
from ringwall.tools.values import NoAnswer, ToolFailed
from ringwall.wire.frames import Link

if TYPE_CHECKING:
    from ringwall.models.upstream import Upstream
    from ringwall.peers.hands import Hands
    from ringwall.tools.requests import Requests

LINK: Final = 3
DESCRIPTORS: Final = 4
UPSTREAM_MODULE: Final = "ringwall.models.upstream"
REQUESTS_MODULE: Final = "ringwall.tools.requests"
ATTACH_BYTES: Final = 4096  # an Attach has two short names and a number


class _Asked:
    """A call under way. ``left``: nobody waits for its answer, only for its end."""

    __slots__ = ("left", "server", "task")

    def __init__(self, server: str) -> None:
        self.server = server
        self.left = False
        self.task: asyncio.Task[None] | None = None


class Sidecar:
    """Carries out what the core asks. One per process."""

    def __init__(self, descriptors: socket.socket) -> None:
        self._descriptors = descriptors
        self._link: Link | None = None
        self._hello: Hello | None = None
        self._host: ToolHost | None = None
        self._upstreams: dict[str, Upstream] = {}
        self._http: asyncio.Task[None] | None = None
        self._requests: Requests | None = None
        self._hands: Hands | None = None
        self._calls: dict[int, _Asked] = {}
        self._early: list[tuple[Attach | Outlet, list[int]]] = []
        self._over = asyncio.Event()
        self._fault = ""

    async def run(self, link: socket.socket) -> int:
        """Serve until the core's link closes or SIGTERM comes. Returns the exit code."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._over.set)
        loop.set_exception_handler(_report)
        self._descriptors.setblocking(False)
        self._link = await Link.open(link, self._frame, self._over.set)
        loop.add_reader(self._descriptors.fileno(), self._passed)
        try:
            await self._over.wait()
        finally:
            loop.remove_reader(self._descriptors.fileno())
            await self._close()
        if self._fault:
            print(f"ringwall sidecar: {self._fault}", file=sys.stderr)
            return 1
        return 0

    async def _close(self) -> None:
        tasks = [asked.task for asked in self._calls.values() if asked.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._host is not None:
            await self._host.close()
        if self._hands is not None:
            await self._hands.close()
        if self._http is not None:
            await asyncio.gather(self._http, return_exceptions=True)
        for upstream in self._upstreams.values():
            await upstream.close()
        if self._requests is not None:
            await self._requests.close()
        if self._link is not None:
            self._link.close()

    def _frame(self, raw: bytes) -> None:
        try:
            message = protocol.decode_to_sidecar(raw)
            if isinstance(message, Hello):
                self._greet(message)
            elif self._host is None:
                raise BadInput("the core did not say hello first", code="bad_frame")
            else:
                self._ask(message, self._host)
        except BadInput as fault:
            # The core is the one we obey: if it cannot be understood, no next frame can be either.
            self._fault = str(fault)
            self._over.set()

    def _greet(self, hello: Hello) -> None:
        if self._hello is not None:
            raise BadInput("the core said hello twice", code="bad_frame")
        self._hello = hello
        self._host = ToolHost(servers=hello.servers, tell=self._tell)
        self._host.warm_up()
        for message, descriptors in self._early:
            _hand(self._host, message, descriptors)
        self._early.clear()
        if hello.models:
            self._http = asyncio.create_task(_import(UPSTREAM_MODULE))

    def _ask(self, message: protocol.Order, host: ToolHost) -> None:
        if isinstance(message, Cancel):
            self._cancel(message, host)
            return
        if isinstance(message, Identity | Trust | Dismiss | Admit):
            self._peers().obey(message)
            return
        if message.id in self._calls:
            raise BadInput(f"the core used call number {message.id} twice", code="bad_frame")
        asked = _Asked(message.server if isinstance(message, CallTool | ListTools) else "")
        self._calls[message.id] = asked
        asked.task = asyncio.create_task(self._serve(message, host, asked))
        asked.task.add_done_callback(lambda done: self._served(message.id, done))

    def _cancel(self, message: Cancel, host: ToolHost) -> None:
        """Nobody waits for a call any more: tell its server to stop."""
        asked = self._calls.get(message.id)
        if asked is None or asked.task is None:
            return
        if message.why == "timeout":
            asked.left = False  # nor for its end
            if asked.server:
                host.suspect(asked.server)
        else:
            asked.left = True
        asked.task.cancel()

    def _served(self, number: int, task: asyncio.Task[None]) -> None:
        """Every call gets its end."""
        self._calls.pop(number, None)
        if task.cancelled():
            self._tell(Ended(id=number, end="unknown", code="abandoned"))

    def _peers(self) -> Hands:
        """Made when they are needed: a tenant without peers does without the code for certificates."""
        if self._hands is None:
            from ringwall.peers.hands import Hands

            self._hands = Hands(self._tell, SystemClock())
        return self._hands

    async def _serve(
        self, message: CallTool | CallHttp | CallModel | ListTools | Listen | PeerCall, host: ToolHost,
        asked: _Asked,
    ) -> None:
        """One call, from its frame to its end. Whatever happens, an end is told."""
        try:
            match message:
                case CallTool():
                    end = await self._tool(message, host, asked)
                case CallModel():
                    end = await self._model(message)
                case CallHttp():
                    end = await self._request(message)
                case ListTools():
                    end = await self._list(message, host)
                case Listen():
                    await host.listen(message, lambda raw: self._tell(Piece(id=message.id, value=raw)))
                    end = Ended(id=message.id, end="done")
                case SendPeer() | FetchCard() | Deliver() | Notify() | FetchOwn():
                    end = await self._peers().call(message)
        except BadInput as fault:
            end = Ended(id=message.id, end="failed", code=_code(fault.code))
        except NoAnswer as fault:
            end = Ended(id=message.id, end=fault.end, code=fault.code, status=fault.status)
        except Unavailable as fault:
            gone = fault.code == "server_gone"
            end = Ended(id=message.id, end="failed" if gone else "unknown", code=_code(fault.code))
        except Exception as fault:  # noqa: BLE001 (told to the core as an unknown end, which allows nothing)
            logging.getLogger("ringwall.sidecar").error("a call failed: %s", type(fault).__name__)
            end = Ended(id=message.id, end="unknown", code="sidecar_fault")
        self._tell(end)

    async def _tool(self, message: CallTool, host: ToolHost, asked: _Asked) -> Ended:
        told = Told(lambda raw: self._tell(Piece(id=message.id, value=raw)))
        try:
            try:
                raw, failed = protocol.encode_value(await host.call(message, lambda: asked.left, told)), False
            except ToolFailed as fault:
                raw, failed = protocol.encode_value(fault.answer), True
            if len(raw) + told.bytes > protocol.MAX_RESULT:
                raise BadInput("a result and what was told before it are too long", code="result_too_large")
        except BadInput as fault:
            # The tool has run if it is its answer that is wrong.
            end = "unknown" if fault.code in {"bad_answer", "result_too_large", "too_many_values"} else "failed"
            return Ended(id=message.id, end=end, code=_code(fault.code))
        self._tell(Piece(id=message.id, value=raw))
        return Ended(id=message.id, end="failed" if failed else "done", code="tool_error" if failed else "")

    async def _list(self, message: ListTools, host: ToolHost) -> Ended:
        try:
            raw = protocol.encode_value(await host.definitions(message))
        except ToolFailed:
            return Ended(id=message.id, end="failed", code="tool_error")
        if len(raw) > protocol.MAX_DEFINITIONS:
            return Ended(id=message.id, end="failed", code="result_too_large")
        self._tell(Definitions(id=message.id, definitions=raw))
        return Ended(id=message.id, end="done")

    async def _model(self, message: CallModel) -> Ended:
        config = self._hello.models.get(message.upstream) if self._hello is not None else None
        if config is None or self._http is None:
            return Ended(id=message.id, end="failed", code="no_such_server")
        await asyncio.shield(self._http)
        from ringwall.models.upstream import Upstream, UpstreamFault

        upstream = self._upstreams.get(message.upstream)
        if upstream is None:
            upstream = self._upstreams[message.upstream] = Upstream(config)
        try:
            if message.stream:
                async with aclosing(upstream.stream(message.api, message.body, message.headers)) as pieces:
                    async for piece in pieces:
                        self._tell(Piece(id=message.id, value=piece))
            else:
                answer = await upstream.complete(message.api, message.body, message.headers)
                self._tell(Piece(id=message.id, value=answer))
        except UpstreamFault as fault:
            return Ended(id=message.id, end="failed", code=fault.code, status=fault.status)
        return Ended(id=message.id, end="done", status=200)

    async def _request(self, message: CallHttp) -> Ended:
        if self._requests is None:
            await _import(REQUESTS_MODULE)  # in a thread: others' calls go on
        from ringwall.tools.addresses import OutsideFault
        from ringwall.tools.answer import encode_answer
        from ringwall.tools.requests import Requests

        if self._requests is None:
            self._requests = Requests(self._hello.servers if self._hello is not None else {})
        try:
            answer = await self._requests.send(message)
        except OutsideFault as fault:
            end = "unknown" if fault.sent else "failed"
            return Ended(id=message.id, end=end, code=fault.code, status=fault.status)
        raw = encode_answer(answer)
        if len(raw) > protocol.MAX_RESULT:  # escapes and base64 make it longer
            return Ended(id=message.id, end="unknown", code="result_too_large", status=answer.status)
        self._tell(Piece(id=message.id, value=raw))
        return Ended(id=message.id, end="done", status=answer.status)

    def _tell(self, message: FromSidecar) -> None:
        if self._link is None:
            return
        try:
            self._link.send(protocol.encode(message))
        except Unavailable:
            self._over.set()

    def _passed(self) -> None:
        """Pipes of a tool server arrive, or sockets for peers."""
        try:
            raw, descriptors, flags, _ = socket.recv_fds(self._descriptors, ATTACH_BYTES, MAX_INSIDE)
        except BlockingIOError:
            return
        if not raw:
            self._over.set()
            return
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise BadInput("the core passed descriptors in a way not agreed on", code="bad_frame")
            message = protocol.decode_passed(raw)
        except BadInput as fault:
            for number in descriptors:
                os.close(number)
            self._fault = str(fault)
            self._over.set()
            return
        if not isinstance(message, Attach | Outlet):
            self._passed_to_peers(message, descriptors)
        elif self._host is None:  # the two sockets have no common order: hello may be read after this
            self._early.append((message, descriptors))
        else:
            _hand(self._host, message, descriptors)

    def _passed_to_peers(self, message: Gate | Inside | Pipe, descriptors: list[int]) -> None:
        try:
            self._peers().passed(message, descriptors)
        except BadInput as fault:
            self._fault = str(fault)
            self._over.set()


def _hand(host: ToolHost, message: Attach | Outlet, descriptors: list[int]) -> None:
    if isinstance(message, Attach):
        host.attach(message, descriptors)
    else:
        host.outlet(message, descriptors)


def _code(code: str) -> Code:
    """A fault's code, if the core knows it."""
    try:
        return msgspec.convert(code, Code)
    except msgspec.ValidationError:
        return "sidecar_fault"


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Faults of connections are whatever strangers like to send, and the operator's terminal is not for them."""
    if "transport" not in context and "protocol" not in context:
        loop.default_exception_handler(context)


async def _import(name: str) -> None:
    await asyncio.to_thread(importlib.import_module, name)


async def _run() -> int:
    sidecar = Sidecar(socket.socket(fileno=DESCRIPTORS))
    return await sidecar.run(socket.socket(fileno=LINK))


def main() -> int:
    """Run on descriptors 3 and 4. Exit code 0: the core's link closed, or SIGTERM; 1: the core spoke nonsense."""
    hidden.hide()  # what calls carry passes through: keys of models, tokens
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run())


if __name__ == "__main__":
    sys.exit(main())
