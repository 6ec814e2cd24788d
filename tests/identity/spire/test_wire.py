"""The client half of gRPC, and the reading of what a SPIRE agent sends: it is an answer or a fault."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.identity.svid.corpus import partner, root

from ringwall.errors import BadInput
from ringwall.identity.spire import connector, reading
from ringwall.identity.spire.wire import MAX_MESSAGE, UNKNOWN, Answered, Broken, GrpcClient, Over

HEAD = [(":status", "200"), ("content-type", "application/grpc")]


class Pair:
    """A client and a server that answers as the test says."""

    def __init__(self) -> None:
        self.client = GrpcClient()
        self.server = H2Connection(H2Configuration(client_side=False))
        self.server.initiate_connection()
        self.stream = self.client.call("/x/y", b"hello", {"a": "b"})
        self.server.receive_data(self.client.outgoing())

    def flush(self) -> list[Any]:
        return self.client.receive(self.server.data_to_send())


def framed(data: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(data).to_bytes(4, "big") + data


def test_messages_come_whole_then_the_status() -> None:
    pair = Pair()
    pair.server.send_headers(pair.stream, HEAD)
    for piece in (framed(b"one") + framed(b"two")[:3], framed(b"two")[3:]):
        pair.server.send_data(pair.stream, piece)
    pair.server.send_headers(pair.stream, [("grpc-status", "7"), ("grpc-message", "no")], end_stream=True)
    found = [Answered(pair.stream, b"one"), Answered(pair.stream, b"two"), Over(pair.stream, 7, "no")]
    assert pair.flush() == found


@pytest.mark.parametrize(("headers", "status"), [
    ([(":status", "404")], UNKNOWN), ([*HEAD, ("grpc-status", "x")], UNKNOWN),
    ([*HEAD, ("grpc-status", "99999")], UNKNOWN), ([*HEAD, ("grpc-status", "14")], 14), (HEAD, UNKNOWN),
])
def test_an_answer_without_messages_ends_with_its_status(headers: list[tuple[str, str]], status: int) -> None:
    pair = Pair()
    pair.server.send_headers(pair.stream, headers, end_stream=True)
    [over] = pair.flush()
    assert isinstance(over, Over) and over.status == status


@pytest.mark.parametrize("data", [framed(b"x", 1), b"\0" + (MAX_MESSAGE + 1).to_bytes(4, "big")])
def test_compressed_and_huge_messages_break_the_connection(data: bytes) -> None:
    pair = Pair()
    pair.server.send_headers(pair.stream, HEAD)
    pair.server.send_data(pair.stream, data)
    with pytest.raises(Broken):
        pair.flush()


def test_resets_goodbyes_and_cancelled_calls_are_told_or_forgotten() -> None:
    pair = Pair()
    pair.server.reset_stream(pair.stream)
    [over] = pair.flush()
    assert over == Over(pair.stream, UNKNOWN, "the call was reset")
    pair.client.cancel(pair.stream)
    pair = Pair()
    pair.client.cancel(pair.stream)
    pair.server.receive_data(pair.client.outgoing())
    assert pair.flush() == []
    pair.server.close_connection()
    with pytest.raises(Broken):
        pair.flush()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=5))
def test_whatever_bytes_come_are_events_or_the_end(pieces: list[bytes]) -> None:
    pair = Pair()
    pair.server.send_headers(pair.stream, HEAD)
    for piece in pieces:
        pair.server.send_data(pair.stream, piece)
    with contextlib.suppress(Broken):
        pair.flush()
    with contextlib.suppress(Broken):
        pair.client.receive(b"".join(pieces))


def test_certificates_one_behind_the_other_are_told_apart() -> None:
    both = (root().certificate, partner().certificate)
    assert reading.certificates_of(b"".join(both)) == both
    assert reading.certificates_of(b"") == ()


@settings(max_examples=200)
@given(st.binary(max_size=100))
def test_what_is_no_certificates_is_bad_input(raw: bytes) -> None:
    try:
        assert b"".join(reading.certificates_of(raw)) == raw
    except BadInput as fault:
        assert fault.code == "spire_bad_answer"


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(["spiffe://example.org", "spiffe://x.test", "spiffe://x/y", "x"]),
                       st.binary(max_size=60) | st.sampled_from([b'{"keys":[]}', b'{"keys":[{"kty":"EC"}]}'])),
       st.booleans())
def test_bundles_are_bundles_or_bad_input(found: dict[str, bytes], keys: bool) -> None:
    with contextlib.suppress(BadInput):
        assert set(reading.bundles(*(({}, found) if keys else (found, {})))) <= {"example.org", "x.test"}


def test_a_bundle_with_another_domains_authority_is_not_taken() -> None:
    assert reading.bundles({"spiffe://example.org": root().certificate}, {})["example.org"].authorities
    with pytest.raises(BadInput, match="another trust domain"):
        reading.bundles({"spiffe://example.org": partner().certificate}, {})


def test_a_connector_hands_over_connected_sockets_and_says_why_it_cannot(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    path = tmp_path / "a.sock"
    thread = threading.Thread(target=connector.serve, args=(theirs, str(path)))
    thread.start()
    ours.send(b"?")
    assert ours.recv(200) == b"-No such file or directory"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        ours.send(b"?")
        raw, descriptors, _, _ = socket.recv_fds(ours, 10, 4)
        accepted, _ = listening.accept()
        assert raw == connector.CONNECTED and len(descriptors) == 1
        os.write(descriptors[0], b"hi")
        assert accepted.recv(9) == b"hi"
        os.close(descriptors[0])
        accepted.close()
    ours.close()
    thread.join(10)
    theirs.close()
    assert not thread.is_alive()
