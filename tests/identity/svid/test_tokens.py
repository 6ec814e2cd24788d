"""The JWT-SVID validator: every way a token can be wrong, and that no bytes make it fail otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import FakeClock
from tests.identity.svid.workshop import NOW, ecdsa, rsa_key

from ringwall.errors import Refused
from ringwall.identity.svid import jose
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.tokens import TokenValidator

ID = "spiffe://example.org/tenant/a/agent/b/role/c"
KEYS: dict[str, Any] = {
    "p256": ecdsa("t256"), "p384": ecdsa("t384", "p384"), "p521": ecdsa("t521", "p521"), "rsa": rsa_key("t"),
}
BUNDLES = {
    "example.org": Bundle(trust_domain="example.org", jwt_keys={k: v.public_key() for k, v in KEYS.items()}),
    "partner.test": Bundle(trust_domain="partner.test", jwt_keys={"their": ecdsa("their").public_key()}),
}
GOOD: Mapping[str, Any] = {"sub": ID, "aud": ["me"], "exp": int(NOW) + 300, "iat": int(NOW), "iss": "https://x"}


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return jose.encode(raw)


def signature(key: Any, message: bytes, alg: str) -> bytes:
    digest = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[alg[2:]]
    if isinstance(key, rsa.RSAPrivateKey):
        pads = {"RS": padding.PKCS1v15(), "PS": padding.PSS(padding.MGF1(digest), digest.digest_size)}
        return key.sign(message, pads[alg[:2]], digest)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    size = (key.key_size + 7) // 8
    return b"".join(n.to_bytes(size, "big") for n in decode_dss_signature(key.sign(message, ec.ECDSA(digest))))


def token(claims: Any = None, header: Any = None, *, key: Any = None, alg: str = "ES256", kid: str = "p256",
          **changed: Any) -> str:
    """A good token; ``changed`` claims are replaced, and left out where they are Ellipsis."""
    body = claims if claims is not None else {k: v for k, v in {**GOOD, **changed}.items() if v is not ...}
    message = f"{part(header if header is not None else {'alg': alg, 'kid': kid, 'typ': 'JWT'})}.{part(body)}"
    return f"{message}.{jose.encode(signature(key or KEYS[kid], message.encode(), alg))}"


def judge(text: str, *, at: float = NOW, expected: str = "", audiences: tuple[str, ...] = ("me",)) -> str:
    """The code it is refused with; empty if it is accepted."""
    clock = FakeClock()
    clock.seconds = at
    try:
        TokenValidator(lambda: BUNDLES, clock).validate(text, audiences, expected=expected)
    except Refused as refused:
        assert refused.cause.isprintable()
        return refused.code
    return ""


@pytest.mark.parametrize(("alg", "kid"), [
    ("ES256", "p256"), ("ES384", "p384"), ("ES512", "p521"), ("RS256", "rsa"), ("RS384", "rsa"), ("RS512", "rsa"),
    ("PS256", "rsa"), ("PS384", "rsa"), ("PS512", "rsa"),
])
def test_the_nine_algorithms_are_accepted(alg: str, kid: str) -> None:
    assert judge(token(alg=alg, kid=kid)) == ""


@pytest.mark.parametrize("text", [
    token(aud="me"), token(aud=["you", "me"]), token(iat=..., iss=...), token(exp=NOW + 0.5), token(nbf=int(NOW)),
    token(header={"alg": "ES256", "kid": "p256"}), token(header={"alg": "ES256", "kid": "p256", "typ": "JOSE"}),
    token(act={"sub": "x"}, more=[1, {"a": None}]), token(iat=NOW + 59),
], ids=range(9))
def test_what_the_specification_leaves_open_is_accepted(text: str) -> None:
    assert judge(text) == ""


HMAC_KEY = KEYS["p256"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def confused() -> str:
    """HS256 with the public key as the secret."""
    message = f"{part({'alg': 'HS256', 'kid': 'p256'})}.{part(dict(GOOD))}"
    mac = HMAC(HMAC_KEY, hashes.SHA256())
    mac.update(message.encode())
    return f"{message}.{jose.encode(mac.finalize())}"


def extended() -> str:
    """The same two numbers, the second with zeros before it: another token that means the same."""
    message, _, last = token().rpartition(".")
    raw = jose.decode(last)
    return f"{message}.{jose.encode(raw[:32] + bytes(2) + raw[32:])}"


def shown_der() -> str:
    """An ECDSA signature in DER, as OpenSSL makes it."""
    message = token().rpartition(".")[0]
    return f"{message}.{jose.encode(KEYS['p256'].sign(message.encode(), ec.ECDSA(hashes.SHA256())))}"


H = {"alg": "ES256", "kid": "p256"}
WRONG: list[tuple[str, str, str]] = [
    ("empty", "", "token_malformed"),
    ("two parts", "a.b", "token_malformed"),
    ("four parts", token() + ".x", "token_malformed"),
    ("padding", token() + "=", "token_malformed"),
    ("a newline", token() + "\n", "token_malformed"),
    ("a space before", " " + token(), "token_malformed"),
    ("not ASCII", "ä" + token(), "token_malformed"),
    ("too large", token(x="a" * 20_000), "token_too_large"),
    ("another spelling", token()[:-1] + chr(ord(token()[-1]) + 1), "token_malformed"),
    ("header of a list", token(header=[1]), "token_malformed"),
    ("claims of a list", token([1]), "token_malformed"),
    ("claims that are no JSON", token(b"{"), "token_malformed"),
    ("claims with a mark", token(b"\xef\xbb\xbf" + json.dumps(dict(GOOD)).encode()), "token_malformed"),
    ("sub twice", token(b'{"sub":"%s","sub":"%s"}' % (ID.encode(), ID.encode())), "token_malformed"),
    ("sub twice, escaped", token(b'{"sub":"%s","s\\u0075b":"x"}' % ID.encode()), "token_malformed"),
    ("alg twice", token(header=b'{"alg":"ES256","alg":"none","kid":"p256"}'), "token_malformed"),
    ("deep", token(x=json.loads("[" * 20 + "]" * 20)), "token_malformed"),
    ("many values", token(x=[0] * 600), "token_malformed"),
    ("alg none", f"{part({'alg': 'none', 'kid': 'p256'})}.{part(dict(GOOD))}.", "token_algorithm"),
    ("alg NONE", token(header={**H, "alg": "NONE"}), "token_algorithm"),
    ("alg HS256", confused(), "token_algorithm"),
    ("alg EdDSA", token(header={**H, "alg": "EdDSA"}), "token_algorithm"),
    ("alg es256", token(header={**H, "alg": "es256"}), "token_algorithm"),
    ("alg a list", token(header={**H, "alg": ["ES256"]}), "token_algorithm"),
    ("no alg", token(header={"kid": "p256"}), "token_algorithm"),
    ("no kid", token(header={"alg": "ES256"}), "token_header"),
    ("empty kid", token(header={**H, "kid": ""}), "token_header"),
    ("kid a number", token(header={**H, "kid": 1}), "token_header"),
    ("crit", token(header={**H, "crit": ["exp"]}), "token_header"),
    ("jwk", token(header={**H, "jwk": {}}), "token_header"),
    ("jku", token(header={**H, "jku": "x"}), "token_header"),
    ("x5c", token(header={**H, "x5c": []}), "token_header"),
    ("b64", token(header={**H, "b64": False}), "token_header"),
    ("typ of an access token", token(header={**H, "typ": "at+jwt"}), "token_header"),
    ("typ of a WIT", token(header={**H, "typ": "wit+jwt"}), "token_header"),
    ("typ a list", token(header={**H, "typ": ["JWT"]}), "token_header"),
    ("typ null", token(header={**H, "typ": None}), "token_header"),
    ("unknown kid", token(header={**H, "kid": "x"}), "token_no_key"),
    ("the partner's key for us", token(header={**H, "kid": "their"}, key=ecdsa("their")), "token_no_key"),
    ("our key for the partner", token(sub="spiffe://partner.test/a"), "token_no_key"),
    ("another key", token(key=ecdsa("wrong")), "token_signature"),
    ("ES384 with a P-256 key", token(header={**H, "alg": "ES384"}), "token_signature"),
    ("ES256 with an RSA key", token(header={"alg": "ES256", "kid": "rsa"}), "token_signature"),
    ("RS256 with an EC key", token(header={**H, "alg": "RS256"}), "token_signature"),
    ("PS256 said, RS256 signed", token(header={"alg": "PS256", "kid": "rsa"}, alg="RS256", kid="rsa"),
     "token_signature"),
    ("signature in DER", shown_der(), "token_signature"),
    ("signature with zeros", extended(), "token_signature"),
    ("empty signature", token().rpartition(".")[0] + ".", "token_signature"),
    ("zero signature", token().rpartition(".")[0] + "." + "A" * 86, "token_signature"),
    ("claims changed", ".".join((token().split(".")[0], part({**GOOD, "aud": "you"}), token().split(".")[2])),
     "token_signature"),
    ("no sub", token(sub=...), "token_claims"),
    ("sub a list", token(sub=[ID]), "token_claims"),
    ("sub no ID", token(sub="a"), "svid_bad_id"),
    ("sub with a newline", token(sub=ID + "\n"), "svid_bad_id"),
    ("sub too long", token(sub="spiffe://example.org/" + "a" * 2048), "svid_bad_id"),
    ("sub the domain", token(sub="spiffe://example.org"), "svid_root_id"),
    ("sub of nobody's domain", token(sub="spiffe://unknown.test/a"), "svid_unknown_domain"),
    ("no exp", token(exp=...), "token_claims"),
    ("exp a text", token(exp=str(int(NOW) + 300)), "token_claims"),
    ("exp true", token(exp=True), "token_claims"),
    ("exp null", token(exp=None), "token_claims"),
    ("exp negative", token(exp=-1), "token_claims"),
    ("exp huge", token(exp=1e300), "token_claims"),
    ("exp beyond exact", token(exp=1 << 60), "token_claims"),
    ("exp now", token(exp=int(NOW)), "token_expired"),
    ("exp past", token(exp=int(NOW) - 1), "token_expired"),
    ("exp zero", token(exp=0), "token_expired"),
    ("nbf ahead", token(nbf=int(NOW) + 61), "token_not_yet"),
    ("iat ahead", token(iat=int(NOW) + 61), "token_not_yet"),
    ("nbf a text", token(nbf="0"), "token_claims"),
    ("iat null", token(iat=None), "token_claims"),
    ("no aud", token(aud=...), "token_claims"),
    ("aud empty", token(aud=[]), "token_claims"),
    ("aud an empty text", token(aud=""), "token_claims"),
    ("aud with an empty text", token(aud=["me", ""]), "token_claims"),
    ("aud a number", token(aud=1), "token_claims"),
    ("aud of numbers", token(aud=["me", 1]), "token_claims"),
    ("aud an object", token(aud={"me": 1}), "token_claims"),
    ("aud of many", token(aud=["me"] * 17), "token_claims"),
    ("aud another", token(aud=["you"]), "token_audience"),
    ("aud in capitals", token(aud="ME"), "token_audience"),
    ("aud with a space", token(aud="me "), "token_audience"),
    ("aud of a part", token(aud="m"), "token_audience"),
    ("jti a number", token(jti=1), "token_claims"),
]


@pytest.mark.parametrize(("text", "code"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_token_is_refused_with_its_code(text: str, code: str) -> None:
    assert judge(text) == code


def test_the_expected_id_is_compared_whole() -> None:
    assert judge(token(), expected=ID) == ""
    assert judge(token(), expected=ID[:-1]) == "svid_wrong_id"


def test_a_revoked_token_is_refused_by_its_number() -> None:
    clock = FakeClock()
    clock.seconds = NOW
    asked: list[tuple[str, str]] = []

    def revoked(spiffe_id: str, number: str) -> str:
        asked.append((spiffe_id, number))
        return "withdrawn" if number == "7" else ""

    validator = TokenValidator(lambda: BUNDLES, clock, revoked=revoked)
    validator.validate(token(jti="6"), ["me"])
    with pytest.raises(Refused, match="svid_revoked"):
        validator.validate(token(jti="7"), ["me"])
    assert asked == [(ID, "6"), (ID, "7")]


@given(st.binary(max_size=200), st.sampled_from([0, 1]))
def test_any_bytes_in_header_or_claims_are_answered(raw: bytes, place: int) -> None:
    assert judge(token(raw) if place else token(header=raw)) != ""


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6)


@given(st.sampled_from(["sub", "aud", "exp", "nbf", "iat", "jti", "iss"]), _JSON)
def test_any_value_of_any_claim_is_answered(name: str, value: Any) -> None:
    judge(token(**{name: value}))


@given(st.sampled_from(["alg", "kid", "typ", "crit"]), _JSON)
def test_any_value_of_any_header_is_answered(name: str, value: Any) -> None:
    judge(token(header={**H, name: value}))


@given(st.text(max_size=80))
def test_any_text_is_refused(text: str) -> None:
    assert judge(text) == "token_malformed"


@given(st.binary(max_size=64))
def test_base64url_has_one_spelling(raw: bytes) -> None:
    assert jose.decode(jose.encode(raw)) == raw
    with pytest.raises(ValueError, match=r"."):
        jose.decode(jose.encode(raw) + "=")
