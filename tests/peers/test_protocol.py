"""The frames about peers: closed, bounded, never a crash, and without a key where somebody might print them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.errors import BadInput
from ringwall.peers import protocol as peers
from ringwall.tools import protocol

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
numbers = st.integers(1, 2**53)
some = st.binary(min_size=1, max_size=40)
chains = st.lists(some, min_size=1, max_size=6)
ports = st.integers(1, 65535)
orders = st.one_of(
    st.builds(peers.Identity, launch=names, spiffe_id=names, chain=chains, key=some, expires=st.floats(0, 1e12)),
    st.builds(peers.Trust, bundles=st.dictionaries(names, st.lists(some, max_size=3), max_size=3)),
    st.builds(peers.Dismiss, launch=names),
    st.builds(peers.SendPeer, id=numbers, launch=names, peer=names, url=names, body=some, envelope=names,
              stream=st.booleans()),
    st.builds(peers.FetchCard, id=numbers, launch=names, peer=names, url=names),
    st.builds(peers.Deliver, id=numbers, launch=names, port=ports, path=names, body=some, stream=st.booleans()),
    st.builds(peers.Notify, id=numbers, launch=names, port=ports, path=names, body=some, token=names),
    st.builds(peers.FetchOwn, id=numbers, launch=names, port=ports, path=names),
    st.builds(peers.Admit, connection=numbers, ok=st.booleans()),
)
news = st.one_of(
    st.builds(peers.Incoming, connection=numbers, launch=names, chain=chains),
    st.builds(peers.PeerPiece, id=numbers, envelope=names, body=some),
)
beside = st.one_of(st.builds(peers.Gate, launch=names), st.builds(peers.Inside, launch=names),
                   st.builds(peers.Pipe, connection=numbers))


@settings(max_examples=100, deadline=None)
@given(orders, news, beside)
def test_what_is_encoded_is_decoded(
    order: protocol.ToSidecar, heard: protocol.FromSidecar, passed: protocol.Passed
) -> None:
    assert protocol.decode_to_sidecar(protocol.encode(order)) == order
    assert protocol.decode_from_sidecar(protocol.encode(heard)) == heard
    assert protocol.decode_passed(protocol.encode(passed)) == passed


@settings(max_examples=150, deadline=None)
@given(news, st.integers(0, 400), st.integers(0, 255))
def test_any_change_of_a_frame_is_a_frame_or_bad_input(heard: protocol.FromSidecar, at: int, byte: int) -> None:
    flipped = bytearray(protocol.encode(heard))
    flipped[at % len(flipped)] = byte
    for data in (bytes(flipped), bytes(flipped)[:at], bytes(flipped) * 2):
        try:
            assert isinstance(protocol.decode_from_sidecar(data), msgspec.Struct)
        except BadInput as fault:
            assert fault.code == "bad_frame"


@pytest.mark.parametrize("message", [
    {"t": "incoming", "connection": 0, "launch": "l", "chain": [b"x"]},
    {"t": "incoming", "connection": 1, "launch": "l", "chain": []},
    {"t": "incoming", "connection": 1, "launch": "l", "chain": [b"x"] * 7},
    {"t": "incoming", "connection": 1, "launch": "l", "chain": [bytes((16 << 10) + 1)]},
    {"t": "incoming", "connection": 1, "launch": "l", "chain": ["x"]},
    {"t": "incoming", "connection": 1, "launch": "l", "chain": [b"x"], "id": "spiffe://a.test/x"},
    {"t": "peer", "id": 1, "envelope": "x" * ((16 << 10) + 1), "body": b""},
    {"t": "peer", "id": 1, "envelope": "", "body": bytes(protocol.MAX_RESULT + 1)},
    {"t": "admit", "connection": 1, "ok": True},
    {"t": "gate", "launch": "l"},
])
def test_the_core_takes_nothing_of_peers_that_no_honest_sidecar_sends(message: object) -> None:
    with pytest.raises(BadInput, match="malformed"):
        protocol.decode_from_sidecar(msgspec.msgpack.encode(message))


def test_a_key_is_not_in_what_is_printed_of_an_identity() -> None:
    identity = peers.Identity(launch="l", spiffe_id="spiffe://a/b", chain=[b"c"], key=b"topsecret", expires=1.0)
    assert "topsecret" not in f"{identity} {identity!r} {[identity]}"


def test_every_code_of_a_peers_call_has_its_sentence() -> None:
    assert set(peers.PeerCode.__args__) == set(peers.REASONS)  # type: ignore[attr-defined]
