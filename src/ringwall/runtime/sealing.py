"""The vault as a whole, as operators handle it: make, seal, unseal, change its keys, back up and restore."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from ringwall.call import Call, Json, Operator
from ringwall.clock import Clock
from ringwall.errors import BadInput, Refused, RingwallError, Unavailable
from ringwall.keys.interface import RootKeys, RootSource
from ringwall.manifest.types import Manifest
from ringwall.runtime.acts import Act, arguments
from ringwall.runtime.uploads import MAX_WHOLE, Uploads, sha256
from ringwall.runtime.vault_notes import OLDER, VaultNotes
from ringwall.runtime.vault_roots import Roots
from ringwall.vault.backup import generation_of
from ringwall.vault.embedded import EmbeddedVault


class _Nothing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No arguments."""


class _Handed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``vault.unseal`` takes: a passphrase or shares, handed in beside the call."""

    upload: str = ""


class _Making(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``vault.init`` takes: a passphrase; ``anew``: although the log knows of a vault that is gone."""

    upload: str = ""
    anew: bool = False


class _Rotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``vault.rotate`` takes. ``upload``: the new passphrase, or enough of the new shares to prove that they
    were kept."""

    what: Literal["root", "tenant"]
    tenant: str = ""
    upload: str = ""


class _Restoring(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``vault.restore`` takes: a backup, named by its hash for a second operator; or the word that the older
    file counts. ``answers``: what opens the root key, if it is not open."""

    upload: str = ""
    sha256: str = ""
    answers: str = ""
    accept_older: bool = False


