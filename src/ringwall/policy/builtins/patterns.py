"""Regular expressions and globs, both by RE2: linear in the text, whatever the pattern."""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, cast

import re2

from ringwall.policy.builtins.intersections import globs_match
from ringwall.policy.builtins.table import Builtin, BuiltinError, array, bounded, integer, string
from ringwall.policy.plan.limits import MAX_REGEX_BYTES, MAX_TEXT
from ringwall.policy.plan.ops import Context
from ringwall.policy.plan.values import Value

_re2: Any = re2  # google-re2 ships no types; it keeps the last 128 compiled patterns itself
MAX_GLOB: Final = 4096  # characters of one glob
MAX_PATTERN: Final = 1 << 16  # of one pattern: RE2 fills standard error with complaints about longer ones


def compiled(pattern: str) -> Any:
    """A compiled pattern. Raises BuiltinError for what RE2 does not take."""
    if len(pattern) > MAX_PATTERN:
        raise BuiltinError(f"a pattern has more than {MAX_PATTERN} characters")
    options = _re2.Options()
    options.log_errors = False
    options.max_mem = MAX_REGEX_BYTES
    try:
        return _re2.compile(pattern, options)
    except (_re2.error, UnicodeEncodeError) as error:
        raise BuiltinError("the pattern is no RE2 expression") from error


def _matches(context: Context, pattern: str, text: str, most: int = -1) -> Iterator[Any]:
    """Go's FindAll: no empty match right behind another one. Each match costs steps: texts are an agent's."""
    end = -1
    try:
        for match in compiled(pattern).finditer(text):
            if most == 0:
                return
            context.charge(_MATCH + (len(text) - match.end() >> _REST))
            if match.start() == match.end() == end:
                continue
            end = match.end()
            most -= 1
            yield match
    except UnicodeEncodeError as error:
        raise BuiltinError("the text holds half a character (a lone surrogate)") from error


def _searched(context: Context, pattern: str, text: str) -> bool:
    return next(_matches(context, pattern, text, 1), None) is not None


def is_valid(pattern: Value) -> bool:
    """Whether it compiles."""
    if type(pattern) is not str:
        return False
    try:
        compiled(pattern)
    except BuiltinError:
        return False
    return True


def find(context: Context, pattern: Value, text: Value, most: Value) -> list[Value]:
    """The first matches; a negative number takes all."""
    return [m.group() for m in _matches(context, string(pattern, 1), string(text, 2), integer(most, 3))]


def find_groups(context: Context, pattern: Value, text: Value, most: Value) -> list[Value]:
    """The same with their groups."""
    return [[m.group(), *("" if group is None else group for group in m.groups())]
            for m in _matches(context, string(pattern, 1), string(text, 2), integer(most, 3))]


def split(context: Context, pattern: Value, text: Value) -> list[Value]:
    """What stands between matches."""
    source, found = string(text, 2), list[Value]()
    begin = end = 0
    for match in _matches(context, string(pattern, 1), source):
        if match.end() == 0:  # an empty match at the very start parts nothing
            continue
        end = match.start()
        found.append(source[begin:end])
        begin = match.end()
    return [*found, source[begin:]] if end != len(source) or not found else found


_REFERENCE: Final = r"\$(?:\$|(\w+)|\{(\w+)\})"


def _expand(context: Context, template: str, match: Any) -> str:
    """Go's Expand: ``$1``, ``${1}``, ``$name``, ``$$``."""
    names: dict[str, int] = match.re.groupindex
    out: list[str] = []
    begin = 0
    for reference in _matches(context, _REFERENCE, template):
        out.append(template[begin:reference.start()])
        begin = reference.end()
        name = reference.group(1) or reference.group(2)
        if name is None:
            out.append("$")
            continue
        index = int(name) if name.isdecimal() and len(name) < 4 else names.get(name, -1)
        out.append((match.group(index) or "") if 0 <= index <= match.re.groups else "")
    return "".join([*out, template[begin:]])


def replace(context: Context, text: Value, pattern: Value, by: Value) -> str:
    """Every match replaced."""
    source, template = string(text, 1), string(by, 3)
    out: list[str] = []
    begin = size = 0
    for match in _matches(context, string(pattern, 2), source):
        out += [source[begin:match.start()], _expand(context, template, match)]
        begin = match.end()
        size += len(out[-1])
        if size > MAX_TEXT:
            raise BuiltinError("the result is too long")
    return bounded("".join([*out, source[begin:]]))


def template_match(context: Context, template: Value, text: Value, start: Value, end: Value) -> bool:
    """Text with patterns between delimiters, against all of the text."""
    source, opening, closing = string(template, 1), string(start, 3), string(end, 4)
    if len(opening) != 1 or len(closing) != 1:
        raise BuiltinError("a delimiter has to be exactly one character")
    out, literal = list[str](), ""
    index = 0
    while index < len(source):
        if source[index] == opening:
            stop = _closing(source, index, opening, closing)
            out += [_re2.escape(literal), f"({source[index + 1:stop]})"]
            literal, index = "", stop + 1
        elif source[index] == closing:
            raise BuiltinError("unbalanced delimiters in the template")
        else:
            literal, index = literal + source[index], index + 1
    return _searched(context, f"^{''.join(out)}{_re2.escape(literal)}$", string(text, 2))


