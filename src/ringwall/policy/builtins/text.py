"""Values as text: OPA's notation for terms, JSON, and Go's format verbs."""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

from typing import Any, Final

import msgspec

from ringwall.errors import PolicyError
from ringwall.policy.builtins.table import BuiltinError, bounded
from ringwall.policy.plan.limits import MAX_TEXT
from ringwall.policy.plan.values import Value, freeze, is_set, ordered, thaw

MAX_WIDTH: Final = 1000  # of a format verb; Go allows 1,000,000


def quoted(text: str) -> str:
    """A string in JSON's quotes."""
    try:
        return msgspec.json.encode(text).decode()
    except UnicodeEncodeError as error:
        raise BuiltinError("a string holds half a character (a lone surrogate)") from error


def number_text(value: float) -> str:
    """A number as OPA writes it."""
    return repr(value)


def term(value: Value) -> str:
    """A value in Rego's own notation."""
    if value is None:
        return "null"
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is str:
        return quoted(value)
    if type(value) is list:
        return f"[{', '.join(map(term, value))}]"
    if type(value) is dict:
        return "{" + ", ".join(f"{term(key)}: {term(value[freeze(key)])}" for key in ordered(value)) + "}"
    if is_set(value):
        return "{" + ", ".join(map(term, ordered(value))) + "}" if value else "set()"
    return number_text(value)


def to_json(value: Value) -> Any:
    """Plain JSON: sets become sorted lists, keys that are no strings their notation."""
    if type(value) is list:
        return [to_json(item) for item in value]
    if type(value) is dict:
        return {_name(key): to_json(item) for key, item in value.items()}
    if is_set(value):
        return [to_json(item) for item in ordered(value)]
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise PolicyError(f"{type(value).__name__} is no value that a policy can hold", code="policy_failed")


def _name(key: Value) -> str:
    """A frozen key as a JSON name: compact JSON unless it is a string."""
    return key if type(key) is str else msgspec.json.encode(to_json(thaw(key)), order="sorted").decode()


def sprintf(template: str, arguments: list[Value]) -> str:
    """Go's Sprintf with OPA's conversion of values: numbers and strings as such, all else as its notation."""
    out: list[str] = []
    size = index = place = 0
    while index < len(template):
        if template[index] != "%":
            stop = template.find("%", index)
            piece, index = template[index:stop if stop >= 0 else None], stop if stop >= 0 else len(template)
        elif template.startswith("%%", index):
            piece, index = "%", index + 2
        else:
            directive, index = _directive(template, index + 1)
            if directive.verb == "":
                piece = "%!(NOVERB)"
            elif place >= len(arguments):
                piece = f"%!{directive.verb}(MISSING)"
            else:
                piece = _verb(directive, arguments[place])
                place += 1
        out.append(piece)
        size += len(piece)
        if size > MAX_TEXT:
            bounded(" " * (MAX_TEXT + 1))
    if place < len(arguments):
        extra = ", ".join(f"{_go_type(item)}={_plain(item)}" for item in arguments[place:])
        out.append(f"%!(EXTRA {extra})")
    return bounded("".join(out))


class _Directive(msgspec.Struct, frozen=True):
    flags: str
    width: int
    precision: int | None
    verb: str


def _directive(template: str, index: int) -> tuple[_Directive, int]:
    def digits(start: int) -> int:
        while start < len(template) and template[start].isascii() and template[start].isdigit():
            start += 1
        return start
    start = index
    while index < len(template) and template[index] in "+-# 0":
        index += 1
    flags, after = template[start:index], digits(index)
    width, precision = int(template[index:after][:9] or 0), None
    if after < len(template) and template[after] == ".":
        index, after = after + 1, digits(after + 1)
        precision = int(template[index:after][:9] or 0)
    if max(width, precision or 0) > MAX_WIDTH:
        raise BuiltinError(f"a width in the format is over {MAX_WIDTH}")
    verb = template[after:after + 1]
    return _Directive(flags, width, precision, verb), after + len(verb)


def _go_type(value: Value) -> str:
    if type(value) is int:
        return "int64" if -(1 << 63) <= value < 1 << 63 else "*big.Int"
    return "float64" if type(value) is float else "string"


def _plain(value: Value) -> str:
    if type(value) is float:
        return _float("g", None, value)
    return value if type(value) is str else term(value)


def _float(verb: str, precision: int | None, value: float) -> str:
    if verb in "gGv" and precision is None:  # shortest form; exponent from 1e21 on, with two digits
        short = repr(value).removesuffix(".0")
        if ("e" not in short and 0 < abs(value) < 1e-4) or 1e16 <= abs(value) < 1e21:
            short = f"{value:.0f}" if abs(value) >= 1 else short
        return short.upper() if verb == "G" else short
    return format(value, f".{6 if precision is None else precision}{'g' if verb == 'v' else verb}")


_INTEGER: Final = {"d": "d", "v": "d", "b": "b", "o": "o", "x": "x", "X": "X"}


def _verb(d: _Directive, value: Value) -> str:
    kind, body = d.verb, ""
    if type(value) is int and (kind in _INTEGER or (kind == "s" and _go_type(value) == "*big.Int")):
        body = _sign(d, format(abs(value), _INTEGER.get(kind, "d")), value < 0)
    elif type(value) is float and kind in "eEfFgGv":
        body = _sign(d, _float(kind, d.precision, abs(value)), value < 0)
    elif type(value) not in (int, float) and kind in "svqxX":
        shown = _plain(value)[:d.precision]
        body = quoted(shown) if kind == "q" else shown if kind in "sv" else shown.encode().hex()
        body = body.upper() if kind == "X" else body
    else:
        return f"%!{kind}({_go_type(value)}={_plain(value)})"
    if "-" in d.flags:
        return body.ljust(d.width)
    if "0" in d.flags and type(value) in (int, float):
        sign = body[:1] if body[:1] in ("-", "+", " ") else ""
        return sign + body[len(sign):].rjust(d.width - len(sign), "0")
    return body.rjust(d.width)


def _sign(d: _Directive, digits: str, negative: bool) -> str:
    if "#" in d.flags and d.verb in "xX":
        digits = f"0{d.verb}{digits}"
    return ("-" if negative else "+" if "+" in d.flags else " " if " " in d.flags else "") + digits
