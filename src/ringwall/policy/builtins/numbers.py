"""Arithmetic, comparison, bits and ranges.

Integers are exact. Fractions are added and multiplied as the decimals they are written as, then rounded to a
double: ``0.1 + 0.2 == 0.3`` holds here as it does in OPA, whose mantissa has 64 bits.
"""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import ROUND_DOWN, Context, Decimal, DecimalException
from types import MappingProxyType
from typing import Any, Final

from ringwall.policy.builtins.table import Builtin, BuiltinError, a_set, integer, number, wrong
from ringwall.policy.plan.limits import MAX_BITS, MAX_RANGE
from ringwall.policy.plan.ops import Context as Decision
from ringwall.policy.plan.values import Value, compare, equal, is_set

_DIGITS: Final = 60  # more than three doubles' worth: sums and products are exact before they are rounded
_EXACT: Final = 1 << 53  # beyond this a double is no exact integer
_DECIMALS: Final = Context(prec=_DIGITS, Emin=-5000, Emax=5000)


def whole(value: int) -> int:
    """An integer result, unless it grew beyond all use."""
    if value.bit_length() > MAX_BITS:
        raise BuiltinError("the result is too large a number")
    return value


def decimal(value: float) -> Decimal:
    """The decimal that is written for this number."""
    return Decimal(value) if type(value) is int else Decimal(repr(value))


def rounded(value: Decimal) -> int | float:
    """The number nearest to a decimal; an integer when it is one."""
    try:
        found = float(value)
    except (OverflowError, ValueError) as error:
        raise BuiltinError("the result is beyond the range of numbers") from error
    if math.isinf(found) or math.isnan(found):
        raise BuiltinError("the result is beyond the range of numbers")
    if found.is_integer() and abs(found) <= _EXACT:
        return int(found)
    return int(value) if found.is_integer() and value == value.to_integral_value() else found


def _binary(
    exact: Callable[[int, int], int], inexact: Callable[[Decimal, Decimal], Decimal]
) -> Callable[..., Value]:
    def operation(a: Value, b: Value) -> Value:
        x, y = number(a, 1), number(b, 2)
        if type(x) is int and type(y) is int:
            return whole(exact(x, y))
        try:
            return rounded(inexact(decimal(x), decimal(y)))
        except DecimalException as error:
            raise BuiltinError("the result is beyond the range of numbers") from error
    return operation


plus: Final = _binary(lambda x, y: x + y, _DECIMALS.add)
_subtract: Final = _binary(lambda x, y: x - y, _DECIMALS.subtract)


def _times(x: int, y: int) -> int:
    if x.bit_length() + y.bit_length() > MAX_BITS:
        raise BuiltinError("the result is too large a number")
    return x * y


times: Final = _binary(_times, _DECIMALS.multiply)


def minus(a: Value, b: Value) -> Value:
    """Difference of numbers or of sets."""
    if is_set(a) and is_set(b):
        return a_set(a) - a_set(b)
    if is_set(a):
        raise wrong(2, b, "set")
    return _subtract(a, b)


def divide(a: Value, b: Value) -> Value:
    """Quotient; exact integers stay integers."""
    x, y = number(a, 1), number(b, 2)
    if y == 0:
        raise BuiltinError("divide by zero")
    if type(x) is int and type(y) is int and x % y == 0:
        return x // y
    try:
        return rounded(_DECIMALS.divide(decimal(x), decimal(y)))
    except DecimalException as error:
        raise BuiltinError("the result is beyond the range of numbers") from error


def _integral(value: Value, position: int) -> int:
    found = number(value, position)
    if type(found) is float:
        if not found.is_integer():
            raise BuiltinError("modulo on floating-point number")
        return int(found)
    return found


def remainder(a: Value, b: Value) -> Value:
    """Remainder with the sign of the dividend, as Go has it."""
    x, y = _integral(a, 1), _integral(b, 2)
    if y == 0:
        raise BuiltinError("modulo by zero")
    found = abs(x) % abs(y)
    return -found if x < 0 else found


