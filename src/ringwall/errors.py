"""Every error Ringwall raises: a code, a cause, and what to do next.

RingwallError
├── Refused             a ring said no; carries the record's number
│   └── Limited         too many, too much, too fast; carries retry_after
├── Held                waits for a human's approval
├── Unavailable         a part that must decide is down: nothing was allowed
├── BadInput            bytes that are not what they must be (wire, plan, segment, frame)
├── ManifestError       ringwall.toml is wrong; carries every problem found
├── PolicyError         a policy cannot be loaded or decided
├── AuditError          the log cannot be written, or does not verify
└── ConfinementError    the platform cannot confine as asked

Standard library only: an agent imports this module.
"""

from __future__ import annotations


class RingwallError(Exception):
    """Base of all errors.

    Args:
        cause: one sentence, what is wrong, for somebody who never saw the code.
        code: stable, machine readable, ``snake_case``.
        remedy: the next step; empty when there is none.
        record: names the audit record that says more, for instance ``acme/57``; empty when there is none.

    """

    default_code = "error"

    def __init__(self, cause: str, *, code: str = "", remedy: str = "", record: str = "") -> None:
        super().__init__(cause)
        self.code = code or self.default_code
        self.cause = cause
        self.remedy = remedy
        self.record = record

    def __str__(self) -> str:
        tail = f" ({self.remedy})" if self.remedy else ""
        record = f" [{self.record}]" if self.record else ""
        return f"{self.code}: {self.cause}{tail}{record}"


class Refused(RingwallError):
    """The wall refused the call."""

    default_code = "refused"

    @property
    def reason(self) -> str:
        """The short reason given to the agent."""
        return self.cause


class Limited(Refused):
    """Refused for rate, budget or concurrency. ``retry_after`` is in seconds."""

    default_code = "limited"

    def __init__(
        self, cause: str, *, code: str = "", remedy: str = "", record: str = "", retry_after: float = 0.0
    ) -> None:
        super().__init__(cause, code=code, remedy=remedy, record=record)
        self.retry_after = retry_after


class Held(RingwallError):
    """The call waits for a human. Repeat exactly this call with ``approval=held.approval`` once it is approved."""

    default_code = "held"

    @property
    def approval(self) -> str:
        """The approval that the call waits for, named by the record of the held call."""
        return self.record


class Unavailable(RingwallError):
    """A part that must answer did not. Nothing was allowed."""

    default_code = "unavailable"


class BadInput(RingwallError):
    """Bytes from outside do not have the form they must have."""

    default_code = "bad_input"


class ManifestError(RingwallError):
    """The manifest is wrong. ``problems`` holds one text per fault."""

    default_code = "bad_manifest"

    def __init__(self, problems: tuple[str, ...], *, remedy: str = "") -> None:
        super().__init__("\n".join(problems), remedy=remedy)
        self.problems = problems

    def __str__(self) -> str:
        return self.cause


class PolicyError(RingwallError):
    """A policy cannot be loaded, or evaluating it failed. Always a denial."""

    default_code = "policy_error"


class AuditError(RingwallError):
    """The log cannot be written or read, or does not verify."""

    default_code = "audit_error"


class ConfinementError(RingwallError):
    """This platform cannot confine a process as asked."""

    default_code = "cannot_confine"
