"""What the flow ring needs of its surroundings."""

from __future__ import annotations

from typing import Protocol

from ringwall.call import SessionId


class SessionView(Protocol):
    """One open session: the trusted instruction, and the name of all that its process can write."""

    @property
    def tenant(self) -> str: ...
    @property
    def context(self) -> str: ...
    @property
    def task(self) -> str: ...


class SessionLookup(Protocol):
    """Open sessions."""

    def get(self, session: SessionId | None) -> SessionView | None:
        """The open session, or None: then the call is refused."""
        ...


class Canonical(Protocol):
    """One spelling per value of a kind. Raises BadInput for what is no value of it."""

    def __call__(self, kind: str, text: str) -> str: ...
