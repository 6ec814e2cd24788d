"""JSON Web Tokens in policies: what is signed holds, and no header talks a key into another algorithm."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.errors import PolicyError
from ringwall.policy.builtins.table import BuiltinError
from ringwall.policy.builtins.tokens import TOKENS
from ringwall.policy.plan.ops import Context

REFUSED = [False, {}, {}]
SECRET = "correct horse battery staple, at least 32 bytes"


def call(name: str, *arguments: Any, now_ns: int | None = None) -> Any:
    builtin = TOKENS[name]
    context = Context(steps=1_000_000, now_ns=now_ns)
    return builtin.function(*((context, *arguments) if builtin.context else arguments))


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def whole(number: int) -> str:
    return b64(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def jwks() -> dict[str, tuple[dict[str, Any], str]]:
    """(private JWK, public PEM) by algorithm."""
    key = rsa.generate_private_key(65537, 2048)
    numbers, public = key.private_numbers(), key.public_key().public_numbers()
    found: dict[str, tuple[dict[str, Any], str]] = {}
    jwk = {"kty": "RSA", "n": whole(public.n), "e": whole(public.e), "d": whole(numbers.d), "p": whole(numbers.p),
           "q": whole(numbers.q)}
    for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"):
        found[name] = (jwk, pem(key.public_key()))
    for name, curve, label in (("ES256", ec.SECP256R1(), "P-256"), ("ES384", ec.SECP384R1(), "P-384"),
                               ("ES512", ec.SECP521R1(), "P-521")):
        one = ec.generate_private_key(curve)
        point, size = one.public_key().public_numbers(), (one.key_size + 7) // 8
        found[name] = ({"kty": "EC", "crv": label, "x": b64(point.x.to_bytes(size, "big")),
                        "y": b64(point.y.to_bytes(size, "big")),
                        "d": b64(one.private_numbers().private_value.to_bytes(size, "big"))}, pem(one.public_key()))
    edwards = ed25519.Ed25519PrivateKey.generate()
    raw = edwards.public_key().public_bytes_raw()
    found["EdDSA"] = ({"kty": "OKP", "crv": "Ed25519", "x": b64(raw), "d": b64(edwards.private_bytes_raw())},
                      pem(edwards.public_key()))
    return found


def pem(key: Any) -> str:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


KEYS = jwks()
OCT = {"kty": "oct", "k": b64(SECRET.encode())}


@pytest.mark.parametrize("algorithm", KEYS)
def test_what_is_signed_verifies_with_its_own_key_only(algorithm: str) -> None:
    private, public = KEYS[algorithm]
    token = call("io.jwt.encode_sign", {"alg": algorithm}, {"iss": "me"}, private)
    assert call("io.jwt.decode_verify", token, {"cert": public, "iss": "me"}) == [True, {"alg": algorithm},
                                                                                 {"iss": "me"}]
    assert call(f"io.jwt.verify_{algorithm.lower()}", token, public) is True
    head, _, signature = token.split(".")
    forged = f"{head}.{b64(json.dumps({'iss': 'you'}).encode())}.{signature}"
    assert call("io.jwt.decode_verify", forged, {"cert": public}) == REFUSED
    for other, (_, key) in KEYS.items():
        if key != public:
            assert call("io.jwt.decode_verify", token, {"cert": key}) == REFUSED, other
            assert call(f"io.jwt.verify_{algorithm.lower()}", token, key) is False


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512", "none", "None", "", "HS1", "RS1", "EdDSA", "ES256"])
def test_a_token_made_with_the_public_key_as_a_secret_is_refused(alg: str) -> None:
    """Algorithm confusion: the header says HMAC, the attacker knows the public key's text."""
    _, public = KEYS["RS256"]
    made = call("io.jwt.encode_sign", {"alg": "HS256"}, {"iss": "evil"}, {"kty": "oct", "k": b64(public.encode())})
    _, body, signature = made.split(".")
    for mac in (signature, ""):
        token = f"{b64(json.dumps({'alg': alg}).encode())}.{body}.{mac}"
        assert call("io.jwt.decode_verify", token, {"cert": public}) == REFUSED
        assert call("io.jwt.verify_rs256", token, public) is False
    jwks_text = json.dumps({"keys": [{key: KEYS["RS256"][0][key] for key in ("kty", "n", "e")}]})
    assert call("io.jwt.decode_verify", made, {"cert": jwks_text}) == REFUSED


def test_a_token_without_a_signature_is_refused() -> None:
    token = ".".join([b64(b'{"alg":"none"}'), b64(b"{}"), ""])
    for constraints in ({"secret": SECRET}, {"cert": KEYS["ES256"][1]}):
        assert call("io.jwt.decode_verify", token, constraints) == REFUSED
    with pytest.raises(BuiltinError, match="alg"):
        call("io.jwt.encode_sign", {"alg": "none"}, {}, OCT)


@pytest.mark.parametrize(("claims", "constraints", "good"), [
    ({}, {}, True), ({"iss": "a"}, {"iss": "a"}, True), ({"iss": "a"}, {"iss": "b"}, False),
    ({}, {"iss": "a"}, False),
    ({"aud": "x"}, {"aud": "x"}, True), ({"aud": ["y", "x"]}, {"aud": "x"}, True), ({"aud": "x"}, {}, False),
    ({"aud": ["y"]}, {"aud": "x"}, False), ({}, {"aud": "x"}, False), ({"aud": 3}, {"aud": "x"}, False),
    ({"exp": 10}, {"time": 9_000_000_000}, True), ({"exp": 10}, {"time": 10_000_000_000}, False),
    ({"nbf": 10}, {"time": 10_000_000_000}, True), ({"nbf": 10}, {"time": 9_000_000_000}, False),
    ({"exp": 5}, {}, True), ({"exp": 3}, {}, False), ({}, {"alg": "HS256"}, True), ({}, {"alg": "HS384"}, False),
])
def test_constraints_hold_or_the_token_does_not(claims: Any, constraints: Any, good: bool) -> None:
    token = call("io.jwt.encode_sign", {"alg": "HS256"}, claims, OCT)
    found = call("io.jwt.decode_verify", token, {"secret": SECRET, **constraints}, now_ns=4_000_000_000)
    assert found == ([True, {"alg": "HS256"}, claims] if good else REFUSED)


