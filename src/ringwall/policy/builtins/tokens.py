"""JSON Web Tokens (RFC 7519): decoding, verifying with keys that the policy names, signing."""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ringwall.policy.builtins.documents import marshal, parse, parses
from ringwall.policy.builtins.encodings import decode_base64url, raw, text
from ringwall.policy.builtins.jwk import ALGORITHMS, HASHES, Key, checks, private_key, public_keys, sign
from ringwall.policy.builtins.table import Builtin, BuiltinError, obj, string
from ringwall.policy.plan.ops import Context
from ringwall.policy.plan.values import Value

_MAX_NESTED: Final = 4  # tokens in tokens
_CHECK: Final = 1000  # steps of one signature that is checked: 50 to 300 us
_SIGN: Final = 10_000  # steps of one signature that is made: up to 3 ms with RSA


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


def _fitting(header: Mapping[str, Value], keys: list[Key]) -> list[Key]:
    """The key that the header names; without one, those not meant for another algorithm (OPA's rule)."""
    named = [key for key in keys if header.get("kid") and key.kid == header["kid"]]
    return named[:1] or [key for key in keys if key.alg in ("", header.get("alg"))]


def _verifier(algorithm: str) -> Callable[[Context, Value, Value], bool]:
    def verify(context: Context, token: Value, source: Value) -> bool:
        encoded, body, signature = _parts(token)
        context.charge(_CHECK)
        keys, given = public_keys(string(source, 2)), decode_base64url(signature)
        header, signed = _header(encoded), raw(f"{encoded}.{body}")
        fitting = _fitting(header, keys)
        context.charge(_CHECK * len(fitting))
        return any(checks(key.key, algorithm, signed, given, any_salt=True) for key in fitting)
    return verify


def _mac_verifier(algorithm: str) -> Callable[[Value, Value], bool]:
    def verify(token: Value, secret: Value) -> bool:
        encoded, body, signature = _parts(token)
        return checks(raw(secret, 2), algorithm, raw(f"{encoded}.{body}"), decode_base64url(signature))
    return verify


@dataclass(frozen=True, slots=True, kw_only=True)
class _Constraints:
    """What ``io.jwt.decode_verify`` is told to insist on."""

    keys: list[Key]
    alg: str = ""
    iss: str = ""
    aud: str = ""
    time: float | None = None  # nanoseconds since the epoch; None: the decision's clock


def _constraints(value: Value) -> _Constraints:
    given = obj(value, 2)
    if unknown := [name for name in given if name not in {"cert", "secret", "alg", "iss", "aud", "time"}]:
        raise BuiltinError(f"unknown token validation constraint: {str(unknown[0])[:40]}")
    texts = {name: string(given[name], 2) for name in ("cert", "secret", "alg", "iss", "aud") if name in given}
    keys = public_keys(texts["cert"]) if "cert" in texts else None
    secret = raw(texts.get("secret", ""))
    if (keys is None) == (not secret):
        raise BuiltinError("no key constraint" if keys is None else "duplicate key constraints")
    return _Constraints(keys=[Key(key=secret)] if keys is None else keys, alg=texts.get("alg", ""),
                        iss=texts.get("iss", ""), aud=texts.get("aud", ""), time=_time(given))


def _time(given: Mapping[str, Value]) -> float | None:
    if "time" not in given:
        return None
    value = given["time"]
    if type(value) not in (int, float) or not 0 <= value < 1e300:
        raise BuiltinError("token time constraint: must be a number that is not negative")
    return float(value)


def _critical(header: Mapping[str, Value]) -> bool:
    """Whether the header names something as critical that is not known here (RFC 7515, section 4.1.11)."""
    if "crit" not in header:
        return False
    named = header["crit"]
    if type(named) is not list or not named or type(named[0]) is not str:
        raise BuiltinError("crit: must be a nonempty list of strings")
    return any(type(name) is str and name in header and name not in {"alg", "kid", "typ", "cty", "crit"}
               for name in named)


