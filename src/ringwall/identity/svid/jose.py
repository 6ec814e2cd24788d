"""The pieces of JOSE that JWT-SVIDs and bundles have (RFC 7515, 7517, 7518): strict base64url, JWKs, signatures."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from ringwall.call import Json
from ringwall.errors import BadInput
from ringwall.identity.svid.interface import PublicKey

MIN_RSA_BITS: Final = 2048  # NIST SP 800-57, part 1, table 2: 112 bits of strength
MAX_RSA_BITS: Final = 8192  # beyond that verifying is a way to burn time
RSA_EXPONENT: Final = 65537  # what every authority uses; tiny and huge exponents are for attacks


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """One of the nine algorithms of JWT-SVID, section 2.1."""

    family: str  # RS, PS or ES
    hash: hashes.HashAlgorithm
    curve: type[ec.EllipticCurve] | None = None


ALGORITHMS: Final[Mapping[str, Algorithm]] = {
    "ES256": Algorithm(family="ES", hash=hashes.SHA256(), curve=ec.SECP256R1),
    "ES384": Algorithm(family="ES", hash=hashes.SHA384(), curve=ec.SECP384R1),
    "ES512": Algorithm(family="ES", hash=hashes.SHA512(), curve=ec.SECP521R1),
    "RS256": Algorithm(family="RS", hash=hashes.SHA256()),
    "RS384": Algorithm(family="RS", hash=hashes.SHA384()),
    "RS512": Algorithm(family="RS", hash=hashes.SHA512()),
    "PS256": Algorithm(family="PS", hash=hashes.SHA256()),
    "PS384": Algorithm(family="PS", hash=hashes.SHA384()),
    "PS512": Algorithm(family="PS", hash=hashes.SHA512()),
}
_CURVES: Final[Mapping[str, type[ec.EllipticCurve]]] = {
    "P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1,
}


def encode(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """The reverse; only the one spelling that :func:`encode` gives. Raises ValueError."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as fault:
        raise ValueError(str(fault)) from None
    if encode(raw) != text:  # "=", "+", "/", or bits that no byte has: another text for the same bytes
        raise ValueError("there is another spelling of it")
    return raw


def strong(key: object) -> PublicKey | None:
    """The key if it is of a kind and strength that may sign or hold an SVID: NIST curves, RSA of 2048 bits."""
    match key:
        case ec.EllipticCurvePublicKey() if type(key.curve) in _CURVES.values():
            return key
        case rsa.RSAPublicKey() if MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS \
                and key.public_numbers().e == RSA_EXPONENT:
            return key
        case _:
            return None


def sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """ES256: r and s, 32 bytes each (RFC 7518, section 3.4)."""
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def verifies(key: PublicKey, algorithm: Algorithm, message: bytes, signature: bytes) -> bool:
    """Whether the signature is this key's, by an algorithm that is this kind of key's own."""
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            return algorithm.curve is type(key.curve) and _ecdsa(key, algorithm, message, signature)
        if algorithm.family == "RS":
            key.verify(signature, message, padding.PKCS1v15(), algorithm.hash)
        elif algorithm.family == "PS":  # RFC 7518, section 3.5: the salt is as long as the hash
            salted = padding.PSS(mgf=padding.MGF1(algorithm.hash), salt_length=algorithm.hash.digest_size)
            key.verify(signature, message, salted, algorithm.hash)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _ecdsa(key: ec.EllipticCurvePublicKey, algorithm: Algorithm, message: bytes, signature: bytes) -> bool:
    size = (key.curve.key_size + 7) // 8
    if len(signature) != 2 * size:
        return False
    r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
    key.verify(encode_dss_signature(r, s), message, ec.ECDSA(algorithm.hash))
    return True


def to_jwk(key: PublicKey) -> dict[str, Json]:
    """The key's own members of a JWK (RFC 7518, section 6)."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        numbers, size = key.public_numbers(), (key.curve.key_size + 7) // 8
        name = next(name for name, curve in _CURVES.items() if type(key.curve) is curve)
        return {"kty": "EC", "crv": name, "x": encode(numbers.x.to_bytes(size, "big")),
                "y": encode(numbers.y.to_bytes(size, "big"))}
    numbers = key.public_numbers()
    return {"kty": "RSA", "n": encode(_shortest(numbers.n)), "e": encode(_shortest(numbers.e))}


def from_jwk(members: Mapping[str, Json]) -> PublicKey:
    """The public key of a JWK of kty EC or RSA. Raises BadInput (``svid_bad_bundle``)."""
    try:
        key = _elliptic(members) if members["kty"] == "EC" else _rsa(members)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadInput("a key of the bundle is no key", code="svid_bad_bundle") from None
    found = strong(key)
    if found is None:
        raise BadInput("a key of the bundle is too weak, or too large", code="svid_bad_bundle")
    return found


def _elliptic(members: Mapping[str, Json]) -> ec.EllipticCurvePublicKey:
    curve = _CURVES[members["crv"]]()
    x, y = decode(members["x"]), decode(members["y"])
    if not len(x) == len(y) == (curve.key_size + 7) // 8:
        raise ValueError("coordinates have the size of the curve")
    return ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve).public_key()


def _rsa(members: Mapping[str, Json]) -> rsa.RSAPublicKey:
    n, e = decode(members["n"]), decode(members["e"])
    if len(n) > MAX_RSA_BITS // 8 or len(e) > 8 or n[:1] in {b"", b"\0"} or e[:1] in {b"", b"\0"}:
        raise ValueError("numbers are in their shortest form")
    return rsa.RSAPublicNumbers(int.from_bytes(e, "big"), int.from_bytes(n, "big")).public_key()


def _shortest(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
