"""What the authority signs beside SVIDs: typed objects that no reader of tokens takes for one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import run
from tests.identity.svid.world import World

from ringwall.errors import BadInput, Refused, Unavailable
from ringwall.identity.svid import issue, jose, signing

KEY = issue.new_key()
KEYS = {"k": KEY.public_key()}


def compact(payload: bytes, typ: str = signing.ENVELOPE) -> str:
    return signing.compact(KEY, kid="k", typ=typ, payload=payload)


def opened(token: str, typ: str = signing.ENVELOPE) -> bytes:
    return signing.opened(token, typ=typ, keys=KEYS, limit=1 << 20, what="x")


@pytest.mark.parametrize("typ", sorted(signing.TYPES))
def test_what_was_signed_opens_under_its_own_type_only(typ: str) -> None:
    token = compact(b'{"a": 1}', typ)
    assert opened(token, typ) == b'{"a": 1}'
    for other in (signing.TYPES | {"JWT"}) - {typ}:
        with pytest.raises(Refused) as no:
            opened(token, other)
        assert no.value.code == "x_header"


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "", "wit+jwt"])
def test_nothing_is_signed_as_a_token(typ: str) -> None:
    with pytest.raises(BadInput) as no:
        compact(b"{}", typ)
    assert no.value.code == "svid_not_signable"


@pytest.mark.parametrize("payload", [
    *(json.dumps({claim: 1}).encode() for claim in ("iss", "sub", "aud", "exp", "nbf", "iat", "jti")),
    b'{"\\u0073ub": 1}', b'{"a": 1, "a": 2}', b"[]", b'"x"', b"", b"{", b"\xff", b'{"a":' * 40 + b"1" + b"}" * 40,
    b'{"a": "' + b"x" * signing.MAX_PAYLOAD + b'"}',
])
def test_nothing_is_signed_that_could_be_read_as_claims_or_in_two_ways(payload: bytes) -> None:
    for typ in signing.TYPES:
        with pytest.raises(BadInput) as no:
            compact(payload, typ)
        assert no.value.code == "svid_not_signable"


def test_the_authority_signs_with_the_key_of_its_bundle_and_not_before_it_has_one(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(Unavailable):
        world.authority.sign(signing.ENVELOPE, b"{}")
    run(world.authority.start())
    token = world.authority.sign(signing.ENVELOPE, b'{"a":1}')
    keys = world.authority.bundle().jwt_keys
    assert signing.opened(token, typ=signing.ENVELOPE, keys=keys, limit=999, what="x") == b'{"a":1}'
    assert json.loads(jose.decode(token.split(".")[0])) == {"alg": "ES256", "kid": next(iter(keys)),
                                                            "typ": signing.ENVELOPE}


def test_a_payload_that_is_not_base64url_does_not_open() -> None:
    header = compact(b"{}").split(".")[0]
    message = f"{header}.a"
    with pytest.raises(Refused) as no:
        opened(f"{message}.{jose.encode(jose.sign(KEY, message.encode()))}")
    assert no.value.code == "x_malformed"


@given(payload=st.dictionaries(st.text("abc", max_size=5), st.integers(-9, 9)), cut=st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_every_object_comes_back_whole_or_not_at_all(payload: dict[str, int], cut: int) -> None:
    token = compact(json.dumps(payload).encode())
    assert json.loads(opened(token)) == payload
    if cut < len(token):
        with pytest.raises(Refused):
            opened(token[:cut])
        with pytest.raises(Refused):
            opened(token[:cut] + token[cut + 1:])