def _closing(source: str, start: int, opening: str, closing: str) -> int:
    level = 0
    for index in range(start, len(source)):
        level += (source[index] == opening) - (source[index] == closing)
        if level == 0:
            return index
    raise BuiltinError("unbalanced delimiters in the template")


def glob_match(context: Context, pattern: Value, delimiters: Value, text: Value) -> bool:
    """Glob matching; ``null`` is no delimiter, an empty list is a dot."""
    between = "" if delimiters is None else "".join(string(item, 2) for item in array(delimiters, 2)) or "."
    return _searched(context, glob_to_regex(string(pattern, 1), between), string(text, 3))


def glob_to_regex(pattern: str, delimiters: str) -> str:
    """The RE2 expression of a glob: ``*`` and ``?`` stop at delimiters, ``**`` does not."""
    if len(pattern) > MAX_GLOB:
        raise BuiltinError(f"a glob has more than {MAX_GLOB} characters")
    one = f"[^{''.join(map(_in_class, delimiters))}]" if delimiters else "."
    out, level, index = ["(?s)\\A(?:"], 0, 0
    while index < len(pattern):
        char = pattern[index]
        index += 1
        if char == "*":
            twice = pattern.startswith("*", index)
            while pattern.startswith("*", index):
                index += 1
            out.append(".*" if twice else f"{one}*")
        elif char == "?":
            out.append(one)
        elif char == "[":
            piece, index = _char_class(pattern, index)
            out.append(piece)
        elif char == "\\":
            out.append(_re2.escape(pattern[index:index + 1]))
            index += 1
        else:
            piece, level = _alternatives(char, level)
            out.append(piece)
    if level:
        raise BuiltinError("the glob has an open brace")
    return "".join([*out, ")\\z"])


def _alternatives(char: str, level: int) -> tuple[str, int]:
    if char == "{":
        return "(?:", level + 1
    if char == "}" and level:
        return ")", level - 1
    if char == "," and level:
        return "|", level
    return cast("str", _re2.escape(char)), level


def _in_class(char: str) -> str:
    return f"\\{char}" if char in "^]\\-[" else char


def _char_class(pattern: str, index: int) -> tuple[str, int]:
    stop = pattern.find("]", index + 1)
    if stop < 0:
        raise BuiltinError("the glob has an open bracket")
    inner = pattern[index:stop]
    negated = inner[:1] in ("!", "^")
    inner = inner[1:] if negated else inner
    if len(inner) == 3 and inner[1] == "-":
        body = f"{_in_class(inner[0])}-{_in_class(inner[2])}"
    else:
        body = "".join(map(_in_class, inner))
    return f"[{'^' if negated else ''}{body}]", stop + 1


def quote_meta(pattern: Value) -> str:
    """A glob that matches this text."""
    return "".join(f"\\{char}" if char in "*?\\[]{}" else char for char in string(pattern))


_CALL: Final = 10  # steps of one use of a pattern: 3 us, and more by the size of the text
_MATCH: Final = 40  # steps of one match: 3 us, in a text that is not ASCII up to 17
_REST: Final = 9  # and one for so many (2^9) characters behind it: the next search may look at all of them in vain
_COMPILED: Final = 1000  # steps of a pattern's first use in a decision: up to 3 ms at MAX_REGEX_BYTES


def _metered(function: Callable[..., Value], arity: int, pattern_at: int = 0) -> Builtin:
    """A built-in that compiles its operand number ``pattern_at``."""
    def call(context: Context, *arguments: Value) -> Value:
        pattern = arguments[pattern_at]
        if type(pattern) is str and (function, pattern) not in context.scratch:
            context.scratch[function, pattern] = True
            context.charge(_COMPILED)
        context.charge(_CALL)
        return function(context, *arguments)
    return Builtin(call, arity, context=True)


PATTERNS: Final[Mapping[str, Builtin]] = MappingProxyType({
    "regex.match": _metered(lambda c, a, b: _searched(c, string(a, 1), string(b, 2)), 2),
    "regex.is_valid": _metered(lambda _, pattern: is_valid(pattern), 1),
    "regex.find_n": _metered(find, 3), "regex.find_all_string_submatch_n": _metered(find_groups, 3),
    "regex.split": _metered(split, 2), "regex.replace": _metered(replace, 3, 1),
    "regex.template_match": _metered(template_match, 4),
    "regex.globs_match": Builtin(lambda c, a, b: globs_match(c, string(a, 1), string(b, 2)), 2, context=True),
    "glob.match": _metered(glob_match, 3), "glob.quote_meta": Builtin(quote_meta, 1),
})
