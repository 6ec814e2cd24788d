"""JSON Web Tokens (RFC 7519): decoding, and verifying with a key that the policy names."""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from ringwall.policy.builtins.documents import parse
from ringwall.policy.builtins.encodings import decode_base64url, raw, text
from ringwall.policy.builtins.table import Builtin, BuiltinError, string
from ringwall.policy.plan.values import Value

_HASHES: Final[Mapping[str, Any]] = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
_CURVES: Final[Mapping[str, Any]] = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}
_FAMILIES: Final = ("HS", "RS", "PS", "ES")
_ALGORITHMS: Final = frozenset({"EdDSA", *(family + size for family in _FAMILIES for size in _HASHES)})
_MAX_NESTED: Final = 4  # tokens in tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    key: Any
    alg: str = ""
    kid: str = ""


def _parts(token: Value) -> list[str]:
    parts = string(token).split(".")
    if len(parts) != 3:
        raise BuiltinError("encoded JWT must have 3 sections")
    return parts


def _object(encoded: bytes) -> dict[str, Value]:
    found = parse(text(encoded))
    if type(found) is not dict:
        raise BuiltinError("a section of the JWT is no object")
    return found


def _header(encoded: str) -> dict[str, Value]:
    header = _object(decode_base64url(encoded))
    if "enc" in header:
        raise BuiltinError("JWT is a JWE object, which is not supported")
    for name in ("alg", "kid", "typ", "cty"):
        if name in header and type(header[name]) is not str:
            raise BuiltinError(f"{name} of the JWT header is no string")
    return header


def decode(token: Value, level: int = 0) -> list[Value]:
    """[header, payload, signature in hexadecimal]; nothing is verified."""
    encoded, body, signature = _parts(token)
    header, payload = _header(encoded), decode_base64url(body)
    if header.get("cty") == "JWT":
        if level == _MAX_NESTED:
            raise BuiltinError("JWTs are nested too deep")
        return decode(text(payload).strip("\"'"), level + 1)
    return [header, _object(payload), decode_base64url(signature).hex()]


def _keys(source: str) -> list[_Key]:
    """The keys of a PEM certificate, a PEM public key, a JWK or a JWK set."""
    try:
        if source.lstrip().startswith("-----BEGIN CERTIFICATE"):
            return [_Key(key=load_pem_x509_certificate(_one_pem(source)).public_key())]
        if source.lstrip().startswith("-----BEGIN"):
            return [_Key(key=load_pem_public_key(_one_pem(source)))]
        tree = json.loads(source)
        holder = cast("dict[str, Any]", tree)
        return [_jwk(one) for one in holder.get("keys", [holder])
                if one.get("alg", "") in ("", *_ALGORITHMS)]
    except (ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm, RecursionError) as error:
        raise BuiltinError("the key is no PEM certificate, PEM public key or JWK") from error


def _one_pem(source: str) -> bytes:
    if source.strip().count("-----BEGIN") != 1 or not source.rstrip().endswith("-----"):
        raise ValueError("extra data after a PEM block")
    return source.encode()


def _integer(jwk: dict[str, Any], name: str) -> int:
    return int.from_bytes(decode_base64url(jwk[name]), "big")


def _jwk(jwk: dict[str, Any]) -> _Key:
    """RFC 7517 and 7518, section 6."""
    kind = jwk["kty"]
    if kind == "RSA":
        key: Any = rsa.RSAPublicNumbers(_integer(jwk, "e"), _integer(jwk, "n")).public_key()
    elif kind == "EC":
        curve = _CURVES[jwk["crv"]]()
        key = ec.EllipticCurvePublicNumbers(_integer(jwk, "x"), _integer(jwk, "y"), curve).public_key()
    elif kind == "OKP":
        key = ed25519.Ed25519PublicKey.from_public_bytes(decode_base64url(jwk["x"]))
    else:
        key = decode_base64url(jwk["k"])
    return _Key(key=key, alg=jwk.get("alg", ""), kid=jwk.get("kid", ""))


def _checks(key: Any, algorithm: str, signed: bytes, signature: bytes) -> bool:
    """Whether the signature holds. A key of another family never fits."""
    chosen: Any = _HASHES.get(algorithm[2:], hashes.SHA256)()
    try:
        match algorithm[:2], key:
            case "RS", rsa.RSAPublicKey():
                key.verify(signature, signed, padding.PKCS1v15(), chosen)
            case "PS", rsa.RSAPublicKey():
                key.verify(signature, signed, padding.PSS(padding.MGF1(chosen), padding.PSS.AUTO), chosen)
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


def _verifier(algorithm: str) -> Callable[[Value, Value], bool]:
    def verify(token: Value, source: Value) -> bool:
        encoded, body, signature = _parts(token)
        keys, given = _keys(string(source, 2)), decode_base64url(signature)
        header, signed = _header(encoded), raw(f"{encoded}.{body}")
        named = [key for key in keys if header.get("kid") and key.kid == header["kid"]]
        fitting = named[:1] or [key for key in keys if key.alg in ("", header.get("alg"))]
        return any(_checks(key.key, algorithm, signed, given) for key in fitting)
    return verify


def _mac_verifier(digest: str) -> Callable[[Value, Value], bool]:
    def verify(token: Value, secret: Value) -> bool:
        encoded, body, signature = _parts(token)
        made = hmac.new(raw(secret, 2), raw(f"{encoded}.{body}"), digest).digest()
        return hmac.compare_digest(made, decode_base64url(signature))
    return verify


TOKENS: Final[Mapping[str, Builtin]] = MappingProxyType({
    "io.jwt.decode": Builtin(decode, 1),
    **{f"io.jwt.verify_{family.lower()}{size}": Builtin(_verifier(f"{family}{size}"), 2)
       for family in ("RS", "PS", "ES") for size in _HASHES},
    **{f"io.jwt.verify_hs{size}": Builtin(_mac_verifier(f"sha{size}"), 2) for size in _HASHES},
    "io.jwt.verify_eddsa": Builtin(_verifier("EdDSA"), 2),
})
