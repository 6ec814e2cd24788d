"""The rules of the flow ring, one function each: canonical values in, a denial or None out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from ringwall.call import Denied
from ringwall.flow.labels import Label
from ringwall.manifest.types import ArgumentRole, Clearance

OUTWARD: Final = frozenset({"send", "publish", "grant", "pay", "book"})  # somebody else receives or gains something
IRREVERSIBLE: Final = frozenset({"pay", "grant", "credential", "identity"})  # a wrong target cannot be undone
# Effects that are somebody else's inbox even when the manifest names no target for them.
BROADCAST: Final = frozenset({"publish"})
# Roles whose value decides what an effect does to whom.
_DECISIVE: Final = frozenset({"target", "secret", "ident"})
_AS_TRUE_AS_RECORDS: Final = frozenset({"P", "T"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One string of one argument: what it is for, and whether the trusted prompt names it."""

    argument: str
    role: ArgumentRole
    trusted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that the rules look at."""

    effect: str
    recipient: str  # the server or model
    clearance: Clearance
    values: Sequence[Value]
    undeclared: Sequence[str]
    context: Label
    clean_waiver: bool

    @property
    def tainted(self) -> bool:
        return self.context.untrusted or not self.clean_waiver

    def doubtful(self, roles: Collection[str]) -> list[str] | None:
        """Arguments of these roles that the prompt does not name; None when all are named.

        Empty: no such argument was given, and what a server does then is its own choice.
        """
        given = [v for v in self.values if v.role.role in roles]
        wrong = [v.argument for v in given if not v.trusted]
        return wrong if wrong or not given else None


def declared_arguments(case: Situation) -> Denied | None:
    """Rule 1: an argument that nobody declared has no role, so nothing can be said for it."""
    if not case.undeclared:
        return None
    return Denied(
        code="undeclared_argument",
        reason="an argument of this call is not declared",
        detail={"rule": 1, "arguments": list(case.undeclared)},
    )


def irreversible_target(case: Situation) -> Denied | None:
    """Rule 2: a payee, grantee or new credential must stand in the request itself.

    Only a process that saw nothing but the prompt and systems of record may choose it. The waiver for clean
    contexts does not reach this far: a counterpart's field or a colleague's free text is enough to redirect money.
    """
    wrong = case.doubtful(_DECISIVE)
    seen_only_records = case.clean_waiver and case.context.integrity in _AS_TRUE_AS_RECORDS
    if case.effect not in IRREVERSIBLE or seen_only_records or wrong is None:
        return None
    return Denied(
        code="untrusted_target",
        reason="the recipient does not come from the request",
        remedy="ask the person who gave the task to name the recipient",
        detail={"rule": 2, "arguments": wrong, "context": str(case.context)},
    )


def trifecta(case: Situation) -> Denied | None:
    """Rule 7: private data, untrusted text and a way out together: the recipient must stand in the request.

    A URL is a way out whatever the effect is called: whoever composes it chooses what its server reads.
    """
    wrong = case.doubtful({"target"})
    composed = [v.argument for v in case.values if v.role.role == "url" and not v.trusted]
    outward = case.effect in BROADCAST or (case.effect in OUTWARD and wrong is not None) or composed
    if not outward or not case.tainted or not case.context.above("public"):
        return None
    return Denied(
        code="trifecta",
        reason="private data and untrusted text were read, and the recipient does not come from the request",
        remedy="ask the person who gave the task to name the recipient",
        detail={"rule": 7, "arguments": [*(wrong or ()), *composed], "context": str(case.context)},
    )


def clearance(case: Situation) -> Denied | None:
    """Rule 11: a recipient sees nothing above its clearance; what the request itself says may always go."""
    free = [v.argument for v in case.values if not v.trusted]
    if not free or not case.context.above(case.clearance):
        return None
    return Denied(
        code="above_clearance",
        reason=f"{case.recipient} may not be shown what was read here",
        detail={
            "rule": 11,
            "recipient": case.recipient,
            "clearance": case.clearance,
            "context": str(case.context),
            "arguments": free,
        },
    )


RULES: Final = (declared_arguments, irreversible_target, trifecta, clearance)


def first_denial(case: Situation) -> Denied | None:
    """The first rule that denies, in order."""
    for rule in RULES:
        denied = rule(case)
        if denied is not None:
            return denied
    return None
