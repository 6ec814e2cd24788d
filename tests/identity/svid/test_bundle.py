"""Bundle documents: what is taken, what spoils them, and that they come back as they went."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from hypothesis import given
from hypothesis import strategies as st
from tests.identity.svid.corpus import partner, root, root_nameless, root_rsa
from tests.identity.svid.workshop import Ca, Leaf, ecdsa, rsa_key

from ringwall.errors import BadInput
from ringwall.identity.svid import bundle as documents
from ringwall.identity.svid import jose
from ringwall.identity.svid.interface import Bundle, PublicKey

JWT = {"use": "jwt-svid", "kid": "a", **jose.to_jwk(ecdsa("bundle").public_key())}


def x509_entry(der: bytes, **more: Any) -> dict[str, Any]:
    return {"use": "x509-svid", "kty": "EC", "x5c": [base64.b64encode(der).decode()], **more}


def raw(*keys: Any, **more: Any) -> bytes:
    return json.dumps({"keys": list(keys), **more}).encode()


def same(one: PublicKey, other: PublicKey) -> bool:
    return one.public_numbers() == other.public_numbers()


def test_a_bundle_comes_back_as_it_was_written() -> None:
    keys = {"a": ecdsa("a").public_key(), "b": ecdsa("b", "p384").public_key(), "c": rsa_key("c").public_key(),
            "d": ecdsa("d", "p521").public_key()}
    made = Bundle(trust_domain="example.org", authorities=(root().certificate, root_rsa().certificate),
                  jwt_keys=keys, sequence=7, refresh_hint=300)
    found = documents.parse("example.org", documents.document(made))
    assert (found.authorities, found.sequence, found.refresh_hint) == (made.authorities, 7, 300)
    assert all(same(found.jwt_keys[name], key) for name, key in keys.items())
    entries = json.loads(documents.document(made))["keys"]
    assert all("kid" not in entry and len(entry["x5c"]) == 1 for entry in entries if entry["use"] == "x509-svid")


def test_the_jwks_of_the_workload_api_has_only_keys_of_tokens() -> None:
    made = Bundle(trust_domain="example.org", authorities=(root().certificate,),
                  jwt_keys={"a": ecdsa("a").public_key()})
    [entry] = json.loads(documents.jwks(made))["keys"]
    assert (entry["kid"], entry["use"], entry["kty"]) == ("a", "jwt-svid", "EC")


def test_unknown_uses_and_kinds_are_passed_over() -> None:
    found = documents.parse("example.org", raw(
        {"kty": "EC", "use": "wit-svid", "x": 1}, {"kty": "OKP", "use": "jwt-svid", "kid": 1}, JWT,
        x509_entry(root().certificate), x509_entry(root().certificate), spiffe_sequence=0, other=[1]))
    assert list(found.jwt_keys) == ["a"]
    assert found.authorities == (root().certificate,)
    assert isinstance(found.jwt_keys["a"], EllipticCurvePublicKey)


def test_no_keys_mean_that_nobody_is_trusted() -> None:
    assert documents.parse("example.org", raw()) == Bundle(trust_domain="example.org")


def test_the_domain_that_all_authorities_name_is_found() -> None:
    ours, theirs, nameless = (x509_entry(one().certificate) for one in (root, partner, root_nameless))
    assert documents.domain_of(raw(ours)) == "example.org"
    assert documents.domain_of(raw(ours, theirs)) is None
    assert documents.domain_of(raw(nameless)) is None
    assert documents.domain_of(raw(JWT)) is None


LEAF = Leaf().by(root())
BAD: dict[str, bytes] = {
    "no JSON": b"{",
    "a list": b"[]",
    "no keys": b"{}",
    "keys an object": b'{"keys": {}}',
    "a key a text": raw("x"),
    "keys twice": b'{"keys": [], "keys": []}',
    "no use": raw({"kty": "EC"}),
    "no kty": raw({"use": "jwt-svid"}),
    "use a number": raw({"kty": "EC", "use": 1}),
    "too many keys": raw(*[{**JWT, "kid": str(n)} for n in range(65)]),
    "no x5c": raw({"kty": "EC", "use": "x509-svid"}),
    "x5c empty": raw({"kty": "EC", "use": "x509-svid", "x5c": []}),
    "x5c of two": raw({**x509_entry(LEAF), "x5c": x509_entry(LEAF)["x5c"] * 2}),
    "x5c a text": raw({"kty": "EC", "use": "x509-svid", "x5c": "a"}),
    "x5c of numbers": raw({"kty": "EC", "use": "x509-svid", "x5c": [1]}),
    "x5c no base64": raw({"kty": "EC", "use": "x509-svid", "x5c": ["!"]}),
    "x5c no certificate": raw(x509_entry(b"\x30\x00")),
    "a leaf as authority": raw(x509_entry(LEAF)),
    "kid on a certificate": raw(x509_entry(root().certificate, kid="a")),
    "another key beside a certificate":
        raw(x509_entry(root().certificate, **jose.to_jwk(ecdsa("else").public_key()))),
    "another domain's authority": raw(x509_entry(partner().certificate)),
    "an authority with a workload's ID":
        raw(x509_entry(Ca(name="w", id="spiffe://example.org/a").by().certificate)),
    "a weak authority": raw(x509_entry(Ca(name="weak", key=rsa_key("weak", 1024)).by().certificate)),
    "no kid": raw({k: v for k, v in JWT.items() if k != "kid"}),
    "kid empty": raw({**JWT, "kid": ""}),
    "kid a number": raw({**JWT, "kid": 1}),
    "kid twice": raw(JWT, JWT),
    "kid too long": raw({**JWT, "kid": "a" * 257}),
    "a private key": raw({**JWT, "d": "AAAA"}),
    "an unknown curve": raw({**JWT, "crv": "P-224"}),
    "curve a list": raw({**JWT, "crv": ["P-256"]}),
    "off the curve": raw({**JWT, "x": JWT["y"]}),
    "a coordinate too short": raw({**JWT, "x": "AAAA"}),
    "a coordinate a number": raw({**JWT, "x": 1}),
    "weak RSA": raw({"use": "jwt-svid", "kid": "a", **jose.to_jwk(rsa_key("weak", 1024).public_key())}),
    "RSA exponent 3": raw({"use": "jwt-svid", "kid": "a", **jose.to_jwk(rsa_key("w3", 2048, 3).public_key())}),
    "RSA without n": raw({"use": "jwt-svid", "kid": "a", "kty": "RSA", "e": "AQAB"}),
    "RSA n of zero": raw({"use": "jwt-svid", "kid": "a", "kty": "RSA", "n": "", "e": "AQAB"}),
    "RSA n huge": raw({"use": "jwt-svid", "kid": "a", "kty": "RSA", "n": jose.encode(b"\xff" * 2000), "e": "AQAB"}),
    "sequence a text": raw(spiffe_sequence="1"),
    "sequence negative": raw(spiffe_sequence=-1),
    "sequence true": raw(spiffe_sequence=True),
    "sequence huge": raw(spiffe_sequence=1 << 63),
    "hint a float": raw(spiffe_refresh_hint=1.5),
    "hint of years": raw(spiffe_refresh_hint=10**9),
    "too large": b'{"keys": [' + b" " * (300 << 10) + b"]}",
}


@pytest.mark.parametrize("document", BAD.values(), ids=BAD)
def test_a_bad_document_is_refused_whole(document: bytes) -> None:
    with pytest.raises(BadInput) as refused:
        documents.parse("example.org", document)
    assert refused.value.cause.isprintable()


@pytest.mark.parametrize("domain", ["", "Example.org", "a/b", "a:1", "a\n"])
def test_a_bad_name_of_a_domain_is_refused(domain: str) -> None:
    with pytest.raises(BadInput, match="bad_spiffe_id"):
        documents.parse(domain, raw())


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_a_bundle(content: bytes) -> None:
    try:
        documents.parse("example.org", content)
    except BadInput:
        pass


@given(st.sampled_from(sorted({*JWT, "x5c", "n", "e"})),
       st.none() | st.booleans() | st.integers() | st.text(max_size=50) | st.lists(st.text(max_size=5), max_size=2),
       st.sampled_from(["EC", "RSA"]), st.sampled_from(["x509-svid", "jwt-svid"]))
def test_any_member_of_a_key_is_refused_or_taken(name: str, value: Any, kty: str, use: str) -> None:
    try:
        documents.parse("example.org", raw({**JWT, "kty": kty, "use": use, name: value}))
    except BadInput:
        pass
