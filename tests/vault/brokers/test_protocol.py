"""What the core and a broker process say: every message there and back, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.errors import BadInput
from ringwall.manifest.details import Detail
from ringwall.vault.brokers import protocol
from ringwall.vault.brokers.interface import Order
from ringwall.vault.brokers.protocol import (
    Aws,
    Cancel,
    Done,
    Failed,
    Fetch,
    Hello,
    Made,
    Mint,
    OAuth,
    OpenBao,
    Postgres,
    Renew,
    Renewed,
    Revoke,
    Seal,
    Unseal,
    Value,
    Vault,
)

ORDER = Order(
    lease="le1", seconds=900, token="PLANTED-token", login="PLANTED-login", session="acme-ana-le1",
    details=(Detail(identifier="s3/get", actions=("read",), locations=("s3:bucket/team-1/",), max={"n": 2.5}),))
HELLO = Hello(
    providers={"a": Aws(role_arn="arn:aws:iam::123456789012:role/r", region="eu-west-1"),
               "p": Postgres(url="postgresql://db.example:5432/sales", admin_user="ringwall"),
               "o": OAuth(token_url="https://as.example/token", scopes=("read",), private=("10.0.0.0/8",)),
               "b": OpenBao(vault="main", database="ro")},
    vaults={"main": Vault(url="https://bao.example", role="r", mount="jwt", kv="secret", database="database",
                          transit="transit", ca="PEM")})
ORDERS = [HELLO, Mint(id=1, secret="a", order=ORDER), Renew(id=2, secret="a", order=ORDER, handle="PLANTED"),
          Revoke(id=3, secret="a", order=ORDER, handle="PLANTED"), Cancel(id=4),
          Fetch(id=5, vault="main", token="PLANTED", path="agents/acme/ana/reader/db", key="value"),
          Seal(id=6, vault="main", token="PLANTED", key="root", plain=b"PLANTED"),
          Unseal(id=7, vault="main", token="PLANTED", key="root", blob="PLANTED")]
ANSWERS = [Made(id=1, values={"access_token": "PLANTED"}, expires_at=2e9, handle="PLANTED"),
           Renewed(id=2, expires_at=2e9), Done(id=3), Value(id=5, value=b"PLANTED"),
           Failed(id=6, code="provider_denied")]


@pytest.mark.parametrize("message", ORDERS, ids=lambda one: type(one).__name__)
def test_an_order_arrives_as_it_was_sent(message: Any) -> None:
    assert protocol.to_process(protocol.encode(message)) == message


@pytest.mark.parametrize("message", ANSWERS, ids=lambda one: type(one).__name__)
def test_an_answer_arrives_as_it_was_sent(message: Any) -> None:
    assert protocol.from_process(protocol.encode(message)) == message


@pytest.mark.parametrize("message", [*ORDERS, *ANSWERS], ids=lambda one: type(one).__name__)
def test_no_message_shows_what_it_carries(message: Any) -> None:
    assert "PLANTED" not in f"{message} {message!r} {ORDER} {ORDER!r}"


def _made(**fields: Any) -> bytes:
    whole = {"type": "made", "id": 1, "values": {"k": "v"}, "expires_at": 2e9, "handle": ""}
    return msgspec.msgpack.encode({**whole, **fields})


@pytest.mark.parametrize("raw", [
    _made(expires_at=math.nan), _made(expires_at=math.inf), _made(expires_at="soon"), _made(values={}),
    _made(values={"k": ""}), _made(values={"k": "v\n"}), _made(values={"k": "v\r\nX: 1"}),
    _made(values={"k": "\u00e9"}),
    _made(values={"k\n": "v"}), _made(values={"": "v"}), _made(values={"k": 1}), _made(id=0), _made(id=1 << 63),
    _made(values={"k": "v" * (protocol.MAX_VALUE + 1)}), _made(handle="v" * (protocol.MAX_VALUE + 1)),
    _made(values={"k" * n: "v" for n in range(1, protocol.MAX_VALUES + 2)}), _made(more=1), _made(type="mint"),
    msgspec.msgpack.encode({"type": "failed", "id": 1, "code": "a secret in a code"}),
    msgspec.msgpack.encode({"type": "value", "id": 1, "value": b"x" * (protocol.MAX_FETCHED + 1)}),
    b"", b"\xc1", b"\x81", b"\x91" * 100_000, b"x" * (protocol.MAX_ANSWER + 1),
])
def test_an_answer_of_any_other_form_is_nonsense(raw: bytes) -> None:
    with pytest.raises(BadInput) as fault:
        protocol.from_process(raw)
    assert fault.value.code == "bad_frame"


def test_an_answer_that_says_one_value_again_and_again_is_not_read() -> None:
    again = msgspec.msgpack.encode("k") + msgspec.msgpack.encode("v" * protocol.MAX_VALUE)
    count = protocol.MAX_VALUES + 8
    whole = _made(values={}).replace(msgspec.msgpack.encode("values") + b"\x80", msgspec.msgpack.encode("values")
                                     + b"\xde" + count.to_bytes(2, "big") + again * count)
    assert msgspec.msgpack.decode(whole)["values"] == {"k": "v" * protocol.MAX_VALUE}
    with pytest.raises(BadInput, match="over the limit"):
        protocol.from_process(whole)


def test_the_largest_credential_fits_into_an_answer() -> None:
    values = {"k" * (n + 1): "v" * protocol.MAX_VALUE for n in range(protocol.MAX_VALUES)}
    whole = Made(id=(1 << 63) - 1, values=values, expires_at=2e9, handle="h" * protocol.MAX_VALUE)
    assert protocol.from_process(protocol.encode(whole)) == whole


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-2**63, 2**64 - 1) | st.floats() | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.sampled_from(["type", "id", "made", "done", "mint", "hello", "failed", "code", "values", "order"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.sampled_from(
        ["type", "id", "values", "expires_at", "handle", "code", "order", "secret"]), inner, max_size=6),
    max_leaves=10)


@settings(max_examples=200, deadline=None)
@given(raw=st.binary(max_size=300) | ANYTHING.map(msgspec.msgpack.encode))
def test_any_bytes_are_a_message_or_nonsense(raw: bytes) -> None:
    for decode in (protocol.to_process, protocol.from_process):
        try:
            message = decode(raw)
        except BadInput as fault:
            assert fault.code == "bad_frame"
        else:
            assert decode(protocol.encode(message)) == message


@settings(max_examples=100, deadline=None)
@given(at=st.integers(0, 400), bit=st.integers(0, 7), message=st.sampled_from([*ORDERS, *ANSWERS]))
def test_a_message_with_a_flipped_bit_is_a_message_or_nonsense(at: int, bit: int, message: Any) -> None:
    raw = bytearray(protocol.encode(message))
    raw[at % len(raw)] ^= 1 << bit
    for decode in (protocol.to_process, protocol.from_process):
        try:
            decode(bytes(raw))
        except BadInput as fault:
            assert fault.code == "bad_frame"
            assert "PLANTED" not in str(fault)
