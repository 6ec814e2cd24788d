"""The server half of gRPC over HTTP/2, without I/O: bytes in, events out (gRPC over HTTP2, PROTOCOL-HTTP2.md).

Frames are counted and paid for before the HTTP/2 library sees them, so that no flood of small ones (pings, resets,
settings, empty data) costs more than its sender's allowance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

MAX_MESSAGE: Final = 128 << 10  # bytes of one request; a token with its audience has 2 KB, Envoy's about itself 61
MAX_STREAMS: Final = 32  # open at a time on one connection: a client has two or three
MAX_HEADER: Final = 8 << 10  # bytes of one request's header, decompressed; an honest one has 300
MAX_FRAME: Final = 1 << 14  # bytes; the least that HTTP/2 lets a server ask for (RFC 9113, section 4.2)
_FRAME_HEAD: Final = 9  # bytes (RFC 9113, section 4.1)
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _CONTINUATION = 1, 9
_PREFIX: Final = 5  # bytes before each gRPC message: a flag and its length
FRAME_COST: Final = 1.0
MESSAGE_COST: Final = 0.25  # one frame holds 3,000 empty ones, and each is an event here
HEADERS_COST: Final = 8.0  # a new stream: a task, an attestation
_PER_COST: Final = 4 << 10  # bytes of payload that cost as much as one frame more
_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}

OK, CANCELLED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, PERMISSION_DENIED = 0, 1, 3, 4, 5, 7
RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 8, 12, 13, 14


class Broken(Exception):
    """This connection is over; ``outgoing()`` still has what the peer is told."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A call begins. ``timeout`` in seconds; None: the client sets none."""

    stream: int
    path: str
    metadata: Mapping[str, tuple[str, ...]]
    timeout: float | None


@dataclass(frozen=True, slots=True)
class Received:
    """One whole request message."""

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The client sends nothing more."""

    stream: int


@dataclass(frozen=True, slots=True)
class Gone:
    """The client gave the call up, or it was refused here."""

    stream: int


Event: TypeAlias = Opened | Received | Ended | Gone


class _Connection(H2Connection):
    """The library's limits, as they fit a peer that is taken over."""

    DEFAULT_MAX_HEADER_LIST_SIZE = MAX_HEADER
    MAX_CLOSED_STREAMS = 256  # remembered, so that late frames of a closed stream are no error


@dataclass(slots=True)
class _Stream:
    inbound: bytearray = field(default_factory=bytearray)
    outbound: bytearray = field(default_factory=bytearray)
    trailers: list[tuple[str, str]] | None = None
    begun: bool = False  # our header is sent


