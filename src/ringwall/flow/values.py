"""The texts of an argument, one by one, as the prompt is asked about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ringwall.call import Json, as_array, as_object

MAX_VALUES: Final = 256  # strings of one argument that are looked up in the prompt; more is text, and counts as one
MAX_NUMBER_BITS: Final = 64  # a number is as harmless as it is short: a longer one is data in digits


def strings(value: Json, *, numbers: bool) -> Iterator[str]:
    """Every string in an argument. One short number carries no text; a list of numbers does."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bool | int | float):
        if numbers or (isinstance(value, int) and value.bit_length() > MAX_NUMBER_BITS):
            yield str(value)
    elif (items := as_array(value)) is not None:
        for item in items:
            yield from strings(item, numbers=True)
    elif (fields := as_object(value)) is not None:
        for name, item in fields.items():
            yield name
            yield from strings(item, numbers=True)
