"""One MCP server over two pipes. Runs in the sidecar only.

The handshake offers only what an operator declared for the server, so that it can ask nothing else back. A result
is not checked against the server's own output schema: its regular expressions would run in this process, and a
server could write one that never ends.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from typing import Final

from ringwall.call import Json
from ringwall.errors import BadInput, Unavailable
from ringwall.tools import mcp_ops, mcp_rpc
from ringwall.tools.lines import Lines
from ringwall.tools.mcp_call import EVENTS, Exchange, Questions, Tell, exchange
from ringwall.tools.mcp_news import LISTS, UPDATED, Ears, until
from ringwall.tools.mcp_rpc import Answer, Note, Request
from ringwall.tools.protocol import SETTLED, CallTool, Listen
from ringwall.wire.mcp import rpc

READ_BYTES: Final = 1 << 16
MAX_REPLIES: Final = 32  # to a server that does not read them; honest ones ask nothing but a ping
PING_S: Final = 5.0  # a server that does not answer a ping by then hangs


class McpServer:
    """A connected server. ``run`` lives as long as the pipes do; calls may come from any task.

    Args:
        stdin: descriptor to write to the server; owned from now on.
        stdout: descriptor to read from it; owned from now on.
        asks: what it may ask back.
        on_ready: called when the handshake is over.
        on_changed: called when the server says that its definitions changed.
        on_over: called once, when the server is gone or given up, before the calls under way learn it.

    """

    def __init__(
        self,
        *,
        stdin: int,
        stdout: int,
        asks: tuple[str, ...] = (),
        on_ready: Callable[[], None],
        on_changed: Callable[[], None],
        on_over: Callable[[], None],
    ) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._on_ready = on_ready
        self._on_changed = on_changed
        self._on_over = on_over
        self._writer: asyncio.StreamWriter | None = None
        self._ready = False
        self._over = asyncio.Event()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Answer | None]] = {}  # None: the server is gone
        self._calls: dict[int, Exchange] = {}  # of them: no listing and no ping
        self._late: dict[int, asyncio.Future[None]] = {}  # nobody waits for these answers
        self._asks = asks
        self._ears = Ears()
        self._questions = Questions(asks)
        self._replies = 0  # of ours since the server last read all there was

    @property
    def over(self) -> bool:
        """The pipes are closed, or are being closed."""
        return self._over.is_set()

    def close(self) -> None:
        """End the session; ``run`` returns soon after."""
        if self.over:
            return
        self._over.set()
        self._on_over()
        for waiting in (*self._waiting.values(), *self._late.values()):
            if not waiting.done():
                waiting.set_result(None)

    async def run(self) -> None:
        """Shake hands and stay until the server ends, breaks the protocol, or is closed."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=READ_BYTES)
        incoming, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(self._stdout, "rb", buffering=0)
        )
        outgoing, flow = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, os.fdopen(self._stdin, "wb", buffering=0)
        )
        self._writer = asyncio.StreamWriter(outgoing, flow, None, loop)
        tasks = [asyncio.create_task(self._read(reader)), asyncio.create_task(self._shake_hands())]
        try:
            await self._over.wait()
        finally:
            self.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            incoming.close()
            if not outgoing.is_closing():  # asyncio fails on a pipe that it has seen close
                outgoing.abort()

    async def _shake_hands(self) -> None:
        """Whoever waits learns of a failure from the end of ``run``."""
        try:
            number = next(self._numbers)
            mcp_rpc.agreed(await self._ask(number, mcp_rpc.initialize(number, self._asks)))
            await self._send(rpc.notification("notifications/initialized"))
        except (BadInput, Unavailable):
            self.close()
            return
        self._ready = True
        self._on_ready()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        lines = Lines()
        try:
            while data := await reader.read(READ_BYTES):
                for line in lines.feed(data):
                    self._hear(mcp_rpc.parse(line))
        except (BadInput, OSError):
            pass
        finally:
            self.close()

    def _hear(self, message: Request | Note | Answer) -> None:
        """One message. Raises BadInput for what ends the session."""
        match message:
            case Answer(id=int(number)):
                self._settle(number, message)
            case Answer():
                pass  # to no request of ours
            case Request():
                reply = self._questions.put(message, self._only_call())
                if reply is not None:
                    self._reply(reply)
            case Note(method=method) if method in LISTS or method == UPDATED:
                if LISTS.get(method) == "tools":
                    self._on_changed()
                self._ears.hear(message)
            case Note(method=method) if method in EVENTS:
                self._event(message)
            case Note(method=method) if method == SETTLED:
                number = mcp_rpc.fields(message.params).get("requestId")
                if type(number) is int:
                    self._settle(number, None)
            case Note():
                pass

    def _settle(self, number: int, answer: Answer | None) -> None:
        """An answer; or our own ``tools.serve`` says that it has none to give to what was cancelled."""
        waiting = self._waiting.get(number)
        late = self._late.get(number)
        if waiting is not None and answer is not None and not waiting.done():
            waiting.set_result(answer)
        elif late is not None and not late.done():
            late.set_result(None)

    def _event(self, note: Note) -> None:
        """Progress names its call; what is logged belongs to one only while there is no other."""
        call = self._only_call()
        if note.method == "notifications/progress":
            token = mcp_rpc.fields(note.params).get("progressToken")
            call = self._calls.get(token) if type(token) is int else None  # True would be number 1
        if call is not None:
            call.hear(note)

    def _only_call(self) -> Exchange | None:
        """The call under way, if it is one and no other can still be at work."""
        return next(iter(self._calls.values())) if len(self._calls) == 1 and not self._late else None

    def _reply(self, raw: bytes) -> None:
        """Answer a request. A server that asks and does not read the answers would fill this process."""
        if self._writer is None or self.over:
            return
        self._replies = 0 if self._writer.transport.get_write_buffer_size() == 0 else self._replies + 1
        if self._replies > MAX_REPLIES:
            raise BadInput("a tool server asks without reading the answers", code="server_lost")
        self._writer.write(raw + b"\n")

    async def _send(self, raw: bytes) -> None:
        """Raises Unavailable (``server_lost``)."""
        if self._writer is None or self.over:
            raise Unavailable("the tool server went away", code="server_lost")
        try:
            self._writer.write(raw + b"\n")
            await self._writer.drain()
        except OSError as fault:
            self.close()
            raise Unavailable("the tool server went away", code="server_lost") from fault

    async def call(self, message: CallTool, args: Json, left: Callable[[], bool], tell: Tell) -> Json:
        """What the operation's answer becomes (``mcp_call``). Cancelled while ``left``, it waits for the server's
        last word.

        Raises:
            ToolFailed: the tool said no.
            Unavailable: server_gone, it was not there and nothing was sent; server_lost, it went away meanwhile.
            Unavailable: abandoned, it was left and the server has answered all the same.
            BadInput: bad_answer, bad_arguments, tool_input_required.

        """
        if message.op in mcp_ops.ANSWERS:
            self._check_ready()
            await self._send(self._questions.answer(message.op, args, message.session))
            return {} if message.form == "value" else {"result": {}}
        asked = exchange(next(self._numbers), message, args, tell)
        self._check_ready()
        self._calls[asked.number] = asked
        try:
            answer = await self._ask(asked.number, asked.request())
        except asyncio.CancelledError:
            self._forget(asked)
            self._stop(asked.number)
            if not left():
                raise
            await self._last_word(asked.number)
            raise Unavailable("nobody waited for the answer", code="abandoned") from None
        finally:
            self._forget(asked)
        return asked.outcome(answer)

    def _forget(self, asked: Exchange) -> None:
        """Nothing more is told of a call, and nothing it was asked will be answered."""
        if self._calls.pop(asked.number, None) is not None:
            for refusal in self._questions.over(asked):
                self._reply(refusal)

    def _stop(self, number: int) -> None:
        """Tell the server that nobody waits any more."""
        if self._writer is not None and not self.over:
            said = {"requestId": number, "reason": "nobody waits for it any more"}
            self._writer.write(rpc.notification("notifications/cancelled", said) + b"\n")

    async def _last_word(self, number: int) -> None:
        """Wait until the server has answered what was asked and given up, or is gone.

        A server that keeps to the letter of MCP never does: whoever cancelled must cancel again in the end.
        """
        task = asyncio.current_task()
        if task is None or self.over:
            return
        task.uncancel()
        answer = self._late[number] = asyncio.get_running_loop().create_future()
        try:
            await answer
        finally:
            del self._late[number]

    async def listen(self, message: Listen, tell: Callable[[bytes], None]) -> None:
        """Hear what the server says by itself, until it ends. Raises Unavailable: it is not there."""
        self._check_ready()
        with self._ears.open(message, tell) as ear:
            ear.ready()
            await until(ear.full, self._over.wait())

    async def definitions(self) -> list[Json]:
        """All definitions, page by page. Raises as ``call`` does; a listing that is none is a BadInput."""
        self._check_ready()
        listing = mcp_rpc.Listing()
        cursor: str | None = None
        while True:
            number = next(self._numbers)
            params = {"cursor": cursor} if cursor else {}
            page = await self._ask(number, rpc.request(number, "tools/list", params))
            cursor = listing.add(page)
            if cursor is None:
                return listing.tools

    async def answers(self) -> bool:
        """Whether a ping comes back within PING_S; an error is an answer, too."""
        try:
            async with asyncio.timeout(PING_S):
                number = next(self._numbers)
                await self._ask(number, rpc.request(number, "ping", {}))
        except (TimeoutError, Unavailable):
            return False
        return True

    def _check_ready(self) -> None:
        """Raises Unavailable (``server_gone``): nothing was sent."""
        if not self._ready or self.over:
            raise Unavailable("the tool server is not connected", code="server_gone")

    async def _ask(self, number: int, request: bytes) -> Answer:
        """Send a request and wait for its answer. Raises Unavailable (``server_lost``)."""
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            await self._send(request)
            answer = await waiting
        finally:
            del self._waiting[number]
        if answer is None:
            raise Unavailable("the tool server went away", code="server_lost")
        return answer
