"""Labels: how far a value can be trusted and who may see it, joined over all that a process was shown.

Integrity, best to worst: P (stands in the trusted prompt), T (system of record), C (a structured field that a
counterpart can influence), M (free text of the own organisation), U (everything else). Confidentiality: public,
private, secret. The lattice is that of FIDES (arXiv 2505.23643) with five integrity levels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ringwall.manifest.types import Clearance, Integrity

_INTEGRITY: Final[tuple[Integrity, ...]] = ("P", "T", "C", "M", "U")
_CONFIDENTIALITY: Final[tuple[Clearance, ...]] = ("public", "private", "secret")


@dataclass(frozen=True, slots=True)
class Label:
    """A point of the lattice."""

    integrity: Integrity = "P"
    confidentiality: Clearance = "public"

    def join(self, other: Label) -> Label:
        """The worse integrity and the higher confidentiality of both."""
        return Label(
            _INTEGRITY[max(_INTEGRITY.index(self.integrity), _INTEGRITY.index(other.integrity))],
            _CONFIDENTIALITY[
                max(_CONFIDENTIALITY.index(self.confidentiality), _CONFIDENTIALITY.index(other.confidentiality))
            ],
        )

    @property
    def untrusted(self) -> bool:
        """Something below M was seen: somebody outside the organisation may have written it."""
        return self.integrity == "U"

    def above(self, clearance: Clearance) -> bool:
        """Whether a recipient with this clearance may not see it."""
        return _CONFIDENTIALITY.index(self.confidentiality) > _CONFIDENTIALITY.index(clearance)

    def __str__(self) -> str:
        return f"{self.integrity} {self.confidentiality}"

    @classmethod
    def parse(cls, text: str) -> Label:
        """The inverse of ``str``. Raises KeyError."""
        integrity, _, confidentiality = text.partition(" ")
        return _BY_NAME[integrity, confidentiality]


CLEAN: Final = Label()  # nothing was seen but the trusted prompt
WORST: Final = Label("U", "secret")


_BY_NAME: Final[dict[tuple[str, str], Label]] = {(i, c): Label(i, c) for i in _INTEGRITY for c in _CONFIDENTIALITY}


def join(labels: Iterable[Label]) -> Label:
    """The join of all; ``CLEAN`` of none."""
    whole = CLEAN
    for label in labels:
        whole = whole.join(label)
    return whole
