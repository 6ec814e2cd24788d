"""One MCP server over two pipes, through the SDK's ClientSession. Runs in the sidecar only.

Importing this module imports the SDK, which takes about a second: ``tools.host`` does it in a thread.

The handshake offers no sampling, no elicitation and no roots, so that a server can ask nothing back.
The SDK's check of a result against the server's own output schema is not used: its regular expressions would
run in this process, and a server could write one that never ends.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TypeVar

import anyio
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.session import ClientSession
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from ringwall.call import Json
from ringwall.errors import BadInput, Unavailable
from ringwall.tools import values
from ringwall.tools.lines import Lines
from ringwall.tools.protocol import SETTLED
from ringwall.tools.values import ToolFailed

READ_BYTES: Final = 1 << 16
MAX_PAGES: Final = 32  # of a listing
MAX_TOOLS: Final = 1024
MAX_ASKED: Final = 32  # unanswered requests of a server; honest ones ask nothing but a ping
PING_S: Final = 5.0  # a server that does not answer a ping by then hangs


_R = TypeVar("_R", bound=types.Result)


class McpServer:
    """A connected server. ``run`` lives as long as the pipes do; calls may come from any task.

    Args:
        stdin: descriptor to write to the server; owned from now on.
        stdout: descriptor to read from it; owned from now on.
        on_ready: called when the handshake is over.
        on_changed: called when the server says that its definitions changed.
        on_over: called once, when the server is gone or given up, before the calls under way learn it.

    """

    def __init__(
        self,
        *,
        stdin: int,
        stdout: int,
        on_ready: Callable[[], None],
        on_changed: Callable[[], None],
        on_over: Callable[[], None],
    ) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._on_ready = on_ready
        self._on_changed = on_changed
        self._on_over = on_over
        self._session: ClientSession | None = None
        self._over = asyncio.Event()
        self._numbers: dict[asyncio.Task[Json] | None, types.RequestId] = {}  # what each task asked last
        self._late: dict[types.RequestId, asyncio.Future[None]] = {}  # nobody waits for these answers
        self._asked = 0  # requests of the server that it has not let us answer yet

    @property
    def over(self) -> bool:
        """The pipes are closed, or are being closed."""
        return self._over.is_set()

    def close(self) -> None:
        """End the session; ``run`` returns soon after."""
        if not self.over:
            self._over.set()
            self._on_over()
            for answer in self._late.values():
                _done(answer)

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
        writer = asyncio.StreamWriter(outgoing, flow, None, loop)
        to_session, session_reads = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        session_writes, from_session = anyio.create_memory_object_stream[SessionMessage](0)
        pumps = [
            asyncio.create_task(self._read(reader, to_session)),
            asyncio.create_task(self._write(writer, from_session)),
        ]
        try:
            await self._talk(session_reads, session_writes)
        except (MCPError, ValidationError, RuntimeError, Unavailable):
            pass  # the handshake failed; whoever waits learns it from the end of this task
        finally:
            self.close()
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for stream in (to_session, session_reads, session_writes, from_session):
                stream.close()
            incoming.close()
            outgoing.abort()

    async def _talk(
        self,
        reads: MemoryObjectReceiveStream[SessionMessage | Exception],
        writes: MemoryObjectSendStream[SessionMessage],
    ) -> None:
        async with ClientSession(reads, _Numbered(writes, self._numbers), message_handler=self._hear) as session:
            hands = asyncio.create_task(session.initialize())
            over = asyncio.create_task(self._over.wait())
            try:
                await asyncio.wait({hands, over}, return_when=asyncio.FIRST_COMPLETED)
                if self.over:
                    return
                await hands
                self._session = session
                self._on_ready()
                await over
            finally:
                hands.cancel()
                over.cancel()
                await asyncio.gather(hands, over, return_exceptions=True)

    async def _hear(self, message: types.ServerNotification | Exception) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._on_changed()

    async def _read(
        self, reader: asyncio.StreamReader, session: MemoryObjectSendStream[SessionMessage | Exception]
    ) -> None:
        lines = Lines()
        try:
            while data := await reader.read(READ_BYTES):
                for line in lines.feed(data):
                    # ValueError: a line that is no message.
                    message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
                    self._count(message)
                    self._settle(message)
                    await session.send(SessionMessage(message))
        except (BadInput, ValueError, OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            self.close()  # before the stream closes: who is woken by that must see why
            session.close()

    def _count(self, message: types.JSONRPCMessage) -> None:
        """A server that asks and does not read the answers would fill this process."""
        if isinstance(message, types.JSONRPCRequest):
            self._asked += 1
            if self._asked > MAX_ASKED:
                raise BadInput("a tool server asks without reading the answers", code="server_lost")

    def _settle(self, message: types.JSONRPCMessage) -> None:
        """An answer nobody waits for; or our own ``tools.serve`` says that it has none to give, and is done."""
        number: object = None
        if isinstance(message, types.JSONRPCResponse | types.JSONRPCError):
            number = message.id
        elif isinstance(message, types.JSONRPCNotification) and message.method == SETTLED:
            number = (message.params or {}).get("requestId")
        if isinstance(number, int | str) and number in self._late:
            _done(self._late[number])

    async def _write(
        self, writer: asyncio.StreamWriter, session: MemoryObjectReceiveStream[SessionMessage]
    ) -> None:
        try:
            async for item in session:
                message = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                writer.write(message.encode() + b"\n")
                await writer.drain()
                if isinstance(item.message, types.JSONRPCResponse | types.JSONRPCError):
                    self._asked -= 1
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            self.close()

    async def call(self, op: str, args: Json, left: Callable[[], bool]) -> Json:
        """The operation's value (``tools.values``). Cancelled while ``left``, it waits for the server's last word.

        Raises:
            ToolFailed: the tool said no.
            Unavailable: server_gone, it was not there and nothing was sent; server_lost, it went away meanwhile.
            Unavailable: abandoned, it was left and the server has answered all the same.
            BadInput: bad_answer.

        """
        request = types.CallToolRequest(params=types.CallToolRequestParams(name=op, arguments=args))
        try:
            result = await self._ask(request, types.CallToolResult)
        except asyncio.CancelledError:
            if not left():
                raise
            await self._last_word()
            raise Unavailable("nobody waited for the answer", code="abandoned") from None
        finally:
            self._numbers.pop(asyncio.current_task(), None)
        content = [block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in result.content]
        if result.is_error:
            raise ToolFailed(values.error_text(content))
        return values.plain(content, result.structured_content)

    async def _last_word(self) -> None:
        """Wait until the server has answered what this task asked and gave up, or is gone.

        A server that keeps to the letter of MCP never does: whoever cancelled must cancel again in the end.
        """
        task = asyncio.current_task()
        number = self._numbers.get(task)
        if task is None or number is None or self.over:
            return
        task.uncancel()
        answer = self._late[number] = asyncio.get_running_loop().create_future()
        try:
            await answer
        finally:
            del self._late[number]

    async def definitions(self) -> list[Json]:
        """All definitions, page by page. Raises as ``call`` does; duplicate names are a BadInput."""
        found: dict[str, Json] = {}
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            params = types.PaginatedRequestParams(cursor=cursor) if cursor else None
            page = await self._ask(types.ListToolsRequest(params=params), types.ListToolsResult)
            for tool in page.tools:
                if tool.name in found or len(found) >= MAX_TOOLS:
                    raise BadInput("a tool server lists a name twice, or too many", code="bad_answer")
                found[tool.name] = tool.model_dump(
                    mode="json",
                    by_alias=True,
                    exclude_none=True,
                    include={"name", "title", "description", "input_schema", "output_schema", "annotations"},
                )
            cursor = page.next_cursor
            if not cursor:
                return list(found.values())
        raise BadInput(f"a tool server's listing has more than {MAX_PAGES} pages", code="bad_answer")

    async def answers(self) -> bool:
        """Whether a ping comes back within PING_S."""
        try:
            async with asyncio.timeout(PING_S):
                await self._ask(types.PingRequest(), types.EmptyResult)
        except (TimeoutError, Unavailable):
            return False
        except (ToolFailed, BadInput):
            return True  # an answer, if an odd one
        return True

    async def _ask(self, request: types.Request[Json, Json], kind: type[_R]) -> _R:
        if self._session is None or self.over:
            raise Unavailable("the tool server is not connected", code="server_gone")
        try:
            return await self._session.send_request(request, kind)
        except MCPError as fault:
            if self.over:
                raise Unavailable("the tool server went away", code="server_lost") from fault
            raise ToolFailed(fault.message[: values.MAX_ERROR_TEXT]) from fault
        except ValidationError as fault:
            raise BadInput("a tool server's answer is not what MCP says", code="bad_answer") from fault
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as fault:
            raise Unavailable("the tool server went away", code="server_lost") from fault


def _done(answer: asyncio.Future[None]) -> None:
    if not answer.done():
        answer.set_result(None)


class _Numbered:
    """A stream to the server that notes which request each task sent last."""

    def __init__(
        self, stream: MemoryObjectSendStream[SessionMessage],
        numbers: dict[asyncio.Task[Json] | None, types.RequestId],
    ) -> None:
        self._stream = stream
        self._numbers = numbers

    async def send(self, item: SessionMessage, /) -> None:
        if isinstance(item.message, types.JSONRPCRequest) and item.message.method == "tools/call":
            self._numbers[asyncio.current_task()] = item.message.id
        await self._stream.send(item)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> bool | None:
        return await self._stream.__aexit__(exc_type, exc_val, exc_tb)
