"""Private keys, key pairs and certificate requests as the objects that OPA makes of Go's structures."""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key

from ringwall.policy.builtins import der
from ringwall.policy.builtins.certificates import (
    binary,
    blocks,
    certificate,
    distinguished_name,
    public_key,
    signature_algorithm,
    signed_parts,
    unsupported,
)
from ringwall.policy.builtins.der import bad
from ringwall.policy.builtins.encodings import decode_base64
from ringwall.policy.builtins.table import Builtin, BuiltinError, string
from ringwall.policy.plan.ops import Context
from ringwall.policy.plan.values import Value

_STEPS: Final = 10_000  # of one key: its primes are checked, which takes milliseconds
_KEYS: Final = frozenset({"RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY"})
_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _url(number: int, size: int = 0) -> str:
    raw = number.to_bytes(size or (number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _loaded(context: Context, raw: bytes) -> Any:
    context.charge(_STEPS)
    try:
        key = load_der_private_key(raw, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise bad("this is no private key") from error
    if isinstance(key, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return key
    raise unsupported("keys other than RSA, P-256, P-384, P-521 and Ed25519")


def _keys(context: Context, text: str) -> list[Any]:
    try:
        text = decode_base64(text).decode("latin-1")
    except BuiltinError:
        pass  # then it is PEM as it stands
    return [_loaded(context, raw) for kind, raw in blocks(text) if kind in _KEYS]


def _as_go(key: Any) -> Value:
    """The JSON of Go's rsa.PrivateKey, ecdsa.PrivateKey or ed25519.PrivateKey."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return _b64(key.private_bytes_raw() + key.public_key().public_bytes_raw())
    numbers: Any = key.private_numbers()
    public = numbers.public_numbers
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return {"Curve": {}, "D": numbers.private_value, "X": public.x, "Y": public.y}
    return {"N": public.n, "E": public.e, "D": numbers.d,
            "Primes": [numbers.p, numbers.q],
            "Precomputed": {"Dp": numbers.dmp1, "Dq": numbers.dmq1, "Qinv": numbers.iqmp, "CRTValues": []}}


def _as_jwk(key: Any) -> Value:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        public = key.public_key().public_bytes_raw()
        return {"kty": "OKP", "crv": "Ed25519", "x": _url(int.from_bytes(public, "big"), 32),
                "d": _url(int.from_bytes(key.private_bytes_raw(), "big"), 32)}
    numbers: Any = key.private_numbers()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.key_size + 7) // 8
        return {"kty": "EC", "crv": _CURVES[key.curve.name], "d": _url(numbers.private_value, size),
                "x": _url(numbers.public_numbers.x, size), "y": _url(numbers.public_numbers.y, size)}
    return {"kty": "RSA", "n": _url(numbers.public_numbers.n), "e": _url(numbers.public_numbers.e),
            "d": _url(numbers.d), "p": _url(numbers.p), "q": _url(numbers.q), "dp": _url(numbers.dmp1),
            "dq": _url(numbers.dmq1), "qi": _url(numbers.iqmp)}


def parse_private_keys(context: Context, source: Value) -> Value:
    """All private keys of a PEM text; null for an empty one."""
    text = string(source)
    return [_as_go(key) for key in _keys(context, text)] if text else None


def parse_private_key(context: Context, source: Value) -> Value:
    """The first private key of a PEM text as a JWK; null when there is none."""
    text = string(source)
    if not text:
        raise BuiltinError("input PEM data was empty")
    if not text.startswith("-----BEGIN"):
        text = decode_base64(text).decode("latin-1")
    found = _keys(context, text)
    return _as_jwk(found[0]) if found else None


def _chain(source: str) -> list[bytes]:
    text, raw = binary(source)
    if raw is not None:
        return [raw]
    found = [content for kind, content in blocks(text) if kind == "CERTIFICATE"]
    if not found:
        raise bad("there is no certificate")
    return found


def _pair_key(context: Context, source: str) -> Any:
    text, raw = binary(source)
    if raw is not None:
        return _loaded(context, raw)
    found = [content for kind, content in blocks(text) if kind == "PRIVATE KEY" or kind.endswith(" PRIVATE KEY")]
    if not found:
        raise bad("there is no private key")
    return _loaded(context, found[0])


def parse_keypair(context: Context, chain: Value, source: Value) -> Value:
    """A certificate chain with the private key of its first certificate. Raises when the key is another one's."""
    certificates, key = _chain(string(chain, 1)), _pair_key(context, string(source, 2))
    leaf, private = certificate(certificates[0]), _as_go(key)
    public = leaf["PublicKey"]
    same = _b64(key.public_key().public_bytes_raw()) == public if isinstance(key, ed25519.Ed25519PrivateKey) else \
        type(public) is dict and all(private.get(name) == value for name, value in public.items())
    if not same:
        raise BuiltinError("tls: private key does not match public key")
    return {"Certificate": [_b64(raw) for raw in certificates], "PrivateKey": private, "Leaf": leaf,
            "OCSPStaple": None, "SignedCertificateTimestamps": None, "SupportedSignatureAlgorithms": None}


def parse_request(context: Context, source: Value) -> Value:
    """A certificate request as Go's x509.CertificateRequest in JSON."""
    text = string(source)
    if not text.startswith("-----BEGIN CERTIFICATE REQUEST-----"):
        raw = decode_base64(text)
        text = raw.decode("latin-1") if raw.startswith(b"-----BEGIN") else ""
    else:
        raw = b""
    if text:
        (kind, raw), *_ = blocks(text) or [("", b"")]
        if kind != "CERTIFICATE REQUEST":
            raise bad("invalid PEM-encoded certificate signing request")
    context.charge(_STEPS // 20)
    fields, algorithm, signature, signed = signed_parts(der.one(raw))
    if len(fields) < 3 or any(field.content for field in fields[3:]):
        raise unsupported("requested extensions and attributes")
    kind_of_key, key = public_key(fields[2])
    return {
        "Raw": _b64(raw), "RawTBSCertificateRequest": _b64(signed.whole),
        "RawSubjectPublicKeyInfo": _b64(fields[2].whole), "RawSubject": _b64(fields[1].whole),
        "Version": fields[0].number(), "Signature": _b64(signature), "PublicKeyAlgorithm": kind_of_key,
        "SignatureAlgorithm": signature_algorithm(algorithm), "PublicKey": key,
        "Subject": distinguished_name(fields[1]),
        **dict.fromkeys(("Attributes", "Extensions", "ExtraExtensions", "DNSNames", "EmailAddresses", "IPAddresses",
                         "URIs")),
    }


CREDENTIALS: Final[Mapping[str, Builtin]] = MappingProxyType({
    "crypto.parse_private_keys": Builtin(parse_private_keys, 1, context=True),
    "crypto.x509.parse_rsa_private_key": Builtin(parse_private_key, 1, context=True),
    "crypto.x509.parse_keypair": Builtin(parse_keypair, 2, context=True),
    "crypto.x509.parse_certificate_request": Builtin(parse_request, 1, context=True),
})
