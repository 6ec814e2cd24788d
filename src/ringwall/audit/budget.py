"""How much of a tenant's log one agent may fill, so that a flood of one is not the end of the others' records."""

from __future__ import annotations

from typing import Final, Protocol

from ringwall.call import Event, Operator, Peer, Subject, subject_name
from ringwall.errors import AuditError
from ringwall.manifest.types import Rate

# An agent's two parts of its tenant's quota. In the worst hour both are full at its start and come in once more:
# 1/8 + 1/32 + 2/64, less than a fifth.
WHOLE_AT_ONCE: Final = 8  # one part in so many for records with their bodies: with 1 GiB some 20,000 calls of 1 KB
WHOLE_PART: Final = 32  # and what of it comes back every hour
SHORT_PART: Final = 64  # and for refusals after those are used up
SMALL: Final = 4096  # bytes; a refusal this short keeps its body out of the second part too
OUTCOME: Final = 1024  # bytes; what an intent will write when it ends, paid beforehand
BATCH: Final = 512  # bytes that a record written alone brings along: the batch around it and its checkpoint
BEFORE_CALL: Final = "refused_before_call"  # the wall's event for a request that never became a call
_HOUR: Final = 3600.0


class Taken(Protocol):
    """Whether it was taken."""

    @property
    def taken(self) -> bool: ...


class Rates(Protocol):
    """Rate counters by key: ``limits.gcra.Gcra``."""

    def take(self, key: str, rate: Rate, cost: int = 1) -> Taken:
        """Take ``cost`` at once or nothing."""
        ...


class LogBudget:
    """One log budget an agent, and one for each peer of an agent. Operators have none: what they do must be on
    record whatever agents did.

    Args:
        rates: counters of these budgets' own.
        quota: bytes of one tenant's log.

    """

    def __init__(self, rates: Rates, quota: int) -> None:
        self._rates = rates
        self._whole = _rate(quota // WHOLE_PART, quota // WHOLE_AT_ONCE)
        self._short = _rate(quota // SHORT_PART, quota // SHORT_PART)

    def whole(self, subject: Subject, size: int) -> bool:
        """Take room for a record with its body, of ``size`` bytes."""
        return self._take("whole", subject, self._whole, size)

    def short(self, subject: Subject, size: int) -> bool:
        """Take room for a refusal after ``whole`` is used up."""
        return self._take("short", subject, self._short, size)

    def event(self, event: Event, size: int) -> bool:
        """Take room for an event. Only what an agent can bring about as often as it likes costs it anything."""
        if event.type != BEFORE_CALL or event.subject.startswith("operator:"):
            return True
        receiver = event.body.get("receiver")
        name = f"{receiver}|{event.subject}" if isinstance(receiver, str) else event.subject
        return self._rates.take(f"short:{name}", self._short, size + BATCH).taken

    def _take(self, part: str, subject: Subject, rate: Rate, size: int) -> bool:
        if isinstance(subject, Operator):
            return True
        # A peer fills the receiver's log: what it sends there takes nothing from what it may write in its own.
        name = f"{subject.receiver}|{subject.spiffe_id}" if isinstance(subject, Peer) else subject_name(subject)
        return self._rates.take(f"{part}:{name}", rate, size + BATCH).taken


def _rate(hourly: int, at_once: int) -> Rate:
    return Rate(count=hourly, seconds=_HOUR, burst=at_once)


def over() -> AuditError:
    """The error of an agent that has used up its part of the log."""
    return AuditError(
        "this agent has used up its part of the audit log", code="log_budget",
        remedy="wait; operator: `ringwall audit tail` shows what floods, [audit] quota_mib makes the parts larger",
    )
