"""What generated functions call: the meaning of the IR's statements that are more than one Python operation."""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from ringwall.errors import PolicyError
from ringwall.policy.plan.limits import LONG, MAX_DYNAMIC_DEPTH
from ringwall.policy.plan.values import FrozenObject, U, Value, equal, freeze, ordered

SETS: Final = frozenset((set, frozenset))
BOXES: Final = frozenset((list, dict, set, frozenset))  # what holds other values
SIZED: Final = BOXES | {str}  # what can be long
_NESTED: Final = BOXES | {tuple, FrozenObject}  # and the frozen forms of them
_DEEPER: Final = _NESTED | {str}
_TEXT: Final = frozenset((str,))
MISSING: Final = object()  # no memo yet; undefined is a memo like any other


class Context:
    """The state of one decision: budget, memo, clock. Never shared."""

    __slots__ = ("depth", "found", "memo", "now_ns", "scratch", "steps")

    def __init__(self, *, steps: int, now_ns: int | None = None) -> None:
        self.steps = steps
        self.memo: dict[int, Value] = {}  # per (rule, input, data): `with` works on an empty one
        self.now_ns = now_ns
        self.depth = 0
        self.scratch: dict[object, Value] = {}  # built-ins' own, for this decision: compiled patterns
        self.found: list[tuple[Value, int, int, int]] = []  # traced: (member of a rule's set, rule, file, row)

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


def weigh(context: Context, value: Value) -> None:
    """Spend a step for each value inside of ``value``, as often as it is reached.

    Whatever is put into another value is weighed first. So no value unfolds to more than a decision may take,
    not even one that holds itself in many places.
    """
    context.steps -= 1 + len(value)
    if context.steps < 0:
        raise exhausted()
    items = value
    if type(value) is dict:
        if not _TEXT.issuperset(map(type, value)):
            _unfold(context, value)
            return
        items = value.values()
    for item in items:
        if type(item) in _DEEPER and (type(item) is not str or len(item) > LONG):
            _unfold(context, value)
            return


def _unfold(context: Context, value: Value) -> None:
    """Spend the steps for what is inside of the values inside."""
    stack = [value]
    while stack:
        item = stack.pop()
        if type(item) is FrozenObject:
            item = item.pairs
        context.charge(1 + len(item))
        if type(item) is dict:
            stack += [key for key in item if type(key) in _NESTED]
            item = item.values()
        for inner in item:
            if type(inner) in _NESTED:
                stack.append(inner)
            elif type(inner) is str and len(inner) > LONG:
                context.charge(len(inner) >> 6)


def heavy(context: Context, value: Value) -> None:
    """Spend steps for the size of what a built-in takes or makes."""
    context.charge(len(value) >> (6 if type(value) is str else 4))


def same(context: Context, a: Value, b: Value) -> bool:
    """Rego's equality, which costs steps where it has to look inside."""
    if type(a) in BOXES and type(b) in BOXES and len(a) == len(b):
        weigh(context, a)
    return equal(a, b)


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


def dot_base(value: Value, key: Value) -> Value:
    """``value[key]`` in the base data, where OPA takes keys by their text: 1 finds "1", and "1" finds index 1."""
    if type(value) is dict and (type(key) is int or type(key) is float):
        return value.get(repr(key), U)
    if type(value) is list and type(key) is str:
        digits, _, zeros = key.partition(".")
        plain = digits[digits[:1] in ("+", "-"):]
        if len(key) > 15 or not plain.isascii() or not plain.isdigit() or zeros.strip("0"):
            return U
        return dot(value, int(digits))
    return dot(value, key)


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
        if {*map(type, value)} <= _TEXT:
            context.charge(len(value))
            return [(item, item) for item in sorted(value)]
        weigh(context, value)
        return [(item, item) for item in ordered(value)]
    return ()


def length(value: Value) -> Value:
    """How many elements; undefined for a scalar without any."""
    return len(value) if type(value) in (list, dict, set, frozenset, str) else U


def insert_once(context: Context, target: dict[Value, Value], key: Value, value: Value) -> None:
    """Insert, unless the key is there with another value. Raises PolicyError (conflict)."""
    frozen = freeze(key)
    found = target.get(frozen, U)
    if found is not U and not same(context, found, value):
        raise conflict()
    target[frozen] = value


def merge(context: Context, a: Value, b: Value) -> Value:
    """Objects joined key by key; where one is no object, the first wins."""
    if a is U or b is U:
        return b if a is U else a
    if type(a) is not dict or type(b) is not dict:
        return a
    context.charge(1 + len(a) + len(b))
    merged = dict(a)
    for key, item in b.items():
        merged[key] = merge(context, merged[key], item) if key in merged else item
    return merged


def upsert(context: Context, document: Value, path: Sequence[str], value: Value) -> Value:
    """A copy of the document with ``value`` at ``path``; what is no object on the way becomes one."""
    copy: dict[Value, Value] = dict(document) if type(document) is dict else {}
    context.charge(1 + len(copy))
    copy[path[0]] = upsert(context, copy.get(path[0], U), path[1:], value) if len(path) > 1 else value
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
