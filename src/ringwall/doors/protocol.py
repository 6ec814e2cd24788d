"""uvicorn's HTTP protocol, made fit for peers that are taken over.

Added to ``HttpToolsProtocol``: who the peer is (from the raw socket, which ASGI does not show), and limits on
everything a peer could use up: connections, time, header, body, memory of one door, unread answers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator
from typing import Any, Final, TypeAlias

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ringwall.call import Denied
from ringwall.doors.http import Problem, of_denied, raw_response
from ringwall.doors.interface import Peers
from ringwall.doors.shares import Holders, Shares

CONNECTION: Final = "ringwall.connection"
PRESENCE: Final = "ringwall.presence"

MAX_HEAD: Final = 16 << 10  # request line and header: our clients send some 150 bytes
MAX_BODY: Final = 8 << 20  # a whole conversation with a model as JSON; the resolver knows smaller limits by kind
MAX_FRAMING: Final = 64 << 10  # chunk sizes, extensions and trailers may be this much longer than the body
MAX_HELD: Final = 32 << 20  # bodies of one door in memory at a time, all its connections together
MAX_IGNORED: Final = 64 << 10  # sent behind a request that is still being answered; more ends the connection
HEAD_SECONDS: Final = 10.0  # from connect, or from the first byte, to the end of the header
BODY_SECONDS: Final = 30.0  # to the end of the body
UNREAD_SECONDS: Final = 30.0  # an answer that nobody reads
_CONTINUE: Final = b"HTTP/1.1 100 "  # an interim response, which must not wait for a body


# For a connection, and the pidfd of who sent what was just read (None: unknown): why that does not count.
Sender: TypeAlias = Callable[[Any, "int | None"], "Denied | None"]


class Presence:
    """Whether the peer is still there. What runs inside ``waiting()`` is cancelled when it goes."""

    def __init__(self) -> None:
        self.gone = False
        self._task: asyncio.Task[Any] | None = None

    @contextlib.contextmanager
    def waiting(self) -> Generator[None]:
        """Raises CancelledError at once if the peer has gone already."""
        if self.gone:
            raise asyncio.CancelledError
        self._task = asyncio.current_task()
        try:
            yield
        finally:
            self._task = None

    def leave(self) -> None:
        """The peer went."""
        self.gone = True
        if self._task is not None:
            self._task.cancel()


class Door:
    """What all connections of one socket share.

    Args:
        config: of uvicorn; its app answers.
        peers: names the peers.
        sender: why what a process sent over a connection does not count; None: senders are not looked at.
        max_body: in bytes.
        head_seconds, body_seconds, unread_seconds: the deadlines.
        shares: of a connection: for whom it counts, and what part of ``max_held`` they get.

    """

    def __init__(
        self,
        config: Config,
        peers: Peers,
        *,
        sender: Sender | None = None,
        max_body: int = MAX_BODY,
        max_held: int = MAX_HELD,
        head_seconds: float = HEAD_SECONDS,
        body_seconds: float = BODY_SECONDS,
        unread_seconds: float = UNREAD_SECONDS,
        shares: Callable[[Any], Shares] = lambda _: (),
    ) -> None:
        self.config = config
        self.peers = peers
        self.sender = sender
        self.state = ServerState()
        self.max_body = max_body
        self.max_held = max_held
        self.head_seconds = head_seconds
        self.body_seconds = body_seconds
        self.unread_seconds = unread_seconds
        self.shares = shares
        self.held = 0
        self._holders = Holders()
        self.protocols: set[DoorProtocol] = set()

    def protocol(self) -> DoorProtocol:
        """One for each accepted connection."""
        return DoorProtocol(self)

    def take(self, shares: Shares, size: int) -> bool:
        """Take memory for a body, or give it back (``size`` below 0). False: there is not so much."""
        if (size > 0 and self.held + size > self.max_held) or not self._holders.take(shares, size, self.max_held):
            return False
        self.held += size
        return True

    def disconnect(self) -> None:
        """End every connection now; calls that run for them are cancelled."""
        for protocol in tuple(self.protocols):
            protocol.abort()


class _Joined(asyncio.Transport):
    """The transport as one response sees it: the head waits for the first piece of the body, so that both go out
    in one write and wake the peer once."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._head = b""
        self._first = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._first and not bytes(data[:13]).startswith(_CONTINUE):
            self._first = False
            self._head = bytes(data)
            return
        self._transport.write(self._head + data if self._head else data)
        self._head = b""

    def close(self) -> None:
        if self._head:
            self._transport.write(self._head)
            self._head = b""
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


