"""One strict parse of JSON from outside: what passes here has exactly one reading.

RFC 8259 leaves open what duplicate keys, lone surrogates and numbers out of range mean; parsers differ, and
an attacker lives in the difference. All of these are refused, so that every later reader of the
re-serialised value sees what was judged.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ringwall.call import Json
from ringwall.errors import BadInput

MAX_BYTES: Final = 1 << 20  # a tool call is a few KB; the longest honest ones carry a document
MAX_DEPTH: Final = 64  # far above any tool's schema, far below the interpreter's recursion limit
MAX_NODES: Final = 100_000  # values in one body: bounds what 1 MiB of "[]," costs in memory
MAX_INT_DIGITS: Final = 64  # beyond any identifier or amount; arithmetic on more is a way to burn time
_INT_LIMIT: Final = 10**MAX_INT_DIGITS
_DECODER: Final = msgspec.json.Decoder()


def _bad(cause: str, code: str = "bad_json", remedy: str = "") -> BadInput:
    return BadInput(cause, code=code, remedy=remedy)


def _decode(raw: bytes) -> Json:
    try:
        return _DECODER.decode(raw)
    except UnicodeDecodeError:
        raise _bad("the body is not valid UTF-8", "bad_utf8") from None
    except RecursionError:
        raise _bad("the body is nested too deeply", "too_deep") from None
    except msgspec.ValidationError as error:  # the decoder's word for numbers it cannot hold
        raise _bad(f"the body holds a number that is out of range: {error}", "bad_number") from None
    except msgspec.DecodeError as error:
        raise _bad(f"the body is not JSON: {error}") from None


def _count_keys(value: Json, max_depth: int, max_nodes: int) -> int:
    """Walk the value level by level; give the number of object members. Raises BadInput."""
    level: list[Json] = [[value]]
    keys = depth = nodes = 0
    while level:
        if depth > max_depth:
            raise _bad(f"the body is nested more than {max_depth} levels deep", "too_deep")
        below: list[Json] = []
        for container in level:
            nodes += len(container)
            if nodes > max_nodes:
                raise _bad(f"the body holds more than {max_nodes} values", "too_many_values")
            if type(container) is dict:
                keys += len(container)  # pyright: ignore[reportUnknownArgumentType]
                container = container.values()  # pyright: ignore[reportUnknownVariableType]  # noqa: PLW2901
            for item in container:  # pyright: ignore[reportUnknownVariableType]
                kind = type(item)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
                if kind is dict or kind is list:
                    below.append(item)
                elif kind is int and not -_INT_LIMIT < item < _INT_LIMIT:
                    raise _bad(f"an integer has more than {MAX_INT_DIGITS} digits", "bad_number")
        level = below
        depth += 1
    return keys


def _written_keys(raw: bytes) -> int:
    """How many object members the text has: its colons outside strings. ``raw`` is known to be JSON.

    In valid JSON a backslash occurs only inside strings and starts an escape, so removing first every pair of
    backslashes and then every escaped quote leaves only the quotes that begin and end strings.
    """
    plain = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(plain.split(b'"')[::2]).count(b":")


def parse(raw: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH,
          max_nodes: int = MAX_NODES) -> Json:
    """Parse one JSON text.

    Args:
        raw: the body, UTF-8 without a byte order mark.
        max_bytes: longest body.
        max_depth: how many arrays and objects may be open at once.
        max_nodes: how many values (not counting keys) there may be in all.

    Returns:
        None, bool, int, finite float, str, list or dict with str keys.

    Raises:
        BadInput: ``too_large``, ``bad_utf8``, ``bad_json``, ``bad_number``, ``too_deep``,
            ``too_many_values`` or ``duplicate_key``.

    """
    if len(raw) > max_bytes:
        raise _bad(f"the body has {len(raw)} bytes, the limit is {max_bytes}", "too_large")
    value = _decode(raw)
    keys = _count_keys(value, max_depth, max_nodes)
    # Colons inside strings only add to the plain count: if that agrees already, no key can be missing.
    if raw.count(b":") != keys and _written_keys(raw) != keys:
        raise _bad("an object names the same key twice", "duplicate_key", "name each key once")
    return value
