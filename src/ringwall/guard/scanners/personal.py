"""Stage 5: e-mail addresses, payment cards (ISO/IEC 7812, Luhn) and IBANs (ISO 13616, mod 97).

Checksums and issuers' number ranges decide, not words: the scanner knows no language.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ringwall.errors import Unavailable
from ringwall.guard.interface import Category, Hit, NormalisedText
from ringwall.guard.scanners.regex import Regex, RegexSet

MIN_CARD, MAX_CARD = 12, 19  # digits, ISO/IEC 7812-1
LOOK_BACK: Final = 80  # how far before an address a URL's scheme may stand

# RFC 5321, section 4.5.3.1: 64 characters before the @, labels of 63
_EMAIL: Final = (r"[A-Za-z0-9!#$%&'*+/=?^_{|}~.-]{1,64}@"
                 r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,8}[A-Za-z]{2,24}")
_DIGITS: Final = r"[0-9]{3,19}(?:[ -][0-9]{3,6}){0,6}"
_AT_LEAST: Final = r"[0-9](?:[ -]?[0-9]){11}"  # the shortest card number there is
_NOT_DOMAINS: Final = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "css", "js", "mjs", "ts",
                                 "json", "html", "py", "txt", "md", "yaml", "yml", "toml", "lock", "zip", "gz"})
_SERVICE_ACCOUNTS: Final = frozenset({"git", "hg", "svn"})  # of ssh remotes: nobody's address

_BRANDS: Final[tuple[tuple[int, int, frozenset[int]], ...]] = (
    # first six digits from, to; lengths. The issuers' published ranges.
    (400000, 499999, frozenset({13, 16, 19})),
    (510000, 559999, frozenset({16})), (222100, 272099, frozenset({16})),
    (340000, 349999, frozenset({15})), (370000, 379999, frozenset({15})),
    (300000, 305999, frozenset({14, 16, 19})), (309500, 309599, frozenset({14, 16, 19})),
    (360000, 369999, frozenset({14, 16, 19})), (380000, 399999, frozenset({14, 16, 19})),
    (601100, 601199, frozenset({16, 19})), (644000, 659999, frozenset({16, 19})),
    (352800, 358999, frozenset({16, 19})), (213100, 213199, frozenset({15})), (180000, 180099, frozenset({15})),
    (350000, 352799, frozenset({16})),
    (620000, 629999, frozenset({16, 17, 18, 19})), (810000, 817199, frozenset({16, 17, 18, 19})),
    (220000, 220499, frozenset({16, 17, 18, 19})),
    (501800, 501899, frozenset(range(12, 20))), (502000, 502099, frozenset(range(12, 20))),
    (503800, 503899, frozenset(range(12, 20))), (561200, 561299, frozenset(range(12, 20))),
    (587000, 587999, frozenset(range(12, 20))), (589300, 589399, frozenset(range(12, 20))),
    (630400, 630499, frozenset(range(12, 20))), (639000, 639099, frozenset(range(12, 20))),
    (670000, 679999, frozenset(range(12, 20))),
)

_IBAN_LENGTHS: Final[Mapping[str, int]] = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28,
    "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20,
    "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}


_IBAN: Final = r"\b(?i:" + "|".join(_IBAN_LENGTHS) + r")[0-9]{2}(?:[ -]?[A-Za-z0-9]){11,38}"


def luhn(digits: str) -> bool:
    """The check digit of ISO/IEC 7812-1, annex B."""
    total = 0
    for place, char in enumerate(reversed(digits)):
        value = ord(char) - 48
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def is_card(digits: str) -> bool:
    """Whether an issuer gives out numbers that begin like this, in this length, with this check digit."""
    if not MIN_CARD <= len(digits) <= MAX_CARD:
        return False
    head = int(digits[:6])
    return any(low <= head <= high and len(digits) in lengths for low, high, lengths in _BRANDS) and luhn(digits)


def is_iban(compact: str) -> bool:
    """ISO 13616: the country's length, and mod 97 of the rearranged number is 1. Upper case, no spaces."""
    if _IBAN_LENGTHS.get(compact[:2]) != len(compact):
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


