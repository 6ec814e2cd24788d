"""gRPC's frames, without I/O: limits, flow control, and bytes of every kind."""

from __future__ import annotations

import pytest
from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.identity.workload import wire
from ringwall.identity.workload.wire import Broken, Ended, Gone, GrpcConnection, Opened, Received

HEADERS = [(":method", "POST"), (":scheme", "http"), (":path", "/a/b"), (":authority", "x"),
           ("content-type", "application/grpc")]
FRAME_TYPES = range(16)


def free(cost: float) -> bool:
    return True


class Pair:
    """Our end and a client's, joined."""

    def __init__(self, window: int = 65_535) -> None:
        self.client = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.client.initiate_connection()
        if window != 65_535:
            self.client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.server = GrpcConnection(free)
        self.step()

    def step(self) -> tuple[list[wire.Event], list[events.Event]]:
        """Everything that lies ready goes over."""
        ours = self.server.receive(self.client.data_to_send())
        theirs = self.client.receive_data(self.server.outgoing())
        return ours, theirs

    def open(self, headers: list[tuple[str, str]] | None = None, *, end: bool = False) -> int:
        stream = self.client.get_next_available_stream_id()
        self.client.send_headers(stream, headers or HEADERS, end_stream=end)
        return stream


def status(found: list[events.Event]) -> tuple[int, str]:
    for event in found:
        if isinstance(event, events.TrailersReceived | events.ResponseReceived):
            headers = dict(event.headers or [])
            if "grpc-status" in headers:
                return int(headers["grpc-status"]), headers.get("grpc-message", "")
    raise AssertionError(found)


def test_a_message_in_any_number_of_pieces_arrives_once() -> None:
    pair = Pair()
    stream = pair.open()
    seen, _ = pair.step()
    assert isinstance(seen[0], Opened)
    assert seen[0].path == "/a/b"
    for byte in b"\0\0\0\0\x03abc":
        pair.client.send_data(stream, bytes([byte]))
    pair.client.end_stream(stream)
    raw = pair.client.data_to_send()
    found = [event for byte in raw for event in pair.server.receive(bytes([byte]))]
    assert found == [Received(stream, b"abc"), Ended(stream)]


def test_an_answer_waits_for_the_clients_window_and_keeps_its_order() -> None:
    pair = Pair(window=10)
    stream = pair.open(end=True)
    pair.step()
    pair.server.send(stream, b"x" * 30)
    pair.server.finish(stream, wire.OK)
    _, seen = pair.step()
    assert pair.server.unsent(stream) == 25
    data = b"".join(event.data or b"" for event in seen if isinstance(event, events.DataReceived))
    for _ in range(5):
        pair.client.increment_flow_control_window(5, stream)
        _, seen = pair.step()
        data += b"".join(event.data or b"" for event in seen if isinstance(event, events.DataReceived))
    assert data == b"\0\0\0\0\x1e" + b"x" * 30
    assert pair.server.unsent(stream) == 0


@pytest.mark.parametrize(("sent", "code"), [
    (b"\1\0\0\0\0", wire.UNIMPLEMENTED),
    (b"\0\xff\xff\xff\xff", wire.RESOURCE_EXHAUSTED),
    (b"\0" + (wire.MAX_MESSAGE + 1).to_bytes(4, "big"), wire.RESOURCE_EXHAUSTED),
    (b"\0\0\0\0\x09short", wire.INVALID_ARGUMENT),
])
def test_a_message_that_is_none_ends_its_call_only(sent: bytes, code: int) -> None:
    pair = Pair()
    stream = pair.open()
    pair.client.send_data(stream, sent, end_stream=True)
    ours, theirs = pair.step()
    assert Gone(stream) in ours
    assert status(theirs)[0] == code
    pair.open(end=True)
    ours, _ = pair.step()
    assert isinstance(ours[0], Opened)


@pytest.mark.parametrize("headers", [
    [(":method", "GET"), *HEADERS[1:]],
    [*HEADERS[:4], ("content-type", "application/json")],
    [*HEADERS[:4], ("content-type", "application/grpc+json")],
    HEADERS[:4],
])
def test_what_is_no_grpc_gets_a_415(headers: list[tuple[str, str]]) -> None:
    pair = Pair()
    pair.open(headers, end=True)
    ours, theirs = pair.step()
    assert not [event for event in ours if isinstance(event, Opened)]
    assert [dict(event.headers or []) for event in theirs if isinstance(event, events.ResponseReceived)] == [
        {":status": "415"}]


