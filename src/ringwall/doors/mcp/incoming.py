"""One HTTP request of MCP: who sent it, where to, and how it is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringwall.doors.http import prefer_wait
from ringwall.doors.interface import Scope
from ringwall.doors.mcp.reply import Reply
from ringwall.doors.protocol import Presence
from ringwall.interface import Origin

MAX_WAIT_S: Final = 3600.0  # how long one request may wait for a human


@dataclass(frozen=True, slots=True, kw_only=True)
class From:
    """The request. ``at``: the server of the path; empty: all."""

    scope: Scope
    origin: Origin
    launch: str
    at: str
    presence: Presence
    reply: Reply

    @property
    def seconds(self) -> float:
        """How long its client waits for a human."""
        return min(prefer_wait(self.scope["headers"]), MAX_WAIT_S)
