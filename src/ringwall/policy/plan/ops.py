"""What generated functions call: the meaning of the IR's statements that are more than one Python operation."""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from ringwall.errors import PolicyError
from ringwall.policy.plan.limits import MAX_DYNAMIC_DEPTH
from ringwall.policy.plan.values import U, Value, equal, freeze, ordered

SETS: Final = frozenset((set, frozenset))
MISSING: Final = object()  # no memo yet; undefined is a memo like any other


class Context:
    """The state of one decision: budget, memo, clock. Never shared."""

    __slots__ = ("depth", "memo", "now_ns", "scratch", "steps")

    def __init__(self, *, steps: int, now_ns: int | None = None) -> None:
        self.steps = steps
        self.memo: dict[int, Value] = {}  # per (rule, input, data): `with` works on an empty one
        self.now_ns = now_ns
        self.depth = 0
        self.scratch: dict[object, Value] = {}  # built-ins' own, for this decision: compiled patterns

    def charge(self, amount: int) -> None:
        """Spend steps. Raises PolicyError when there are none left."""
        self.steps -= amount
        if self.steps < 0:
            raise exhausted()


def exhausted() -> PolicyError:
    """The error of a decision that took too many steps."""
    return PolicyError("the policy took more steps than one decision may", code="policy_limit",
                       remedy="key data for direct lookup instead of scanning it")


def conflict() -> PolicyError:
    """The error of rules that disagree about one value."""
    return PolicyError("rules give different values for one document (conflict)", code="policy_conflict")


def dot(value: Value, key: Value) -> Value:
    """``value[key]``, or undefined. Strings are no numbers: ``"1"`` never finds index 1."""
    kind = type(value)
    if kind is dict:
        return value.get(key if type(key) is str else freeze(key), U)
    if kind is list:
        return value[key] if type(key) is int and 0 <= key < len(value) else U
    if kind in SETS:
        return key if freeze(key) in value else U
    return U


def scan(context: Context, value: Value) -> Iterable[tuple[Value, Value]]:
    """(key, value) pairs in Rego's order; nothing for a scalar."""
    kind = type(value)
    if kind is list:
        context.charge(len(value))
        return zip(range(len(value)), value, strict=False)  # ends even if the body appends to this very array
    if kind is dict:
        context.charge(len(value))
        return [(key, value[key if type(key) is str else freeze(key)]) for key in ordered(value)]
    if kind in SETS:
        context.charge(len(value))
        return [(item, item) for item in ordered(value)]
    return ()


def length(value: Value) -> Value:
    """How many elements; undefined for a scalar without any."""
    return len(value) if type(value) in (list, dict, set, frozenset, str) else U


def insert_once(target: dict[Value, Value], key: Value, value: Value) -> None:
    """Insert, unless the key is there with another value. Raises PolicyError (conflict)."""
    frozen = freeze(key)
    found = target.get(frozen, U)
    if found is not U and not equal(found, value):
        raise conflict()
    target[frozen] = value


def merge(a: Value, b: Value) -> Value:
    """Objects joined key by key; where one is no object, the first wins."""
    if a is U or b is U:
        return b if a is U else a
    if type(a) is not dict or type(b) is not dict:
        return a
    merged = dict(a)
    for key, item in b.items():
        merged[key] = merge(merged[key], item) if key in merged else item
    return merged


def upsert(document: Value, path: Sequence[str], value: Value) -> Value:
    """A copy of the document with ``value`` at ``path``; what is no object on the way becomes one."""
    copy: dict[Value, Value] = dict(document) if type(document) is dict else {}
    copy[path[0]] = upsert(copy.get(path[0], U), path[1:], value) if len(path) > 1 else value
    return copy


def dynamic(context: Context, table: Mapping[tuple[str, ...], Callable[..., Value]], path: tuple[Value, ...],
            *arguments: Value) -> Value:
    """Call the function at ``path``; MISSING when there is none. Raises PolicyError when calls nest too deep."""
    function = table.get(path) if all(type(part) is str for part in path) else None
    if function is None:
        return MISSING
    context.depth += 1
    if context.depth > MAX_DYNAMIC_DEPTH:
        raise PolicyError("the policy's calls nest too deep", code="policy_limit")
    found = function(context, *arguments)
    context.depth -= 1
    return found
