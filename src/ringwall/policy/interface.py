"""What decides: a compiled policy in process, or an OPA beside us. Both mean the same by everything here."""

from __future__ import annotations

from typing import Protocol

from ringwall.call import Json


class PolicyBackend(Protocol):
    """Evaluates one entry point on one document. Many decisions may be under way at once."""

    @property
    def revision(self) -> str:
        """Which policy this is: SHA-256 over sources, capabilities and compiler version, lower-case hex."""
        ...

    async def decide(self, entry_point: str, document: Json) -> Json:
        """The value of ``entry_point`` for ``document`` (plain JSON values).

        Raises:
            PolicyError: the entry point is unknown (``unknown_entry_point``), the result is undefined
                (``undefined_decision``), a limit was reached (``policy_limit``), evaluation failed
                (``policy_failed``), or what decides cannot be asked (``opa_...``). Each one is a denial.

        """
        ...

    async def status(self) -> dict[str, Json]:
        """For `ringwall status` and `doctor`: ``backend``, ``revision``, ``fault`` (empty: none) and more."""
        ...

    async def close(self) -> None:
        """Give back what is held open. Nothing is decided afterwards."""
        ...
