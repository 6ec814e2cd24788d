"""A signature counts only if it is by a configured key, with that key's algorithm, over exactly these files."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.bundle.support import code_of, key_files, private, public, signing

from ringwall.errors import PolicyError
from ringwall.policy.bundle.signature import FILE, PublicKey, SigningKey, verify

FILES = {"a.rego": b"package a\n", "data.json": b"{}"}


def signed(kind: str = "ed25519", scope: str = "", **more: bytes) -> dict[str, bytes]:
    found = {**FILES, **more}
    return {**found, FILE: signing(kind).sign(found, scope=scope)}


def b64(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def token(files: dict[str, bytes]) -> list[str]:
    return json.loads(files[FILE])["signatures"][0].split(".")


def forged(header: Any, claims: Any, signature: Any = b"", *, key: Any = None) -> dict[str, bytes]:
    """A bundle with a token of one's own; with ``key``, really signed by it."""
    text = f"{b64(header)}.{b64(claims)}"
    made = key.sign(text.encode()) if key is not None else signature
    return {**FILES, FILE: json.dumps({"signatures": [f"{text}.{b64(made)}"]}).encode()}


@pytest.mark.parametrize("kind", ["ed25519", "p256", "rsa"])
def test_a_signed_bundle_verifies_and_the_same_bundle_has_the_same_signature(kind: str) -> None:
    assert verify(signed(kind), [public(kind)]) == public(kind).name
    assert signed(kind)[FILE] == signed(kind)[FILE]


def test_one_of_several_keys_is_enough() -> None:
    assert verify(signed("rsa"), [public("p256"), public(), public("rsa")]) == public("rsa").name


def test_without_a_signature_it_is_refused() -> None:
    assert code_of(verify, FILES, [public()]) == "bundle_unsigned"


@pytest.mark.parametrize("kind", ["ed25519", "p256", "rsa"])
def test_another_key_is_refused(kind: str) -> None:
    found = {**FILES, FILE: signing(kind, 1).sign(FILES)}
    assert code_of(verify, found, [public(kind)]) == "bundle_other_key"


@pytest.mark.parametrize("kind", ["ed25519", "p256", "rsa"])
def test_a_signature_by_another_key_under_the_name_of_ours_is_refused(kind: str) -> None:
    header, claims, _ = token(signed(kind))
    others = json.loads(signing(kind, 1).sign(FILES))["signatures"][0].split(".")[2]
    found = {**FILES, FILE: json.dumps({"signatures": [f"{header}.{claims}.{others}"]}).encode()}
    assert code_of(verify, found, [public(kind)]) == "bundle_wrong_signature"


def test_an_empty_or_short_signature_is_refused() -> None:
    for kind in ("ed25519", "p256", "rsa"):
        header, claims, _ = token(signed(kind))
        for made in ("", b64(b"x"), b64(bytes(64)), b64(bytes(256))):
            found = {**FILES, FILE: json.dumps({"signatures": [f"{header}.{claims}.{made}"]}).encode()}
            assert code_of(verify, found, [public(kind)]) == "bundle_wrong_signature"


@pytest.mark.parametrize("algorithm", ["none", "None", "", "HS256", "RS256", "ES256", "RS512", "EdDSA2"])
def test_the_algorithm_is_the_keys_and_not_the_tokens(algorithm: str) -> None:
    claims = unb64(token(signed())[1])
    for name in (public().name, "", "other"):
        found = forged({"alg": algorithm, "kid": name}, claims, b"")
        assert code_of(verify, found, [public()]) == "bundle_wrong_algorithm"


def test_a_public_key_is_no_hmac_secret() -> None:
    claims = unb64(token(signed("rsa"))[1])
    pem = private("rsa").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = f"{b64({'alg': 'HS256', 'kid': public('rsa').name})}.{b64(claims)}"
    mac = hmac.digest(pem, text.encode(), hashlib.sha256)
    found = {**FILES, FILE: json.dumps({"signatures": [f"{text}.{b64(mac)}"]}).encode()}
    assert code_of(verify, found, [public("rsa")]) == "bundle_wrong_algorithm"


def test_the_scope_must_be_the_one_that_is_asked_for() -> None:
    assert verify(signed(scope="production"), [public()], scope="production")
    assert code_of(verify, signed(scope="staging"), [public()], scope="production") == "bundle_wrong_scope"
    assert code_of(verify, signed(), [public()], scope="production") == "bundle_wrong_scope"
    assert code_of(verify, signed(scope="staging"), [public()]) == "bundle_wrong_scope"


