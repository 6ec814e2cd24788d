"""The decision object: what a policy must answer for one call. Anything else is a denial."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from ringwall.call import Json
from ringwall.errors import PolicyError

_T = TypeVar("_T")


class Denial(msgspec.Struct, frozen=True):
    """One reason to refuse. ``code`` and ``reason`` go to the agent, ``rule`` to operators."""

    code: str
    reason: str
    rule: str


class Question(msgspec.Struct, frozen=True):
    """One reason to ask a human."""

    code: str
    question: str
    rule: str


class Decision(msgspec.Struct, frozen=True):
    """What the entry point for calls answers."""

    allow: bool
    deny: tuple[Denial, ...]
    ask: tuple[Question, ...]
    remedy: str

    @property
    def permits(self) -> bool:
        """Allowed, with nothing against it and nobody to ask."""
        return self.allow and not self.deny and not self.ask


class Listing(msgspec.Struct, frozen=True):
    """What the entry point for listings answers."""

    targets: tuple[str, ...]


def typed(value: Json, wanted: type[_T]) -> _T:
    """The answer in its form. Raises PolicyError (``bad_decision``)."""
    try:
        return msgspec.convert(value, wanted, strict=True)
    except (msgspec.ValidationError, RecursionError) as error:
        raise PolicyError(f"the decision has the wrong form: {error}", code="bad_decision",
                          remedy="see docs/policy.md for the decision object") from error