class _Rejected(Exception):
    """Raised out of a parser callback: the rest of this connection is not parsed."""

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.status = status
        self.problem = problem


class DoorProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, door: Door) -> None:
        super().__init__(config=door.config, server_state=door.state, app_state={})
        self._door = door
        self._parser: httptools.HttpRequestParser = self.parser  # pyright: ignore[reportAttributeAccessIssue]
        self._asked = False  # there was a request, so there is a cycle
        self._connection: Any = None
        self._presence = Presence()
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._ignoring = False
        self._ignored = 0
        self._rejected: _Rejected | None = None
        self._complete = True  # no request is half received
        self._head_done = False
        self._raw = 0  # bytes of this request as they came
        self._body = 0  # bytes of its body
        self._held = 0  # what this connection has in Door.held
        self._shares: Shares = ()

    # --- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._door.protocols.add(self)
        found = self._door.peers.open(transport.get_extra_info("socket"))
        if isinstance(found, Denied):
            self._refuse(429 if found.retry_after is not None else 403, of_denied(found))
            return
        self._connection = found
        self._shares = self._door.shares(found)
        self._arm(self._door.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.protocols.discard(self)
        self._disarm()
        if self._unread is not None:
            self._unread.cancel()
        self._give_back()
        self._presence.leave()
        super().connection_lost(exc)
        if self._connection is not None:
            self._door.peers.close(self._connection)
            self._connection = None

    def abort(self) -> None:
        """End the connection without another byte."""
        self.transport.abort()

    # --- receiving

    def sent_by(self, process: int | None) -> bool:
        """Whether what was read counts; called by ``SenderTransport`` only. If not, whoever reads is told why."""
        if self._connection is None or self._door.sender is None or self._ignoring:
            return True  # the connection ends anyway; what comes is counted and dropped
        denied = self._door.sender(self._connection, process)
        if denied is not None:
            self._refuse(403, of_denied(denied))
        return denied is None

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._ignoring:
            self._ignored += len(data)
            if self._ignored > MAX_IGNORED:
                self.abort()
            return
        self._raw += len(data)
        try:
            self._parser.feed_data(data)
            self._check_raw()
        except httptools.HttpParserUpgrade:
            self._refuse(400, _bad("this door speaks HTTP/1.1 only and upgrades to nothing"))
        except _Rejected as rejected:
            self._refuse(rejected.status, rejected.problem)
        except httptools.HttpParserError as fault:
            self._parser_failed(fault)
        else:
            self._watch_request()

    def _parser_failed(self, fault: Exception) -> None:
        """Either our own callback refused, or the bytes are not HTTP."""
        rejected, self._rejected = self._rejected, None
        if self._answering():
            # Pipelining. The answer that is due still goes out; then the connection closes, which tells the
            # peer that nothing behind the first request was looked at (RFC 9112 section 9.3.2).
            self._ignoring = True
            self.cycle.keep_alive = False
        elif rejected is not None:
            self._refuse(rejected.status, rejected.problem)
        else:
            self._refuse(400, _bad(f"the request is not HTTP/1.1: {fault}"))

    def _check_raw(self) -> None:
        """Bound what the parser may be holding without having told us."""
        if not self._complete and not self._head_done and self._raw > MAX_HEAD:
            raise self._reject(431, _head_too_large())
        if self._raw - self._body > MAX_HEAD + MAX_FRAMING + self._body:
            raise self._reject(413, _bad("the chunks of the body are mostly framing", "bad_chunks"))

    def _watch_request(self) -> None:
        if self._answering():
            self._raw = 0
            self._disarm()
        elif self._deadline is None:
            # Also when nothing has begun: empty lines before a request are legal and must not stop the clock.
            in_body = self._head_done and not self._complete
            self._arm(self._door.body_seconds if in_body else self._door.head_seconds)

    def on_message_begin(self) -> None:
        if self._answering():
            raise self._reject(400, _bad("requests may not be pipelined"))
        super().on_message_begin()
        self._complete = self._head_done = False
        self._body = 0
        extensions = {CONNECTION: self._connection, PRESENCE: self._presence}
        self.scope["extensions"] = extensions  # pyright: ignore[reportGeneralTypeIssues, reportTypedDictNotRequiredAccess]

    def on_headers_complete(self) -> None:
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD:
            raise self._reject(431, _head_too_large())
        if self._parser.should_upgrade():
            raise self._reject(400, _bad("this door speaks HTTP/1.1 only and upgrades to nothing"))
        if self._parser.get_http_version() not in {"1.0", "1.1"}:
            raise self._reject(400, _bad("this door speaks HTTP/1.1 only"))  # no version at all means 0.9
        for name, value in self.headers:
            # The parser has refused anything but one run of digits (RFC 9112 section 6.3).
            if name == b"content-length" and int(value) > self._door.max_body:
                raise self._reject(413, self._too_large())
        self._head_done = True
        self._disarm()
        super().on_headers_complete()
        self._asked = True
        self.cycle.transport = _Joined(self.transport)

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        if self._body > self._door.max_body:
            raise self._reject(413, self._too_large())
        if not self._door.take(self._shares, len(body)):
            raise self._reject(429, _busy())
        self._held += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._complete = True
        super().on_message_complete()

    def _reject(self, status: int, problem: Problem) -> _Rejected:
        self._rejected = _Rejected(status, problem)
        return self._rejected

    # --- answering

    def on_response_complete(self) -> None:
        self._give_back()
        super().on_response_complete()
        if self.transport.is_closing():
            self._linger()
        elif not self._complete:
            # Answered before the body came, and nobody will read it.
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._linger()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None and not self.transport.is_closing():
            self._unread.cancel()
            self._unread = None

    def timeout_keep_alive_handler(self) -> None:
        self.abort()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, _bad(msg))

    def _refuse(self, status: int, problem: Problem) -> None:
        """Answer by ourselves and close. An answer that has begun is cut off instead."""
        self._ignoring = True
        self._disarm()
        if self._asked and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.abort()
                return
        self._presence.leave()
        self.transport.write(raw_response(status, problem))
        self.transport.close()
        self._linger()

    def _linger(self) -> None:
        """Give the peer a bounded time to read what is written."""
        if self._unread is None and self.transport.get_write_buffer_size():
            self._unread = self.loop.call_later(self._door.unread_seconds, self.abort)

    def _answering(self) -> bool:
        return self._complete and self._asked and not self.cycle.response_complete

    def _give_back(self) -> None:
        self._door.take(self._shares, -self._held)
        self._held = 0

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self._late)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self._refuse(408, Problem(code="too_slow", reason="the request did not arrive in time"))

    def _too_large(self) -> Problem:
        return Problem(code="body_too_large", reason=f"the body is larger than {self._door.max_body} bytes")


def _bad(reason: str, code: str = "bad_http") -> Problem:
    return Problem(code=code, reason=reason)


def _busy() -> Problem:
    reason = "the requests of this agent that are being received or answered hold too much memory together"
    return Problem(code="door_busy", reason=reason, retry_after=1.0)


def _head_too_large() -> Problem:
    return Problem(code="head_too_large", reason=f"the header is larger than {MAX_HEAD} bytes")
