"""Connections to one OPA: kept open, bounded in number, each with at most one question on it."""

from __future__ import annotations

import asyncio
import socket
from typing import Final, cast

from ringwall.errors import BadInput, PolicyError
from ringwall.policy.opa.address import Address, check_server
from ringwall.policy.opa.http import Response, ResponseReader

MOST: Final = 32  # at once: as many calls as are in the rings, so that one tenant's slow 16 hold up nobody else's
CONNECT_SECONDS: Final = 0.5  # on one machine it takes microseconds, or nobody listens


def unreachable(address: Address, why: str) -> PolicyError:
    """The error of an OPA that cannot be asked."""
    return PolicyError(f"the OPA at {address} cannot be asked: {why}", code="opa_unreachable",
                       remedy="start it, then look at `ringwall status`")


class _Gone(Exception):
    """The connection ended; ``unanswered``: before any byte of the answer."""

    def __init__(self, why: str, *, unanswered: bool) -> None:
        super().__init__(why)
        self.unanswered = unanswered


class _Connection(asyncio.Protocol):
    """One connection. Whatever is odd about it ends it: an answer must never reach another question."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Response] | None = None
        self._reader = ResponseReader()

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes) -> Response:
        """One question. Raises _Gone, BadInput. However it ends but well, the connection is closed."""
        if self._transport is None or self._answer is not None:
            raise _Gone("it is closed", unanswered=True)
        self._reader = ResponseReader()
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._transport.write(request)
            response = await self._answer
        except BaseException:
            self.close()
            raise
        self._answer = None
        if not response.reusable:
            self.close()
        return response

    def close(self) -> None:
        """Drop the connection, without waiting for what is still to be sent."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # -- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.close()  # bytes that nobody asked for
            return
        try:
            response = self._reader.feed(data)
        except BadInput as fault:
            self._answer.set_exception(fault)
            return
        if response is not None:
            self._answer.set_result(response)

    def eof_received(self) -> bool:
        return False  # close: an answer must say how long it is

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            why = "it closed the connection" if exc is None else f"the connection broke: {exc}"
            self._answer.set_exception(_Gone(why, unanswered=not self._reader.begun))


class Pool:
    """Asks one OPA, over at most ``most`` connections; further questions wait for a free one.

    Args:
        address: where it is.
        most: connections at once.

    """

    def __init__(self, address: Address, *, most: int = MOST) -> None:
        self._address = address
        self._free = asyncio.Semaphore(most)
        self._idle: list[_Connection] = []

    async def ask(self, request: bytes) -> Response:
        """Send one request and read its answer. The caller limits the time.

        A connection that was kept open may have been closed meanwhile: then the question, which changes nothing
        that asking twice would change again, is asked once more on a new one.

        Raises:
            PolicyError: ``opa_unreachable``, ``opa_foreign``, or ``opa_bad_answer`` for what is not HTTP.

        """
        async with self._free:
            connection = self._kept()
            if connection is not None:
                try:
                    return await self._over(connection, request)
                except _Gone as gone:
                    if not gone.unanswered:
                        raise unreachable(self._address, str(gone)) from gone
            try:
                return await self._over(await self._connect(), request)
            except _Gone as gone:
                raise unreachable(self._address, str(gone)) from gone

    def close(self) -> None:
        """Close what is kept open. Questions under way end by themselves."""
        while self._idle:
            self._idle.pop().close()

    def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def _over(self, connection: _Connection, request: bytes) -> Response:
        try:
            response = await connection.ask(request)
        except BadInput as fault:
            raise PolicyError(fault.cause, code="opa_bad_answer",
                              remedy="look what really listens there") from fault
        if connection.usable:
            self._idle.append(connection)
        return response

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if self._address.path:
                    transport, connection = await loop.create_unix_connection(_Connection, self._address.path)
                else:
                    transport, connection = await loop.create_connection(_Connection, self._address.host,
                                                                         self._address.port)
        except TimeoutError:
            raise unreachable(self._address, f"no connection within {CONNECT_SECONDS} s") from None
        except OSError as error:
            raise unreachable(self._address, str(error)) from error
        if self._address.path:
            self._check(transport, connection)
        return connection

    def _check(self, transport: asyncio.BaseTransport, connection: _Connection) -> None:
        try:
            check_server(self._address.path, cast("socket.socket", transport.get_extra_info("socket")))
        except PolicyError:
            connection.close()
            raise
