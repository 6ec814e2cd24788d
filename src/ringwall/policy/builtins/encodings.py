"""Base64, hexadecimal, URL queries, digests."""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import quote_plus

from ringwall.errors import PolicyError
from ringwall.policy.builtins.table import Builtin, BuiltinError, bounded, obj, string, strings
from ringwall.policy.plan.values import Value, is_set, ordered

_STANDARD: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")


def raw(value: Value, position: int = 1) -> bytes:
    """The UTF-8 of a string operand."""
    try:
        return string(value, position).encode()
    except UnicodeEncodeError as error:
        raise BuiltinError("a string holds half a character (a lone surrogate)") from error


def text(made: bytes) -> str:
    """Bytes as a string. Raises PolicyError for what is no UTF-8.

    Go's strings may hold any bytes, ours may not. So this ends the decision, also where a failing built-in is
    only undefined: an answer that OPA does not give would be worse than none.
    """
    try:
        return made.decode()
    except UnicodeDecodeError as error:
        raise PolicyError("a policy decoded bytes that are no UTF-8", code="policy_failed") from error


def decode_base64(value: str) -> bytes:
    """Standard alphabet with padding; line ends are skipped, as Go does."""
    plain = value.replace("\r", "").replace("\n", "")
    if not _STANDARD.issuperset(plain):
        raise BuiltinError("illegal base64 data")
    try:
        return base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BuiltinError("illegal base64 data") from error


def decode_base64url(value: str) -> bytes:
    """URL alphabet, with or without padding."""
    if "+" in value or "/" in value:
        raise BuiltinError("illegal base64 data")
    plain = value.rstrip("=")
    return decode_base64(plain.replace("-", "+").replace("_", "/") + "=" * (-len(plain) % 4))


def _base64_valid(value: Value) -> bool:
    try:
        decode_base64(string(value))
    except BuiltinError:
        return False
    return True


def _unhex(value: Value) -> str:
    try:
        return text(binascii.unhexlify(raw(value)))
    except (binascii.Error, ValueError) as error:
        raise BuiltinError("illegal hexadecimal data") from error


def _escape(value: str) -> str:
    try:
        return quote_plus(value, safe="~-_.")
    except UnicodeEncodeError as error:
        raise BuiltinError("a string holds half a character (a lone surrogate)") from error


def _unescape(value: str) -> str:
    first, *rest = value.replace("+", " ").split("%")
    out = [first.encode(errors="strict")]
    for part in rest:
        try:
            out += [bytes.fromhex(part[:2]) if len(part[:2].strip()) == 2 else b"", part[2:].encode()]
        except ValueError as error:
            raise BuiltinError("invalid URL escape") from error
        if not out[-2]:
            raise BuiltinError("invalid URL escape")
    return text(b"".join(out))


def encode_query(value: Value) -> str:
    """An object as a query string, keys sorted."""
    pairs: list[str] = []
    table = obj(value)
    for key in ordered(table):
        item = table[key]
        values = strings(item) if type(item) is list or is_set(item) else [string(item)]
        pairs += [f"{_escape(string(key))}={_escape(one)}" for one in values]
    return bounded("&".join(pairs))


def decode_query(value: Value) -> Value:
    """A query string as an object of arrays."""
    found: dict[str, list[str]] = {}
    for pair in string(value).split("&"):
        if ";" in pair:
            raise BuiltinError("invalid semicolon separator in query")
        if pair:
            key, _, item = pair.partition("=")
            found.setdefault(_unescape(key), []).append(_unescape(item))
    return found


def _digest(name: str) -> Callable[[Value], str]:
    return lambda value: hashlib.new(name, raw(value), usedforsecurity=False).hexdigest()


def _hmac(name: str) -> Callable[[Value, Value], str]:
    return lambda value, key: hmac.new(raw(key, 2), raw(value, 1), name).hexdigest()


ENCODINGS: Final[Mapping[str, Builtin]] = MappingProxyType({
    "base64.encode": Builtin(lambda v: base64.b64encode(raw(v)).decode(), 1),
    "base64.decode": Builtin(lambda v: text(decode_base64(string(v))), 1),
    "base64.is_valid": Builtin(_base64_valid, 1),
    "base64url.encode": Builtin(lambda v: base64.urlsafe_b64encode(raw(v)).decode(), 1),
    "base64url.encode_no_pad": Builtin(lambda v: base64.urlsafe_b64encode(raw(v)).decode().rstrip("="), 1),
    "base64url.decode": Builtin(lambda v: text(decode_base64url(string(v))), 1),
    "hex.encode": Builtin(lambda v: raw(v).hex(), 1), "hex.decode": Builtin(_unhex, 1),
    "urlquery.encode": Builtin(lambda v: _escape(string(v)), 1),
    "urlquery.decode": Builtin(lambda v: _unescape(string(v)), 1),
    "urlquery.encode_object": Builtin(encode_query, 1), "urlquery.decode_object": Builtin(decode_query, 1),
    "crypto.md5": Builtin(_digest("md5"), 1), "crypto.sha1": Builtin(_digest("sha1"), 1),
    "crypto.sha256": Builtin(_digest("sha256"), 1),
    "crypto.hmac.md5": Builtin(_hmac("md5"), 2), "crypto.hmac.sha1": Builtin(_hmac("sha1"), 2),
    "crypto.hmac.sha256": Builtin(_hmac("sha256"), 2), "crypto.hmac.sha512": Builtin(_hmac("sha512"), 2),
    "crypto.hmac.equal": Builtin(lambda a, b: hmac.compare_digest(raw(a, 1), raw(b, 2)), 2),
})
