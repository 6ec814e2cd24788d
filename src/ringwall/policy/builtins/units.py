"""Amounts with units, semantic versions, UUIDs, random numbers."""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from ringwall.policy.builtins.numbers import whole
from ringwall.policy.builtins.table import Builtin, BuiltinError, integer, string
from ringwall.policy.plan.ops import Context
from ringwall.policy.plan.values import U, Value

_MAX_AMOUNT: Final = 64  # characters of the number in front of a unit
_MAX_EXPONENT: Final = 6  # digits, as OPA has it
_MAX_POWER: Final = 5000  # of ten: beyond it the number could not be used
_POWERS: Final = ("", "k", "m", "g", "t", "p", "e")
_BYTES: Final = {"": 1, **{f"{unit}{tail}": 1000**power for power, unit in enumerate(_POWERS) if power
                           for tail in ("", "b")},
                 **{f"{unit}i{tail}": 1024**power for power, unit in enumerate(_POWERS) if power
                    for tail in ("", "b")}}
_UNITS: Final = {"": Fraction(1), "m": Fraction(1, 1000), "M": Fraction(1000**2),
                 **{name: Fraction(1000**power) for power, unit in enumerate(_POWERS) if unit not in ("", "m")
                    for name in (unit, unit.upper())},
                 **{f"{name}i": Fraction(1024**power) for power, unit in enumerate(_POWERS) if unit
                    for name in (unit, unit.upper())}}


def _amount(text: str) -> tuple[Fraction, str]:
    """Split into a number and a unit."""
    plain = text.replace('"', "")
    if " " in plain:
        raise BuiltinError("spaces not allowed in resource strings")
    stop = _number_end(plain)
    if stop == 0:
        raise BuiltinError("no amount provided")
    return _fraction(plain[:stop]), plain[stop:]


def _number_end(text: str) -> int:
    index = 0
    while index < len(text):
        char = text[index]
        if char in "eE":
            if text[index + 1:index + 2] in ("+", "-"):
                index += 1
            elif not text[index + 1:index + 2].isdigit():
                return index
            digits = len(text[index + 1:]) - len(text[index + 1:].lstrip("0123456789"))
            if digits > _MAX_EXPONENT:
                raise BuiltinError("exponent too large")
        elif not char.isdigit() and char not in ".+-":
            return index
        index += 1
    return index


def _fraction(text: str) -> Fraction:
    mantissa, _, exponent = text.lower().partition("e")
    power = int(exponent) if exponent.lstrip("+-").isdecimal() and exponent.isascii() else 0
    if len(mantissa) > _MAX_AMOUNT or not text.isascii() or abs(power) > _MAX_POWER:
        raise BuiltinError("the amount is too large a number")
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise BuiltinError("could not parse amount to a number") from error


def parse_bytes(value: Value) -> int:
    """A number of bytes."""
    amount, unit = _amount(string(value).lower())
    if unit not in _BYTES:
        raise BuiltinError(f"byte unit {unit[:20]} not recognized")
    return whole(int(amount * _BYTES[unit]))


def parse_units(value: Value) -> int | float:
    """A number with a unit of the SI, or of powers of 1024."""
    amount, unit = _amount(string(value))
    name = unit[:1] + unit[1:].lower()
    if name not in _UNITS:
        raise BuiltinError(f"unit {unit[:20]} not recognized")
    found = amount * _UNITS[name]
    if found.denominator == 1:
        return whole(found.numerator)
    try:
        return round(float(found), 10)
    except OverflowError as error:
        raise BuiltinError("the amount is too large a number") from error


_DIGITS: Final = frozenset("0123456789")
_IDENTIFIER: Final = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-")
Version = tuple[tuple[int, ...], list[tuple[int, int, str]] | None]


def _version(text: str) -> Version:
    """Semantic Versioning 2.0.0, section 9 to 11."""
    main, plus, build = text.partition("+")
    core, dash, before = main.partition("-")
    numbers = core.split(".")
    extra = (before.split(".") if dash else []) + (build.split(".") if plus else [])
    if len(text) > 256 or len(numbers) != 3 or not all(part and _DIGITS.issuperset(part) for part in numbers) \
            or not all(part and _IDENTIFIER.issuperset(part) for part in extra):
        raise BuiltinError("the string is not a valid SemVer")
    tags = [(0, int(part), "") if _DIGITS.issuperset(part) else (1, 0, part) for part in before.split(".")] \
        if dash else None
    return tuple(map(int, numbers)), tags


def compare_versions(a: Value, b: Value) -> int:
    """-1, 0 or 1."""
    (core_a, tags_a), (core_b, tags_b) = _version(string(a, 1)), _version(string(b, 2))
    left = (core_a, tags_a is None, tags_a or [])
    right = (core_b, tags_b is None, tags_b or [])
    return (left > right) - (left < right)


def is_version(value: Value) -> bool:
    """Whether it is a semantic version."""
    try:
        _version(string(value))
    except BuiltinError:
        return False
    return True


_VARIANTS: Final = {uuid.RESERVED_NCS: "Reserved", uuid.RFC_4122: "RFC4122", uuid.RESERVED_MICROSOFT: "Microsoft",
                    uuid.RESERVED_FUTURE: "Future"}
_EPOCH: Final = 0x01B21DD213814000  # 100 ns steps from 1582-10-15 to 1970-01-01 (RFC 4122, section 4.1.4)


def parse_uuid(value: Value) -> Value:
    """What a UUID says of itself; undefined when it is none."""
    text = string(value)
    plain = text.removeprefix("urn:uuid:").removeprefix("{").removesuffix("}")
    try:
        found = uuid.UUID(plain)
    except ValueError:
        return U
    version = int(found.hex[12], 16)
    parts: dict[str, Value] = {"version": version, "variant": _VARIANTS[found.variant]}
    if version in (1, 2):
        node = found.node.to_bytes(6, "big")
        reach, cast = "local" if node[0] & 2 else "global", "multicast" if node[0] & 1 else "unicast"
        parts |= {"time": (found.time - _EPOCH) * 100, "nodeid": node.hex("-"), "clocksequence": found.clock_seq,
                  "macvariables": f"{reach}:{cast}"}
    if version == 2:
        domain = found.clock_seq_low
        names = {0: "Person", 1: "Group", 2: "Org"}
        parts |= {"id": found.time_low, "domain": names.get(domain, f"Domain{domain}")}
    return parts


def random_uuid(context: Context, key: Value) -> str:
    """A random UUID: one and the same for a key in one decision."""
    wanted = ("uuid.rfc4122", string(key))
    return context.scratch.setdefault(wanted, str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)))


def random_below(context: Context, key: Value, most: Value) -> int:
    """A random number below ``most``: one and the same for a key in one decision."""
    limit = abs(integer(most, 2))
    wanted = ("rand.intn", string(key), limit)
    return context.scratch.setdefault(wanted, secrets.randbelow(limit) if limit else 0)


UNITS: Final[Mapping[str, Builtin]] = MappingProxyType({
    "units.parse": Builtin(parse_units, 1), "units.parse_bytes": Builtin(parse_bytes, 1),
    "semver.compare": Builtin(compare_versions, 2), "semver.is_valid": Builtin(is_version, 1),
    "uuid.parse": Builtin(parse_uuid, 1), "uuid.rfc4122": Builtin(random_uuid, 1, context=True),
    "rand.intn": Builtin(random_below, 2, context=True),
})
