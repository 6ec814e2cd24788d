"""The reader and writer of Protocol Buffers, against Google's own."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, struct_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.errors import BadInput
from ringwall.identity.workload import companions, messages
from ringwall.identity.workload.proto import MAX_FIELDS, Field, Message, decode, descriptor, encode

JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
EVERY = Message(name="Every", fields=(
    Field(number=1, name="text", kind="string", oneof="a"), Field(number=2, name="blob", kind="bytes", oneof="a"),
    Field(number=3, name="whole", kind="int32", oneof="a"), Field(number=4, name="flag", kind="bool", oneof="a"),
    Field(number=5, name="real", kind="double", oneof="a"),
    Field(number=6, name="texts", kind="string", repeated=True)))


def pool() -> descriptor_pool.DescriptorPool:
    """Google's reader of our own declarations: they must fit together."""
    made = descriptor_pool.DescriptorPool()
    for file in (messages.STRUCT_FILE, *companions.FILES):
        made.Add(descriptor_pb2.FileDescriptorProto.FromString(descriptor(file)))
    return made


def test_the_declarations_are_the_specifications_own() -> None:
    from spiffe._proto import workload_pb2

    ours = descriptor_pb2.FileDescriptorProto.FromString(descriptor(messages.WORKLOAD))
    theirs = descriptor_pb2.FileDescriptorProto()
    workload_pb2.DESCRIPTOR.CopyToProto(theirs)
    assert list(ours.service) == list(theirs.service)
    assert (ours.syntax, list(ours.dependency), ours.package) == (
        theirs.syntax, list(theirs.dependency), theirs.package)
    assert {one.name: _plain(one) for one in ours.message_type} == {
        one.name: _plain(one) for one in theirs.message_type}


def _plain(message: descriptor_pb2.DescriptorProto) -> str:
    for field in (*message.field, *(one for inner in message.nested_type for one in inner.field)):
        field.ClearField("json_name")
    return str(message)


def test_all_declarations_fit_together() -> None:
    found = pool()
    for name in ("SpiffeWorkloadAPI", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
                 "grpc.reflection.v1alpha.ServerReflection"):
        assert found.FindServiceByName(name).methods


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(TEXTS, JSON, max_size=4))
def test_claims_arrive_as_they_are(claims: dict[str, Any]) -> None:
    found = struct_pb2.Struct.FromString(messages.struct(claims))
    assert json_format.MessageToDict(found) == claims


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS, max_size=4), TEXTS)
def test_a_request_that_others_write_reads_the_same(audience: list[str], spiffe_id: str) -> None:
    from spiffe._proto import workload_pb2

    raw = workload_pb2.JWTSVIDRequest(audience=audience, spiffe_id=spiffe_id).SerializeToString()
    found = decode(messages.JWT_REQUEST, raw)
    assert (found.get("audience", []), found.get("spiffe_id", "")) == (audience, spiffe_id)
    again = workload_pb2.JWTSVIDRequest.FromString(encode(messages.JWT_REQUEST, found))
    assert (list(again.audience), again.spiffe_id) == (audience, spiffe_id)


@settings(max_examples=150, deadline=None)
@given(st.fixed_dictionaries({}, optional={
    "text": TEXTS, "blob": st.binary(max_size=300), "whole": st.integers(-(1 << 31), (1 << 31) - 1),
    "flag": st.booleans(), "real": st.floats(allow_nan=False), "texts": st.lists(TEXTS, min_size=1, max_size=4)}))
def test_what_is_written_reads_the_same(values: dict[str, Any]) -> None:
    assert decode(EVERY, encode(EVERY, values)) == values


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([EVERY, messages.JWT_REQUEST, messages.VALIDATE_REQUEST,
                                                 messages.X509_RESPONSE, companions.REFLECTION[0].messages[0]]))
def test_any_bytes_are_read_or_refused(data: bytes, message: Message) -> None:
    try:
        decode(message, data)
    except BadInput as fault:
        assert fault.code == "bad_protobuf"


@pytest.mark.parametrize("data", [
    b"\x0a", b"\x0a\x05abc", b"\x00", b"\x07", b"\x0b\x0c", b"\x0a\x02\xff\xfe", b"\x08\x01", b"\x80" * 11,
    b"\xff" * 9 + b"\x7f", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x15\x00\x00", b"\x0a\x00" * 300,
])
def test_wrong_bytes_are_refused_with_a_code(data: bytes) -> None:
    assert len(data) <= 2 * (MAX_FIELDS + 44)
    with pytest.raises(BadInput) as refused:
        decode(messages.JWT_REQUEST, data)
    assert refused.value.code == "bad_protobuf"


def test_unknown_fields_of_every_type_are_passed_over() -> None:
    data = b"\x78\x01" + b"\x79" + b"\0" * 8 + b"\x7a\x01x" + b"\x7d" + b"\0" * 4 + b"\x0a\x01a"
    assert decode(messages.JWT_REQUEST, data) == {"audience": ["a"]}


def test_messages_in_messages_end_somewhere() -> None:
    inner = Message(name="Deep")
    for _ in range(12):
        inner = Message(name="Deep", fields=(Field(number=1, name="in", kind="message", message=inner),))
    data = b""
    for _ in range(12):
        data = b"\x0a" + bytes([len(data)]) + data
    with pytest.raises(BadInput, match="deep"):
        decode(inner, data)