class GrpcConnection:
    """One connection.

    Args:
        pay: whether the peer may spend this much more; asked before anything is looked at.

    """

    def __init__(self, pay: Callable[[float], bool]) -> None:
        self._pay = pay
        self._frames = _Frames()
        self._h2 = _Connection(H2Configuration(client_side=False, header_encoding=None))
        self._h2.local_settings = Settings(client=False, initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS, SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER})
        self._h2.initiate_connection()
        self._streams: dict[int, _Stream] = {}
        self._events: list[Event] = []

    def outgoing(self) -> bytes:
        """What is to be written now."""
        return self._h2.data_to_send()

    def unsent(self, stream: int) -> int:
        """Bytes of answers that wait until the client opens its window."""
        found = self._streams.get(stream)
        return len(found.outbound) if found is not None else 0

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes. Raises Broken: they are not HTTP/2, or too much for the peer's allowance."""
        try:
            if not self._pay(self._frames.cost(data)):
                raise self._break(ErrorCodes.ENHANCE_YOUR_CALM, "too many frames")
            for event in self._h2.receive_data(data):
                self._take(event)
        except ProtocolError as fault:
            # The library has told the peer already.
            raise Broken(str(fault)) from fault
        found, self._events = self._events, []
        return found

    def goodbye(self) -> None:
        """Tell the peer to come back over a new connection."""
        self._break(ErrorCodes.NO_ERROR, "closing")

    def send(self, stream: int, message: bytes) -> None:
        """One message of the answer. Harmless when the call is over."""
        found = self._streams.get(stream)
        if found is None or found.trailers is not None:
            return
        self._begin(stream, found)
        found.outbound += b"\0" + len(message).to_bytes(4, "big") + message
        self._pump(stream, found)

    def finish(self, stream: int, status: int, message: str = "") -> None:
        """The end of the answer, after what is still unsent. Harmless when the call is over."""
        found = self._streams.get(stream)
        if found is None or found.trailers is not None:
            return
        found.trailers = [("grpc-status", str(status))]
        if message:
            found.trailers.append(("grpc-message", _percent(message)))
        self._pump(stream, found)

    # --- inside

    def _take(self, event: events.Event) -> None:
        match event:
            case events.RequestReceived(stream_id=int(stream), headers=headers):
                self._open(stream, headers or [])
            case events.DataReceived(stream_id=int(stream), data=data, flow_controlled_length=int(length)):
                if length:
                    self._h2.acknowledge_received_data(length, stream)
                self._feed(stream, data or b"")
            case events.StreamEnded(stream_id=int(stream)):
                if stream in self._streams:
                    if self._streams[stream].inbound:
                        self._refuse(stream, INVALID_ARGUMENT, "the request is cut short")
                    else:
                        self._events.append(Ended(stream))
            case events.StreamReset(stream_id=int(stream)):
                self._forget(stream)
            case events.WindowUpdated() | events.RemoteSettingsChanged():
                for stream, found in tuple(self._streams.items()):
                    self._pump(stream, found)
            case events.ConnectionTerminated():
                raise Broken("the peer said goodbye")
            case _:
                pass  # answered by the library, or nothing to us: pings, priorities, trailers, unknown frames

    def _open(self, stream: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._streams[stream] = _Stream()
        found: dict[str, tuple[str, ...]] = {}
        for raw, value in headers:
            name = raw.decode("latin-1")
            found[name] = (*found.get(name, ()), value.decode("latin-1"))
        if found.get(":method") != ("POST",) or not _is_grpc(found.get("content-type", ())):
            self._h2.send_headers(stream, [(":status", "415")], end_stream=True)
            self._reset(stream)
            return
        try:
            timeout = _timeout(found.get("grpc-timeout", ()))
        except ValueError:
            self._refuse(stream, INVALID_ARGUMENT, "grpc-timeout is no time")
            return
        self._events.append(Opened(stream, found.get(":path", ("",))[0], found, timeout))

    def _feed(self, stream: int, data: bytes) -> None:
        found = self._streams.get(stream)
        if found is None or found.trailers is not None:
            return
        found.inbound += data
        while len(found.inbound) >= _PREFIX:
            size = int.from_bytes(found.inbound[1:_PREFIX], "big")
            if found.inbound[0]:
                self._refuse(stream, UNIMPLEMENTED, "compressed messages are not read here")
                return
            if size > MAX_MESSAGE:
                self._refuse(stream, RESOURCE_EXHAUSTED, f"a request has at most {MAX_MESSAGE} bytes")
                return
            if len(found.inbound) < _PREFIX + size:
                return
            if not self._pay(MESSAGE_COST):
                raise self._break(ErrorCodes.ENHANCE_YOUR_CALM, "too many messages")
            self._events.append(Received(stream, bytes(found.inbound[_PREFIX : _PREFIX + size])))
            del found.inbound[: _PREFIX + size]

    def _refuse(self, stream: int, status: int, message: str) -> None:
        """End a call from here; whoever answers it is told that it is gone."""
        found = self._streams[stream]
        found.outbound.clear()
        self.finish(stream, status, message)
        self._events.append(Gone(stream))

    def _begin(self, stream: int, found: _Stream) -> None:
        if not found.begun:
            found.begun = True
            self._h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])

    def _pump(self, stream: int, found: _Stream) -> None:
        """Send as much as the client's windows let pass."""
        while found.outbound:
            size = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size, MAX_FRAME)
            if size <= 0:
                return
            self._h2.send_data(stream, bytes(found.outbound[:size]))
            del found.outbound[:size]
        if found.trailers is not None:
            head = [] if found.begun else [(":status", "200"), ("content-type", "application/grpc")]
            self._h2.send_headers(stream, [*head, *found.trailers], end_stream=True)
            self._reset(stream)

    def _reset(self, stream: int) -> None:
        """Our half is closed. A client that would go on sending is told not to (RFC 9113, section 8.1)."""
        del self._streams[stream]
        open_still = self._h2.streams.get(stream)
        if open_still is not None and not open_still.closed:
            self._h2.reset_stream(stream, ErrorCodes.NO_ERROR)

    def _forget(self, stream: int) -> None:
        if self._streams.pop(stream, None) is not None:
            self._events.append(Gone(stream))

    def _break(self, code: ErrorCodes, why: str) -> Broken:
        try:
            self._h2.close_connection(code)
        except ProtocolError:
            pass  # it is closed already
        return Broken(why)


class _Frames:
    """Counts frames in a stream of bytes: nine bytes of header, the first three its length."""

    def __init__(self) -> None:
        self._skip = len(_PREFACE)
        self._head = b""

    def cost(self, data: bytes) -> float:
        """What these bytes cost. What is no HTTP/2 is refused by the library; it costs its bytes here."""
        cost, at = len(data) / _PER_COST, 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            take = min(_FRAME_HEAD - len(self._head), len(data) - at)
            self._head += data[at : at + take]
            at += take
            if len(self._head) == _FRAME_HEAD:
                cost += HEADERS_COST if self._head[3] in {_HEADERS, _CONTINUATION} else FRAME_COST
                self._skip = int.from_bytes(self._head[:3], "big")
                self._head = b""
        return cost


def _is_grpc(types: tuple[str, ...]) -> bool:
    found = types[0].partition(";")[0].strip().lower() if len(types) == 1 else ""
    return found in {"application/grpc", "application/grpc+proto"}


def _timeout(values: tuple[str, ...]) -> float | None:
    """``grpc-timeout``: at most eight digits and a unit. Raises ValueError."""
    if not values:
        return None
    digits, unit = values[0][:-1], values[0][-1:]
    if len(values) > 1 or unit not in _UNITS or not digits.isascii() or not digits.isdigit() or len(digits) > 8:
        raise ValueError
    return int(digits) * _UNITS[unit]


def _percent(message: str) -> str:
    """Percent-encoding of grpc-message: printable ASCII but for the percent sign stays."""
    return "".join(chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}"
                   for byte in message.encode(errors="replace"))
