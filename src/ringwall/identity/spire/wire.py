"""The client half of gRPC over HTTP/2, without I/O (gRPC over HTTP2, PROTOCOL-HTTP2.md): calls with one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

MAX_MESSAGE: Final = 4 << 20  # bytes of one answer: gRPC's own default; a bundle has a few thousand
MAX_HEADER: Final = 16 << 10  # bytes of one answer's header, decompressed
MAX_TEXT: Final = 300  # characters of a status message that are kept
UNKNOWN: Final = 2  # gRPC status: the answer ended without one
_PREFIX: Final = 5  # bytes before each message: a flag and its length
_DIGITS: Final = 3  # of a status: there are 17
_HTTP_OK: Final = b"200"


class Broken(Exception):
    """This connection is over."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One whole message of an answer."""

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Over:
    """A call has ended. ``status``: gRPC's; 0: well."""

    stream: int
    status: int
    message: str


Event: TypeAlias = Answered | Over


class _Connection(H2Connection):
    DEFAULT_MAX_HEADER_LIST_SIZE = MAX_HEADER


@dataclass(slots=True)
class _Call:
    inbound: bytearray = field(default_factory=bytearray)


class GrpcClient:
    """One connection to a server on this machine."""

    def __init__(self) -> None:
        self._h2 = _Connection(H2Configuration(client_side=True, header_encoding=None))
        self._h2.initiate_connection()
        self._calls: dict[int, _Call] = {}
        self._events: list[Event] = []

    def outgoing(self) -> bytes:
        """What is to be written now."""
        return self._h2.data_to_send()

    def call(self, path: str, message: bytes, metadata: Mapping[str, str]) -> int:
        """Begin a call; its stream. The request is short: it fits the first window.

        Raises:
            Broken: the connection takes no more calls.

        """
        try:
            stream = self._h2.get_next_available_stream_id()
            self._h2.send_headers(stream, [
                (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
                ("te", "trailers"), ("content-type", "application/grpc"), ("user-agent", "ringwall"),
                *metadata.items(),
            ])
            self._h2.send_data(stream, b"\0" + len(message).to_bytes(4, "big") + message, end_stream=True)
        except ProtocolError as fault:
            raise Broken(str(fault)) from fault
        self._calls[stream] = _Call()
        return stream

    def cancel(self, stream: int) -> None:
        """Nobody waits for this call any more. Harmless when it is over."""
        if self._calls.pop(stream, None) is None:
            return
        try:
            self._h2.reset_stream(stream, ErrorCodes.CANCEL)
        except ProtocolError:
            pass  # it is closed already

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes. Raises Broken: they are not HTTP/2, or more than an answer has."""
        try:
            for event in self._h2.receive_data(data):
                self._take(event)
        except ProtocolError as fault:
            raise Broken(str(fault)) from fault
        found, self._events = self._events, []
        return found

    def _take(self, event: events.Event) -> None:
        match event:
            case events.ResponseReceived(stream_id=int(stream), headers=headers):
                self._headed(stream, dict(headers or []), first=True)
            case events.TrailersReceived(stream_id=int(stream), headers=headers):
                self._headed(stream, dict(headers or []), first=False)
            case events.DataReceived(stream_id=int(stream), data=data, flow_controlled_length=int(length)):
                if length:
                    self._h2.acknowledge_received_data(length, stream)
                self._feed(stream, data or b"")
            case events.StreamEnded(stream_id=int(stream)):
                self._over(stream, UNKNOWN, "the answer ended without a status")
            case events.StreamReset(stream_id=int(stream)):
                self._over(stream, UNKNOWN, "the call was reset")
            case events.ConnectionTerminated():
                raise Broken("the server said goodbye")
            case _:
                pass  # answered by the library, or nothing to us

    def _headed(self, stream: int, headers: Mapping[bytes, bytes], *, first: bool) -> None:
        if first and headers.get(b":status") != _HTTP_OK:
            self._over(stream, UNKNOWN, "this is no gRPC server")
        elif b"grpc-status" in headers:
            status, text = headers[b"grpc-status"], headers.get(b"grpc-message", b"")
            known = status.isdigit() and len(status) <= _DIGITS
            shown = text[:MAX_TEXT].decode("ascii", "replace")
            self._over(stream, int(status) if known else UNKNOWN, "".join(c if c.isprintable() else "?"
                                                                         for c in shown))

    def _feed(self, stream: int, data: bytes) -> None:
        found = self._calls.get(stream)
        if found is None:
            return
        found.inbound += data
        while len(found.inbound) >= _PREFIX:
            size = int.from_bytes(found.inbound[1:_PREFIX], "big")
            if found.inbound[0] or size > MAX_MESSAGE:
                raise Broken("a message is compressed, or larger than any of this API")
            if len(found.inbound) < _PREFIX + size:
                return
            self._events.append(Answered(stream, bytes(found.inbound[_PREFIX : _PREFIX + size])))
            del found.inbound[: _PREFIX + size]

    def _over(self, stream: int, status: int, message: str) -> None:
        if self._calls.pop(stream, None) is not None:
            self._events.append(Over(stream, status, message))
