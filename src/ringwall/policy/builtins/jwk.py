"""Keys for JSON Web Signatures: PEM, JWK (RFC 7517 and 7518, section 6), and one signature with one of them.

A key fits the algorithms of its own kind only: whatever a token's header says, an RSA key never becomes the
secret of an HMAC, and ``none`` is no algorithm.
"""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from ringwall.policy.builtins.encodings import decode_base64url
from ringwall.policy.builtins.table import BuiltinError

HASHES: Final[Mapping[str, Any]] = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
_CURVES: Final[Mapping[str, Any]] = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}
ALGORITHMS: Final = frozenset({"EdDSA", *(family + size for family in ("HS", "RS", "PS", "ES") for size in HASHES)})
MAX_KEYS: Final = 100  # of one set: each may have to be tried
MAX_RSA_BITS: Final = 8192  # beyond it loading one key takes seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key, with what its JWK says of it."""

    key: Any  # a public or private key of `cryptography`, or bytes for HMAC
    alg: str = ""
    kid: str = ""


def public_keys(source: str) -> list[Key]:
    """The keys of a PEM certificate, a PEM public key, a JWK or a JWK set. Raises BuiltinError."""
    try:
        if source.lstrip().startswith("-----BEGIN CERTIFICATE"):
            return [Key(key=load_pem_x509_certificate(_one_pem(source)).public_key())]
        if source.lstrip().startswith("-----BEGIN"):
            return [Key(key=load_pem_public_key(_one_pem(source)))]
        return [_public(one) for one in _members(source) if one.get("alg", "") in ("", *ALGORITHMS)]
    except (ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm, RecursionError) as error:
        raise BuiltinError("the key is no PEM certificate, PEM public key or JWK") from error


def private_key(source: str) -> Any:
    """The first key of a JWK or JWK set, for signing. Raises BuiltinError."""
    try:
        return _private(_members(source)[0])
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError, UnsupportedAlgorithm,
            RecursionError) as error:
        raise BuiltinError("the key is no private or symmetric JWK") from error


def _members(source: str) -> list[dict[str, Any]]:
    holder = cast("dict[str, Any]", json.loads(source))
    found: list[dict[str, Any]] = holder.get("keys", [holder])
    if len(found) > MAX_KEYS:
        raise ValueError("too many keys")
    return found


def _one_pem(source: str) -> bytes:
    if source.strip().count("-----BEGIN") != 1 or not source.rstrip().endswith("-----"):
        raise ValueError("extra data after a PEM block")
    return source.encode()


def _integer(jwk: Mapping[str, Any], name: str) -> int:
    raw = decode_base64url(jwk[name])
    if len(raw) * 8 > MAX_RSA_BITS:
        raise ValueError("a number of the key is too large")
    return int.from_bytes(raw, "big")


def _rsa_public(jwk: Mapping[str, Any]) -> rsa.RSAPublicNumbers:
    return rsa.RSAPublicNumbers(_integer(jwk, "e"), _integer(jwk, "n"))


def _ec_public(jwk: Mapping[str, Any]) -> ec.EllipticCurvePublicNumbers:
    return ec.EllipticCurvePublicNumbers(_integer(jwk, "x"), _integer(jwk, "y"), _CURVES[jwk["crv"]]())


def _public(jwk: Mapping[str, Any]) -> Key:
    match jwk["kty"]:
        case "RSA":
            key: Any = _rsa_public(jwk).public_key()
        case "EC":
            key = _ec_public(jwk).public_key()
        case "OKP" if jwk["crv"] == "Ed25519":
            key = ed25519.Ed25519PublicKey.from_public_bytes(decode_base64url(jwk["x"]))
        case "oct":
            key = decode_base64url(jwk["k"])
        case _:
            raise ValueError("a key of no known kind")
    return Key(key=key, alg=jwk.get("alg", ""), kid=jwk.get("kid", ""))


def _private(jwk: Mapping[str, Any]) -> Any:
    match jwk["kty"]:
        case "RSA":
            # The primes have to be given: looking for those of a made-up key may never end.
            d, p, q = (_integer(jwk, name) for name in ("d", "p", "q"))
            return rsa.RSAPrivateNumbers(p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q),
                                         rsa.rsa_crt_iqmp(p, q), _rsa_public(jwk)).private_key()
        case "EC":
            return ec.EllipticCurvePrivateNumbers(_integer(jwk, "d"), _ec_public(jwk)).private_key()
        case "OKP" if jwk["crv"] == "Ed25519":
            return ed25519.Ed25519PrivateKey.from_private_bytes(decode_base64url(jwk["d"]))
        case "oct":
            return decode_base64url(jwk["k"])
        case _:
            raise ValueError("a key of no known kind")


def _pss(chosen: Any, salt: Any) -> padding.PSS:
    return padding.PSS(padding.MGF1(chosen), salt)


def checks(key: Any, algorithm: str, signed: bytes, signature: bytes, *, any_salt: bool = False) -> bool:
    """Whether the signature holds. A key of another family than the algorithm's never fits.

    Args:
        key: as in ``Key``.
        algorithm: a JWA name, as the caller or a header gives it; an unknown one never fits.
        signed: the bytes signed.
        signature: in the form of RFC 7518.
        any_salt: take PSS salts of every length, as OPA's ``verify_ps*`` do and its ``decode_verify`` does not.

    """
    if algorithm not in ALGORITHMS:
        return False
    chosen: Any = HASHES.get(algorithm[2:], hashes.SHA256)()
    try:
        match algorithm[:2], key:
            case "HS", bytes():
                return hmac.compare_digest(hmac.new(key, signed, f"sha{algorithm[2:]}").digest(), signature)
            case "RS", rsa.RSAPublicKey():
                key.verify(signature, signed, padding.PKCS1v15(), chosen)
            case "PS", rsa.RSAPublicKey():
                salt = padding.PSS.AUTO if any_salt else padding.PSS.DIGEST_LENGTH
                key.verify(signature, signed, _pss(chosen, salt), chosen)
            case "ES", ec.EllipticCurvePublicKey():
                half = (key.key_size + 7) // 8
                if len(signature) != 2 * half:
                    return False
                pair = (int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
                key.verify(encode_dss_signature(*pair), signed, ec.ECDSA(chosen))
            case "Ed", ed25519.Ed25519PublicKey():
                key.verify(signature, signed)
            case _:
                return False
    except (InvalidSignature, ValueError):
        return False
    return True


def sign(key: Any, algorithm: str, signed: bytes) -> bytes:
    """A signature in the form of RFC 7518. Raises BuiltinError when the key is not for this algorithm."""
    chosen: Any = HASHES.get(algorithm[2:], hashes.SHA256)()
    try:
        match algorithm[:2], key:
            case "HS", bytes():
                return hmac.new(key, signed, f"sha{algorithm[2:]}").digest()
            case "RS", rsa.RSAPrivateKey():
                return key.sign(signed, padding.PKCS1v15(), chosen)
            case "PS", rsa.RSAPrivateKey():
                return key.sign(signed, _pss(chosen, padding.PSS.DIGEST_LENGTH), chosen)
            case "ES", ec.EllipticCurvePrivateKey():
                half = (key.key_size + 7) // 8
                r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(chosen)))
                return r.to_bytes(half, "big") + s.to_bytes(half, "big")
            case "Ed", ed25519.Ed25519PrivateKey():
                return key.sign(signed)
            case _:
                raise BuiltinError("the key is of another kind than the algorithm")
    except ValueError as error:
        raise BuiltinError("the key is too small for the algorithm") from error