def test_a_file_more_less_or_other_is_refused() -> None:
    good = signed()
    assert code_of(verify, {**good, "b.rego": b""}, [public()]) == "bundle_file_unlisted"
    assert code_of(verify, {k: v for k, v in good.items() if k != "a.rego"}, [public()]) == "bundle_file_missing"
    assert code_of(verify, {**good, "a.rego": b"package b\n"}, [public()]) == "bundle_file_changed"


HEADER = {"alg": "EdDSA", "kid": public().name, "typ": "JWT"}
GOOD = {"files": [{"name": n, "hash": hashlib.sha256(c).hexdigest(), "algorithm": "SHA-256"}
                  for n, c in FILES.items()]}


@pytest.mark.parametrize("change", [
    lambda: {**GOOD, "files": [*GOOD["files"], GOOD["files"][0]]},
    lambda: {**GOOD, "files": [{**one, "algorithm": "MD5"} for one in GOOD["files"]]},
    lambda: {**GOOD, "files": [{**one, "hash": 1} for one in GOOD["files"]]},
    lambda: {**GOOD, "files": "all"},
    lambda: {**GOOD, "exp": 1},
    lambda: {**GOOD, "scope": None},
    list, dict, lambda: "x",
])
def test_claims_of_another_form_are_refused_even_if_our_key_signed_them(change: Callable[[], Any]) -> None:
    found = forged(HEADER, change(), key=private())
    assert code_of(verify, found, [public()]) == "bundle_bad_signature"
    assert verify(forged(HEADER, GOOD, key=private()), [public()])


@pytest.mark.parametrize("header", [{**HEADER, "crit": ["b64"]}, {**HEADER, "jwk": {}}, {"kid": "x"}, [], 1,
                                    {**HEADER, "kid": 5}])
def test_headers_of_another_form_are_refused(header: Any) -> None:
    assert code_of(verify, forged(header, GOOD, key=private()), [public()]) == "bundle_bad_signature"


@pytest.mark.parametrize("content", [
    b"", b"{}", b"[]", b'{"signatures": []}', b'{"signatures": [1]}', b'{"signatures": ["a.b.c", "a.b.c"]}',
    b'{"signatures": ["a.b"]}', b'{"signatures": ["a.b.c.d"]}', b'{"signatures": ["..."]}',
    '{"signatures": ["\u00e4.b.c"]}'.encode(), b'{"signatures": ["a b.c.d"]}', b"\xff",
    b'{"signatures": ["e30.e30.e30="]}', b'{"signatures": ["e31.e30.e30"]}', b"[" * 500,
    b'{"signatures": ["x"], "signatures": ["y"]}', b'{"signatures": ["e30.e30.e30"], "plugin": "mine"}',
])
def test_no_jws_of_this_form_is_refused(content: bytes) -> None:
    assert code_of(verify, {**FILES, FILE: content}, [public()]) == "bundle_bad_signature"


@settings(max_examples=100)
@given(st.data())
def test_no_change_of_a_token_verifies(data: st.DataObject) -> None:
    good = json.loads(signed()[FILE])["signatures"][0]
    at = data.draw(st.integers(0, len(good) - 1))
    char = data.draw(st.sampled_from("ABCxyz019-_.=").filter(lambda c: c != good[at]))
    changed = {**FILES, FILE: json.dumps({"signatures": [good[:at] + char + good[at + 1:]]}).encode()}
    with pytest.raises(PolicyError):
        verify(changed, [public()])


def test_keys_come_from_pem_files(tmp_path: Path) -> None:
    secret, known = key_files(tmp_path)
    assert verify({**FILES, FILE: SigningKey.load(secret).sign(FILES)}, [PublicKey.load(known)])


def test_keys_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    secret, known = key_files(tmp_path)
    (tmp_path / "junk").write_bytes(b"junk")
    (tmp_path / "locked").write_bytes(private().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")))
    for load, path in [(PublicKey.load, secret), (SigningKey.load, known), (PublicKey.load, tmp_path / "none"),
                       (SigningKey.load, tmp_path / "junk"), (PublicKey.load, tmp_path / "junk"),
                       (SigningKey.load, tmp_path / "locked"), (PublicKey.load, tmp_path)]:
        assert code_of(load, path) == "bundle_bad_key"
    for kind in ("p384", "rsa1024"):
        secret, known = key_files(tmp_path, kind)
        assert code_of(PublicKey.load, known) == "bundle_bad_key"
        assert code_of(SigningKey.load, secret) == "bundle_bad_key"


def test_private_keys_stay_unencrypted_pem_only(tmp_path: Path) -> None:
    der = tmp_path / "key.der"
    der.write_bytes(private().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    assert code_of(SigningKey.load, der) == "bundle_bad_key"