@pytest.mark.parametrize("constraints", [
    {}, {"secret": ""}, {"secret": SECRET, "cert": KEYS["RS256"][1]}, {"secret": SECRET, "other": 1},
    {"secret": SECRET, "time": -1}, {"secret": SECRET, "time": "now"}, {"secret": 3}, {"cert": "nonsense"},
    {"cert": "{}"}, {"secret": SECRET, "iss": 3}, {1: 2}, {"cert": json.dumps({"keys": [OCT] * 101})},
])
def test_unusable_constraints_are_an_error(constraints: Any) -> None:
    token = call("io.jwt.encode_sign", {"alg": "HS256"}, {}, OCT)
    with pytest.raises(BuiltinError):
        call("io.jwt.decode_verify", token, constraints)


@pytest.mark.parametrize("claims", [{"exp": "soon"}, {"nbf": None}, {"exp": True}])
def test_a_time_that_is_no_number_is_an_error(claims: Any) -> None:
    token = call("io.jwt.encode_sign", {"alg": "HS256"}, claims, OCT)
    with pytest.raises(BuiltinError, match="must be a number"):
        call("io.jwt.decode_verify", token, {"secret": SECRET}, now_ns=1)


def test_an_expiry_without_a_clock_is_an_error_and_not_forever() -> None:
    token = call("io.jwt.encode_sign", {"alg": "HS256"}, {"exp": 1e9}, OCT)
    with pytest.raises(BuiltinError, match="no clock"):
        call("io.jwt.decode_verify", token, {"secret": SECRET})


def test_a_critical_header_that_is_not_known_refuses_the_token() -> None:
    for header, good in (({"crit": ["x"], "x": 1}, False), ({"crit": ["exp"]}, True)):
        token = call("io.jwt.encode_sign", {"alg": "HS256", **header}, {}, OCT)
        assert (call("io.jwt.decode_verify", token, {"secret": SECRET})[0] is True) == good
    for crit in ([], "x", [1], None):
        token = call("io.jwt.encode_sign", {"alg": "HS256", "crit": crit}, {}, OCT)
        with pytest.raises(BuiltinError, match="crit"):
            call("io.jwt.decode_verify", token, {"secret": SECRET})


def test_a_key_of_another_kind_signs_nothing() -> None:
    for alg, key in (("RS256", OCT), ("HS256", KEYS["RS256"][0]), ("ES256", KEYS["EdDSA"][0]), ("EdDSA", OCT),
                     ("PS256", KEYS["ES256"][0])):
        with pytest.raises(BuiltinError):
            call("io.jwt.encode_sign", {"alg": alg}, {}, key)


@pytest.mark.parametrize("numbers", [
    {"n": 15, "e": 1, "d": 1}, {"n": 15, "e": 1, "d": 1, "p": 3, "q": 5},
    {"n": 15, "e": 3, "d": 3, "p": 1, "q": 15},
    {"n": 0, "e": 0, "d": 0, "p": 0, "q": 0}, {"n": 1 << 20_000, "e": 3, "d": 5, "p": 7, "q": 11},
])
def test_a_made_up_rsa_key_is_an_error_and_no_search_without_end(numbers: dict[str, int]) -> None:
    key = {"kty": "RSA", **{name: whole(number) for name, number in numbers.items()}}
    with pytest.raises(BuiltinError):
        call("io.jwt.encode_sign", {"alg": "RS256"}, {}, key)


@given(st.one_of(st.text(max_size=60), st.lists(st.binary(max_size=20).map(b64), min_size=3, max_size=3)
                 .map(".".join)))
@settings(max_examples=150, deadline=None)
def test_any_text_as_a_token_is_refused(text: str) -> None:
    for name, key in (("io.jwt.decode_verify", {"secret": SECRET}), ("io.jwt.verify_hs256", SECRET),
                      ("io.jwt.verify_rs256", KEYS["RS256"][1])):
        try:
            assert call(name, text, key) in (False, REFUSED)
        except (BuiltinError, PolicyError):
            pass


FIELDS = st.sampled_from(["kty", "n", "e", "d", "p", "q", "k", "x", "y", "crv", "keys", "alg"])
WORDS = st.sampled_from(["RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "AQ", "AAAA", "Aw"])


@given(st.one_of(st.text(max_size=40), st.recursive(
    st.none() | st.integers() | st.text(max_size=8) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=8),
    max_leaves=12).map(json.dumps)))
@settings(max_examples=150, deadline=None)
def test_any_text_as_a_key_is_an_error_or_fits_nothing(text: str) -> None:
    token = call("io.jwt.encode_sign", {"alg": "HS256"}, {}, OCT)
    for name, key in (("io.jwt.decode_verify", {"cert": text}), ("io.jwt.verify_rs256", text)):
        try:
            assert call(name, token, key) in (False, REFUSED)
        except (BuiltinError, PolicyError):
            pass
    try:
        call("io.jwt.encode_sign_raw", '{"alg":"HS256"}', "{}", text)
    except (BuiltinError, PolicyError):
        pass
