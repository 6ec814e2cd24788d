"""Strings."""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from ringwall.policy.builtins.cases import lower, upper
from ringwall.policy.builtins.table import (
    Builtin,
    BuiltinError,
    array,
    bounded,
    integer,
    number,
    obj,
    string,
    strings,
    wrong,
)
from ringwall.policy.builtins.text import sprintf, term
from ringwall.policy.plan.limits import MAX_TEXT
from ringwall.policy.plan.ops import Context
from ringwall.policy.plan.values import Value, is_set, ordered

_PLACE: Final = 3  # steps at each character of replacing several texts at once: 1 us, and more with each pair


def _two(function: Callable[[str, str], Value]) -> Callable[[Value, Value], Value]:
    return lambda a, b: function(string(a, 1), string(b, 2))


def format_int(value: Value, base: Value) -> str:
    """A number's digits; fractions are cut."""
    style = {2: "b", 8: "o", 10: "d", 16: "x"}.get(number(base, 2))
    if style is None:
        raise BuiltinError("operand 2 must be one of {2, 8, 10, 16}")
    return bounded(format(int(number(value)), style))


def joined(separator: Value, parts: Value) -> str:
    """Strings with a separator between them."""
    glue, pieces = string(separator, 1), strings(parts, 2)
    if sum(map(len, pieces)) + len(glue) * len(pieces) > 2 * MAX_TEXT:
        raise BuiltinError("the result is too long")
    return bounded(glue.join(pieces))


def index_of(base: str, search: str) -> int:
    """Where the text first occurs, in characters, or -1."""
    if not search:
        raise BuiltinError("empty search character")
    return base.find(search)


def index_of_all(base: str, search: str) -> list[Value]:
    """Where the text occurs, overlaps included."""
    if not search:
        raise BuiltinError("empty search character")
    found: list[Value] = []
    at = base.find(search)
    while at >= 0:
        found.append(at)
        at = base.find(search, at + 1)
    return found


def substring(value: Value, start: Value, length: Value) -> str:
    """Characters from ``start``; a negative length takes the rest."""
    text, first, many = string(value, 1), integer(start, 2), integer(length, 3)
    if first < 0:
        raise BuiltinError("negative offset")
    return text[first:] if many < 0 else text[first:first + many]


def split(text: str, delimiter: str) -> list[Value]:
    """Parts between delimiters; without a delimiter, characters."""
    return list(text) if not delimiter else list[Value](text.split(delimiter))


def split_some(value: Value, delimiter: Value, most: Value) -> list[Value]:
    """The first parts, or with a negative number the last ones."""
    parts, wanted = split(string(value, 1), string(delimiter, 2)), integer(most, 3)
    return parts[:wanted] if wanted >= 0 else parts[max(len(parts) + wanted, 0):]


def _substitute(context: Context, text: str, pairs: list[tuple[str, str]]) -> str:
    """Go's Replacer: at each place the first pair that fits; no place is looked at twice."""
    context.charge(len(text) * (_PLACE + len(pairs) // 2))
    out: list[str] = []
    size = index = 0
    while index <= len(text):
        old, new = next((pair for pair in pairs if text.startswith(pair[0], index)), ("", text[index:index + 1]))
        if (old, new) in pairs and not old:  # an empty text fits everywhere, before each character
            new += text[index:index + 1]
        out.append(new)
        size += len(new)
        index += len(old) or 1
        if size > MAX_TEXT:
            raise BuiltinError("the result is too long")
    return "".join(out)


def replace(value: Value, old: Value, new: Value) -> str:
    """Every occurrence replaced."""
    text, before, after = string(value, 1), string(old, 2), string(new, 3)
    many = text.count(before)
    if len(text) + many * len(after) > 2 * MAX_TEXT:
        raise BuiltinError("the result is too long")
    return bounded(text.replace(before, after))


def replace_all(context: Context, patterns: Value, value: Value) -> str:
    """Several replacements in one pass."""
    table = obj(patterns, 1)
    pairs = [(string(key, 1), string(table[key], 1)) for key in ordered(table)]
    return _substitute(context, string(value, 2), pairs)


def _some(value: Value, position: int) -> list[str]:
    if type(value) is str:
        return [value]
    if type(value) is list or is_set(value):
        return strings(value, position)
    raise wrong(position, value, "string", "set", "array")


def any_prefix(a: Value, b: Value) -> bool:
    """Whether one of the strings starts with one of the prefixes."""
    texts, prefixes = _some(a, 1), tuple(_some(b, 2))
    return any(text.startswith(prefixes) for text in texts)


def any_suffix(a: Value, b: Value) -> bool:
    """Whether one of the strings ends with one of the suffixes."""
    texts, suffixes = _some(a, 1), tuple(_some(b, 2))
    return any(text.endswith(suffixes) for text in texts)


def interpolated(parts: Value) -> str:
    """A template string: strings as they are, values in their notation; each part a set of at most one value."""
    out: list[str] = []
    for part in array(parts):
        items = ordered(part) if is_set(part) else [part]
        if len(items) > 1:
            raise BuiltinError("template-strings must not produce multiple outputs")
        out += ["<undefined>"] if not items else [items[0] if type(items[0]) is str else term(items[0])]
    return bounded("".join(out))


_SPACE: Final = ("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"  # Unicode's White_Space, as in Go
                 + "".join(map(chr, range(0x2000, 0x200B))))

STRINGS: Final[Mapping[str, Builtin]] = MappingProxyType({
    "concat": Builtin(joined, 2), "format_int": Builtin(format_int, 2),
    "indexof": Builtin(_two(index_of), 2), "indexof_n": Builtin(_two(index_of_all), 2),
    "substring": Builtin(substring, 3), "contains": Builtin(_two(lambda s, t: t in s), 2, small=True),
    "strings.count": Builtin(_two(lambda s, t: s.count(t)), 2),
    "startswith": Builtin(_two(str.startswith), 2, small=True),
    "endswith": Builtin(_two(str.endswith), 2, small=True),
    "lower": Builtin(lambda s: lower(string(s)), 1), "upper": Builtin(lambda s: upper(string(s)), 1),
    "split": Builtin(_two(split), 2), "strings.split_n": Builtin(split_some, 3),
    "replace": Builtin(replace, 3), "strings.replace_n": Builtin(replace_all, 2, context=True),
    "trim": Builtin(_two(lambda s, cut: s.strip(cut) if cut else s), 2),
    "trim_left": Builtin(_two(lambda s, cut: s.lstrip(cut) if cut else s), 2),
    "trim_right": Builtin(_two(lambda s, cut: s.rstrip(cut) if cut else s), 2),
    "trim_prefix": Builtin(_two(str.removeprefix), 2), "trim_suffix": Builtin(_two(str.removesuffix), 2),
    "trim_space": Builtin(lambda s: string(s).strip(_SPACE), 1),
    "sprintf": Builtin(lambda s, a: sprintf(string(s, 1), array(a, 2)), 2, deep=True),
    "strings.reverse": Builtin(lambda s: string(s)[::-1], 1),
    "strings.any_prefix_match": Builtin(any_prefix, 2), "strings.any_suffix_match": Builtin(any_suffix, 2),
    "internal.template_string": Builtin(interpolated, 1, deep=True),
})
