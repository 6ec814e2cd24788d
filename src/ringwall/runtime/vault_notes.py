"""What the log says of the vault: each change before it happens, and how far the vault's file must be afterwards.

The vault's ``sequence`` grows with each write. The log has the last one, so a file that is older than the log knows
is told: somebody put a copy back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from ringwall.call import Call, Event, Json, subject_name
from ringwall.errors import AuditError, Refused
from ringwall.interface import Journal
from ringwall.vault.embedded import EmbeddedVault

LOG: Final = "system"
WRITTEN: Final = "vault_written"
SEALED: Final = "vault_sealed"
ROTATED: Final = "vault_rotated"
KINDS: Final = frozenset({WRITTEN, SEALED, ROTATED, "vault_init", "vault_unsealed", "vault_restored"})
"""What start-up looks at: how far the file was, and whether an operator had sealed it."""
OLDER: Final = frozenset({"vault_rolled_back", "vault_gone", "vault_foreign"})
"""Codes of a vault that must not be used although a key would open it."""


class Written(Protocol):
    """A record as the log gives it back."""

    @property
    def type(self) -> str: ...
    @property
    def body(self) -> Json: ...


class VaultNotes:
    """Writes the vault's events, and remembers how far its file got.

    Args:
        vault: has the sequence.
        journal: where events are durable.

    """

    def __init__(self, vault: EmbeddedVault, journal: Journal) -> None:
        self._vault = vault
        self._journal = journal
        self.last = 0  # the highest sequence that the log knows of
        self.root = ""  # under which root key it was then, if the log says so
        self.sealed = False  # an operator sealed it, and nobody has opened it since

    def restore(self, records: Iterable[Written]) -> None:
        """Take what there is of ``KINDS``, oldest first. Raises what reading them raises."""
        for record in records:
            if record.type == WRITTEN:
                self.last = max(self.last, int(record.body["sequence"]))
                self.root = str(record.body.get("root_check", ""))
            elif record.type == ROTATED:  # the core may have ended before or after the vault was under the new one
                self.root = ""
            else:
                self.sealed = record.type == SEALED

    async def before(self, kind: str, call: Call, body: Mapping[str, Json]) -> str:
        """Durable before anything changes. Names, versions and the sequence; never a value. Raises AuditError."""
        record = await self._journal.note(self._event(kind, call, body))
        self.root = "" if kind == ROTATED else self.root
        self.sealed = self.sealed and kind not in KINDS
        return record

    async def tightened(self, kind: str, call: Call, body: Mapping[str, Json]) -> str:
        """The same for what only tightens: it happens without a log too, and is counted until there is one."""
        event = self._event(kind, call, body)
        try:
            return await self._journal.note(event)
        except AuditError:
            self._journal.count(event)
            return ""

    async def after(self, call: Call) -> None:
        """How far the file is now. The change has happened: where this cannot be written it is counted."""
        self.last, self.root = max(self.last, self._vault.sequence), self._vault.root_check
        await self.tightened(WRITTEN, call, {"root_check": self.root})

    def check(self) -> None:
        """Raises Refused (``vault_rolled_back``, ``vault_gone``, ``vault_foreign``): the file is older than the log
        knows, or gone, or under a root key that it does not know; and what a file raises that cannot be used."""
        if self._vault.state == "absent" and self.last:
            raise Refused(f"the log knows of {self.last} writes of the vault, and its file is gone",
                          code="vault_gone",
                          remedy="put the file back, or a backup with `ringwall vault restore`; if all of it may "
                                 "be lost: ringwall vault init --anew")
        self._vault.check_sequence(self.last)
        if self.root and self._vault.root_check not in {"", self.root}:
            raise Refused("the vault's file is under another root key than the log knows: it is another vault's",
                          code="vault_foreign",
                          remedy="put this installation's own file back, or take this one over: "
                                 "`ringwall vault restore --accept-older`")

    def _event(self, kind: str, call: Call, body: Mapping[str, Json]) -> Event:
        stands = {"sequence": self._vault.sequence, "generation": self._vault.generation}
        return Event(type=kind, tenant=LOG, subject=subject_name(call.subject), body={**body, **stands})