class Sealing:
    """The vault's key and file.

    Args:
        vault: the embedded one.
        source: keeps its root key.
        uploads: what no call may carry.
        notes: writes events, knows the last sequence.
        clock: for shares that wait for the others.
        manifest: how many shares there are.

    """

    def __init__(
        self, *, vault: EmbeddedVault, source: RootSource, uploads: Uploads, notes: VaultNotes, clock: Clock,
        manifest: Manifest,
    ) -> None:
        self._vault = vault
        self._source = source
        self._uploads = uploads
        self._notes = notes
        self._roots = Roots(vault=vault, source=source, uploads=uploads, clock=clock,
                            threshold=manifest.vault.threshold)
        self._made = 0  # the generation of new shares that nobody has confirmed yet
        self._order = asyncio.Lock()
        self._running = set[asyncio.Task[Any]]()
        self._seals = 0  # how often an operator asked for it
        self.fault: RingwallError | None = None  # why the vault could not be opened

    def acts(self) -> dict[str, Act]:
        """``vault.init`` to ``vault.restore``."""
        return {
            "vault.init": self.whole(self._init),
            "vault.status": self._status,
            "vault.seal": self._seal,  # waits for nothing
            "vault.unseal": self.whole(self._unseal),
            "vault.rotate": self.whole(self._rotate),
            "vault.backup": self.whole(self._backup),
            "vault.restore": self.whole(self._restore),
        }

    async def open_at_start(self) -> None:
        """Open the vault if its root key asks nobody and no operator sealed it. Otherwise, or if it cannot be
        opened, it stays sealed: every use of it is refused, ``status`` says why, and the rest runs."""
        try:
            self._notes.check()
            if self._vault.state == "sealed" and self._source.asks == "nothing" and not self._notes.sealed:
                self._opened(await self._roots.open(()))
        except RingwallError as fault:
            self.fault = fault

    def usable(self) -> None:
        """Raises RingwallError: the vault is absent, sealed, or older than the log knows."""
        if self._vault.state == "open":
            return
        if self.fault is not None and self.fault.code in OLDER:
            raise self.fault
        if self._vault.state == "absent":
            raise Unavailable("there is no vault yet", code="vault_absent", remedy="ringwall vault init")
        raise Unavailable("the vault is sealed", code="vault_sealed", remedy="ringwall vault unseal")

    def status(self) -> dict[str, Json]:
        """For ``ringwall status`` and ``doctor``: nothing here waits for the vault."""
        found: dict[str, Json] = {
            "state": self._vault.state, "generation": self._vault.generation, "sequence": self._vault.sequence,
            "root": self._source.kind, "asks": self._source.asks,
            "fault": None if self.fault is None else {"code": self.fault.code, "cause": self.fault.cause,
                                                      "remedy": self.fault.remedy},
        }
        if self._source.asks == "shares":
            found["shares"] = {"brought": len(self._roots.shares()), "threshold": self._roots.threshold}
        return found

    def whole(self, act: Act) -> Act:
        """One such act at a time, each to its end: who goes away in the middle leaves nothing half done."""

        async def ordered(call: Call) -> Json:
            async with self._order:
                seals = self._seals
                try:
                    return await act(call)
                finally:
                    if self._seals != seals and self._vault.state == "open":
                        await self._seal_again(call)

        async def shielded(call: Call) -> Json:
            task = asyncio.ensure_future(ordered(call))
            self._running.add(task)
            task.add_done_callback(self._over)
            return await asyncio.shield(task)

        return shielded

    def _over(self, task: asyncio.Task[Json]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may have gone; the log has it

    # --- the acts

    async def _status(self, call: Call) -> Json:
        arguments(call, _Nothing)
        is_open = self._vault.state == "open"
        return {**self.status(), "secrets": len(await asyncio.to_thread(self._vault.listed)) if is_open else None}

    async def _init(self, call: Call) -> Json:
        order, who = arguments(call, _Making), operator(call)
        if self._vault.state != "absent":
            raise Refused("there is a vault already", code="vault_exists", remedy="ringwall vault status")
        if not order.anew:
            self._notes.check()
        await self._notes.before("vault_init", call, {"root": self._source.kind})
        generation, root, shown = await self._roots.new(1, self._roots.brought(who, order.upload))
        await asyncio.to_thread(lambda: self._vault.init(root, generation))
        await self._counted(call)
        return {"state": self._vault.state, "generation": generation, **self._roots.shown(who, shown)}

    async def _seal(self, call: Call) -> Json:
        arguments(call, _Nothing)
        was = self._vault.state
        if was == "absent" or (was == "sealed" and self._notes.sealed and not self._order.locked()):
            return {"state": was, "sealed": False}
        self._seals += 1
        # One that is sealed for another reason, too: it shall not open by itself when that reason is gone.
        await asyncio.to_thread(self._vault.seal)  # before it is written down: it only tightens
        self._notes.sealed = True
        record = await self._notes.tightened("vault_sealed", call, {})
        return {"state": self._vault.state, "sealed": was == "open", "durable": bool(record)}

    async def _seal_again(self, call: Call) -> None:
        """An operator sealed it while another act was opening it. Raises Unavailable: that one's act is undone."""
        await asyncio.to_thread(self._vault.seal)
        self._notes.sealed = True
        await self._notes.tightened("vault_sealed", call, {})
        raise Unavailable("an operator sealed the vault meanwhile", code="vault_sealed",
                          remedy="ringwall vault unseal")

    async def _unseal(self, call: Call) -> Json:
        order, who = arguments(call, _Handed), operator(call)
        if self._vault.state == "open":
            return {"state": "open", "unsealed": False}
        if self._vault.state == "absent":
            raise Unavailable("there is no vault yet", code="vault_absent", remedy="ringwall vault init")
        self._notes.check()
        answers = self._roots.brought(who, order.upload)
        if self._source.asks != "shares":
            root = await self._roots.open(answers)
        else:
            collected = await self._roots.collect(answers)
            if collected is None:
                return {"state": "sealed", "brought": len(self._roots.shares()), "threshold": self._roots.threshold}
            root = collected
        await self._notes.before("vault_unsealed", call, {})
        await asyncio.to_thread(lambda: self._opened(root))
        return {"state": "open", "unsealed": True}

    async def _rotate(self, call: Call) -> Json:
        order, who = arguments(call, _Rotation), operator(call)
        self.usable()
        if order.what == "tenant":
            await self._notes.before("vault_rotated", call, {"what": "tenant", "tenant": order.tenant})
            rows = await asyncio.to_thread(lambda: self._vault.rotate_tenant(order.tenant))
            await self._notes.after(call)
            return {"what": "tenant", "tenant": order.tenant, "rewrapped": rows}
        if order.tenant:
            raise BadInput("the root key is no tenant's", code="bad_act", remedy="leave the tenant out")
        if self._source.asks == "shares":
            return await self._rotate_shares(call, who, order.upload)
        answers = self._roots.brought(who, order.upload)
        generation, root, _ = await self._roots.new(self._vault.generation + 1, answers)
        return await self._rewrap(call, root, generation)

    async def _rotate_shares(self, call: Call, who: Operator, upload: str) -> Json:
        """In two steps: nothing is under the new root before somebody has shown that its shares were kept."""
        if not upload:
            if self._made:
                await asyncio.to_thread(lambda: self._source.drop(self._made))
            self._made, _, shown = await self._roots.new(self._vault.generation + 1, ())
            return {"what": "root", "generation": self._made, "confirm": self._roots.threshold,
                    **self._roots.shown(who, shown)}
        if not self._made:
            raise Refused("no new shares wait to be confirmed", code="nothing_to_confirm",
                          remedy="ringwall vault rotate root")
        answers, generation = self._roots.brought(who, upload), self._made
        root = await self._roots.open(answers, generation)
        return await self._rewrap(call, root, generation)

    async def _rewrap(self, call: Call, root: RootKeys, generation: int) -> Json:
        """All keys under the new root, in one transaction; only then is the old one forgotten."""
        old = self._vault.generation
        await self._notes.before("vault_rotated", call, {"what": "root", "from": old, "to": generation})
        rows = await asyncio.to_thread(lambda: self._vault.rotate_root(root, generation))
        self._made = 0
        await self._notes.after(call)
        left = ""
        try:
            await asyncio.to_thread(lambda: self._source.drop(old))
        except RingwallError as fault:
            left = str(fault)
        return {"what": "root", "generation": generation, "rewrapped": rows, "old_root_left": left}

    async def _backup(self, call: Call) -> Json:
        arguments(call, _Nothing)
        who = operator(call)
        self.usable()
        blob = await asyncio.to_thread(self._vault.backup)
        name = self._uploads.outward.put(who, blob, limit=MAX_WHOLE)
        return {"download": name, "bytes": len(blob), "sha256": sha256(blob), "sequence": self._vault.sequence,
                "generation": self._vault.generation}

    async def _restore(self, call: Call) -> Json:
        order, who = arguments(call, _Restoring), operator(call)
        if order.accept_older == bool(order.upload or order.sha256) or bool(order.upload) != bool(order.sha256):
            raise BadInput("either a backup with its hash, or `accept_older`", code="bad_act",
                           remedy="ringwall vault restore --help")
        if order.accept_older:
            return await self._accept(call, self._roots.brought(who, order.answers))
        blob = self._uploads.inward.take(who, order.upload, limit=MAX_WHOLE)
        if sha256(blob) != order.sha256:
            raise Refused("what was handed in is not the backup that was named", code="upload_changed",
                          remedy="run the whole command again")
        if self._vault.state == "sealed":
            self.usable()
        generation, root = generation_of(blob), None
        if generation != self._vault.generation:
            answers = self._roots.brought(who, order.answers)
            root = await self._roots.open(answers, generation)
        await self._notes.before("vault_restored", call, {"sha256": order.sha256, "from": generation})
        await asyncio.to_thread(lambda: self._vault.restore(blob, root))
        await self._counted(call)
        return {"state": self._vault.state, "sequence": self._vault.sequence}

    async def _accept(self, call: Call, answers: Sequence[bytes]) -> Json:
        """The file counts as it is, although the log knows of a newer one, and from now on as newer than that."""
        if self._vault.state == "absent":
            self.usable()
        if self._vault.state == "open" or not self._is_older():
            raise Refused("the vault's file is as new as the log knows", code="not_rolled_back",
                          remedy="nothing needs to be accepted")
        root = await self._roots.open(answers)
        await self._notes.before("vault_restored", call, {"accepted": True, "known": self._notes.last})
        await asyncio.to_thread(lambda: self._vault.unseal(root))
        await self._counted(call)
        return {"state": self._vault.state, "sequence": self._vault.sequence}

    def _is_older(self) -> bool:
        """Whether the log knows of another file than this one. Raises BadInput: it cannot be used at all."""
        try:
            self._notes.check()
        except Refused as fault:
            if fault.code in OLDER:
                return True
            raise
        return False

    async def _counted(self, call: Call) -> None:
        """The vault is another one than before, as an operator wanted: it goes on after all that the log knows."""
        known = self._notes.last
        try:
            await asyncio.to_thread(lambda: self._vault.advance(known))
        except RingwallError:
            self._vault.seal()  # or it would count as an older one, and only after the next start
            raise
        self.fault = None
        await self._notes.after(call)

    def _opened(self, root: RootKeys) -> None:
        """Blocks. Unseal, and seal again if the file is older than the log knows. Raises RingwallError."""
        self._vault.unseal(root)
        try:
            self._notes.check()
        except Refused:
            self._vault.seal()
            raise
        self.fault = None


def operator(call: Call) -> Operator:
    """Who asks. Raises Refused."""
    if not isinstance(call.subject, Operator):
        raise Refused("only an operator may ask for this", code="operator_only")
    return call.subject
