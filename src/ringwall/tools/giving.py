"""The core's end of a worker's third descriptor: credentials go to a built-in's process there, and nowhere else.

A worker is told a credential before the call that names it is sent, and to forget it when it is revoked or ends.
The tenant's sidecar, which carries the call, sees the name only.
"""

from __future__ import annotations

import socket
from typing import Final

import msgspec

from ringwall.errors import Unavailable
from ringwall.vault.interface import Credential
from ringwall.wire.frames import Link

MAX_QUEUED: Final = 1 << 20  # bytes that a worker has not read; one that reads nothing gets no more


class Giving:
    """Every worker of one installation."""

    def __init__(self) -> None:
        self._links: dict[tuple[str, str], Link] = {}
        self._given: dict[tuple[str, str], dict[str, float]] = {}  # lease -> its end, as the worker was told

    async def open(self, tenant: str, server: str) -> int:
        """A worker is about to be started, in place of an earlier one: its descriptor, the caller's to close."""
        self.close(tenant, server)
        ours, theirs = socket.socketpair()
        key = (tenant, server)
        self._links[key] = await Link.open(ours, lambda _: None, lambda: None)  # it has nothing to say here
        self._given[key] = {}
        return theirs.detach()

    def give(self, tenant: str, server: str, credential: Credential, whose: str = "") -> str:
        """Let a worker use a credential; what a call names it by.

        Args:
            tenant: the worker's.
            server: the worker's name.
            credential: what it may use.
            whose: the agent that it is for; the worker shares what it has out among them.

        Raises:
            Unavailable: ``server_gone``.

        """
        key = (tenant, server)
        given = self._given.get(key, {})
        if given.get(credential.lease) != credential.expires_at:  # new, or renewed
            self._send(key, {"give": credential.lease, "whose": whose, "values": dict(credential.values),
                             "expires_at": credential.expires_at})
            given[credential.lease] = credential.expires_at
        return credential.lease

    def drop(self, lease: str) -> None:
        """Nobody may use this any more: every worker that has it forgets it."""
        for key, given in self._given.items():
            if lease in given:
                del given[lease]
                try:
                    self._send(key, {"drop": lease})
                except Unavailable:
                    continue  # it is gone, and what it was given with it

    def close(self, tenant: str, server: str) -> None:
        """A worker has ended."""
        link = self._links.pop((tenant, server), None)
        self._given.pop((tenant, server), None)
        if link is not None:
            link.close()

    def _send(self, key: tuple[str, str], message: dict[str, object]) -> None:
        link = self._links.get(key)
        if link is None or not link.alive:
            raise Unavailable("the tool server ended before the call; nothing was sent", code="server_gone")
        if link.queued > MAX_QUEUED:
            link.close()
            raise Unavailable("the tool server does not take its credentials", code="server_gone")
        link.send(msgspec.json.encode(message))

