"""Sessions: one task each, opened by a trusted principal. What the agent says of its task is never asked."""

from __future__ import annotations

from dataclasses import dataclass

from ringwall.call import LaunchId, SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One task of one launch.

    ``task`` is the trusted instruction, as the operator gave it. ``context`` names what the process can write
    and so what its labels belong to: its workspace folder.
    """

    id: SessionId
    tenant: str
    agent: str
    launch: LaunchId
    context: str
    task: str


class Sessions:
    """The open sessions of this core."""

    def __init__(self) -> None:
        self._open: dict[SessionId, Session] = {}

    def open(self, session: Session) -> None:
        """Begin a session."""
        self._open[session.id] = session

    def close(self, session: SessionId) -> None:
        """End it; later calls in it are refused."""
        self._open.pop(session, None)

    def all(self) -> tuple[Session, ...]:
        """Those that are open now."""
        return tuple(self._open.values())

    def get(self, session: SessionId | None) -> Session | None:
        """The open session of this id, or None."""
        return self._open.get(session) if session is not None else None
