"""The rules of the flow ring, one function each: canonical values in, a denial, a question or None out.

A human is asked where there is a value to look at, and the value is all there is to decide. What no human could see
through stays a denial: an argument nobody declared, a target that is not there, a URL that the model composed (what
it carries can be in any part of it), publishing, and anything once secret data was read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ringwall.call import Allowed, Denied, Json, NeedsApproval, Verdict
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

    @property
    def secret(self) -> bool:
        """Secret data was read: it goes to nobody whom the request does not name, whoever says yes."""
        return self.context.confidentiality == "secret"

    @property
    def composed(self) -> list[str]:
        """URLs that the prompt does not name."""
        return [v.argument for v in self.values if v.role.role == "url" and not v.trusted]

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


def irreversible_target(case: Situation) -> Denied | NeedsApproval | None:
    """Rule 2: a payee, grantee or new credential must stand in the request itself.

    Only a process that saw nothing but the prompt and systems of record may choose it. The waiver for clean
    contexts does not reach this far: a counterpart's field or a colleague's free text is enough to redirect money.
    """
    wrong = case.doubtful(_DECISIVE)
    seen_only_records = case.clean_waiver and case.context.integrity in _AS_TRUE_AS_RECORDS
    if case.effect not in IRREVERSIBLE or seen_only_records or wrong is None:
        return None
    if wrong and not case.secret:
        return _ask(case, "untrusted_target", f"May this {case.effect} go where the task does not say", wrong)
    return Denied(
        code="untrusted_target",
        reason="the recipient does not come from the request",
        remedy="ask the person who gave the task to name the recipient",
        detail={"rule": 2, "arguments": wrong, "context": str(case.context)},
    )


def trifecta(case: Situation) -> Denied | NeedsApproval | None:
    """Rule 7: private data, untrusted text and a way out together: the recipient must stand in the request.

    A URL is a way out whatever the effect is called: whoever composes it chooses what its server reads.
    """
    wrong = case.doubtful({"target"})
    composed = case.composed
    outward = case.effect in BROADCAST or (case.effect in OUTWARD and wrong is not None) or composed
    if not outward or not case.tainted or not case.context.above("public"):
        return None
    if wrong and not composed and not case.secret and case.effect not in BROADCAST:
        return _ask(case, "trifecta", f"May this {case.effect} reach somebody the task does not name", wrong)
    return Denied(
        code="trifecta",
        reason="private data and untrusted text were read, and the recipient does not come from the request",
        remedy="ask the person who gave the task to name the recipient",
        detail={"rule": 7, "arguments": [*(wrong or ()), *composed], "context": str(case.context)},
    )


def clearance(case: Situation) -> Denied | NeedsApproval | None:
    """Rule 11: a recipient sees nothing above its clearance; what the request itself says may always go."""
    free = [v.argument for v in case.values if not v.trusted]
    if not free or not case.context.above(case.clearance):
        return None
    if not case.composed and not case.secret:
        return _ask(case, "above_clearance", f"May {case.recipient}, cleared for {case.clearance}, be shown", free)
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


def _ask(case: Situation, code: str, what: str, arguments: Sequence[str]) -> NeedsApproval:
    named = tuple(dict.fromkeys(arguments))
    return NeedsApproval(
        code=code,
        question=f"{what}: {', '.join(named)}? The process has been shown {case.context}.",
        arguments=named,
    )


RULES: Final = (declared_arguments, irreversible_target, trifecta, clearance)
NUMBERS: Final[Mapping[str, int]] = MappingProxyType({
    "undeclared_argument": 1, "untrusted_target": 2, "trifecta": 7, "above_clearance": 11,
})


def judged(case: Situation) -> Verdict:
    """What all rules together say: the first denial, else one question with everything that is asked."""
    asked: list[NeedsApproval] = []
    for rule in RULES:
        found = rule(case)
        if isinstance(found, Denied):
            return found
        if found is not None:
            asked.append(found)
    if not asked:
        return Allowed()
    return NeedsApproval(
        code=asked[0].code,
        question=" ".join(one.question for one in asked),
        arguments=tuple(dict.fromkeys(name for one in asked for name in one.arguments)),
    )


def denial(verdict: Verdict) -> dict[str, Json]:
    """What facts say of a verdict."""
    if isinstance(verdict, Denied):
        return {"denied": True, "rule": verdict.detail.get("rule", 0), "code": verdict.code}
    if isinstance(verdict, NeedsApproval):
        return {"denied": False, "asked": True, "rule": NUMBERS[verdict.code], "code": verdict.code}
    return {"denied": False}
