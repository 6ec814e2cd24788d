"""Bank accounts (ISO 13616): spaces out, upper case, check digits verified."""

from __future__ import annotations

import string
from typing import Final

from ringwall.capability.resources.text import Canonical, bad, clean

MIN_LENGTH: Final = 15  # Norway
MAX_LENGTH: Final = 34  # ISO 13616
_MAX_TEXT: Final = 2 * MAX_LENGTH  # with every sensible grouping
_WHAT: Final = "iban"
_CHARS: Final = frozenset(string.digits + string.ascii_uppercase)


def canonical(text: str) -> Canonical:
    """Give the electronic form. Raises BadInput, also when the check digits are wrong."""
    clean(text, _WHAT, _MAX_TEXT)
    if not text.isascii():
        raise bad(_WHAT, text, "holds characters outside ASCII")
    plain = text.replace(" ", "").upper()
    if not MIN_LENGTH <= len(plain) <= MAX_LENGTH or not set(plain) <= _CHARS:
        raise bad(_WHAT, text, f"is not {MIN_LENGTH} to {MAX_LENGTH} letters and digits")
    if not plain[:2].isalpha() or not plain[2:4].isdigit() or not 2 <= int(plain[2:4]) <= 98:
        raise bad(_WHAT, text, "does not begin with a country and two check digits")
    # ISO 7064, MOD 97-10: the first four characters moved to the end, letters as 10 to 35.
    if int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 != 1:
        raise bad(_WHAT, text, "has wrong check digits")
    return Canonical(plain, (plain,))


def pattern(text: str) -> tuple[Canonical, bool]:
    """Always exactly one account. Raises BadInput."""
    return canonical(text), False