def _truncated(value: float) -> int:
    return int(decimal(value).to_integral_value(rounding=ROUND_DOWN)) if type(value) is float else int(value)


def absolute(a: Value) -> Value:
    """Absolute value."""
    return abs(number(a))


def half_away(a: Value) -> Value:
    """Rounding, halves away from zero."""
    x = number(a)
    if type(x) is int:
        return x
    half = Decimal("-0.5") if x < 0 else Decimal("0.5")
    return int(_DECIMALS.add(decimal(x), half).to_integral_value(rounding=ROUND_DOWN))


def ceiling(a: Value) -> Value:
    """OPA's ceil. It is 1 for -0.1: the truncated 0 has no sign any more."""
    x = number(a)
    cut = _truncated(x)
    return cut if cut < 0 or cut == x else cut + 1


def floor(a: Value) -> Value:
    """OPA's floor. It is 0 for -0.1, for the same reason."""
    x = number(a)
    cut = _truncated(x)
    return cut if cut >= 0 or cut == x else cut - 1


def _bits(operation: Callable[[int, int], int]) -> Callable[..., Value]:
    return lambda a, b: whole(operation(integer(a, 1), integer(b, 2)))


def shift_left(a: Value, b: Value) -> Value:
    """``a << b``."""
    x, y = integer(a, 1), integer(b, 2)
    if y < 0:
        raise BuiltinError("operand 2 must be an unsigned integer number but got a negative integer")
    if y > MAX_BITS:
        raise BuiltinError("the result is too large a number")
    return whole(x << y)


def shift_right(a: Value, b: Value) -> Value:
    """``a >> b``."""
    x, y = integer(a, 1), integer(b, 2)
    if y < 0:
        raise BuiltinError("operand 2 must be an unsigned integer number but got a negative integer")
    return x >> y


def span(context: Decision, a: Value, b: Value, step: int = 1) -> list[Value]:
    """Integers from a to b, both included, in either direction."""
    x, y = integer(a, 1), integer(b, 2)
    count = abs(y - x) // step + 1
    if count > MAX_RANGE:
        raise BuiltinError(f"the range has more than {MAX_RANGE} numbers")
    context.charge(count)
    return list(range(x, y + 1, step)) if x <= y else list(range(x, y - 1, -step))


def span_by(context: Decision, a: Value, b: Value, step: Value) -> list[Value]:
    """The same in steps."""
    by = integer(step, 3)
    if by <= 0:
        raise BuiltinError("step must be a positive integer")
    return span(context, a, b, by)


def _test(holds: Callable[[int], bool]) -> Callable[[Any, Any], bool]:
    return lambda a, b: holds(compare(a, b))


def _compared(function: Callable[[Value, Value], bool]) -> Builtin:
    return Builtin(function, 2, deep=True, small=True)


NUMBERS: Final[Mapping[str, Builtin]] = MappingProxyType({
    "plus": Builtin(plus, 2), "minus": Builtin(minus, 2), "mul": Builtin(times, 2), "div": Builtin(divide, 2),
    "rem": Builtin(remainder, 2), "abs": Builtin(absolute, 1), "round": Builtin(half_away, 1),
    "ceil": Builtin(ceiling, 1), "floor": Builtin(floor, 1),
    "bits.and": Builtin(_bits(lambda x, y: x & y), 2), "bits.or": Builtin(_bits(lambda x, y: x | y), 2),
    "bits.xor": Builtin(_bits(lambda x, y: x ^ y), 2), "bits.negate": Builtin(lambda a: ~integer(a), 1),
    "bits.lsh": Builtin(shift_left, 2), "bits.rsh": Builtin(shift_right, 2),
    "numbers.range": Builtin(span, 2, context=True), "numbers.range_step": Builtin(span_by, 3, context=True),
    "equal": _compared(equal), "neq": _compared(lambda a, b: not equal(a, b)),
    "lt": _compared(_test(lambda c: c < 0)), "lte": _compared(_test(lambda c: c <= 0)),
    "gt": _compared(_test(lambda c: c > 0)), "gte": _compared(_test(lambda c: c >= 0)),
})
