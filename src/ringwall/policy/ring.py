"""The sixth ring: does the organisation allow it, all facts considered?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from ringwall.call import (
    Allowed,
    Call,
    CallId,
    Denied,
    Facts,
    Json,
    NeedsApproval,
    RingName,
    Subject,
    Target,
    Verdict,
    policy_input,
)
from ringwall.clock import Clock
from ringwall.errors import PolicyError
from ringwall.interface import Targets, Through
from ringwall.policy.decision import Decision, Listing, typed
from ringwall.policy.interface import PolicyBackend

CALL: Final = "ringwall/decide/call"
LIST: Final = "ringwall/decide/list"
ALWAYS: Final = "approval_required"  # what a grant with approval = "always" asks until the call is approved


def no_approvals(call: Call) -> bool:
    """Nothing is approved: what a call claims is not evidence, and nobody verifies it yet."""
    return False


class PolicyRing:
    """Asks the policy. Whatever goes wrong is a denial. Implements ``interface.Ring``.

    Args:
        backend: what decides.
        clock: the time that policies see.
        approved: whether this call's approval was verified to be for exactly this call.

    """

    name: RingName = "policy"

    def __init__(self, backend: PolicyBackend, clock: Clock,
                 approved: Callable[[Call], bool] = no_approvals) -> None:
        self._backend = backend
        self._clock = clock
        self._approved = approved

    async def enter(self, call: Call, facts: Facts) -> Through:
        """Judge one call by its whole input; facts: the revision, and how many denials there were."""
        found: dict[str, Json] = {"revision": self._backend.revision, "approved": self._approved(call)}
        facts[self.name] = found
        try:
            answer = await self._backend.decide(CALL, policy_input(call, facts, self._clock.now()))
            decision = typed(answer, Decision)
        except PolicyError as error:
            found["denials"] = 1
            return Through(_failed(error))
        found["denials"] = len(decision.deny)
        return Through(_verdict(decision))

    async def lists(self, subject: Subject, targets: Targets) -> Targets:
        """What the policy shows to this subject. Raises PolicyError when it cannot say: nothing is shown."""
        document = {"subject": _subject(subject), "targets": sorted(targets.definitions),
                    "time": {"now": self._clock.now()}}
        shown = typed(await self._backend.decide(LIST, document), Listing).targets
        return Targets(definitions={name: targets.definitions[name] for name in shown
                                    if name in targets.definitions})


def _verdict(decision: Decision) -> Verdict:
    if decision.deny:
        first = decision.deny[0]
        return Denied(code=first.code, reason=first.reason,
                      detail={"deny": [msgspec.to_builtins(denial) for denial in decision.deny],
                              "remedy": decision.remedy})
    if decision.ask:
        # All that is asked: a yes is for what stood there. Only whether the grant's own question is still asked
        # depends on the approval, so beside others it says nothing: a human looks anyway.
        asked = [one for one in decision.ask if one.code != ALWAYS] or decision.ask
        return NeedsApproval(code=asked[0].code, question="; ".join(one.question for one in asked),
                             remedy=decision.remedy)
    if not decision.allow:
        return Denied(code="not_permitted", reason="no rule of the policy allows this",
                      detail={"remedy": decision.remedy})
    return Allowed()


def _failed(error: PolicyError) -> Denied:
    """For the agent one reason, whatever it was; the cause is for operators."""
    return Denied(code="policy_error", reason="the policy could not decide",
                  detail={"code": error.code, "cause": error.cause, "remedy": error.remedy})


def _subject(subject: Subject) -> Json:
    """The subject as policies see it in a call: one spelling of it, that of ``policy_input``."""
    asked = Call.make(id=CallId(""), kind="tool", subject=subject, session=None,
                      target=Target(name="ringwall/list"), args={})
    return policy_input(asked, {}, 0.0)["subject"]