@pytest.mark.parametrize(("text", "seconds"), [
    ("5S", 5.0), ("100m", 0.1), ("1H", 3600.0), ("99999999n", 0.099999999)])
def test_a_deadline_is_read(text: str, seconds: float) -> None:
    pair = Pair()
    pair.open([*HEADERS, ("grpc-timeout", text)])
    ours, _ = pair.step()
    assert isinstance(ours[0], Opened)
    assert ours[0].timeout == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "S", "-1S", "1", "1s", "123456789S", "1.5S", "\u0665S"])
def test_a_deadline_that_is_none_is_refused(text: str) -> None:
    pair = Pair()
    pair.open([*HEADERS, ("grpc-timeout", text)])
    _, theirs = pair.step()
    assert status(theirs)[0] == wire.INVALID_ARGUMENT


def test_words_of_any_kind_travel_in_a_status() -> None:
    pair = Pair()
    stream = pair.open(end=True)
    pair.step()
    pair.server.finish(stream, wire.INTERNAL, "50 % of \u00fc\n")
    _, theirs = pair.step()
    assert status(theirs) == (wire.INTERNAL, "50 %25 of %C3%BC%0A")


def test_more_streams_than_allowed_end_the_connection() -> None:
    pair = Pair()
    pair.client.remote_settings._settings[SettingCodes.MAX_CONCURRENT_STREAMS].append(1000)
    pair.client.remote_settings.acknowledge()
    with pytest.raises(Broken):
        for _ in range(wire.MAX_STREAMS + 1):
            pair.open()
            pair.step()


def test_a_header_that_is_too_large_ends_the_connection() -> None:
    pair = Pair()
    pair.open([*HEADERS, *((f"x-{n}", "y" * 100) for n in range(100))])
    with pytest.raises(Broken):
        pair.step()


def flood(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


@pytest.mark.parametrize("frame", [
    flood(4), flood(6, payload=b"12345678"), flood(2, stream=3, payload=b"\0\0\0\0\1"),
    flood(8, payload=b"\0\0\0\1"), flood(99), flood(0, stream=1), flood(3, stream=1, payload=b"\0\0\0\0"),
])
def test_a_flood_of_frames_is_paid_for_before_anybody_looks(frame: bytes) -> None:
    left = [100.0]

    def pay(cost: float) -> bool:
        left[0] -= cost
        return left[0] >= 0

    server = GrpcConnection(pay)
    server.receive(wire._PREFACE + flood(4))
    server.outgoing()
    with pytest.raises(Broken, match="too many frames"):
        server.receive(frame * 200)
    assert server.outgoing()[3] == 7  # GOAWAY, and nothing that answers the flood


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(
    st.sampled_from(list(FRAME_TYPES)), st.integers(0, 255), st.sampled_from([0, 1, 1, 3, 5, 1 << 31]),
    st.binary(max_size=60) | st.just(b"\x83\x86\x84\x41\x01x\x5f\x10application/grpc")), max_size=8),
    st.binary(max_size=40))
def test_any_frames_are_taken_or_end_the_connection(
    frames: list[tuple[int, int, int, bytes]], tail: bytes
) -> None:
    server = GrpcConnection(free)
    data = wire._PREFACE + flood(4) + b"".join(flood(*frame) for frame in frames) + tail
    try:
        for event in server.receive(data):
            if isinstance(event, Opened):
                server.send(event.stream, b"answer")
                server.finish(event.stream, wire.OK)
    except Broken:
        pass
    server.outgoing()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_http2_end_the_connection_at_most(data: bytes) -> None:
    server = GrpcConnection(free)
    try:
        assert not server.receive(data)
    except Broken:
        pass


def test_empty_messages_in_one_frame_are_paid_for_one_by_one() -> None:
    paid: list[float] = []

    def pay(cost: float) -> bool:
        paid.append(cost)
        return sum(paid) <= 200

    client = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    client.initiate_connection()
    client.send_headers(1, HEADERS)
    client.send_data(1, bytes(16_000))  # 3,200 messages of no length
    with pytest.raises(Broken, match="too many messages"):
        GrpcConnection(pay).receive(client.data_to_send())