class Personal:
    """Scanner for e-mail addresses, payment cards and IBANs."""

    name = "personal"
    categories: frozenset[Category] = frozenset({"email", "card", "iban"})

    def __init__(self) -> None:
        self._email = Regex(_EMAIL)
        self._digits = Regex(_DIGITS)
        self._iban = Regex(_IBAN)
        self._worth = RegexSet([_IBAN, _AT_LEAST])

    def scan(self, text: NormalisedText) -> Sequence[Hit]:
        plain = text.plain
        found: list[Hit] = []
        if "@" in plain:
            found += self._emails(text)
        worth = self._worth.matching(text.raw)
        if 0 in worth:
            found += self._ibans(text)
        if 1 in worth:
            ibans = tuple((hit.start, hit.end) for hit in found if hit.category == "iban")
            found += (card for card in self._cards(text)
                      if not any(card.start < end and start < card.end for start, end in ibans))
        return found

    def self_check(self) -> None:
        bad = "bob@example.org 4111 1111 1111 1111 DE89 3704 0044 0532 0130 00"
        good = "order 4111 1111 1111 1112, ref DE88370400440532013000, see page@2"
        kinds = frozenset(hit.category for hit in self.scan(NormalisedText(bad, bad)))
        if kinds != self.categories or self.scan(NormalisedText(good, good)):
            raise Unavailable("the scanner for personal data does not work", code="guard_not_ready")

    def _emails(self, text: NormalisedText) -> Iterator[Hit]:
        plain = text.plain
        for start, end in self._email.spans(text.raw):
            local, _, domain = plain[start:end].rpartition("@")
            if domain.rpartition(".")[2].lower() in _NOT_DOMAINS or local in _SERVICE_ACCOUNTS:
                continue
            token = plain[max(0, start - LOOK_BACK):start + len(local)].split()[-1]
            if "://" in token:  # user:password@host belongs to the scanner for secrets
                continue
            quoting = len(local) - len(local.lstrip("/'=?&{|"))  # legal in a name, and nobody's
            yield Hit(start + quoting, end, 1.0, "personal.email", "email")

    def _cards(self, text: NormalisedText) -> Iterator[Hit]:
        plain = text.plain
        for start, end in self._digits.spans(text.raw):
            if end - start < MIN_CARD or _word(plain, start - 1) or _word(plain, end):
                continue
            span = _card_in(plain[start:end])
            if span is not None:
                yield Hit(start + span[0], start + span[1], 1.0, "personal.card", "card")

    def _ibans(self, text: NormalisedText) -> Iterator[Hit]:
        plain, at = text.plain, 0
        while (match := self._iban.search(text.raw, at)) is not None:
            start, end = match
            at = start + 1
            stop = _iban_end(plain, start, end)
            if stop:
                yield Hit(start, stop, 1.0, "personal.iban", "iban")
                at = stop


def _word(plain: str, at: int) -> bool:
    """Whether a letter or digit stands there: then the number is part of something longer."""
    return 0 <= at < len(plain) and plain[at].isalnum()


def _card_in(run: str) -> tuple[int, int] | None:
    """A card among groups of digits: whole consecutive groups, one kind of separator."""
    groups: list[tuple[int, int]] = []
    at = 0
    for piece in run.replace("-", " ").split(" "):
        groups.append((at, at + len(piece)))
        at += len(piece) + 1
    for first in range(len(groups)):
        for last in range(len(groups), first, -1):
            start, end = groups[first][0], groups[last - 1][1]
            part = run[start:end]
            if not (" " in part and "-" in part) and is_card(part.replace(" ", "").replace("-", "")):
                return start, end
    return None


def _iban_end(plain: str, start: int, end: int) -> int:
    """Where the IBAN that begins at ``start`` ends; 0: there is none."""
    wanted = _IBAN_LENGTHS[plain[start:start + 2].upper()]
    compact: list[str] = []
    at = start
    while at < end and len(compact) < wanted:
        if plain[at] not in " -":
            compact.append(plain[at])
        at += 1
    return at if not _word(plain, at) and is_iban("".join(compact).upper()) else 0