def decode_verify(context: Context, token: Value, constraints: Value) -> list[Value]:
    """[valid, header, payload]; header and payload are empty unless signature and all constraints hold."""
    refused: list[Value] = [False, {}, {}]
    context.charge(_CHECK)
    wanted = _constraints(constraints)
    current = string(token)
    for _ in range(_MAX_NESTED + 1):
        encoded, body, signature = _parts(current)
        header = _header(encoded)
        alg = header.get("alg", "")
        if _critical(header) or not alg or wanted.alg not in ("", alg):
            return refused
        fitting = _fitting(header, wanted.keys)
        context.charge(_CHECK * len(fitting))
        signed, given = raw(f"{encoded}.{body}"), decode_base64url(signature)
        if not any(checks(key.key, alg, signed, given) for key in fitting):
            return refused
        payload = decode_base64url(body)
        if header.get("cty", "").upper() != "JWT":
            claims = _object(payload)
            return [True, header, claims] if _holds(context, claims, wanted) else refused
        current = text(payload)
    raise BuiltinError("JWTs are nested too deep")


def _holds(context: Context, claims: Mapping[str, Value], wanted: _Constraints) -> bool:
    """RFC 7519, section 4.1, as OPA reads it: an audience in the token has to be asked for."""
    issuer = claims.get("iss")
    if wanted.iss and issuer is not None and type(issuer) is not str:
        raise BuiltinError("iss value must be a string")
    if wanted.iss and issuer != wanted.iss:
        return False
    if "aud" in claims:
        given = claims["aud"] if type(claims["aud"]) is list else [claims["aud"]]
        if not any(type(one) is str and one == wanted.aud for one in given):
            return False
    elif wanted.aud:
        return False
    return _in_time(context, claims, wanted)


def _in_time(context: Context, claims: Mapping[str, Value], wanted: _Constraints) -> bool:
    if "exp" not in claims and "nbf" not in claims:
        return True
    now = wanted.time if wanted.time is not None else context.now_ns
    if now is None:
        raise BuiltinError("this decision has no clock: give the constraint time = input.time.now * 1000000000")
    for name in ("exp", "nbf"):
        if name in claims and type(claims[name]) not in (int, float):
            raise BuiltinError(f"{name} value must be a number")
    seconds = now / 1_000_000_000
    return seconds < claims.get("exp", float("inf")) and seconds >= claims.get("nbf", 0)


def encode_sign_raw(context: Context, header: Value, payload: Value, key: Value) -> str:
    """A signed token of a header and a payload as they are."""
    head, body, source = string(header, 1), string(payload, 2), string(key, 3)
    context.charge(_SIGN)
    chosen, fields = private_key(source), parse(head)
    algorithm = fields.get("alg") if type(fields) is dict else None
    if type(algorithm) is not str or algorithm not in ALGORITHMS:
        raise BuiltinError("missing, invalid or unknown 'alg' header")
    if fields.get("typ", "JWT") == "JWT" and not parses(body):
        raise BuiltinError("type is JWT but payload is not JSON")
    signed = f"{_encoded(raw(head))}.{_encoded(raw(body))}"
    return f"{signed}.{_encoded(sign(chosen, algorithm, signed.encode()))}"


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def encode_sign(context: Context, header: Value, payload: Value, key: Value) -> str:
    """A signed token of a header and a payload, each an object."""
    return encode_sign_raw(context, marshal(obj(header, 1)), marshal(obj(payload, 2)), marshal(obj(key, 3)))


TOKENS: Final[Mapping[str, Builtin]] = MappingProxyType({
    "io.jwt.decode": Builtin(decode, 1),
    "io.jwt.decode_verify": Builtin(decode_verify, 2, context=True),
    "io.jwt.encode_sign": Builtin(encode_sign, 3, context=True),
    "io.jwt.encode_sign_raw": Builtin(encode_sign_raw, 3, context=True),
    **{f"io.jwt.verify_{family.lower()}{size}": Builtin(_verifier(f"{family}{size}"), 2, context=True)
       for family in ("RS", "PS", "ES") for size in HASHES},
    **{f"io.jwt.verify_hs{size}": Builtin(_mac_verifier(f"HS{size}"), 2) for size in HASHES},
    "io.jwt.verify_eddsa": Builtin(_verifier("EdDSA"), 2, context=True),
})
