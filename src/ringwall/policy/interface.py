"""What decides: a compiled policy in process now, an OPA beside us later. Both mean the same by everything here."""

from __future__ import annotations

from typing import Protocol

from ringwall.call import Json


class PolicyBackend(Protocol):
    """Evaluates one entry point on one document. Safe to call from several threads."""

    @property
    def revision(self) -> str:
        """Which policy this is: SHA-256 over sources, capabilities and compiler version, lower-case hex."""
        ...

    def decide(self, entry_point: str, document: Json) -> Json:
        """The value of ``entry_point`` for ``document`` (plain JSON values).

        Raises:
            PolicyError: the entry point is unknown (``unknown_entry_point``), the result is undefined
                (``undefined_decision``), a limit was reached (``policy_limit``), or evaluation failed
                (``policy_failed``). Each one is a denial.

        """
        ...
