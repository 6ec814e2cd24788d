"""Signatures of bundles as OPA specifies them: one JWS (RFC 7515) over the hashes of all files.

OPA hashes the values of ``.manifest`` and ``data.json`` and the bytes of all else. Ours are written in the one
spelling that OPA hashes, so that for us every hash is over bytes. The algorithm belongs to the key, never to the
token.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from ringwall.call import canonical
from ringwall.errors import BadInput, PolicyError
from ringwall.wire import strict

FILE: Final = ".signatures.json"
MAX_KEY: Final = 16 << 10  # bytes of a PEM file; RSA with 4096 bits has 3.2 KiB
MIN_RSA: Final = 2048  # bits (RFC 7518, section 3.3)
_MAX_TOKEN: Final = 1 << 20  # a thousand files' names and hashes take a fifth of it
_P256_BYTES: Final = 32  # of each half of an ES256 signature (RFC 7518, section 3.4)
_T = TypeVar("_T")
_Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey
_Public = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    kid: str = ""
    typ: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    hash: str
    algorithm: str


class _Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    files: tuple[_File, ...]
    scope: str = ""
    keyid: str = ""


class _Signatures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    signatures: tuple[str, ...]


def _bad(cause: str, code: str, remedy: str = "") -> PolicyError:
    return PolicyError(cause, code=code, remedy=remedy)


class SigningKey:
    """A private key: RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA)."""

    def __init__(self, key: _Private) -> None:
        self._key = key
        self._public = PublicKey(key.public_key())

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """From a PEM file without a password. Raises PolicyError ``bundle_bad_key``."""
        try:
            key = load_pem_private_key(_read(path), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _bad(f"{path} holds no private key in PEM without a password", "bundle_bad_key",
                       "openssl genpkey -algorithm ed25519 -out policy.pem") from error
        if not isinstance(key, _Private):
            raise _bad(f"{path} holds a key of another kind than RSA, P-256 or Ed25519", "bundle_bad_key")
        return cls(key)

    def sign(self, files: Mapping[str, bytes], *, scope: str = "") -> bytes:
        """The content of ``.signatures.json``: the same files and key give the same bytes.

        Args:
            files: all files of the bundle but this one.
            scope: what the bundle is for; empty: anything.

        """
        listed = [{"name": name, "hash": hashlib.sha256(files[name]).hexdigest(), "algorithm": "SHA-256"}
                  for name in sorted(files)]
        header = canonical({"alg": self._public.algorithm, "kid": self._public.name, "typ": "JWT"})
        claims = canonical({"files": listed, **({"scope": scope} if scope else {})})
        signed = _encode(header) + b"." + _encode(claims)
        token = signed + b"." + _encode(self._signature(signed))
        return canonical({"signatures": [token.decode()]})

    def _signature(self, signed: bytes) -> bytes:
        match self._key:
            case Ed25519PrivateKey():
                return self._key.sign(signed)
            case rsa.RSAPrivateKey():
                return self._key.sign(signed, padding.PKCS1v15(), SHA256())
            case _:
                made = self._key.sign(signed, ec.ECDSA(SHA256(), deterministic_signing=True))  # RFC 6979
                return b"".join(half.to_bytes(_P256_BYTES, "big") for half in decode_dss_signature(made))


class PublicKey:
    """What verifies a bundle. ``algorithm`` is the only one it is used with; ``name`` is a hash of the key."""

    def __init__(self, key: _Public) -> None:
        self._key = key
        match key:
            case Ed25519PublicKey():
                self.algorithm = "EdDSA"
            case rsa.RSAPublicKey():
                if key.key_size < MIN_RSA:
                    raise _bad(f"an RSA key of {key.key_size} bits is too short", "bundle_bad_key",
                               f"use one of {MIN_RSA} bits or more, or Ed25519")
                self.algorithm = "RS256"
            case _:
                if not isinstance(key.curve, ec.SECP256R1):
                    raise _bad(f"the curve {key.curve.name} is not used here", "bundle_bad_key", "use P-256")
                self.algorithm = "ES256"
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.name = hashlib.sha256(der).hexdigest()[:32]

    @classmethod
    def load(cls, path: Path) -> PublicKey:
        """From a PEM file. Raises PolicyError ``bundle_bad_key``."""
        try:
            key = load_pem_public_key(_read(path))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise _bad(f"{path} holds no public key in PEM", "bundle_bad_key",
                       "openssl pkey -in policy.pem -pubout -out policy.pub.pem") from error
        if not isinstance(key, _Public):
            raise _bad(f"{path} holds a key of another kind than RSA, P-256 or Ed25519", "bundle_bad_key")
        return cls(key)

    def holds(self, signed: bytes, signature: bytes) -> bool:
        """Whether this key made this signature."""
        try:
            match self._key:
                case Ed25519PublicKey():
                    self._key.verify(signature, signed)
                case rsa.RSAPublicKey():
                    self._key.verify(signature, signed, padding.PKCS1v15(), SHA256())
                case _:
                    if len(signature) != 2 * _P256_BYTES:
                        return False
                    halves = (int.from_bytes(signature[:_P256_BYTES], "big"),
                              int.from_bytes(signature[_P256_BYTES:], "big"))
                    self._key.verify(encode_dss_signature(*halves), signed, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True


def verify(files: Mapping[str, bytes], keys: Sequence[PublicKey], *, scope: str = "") -> str:
    """Check that one of the keys signed exactly these files, for this scope.

    Args:
        files: all files of the bundle, the signature among them.
        keys: at least one.
        scope: what it must have been signed for; empty: for nothing in particular.

    Returns:
        the name of the key.

    Raises:
        PolicyError: ``bundle_unsigned``, ``bundle_bad_signature`` (no JWS of this form),
            ``bundle_wrong_algorithm``, ``bundle_other_key``, ``bundle_wrong_signature``, ``bundle_wrong_scope``,
            ``bundle_file_unlisted``, ``bundle_file_missing`` or ``bundle_file_changed``.

    """
    if FILE not in files:
        raise _bad("the bundle has no signature, and keys are configured", "bundle_unsigned",
                   "ringwall policy build DIR --key PRIVATE.pem -o BUNDLE")
    header, claims, signed, signature = _token(files[FILE])
    key = _key_of(header, keys)
    if not key.holds(signed, signature):
        raise _bad("the bundle's signature is not right for this bundle", "bundle_wrong_signature",
                   "find out who changed it; build and sign it again")
    claim = _decode(claims, _Claims)
    if claim.scope != scope:
        raise _bad(f"the bundle was signed for {claim.scope[:64]!r}, not for {scope!r}", "bundle_wrong_scope",
                   "build it with the --scope that [policy] names")
    _check_files(claim.files, files)
    return key.name


def _key_of(header: _Header, keys: Sequence[PublicKey]) -> PublicKey:
    """The key that the token names. What it says of the algorithm must be what that key is for."""
    named = [key for key in keys if hmac.compare_digest(key.name.encode(), header.kid.encode())]
    if not named:
        if header.alg not in {key.algorithm for key in keys}:
            raise _wrong_algorithm(header)
        raise _bad("the bundle was signed with a key that is not configured", "bundle_other_key",
                   "name its public key in [policy] keys, if you trust it")
    if named[0].algorithm != header.alg:
        raise _wrong_algorithm(header)
    return named[0]


def _wrong_algorithm(header: _Header) -> PolicyError:
    return _bad(f"the bundle's signature says it is {header.alg[:20]!r}, which none of the keys is for",
                "bundle_wrong_algorithm", "sign it with `ringwall policy build --key`")


def _check_files(listed: Sequence[_File], files: Mapping[str, bytes]) -> None:
    hashes = {one.name: one for one in listed}
    if len(hashes) != len(listed):
        raise _malformed("it lists a file twice")
    there = {name for name in files if name != FILE}
    if extra := sorted(there - set(hashes)):
        raise _bad(f"the bundle has {extra[0]}, which its signature does not list", "bundle_file_unlisted")
    if missing := sorted(set(hashes) - there):
        raise _bad(f"the bundle lacks {missing[0][:100]}, which its signature lists", "bundle_file_missing")
    for name, one in hashes.items():
        if one.algorithm != "SHA-256":
            raise _malformed(f"{one.algorithm[:20]!r} is no hash that is used here")
        if not hmac.compare_digest(one.hash.encode(), hashlib.sha256(files[name]).hexdigest().encode()):
            raise _bad(f"{name} is not what was signed", "bundle_file_changed", "build and sign the bundle again")


def _token(raw: bytes) -> tuple[_Header, bytes, bytes, bytes]:
    """Header, claims, what was signed, and the signature, of the one token."""
    tokens = _decode(raw, _Signatures).signatures
    if len(tokens) != 1 or not tokens[0].isascii():
        raise _malformed("it must hold exactly one token")
    parts = tokens[0].encode().split(b".")
    if len(parts) != 3:
        raise _malformed("it is no compact JWS")
    header, claims, signature = (_unbase64(part) for part in parts)
    return _decode(header, _Header), claims, parts[0] + b"." + parts[1], signature


def _decode(raw: bytes, of: type[_T]) -> _T:
    try:
        return msgspec.convert(strict.parse(raw, max_bytes=_MAX_TOKEN), of, strict=True)
    except (BadInput, msgspec.ValidationError) as error:
        raise _malformed(str(error)) from error


def _malformed(what: str) -> PolicyError:
    return _bad(f"{FILE} is not as OPA specifies it: {what}", "bundle_bad_signature",
                "sign it with `ringwall policy build --key`")


def _encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _unbase64(part: bytes) -> bytes:
    try:
        made = base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise _malformed("a part of the token is not base64url") from None
    if _encode(made) != part:  # one spelling only: left-over bits would be a second one
        raise _malformed("a part of the token is not base64url")
    return made


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY)
    except OSError as error:
        raise _bad(f"the key {path} cannot be read: {error.strerror}", "bundle_bad_key") from error
