"""The embedded vault: secrets encrypted in the store, opened by a root key.

Whose a secret is comes from an attested subject (``Owner``), and so do the tenant's key and everything that a value
is bound to: a row moved to another agent, role, tenant, name or version does not open.
"""

from __future__ import annotations

import threading
from typing import Final, Literal, TypeAlias

from ringwall.clock import Clock
from ringwall.errors import BadInput, Refused, RingwallError, Unavailable
from ringwall.keys.interface import RootKeys
from ringwall.store.interface import Store
from ringwall.vault import backup, marks, rotation
from ringwall.vault.contents import Change, Contents
from ringwall.vault.envelope import Tenant, bound
from ringwall.vault.interface import Owner
from ringwall.vault.schema import (
    MARKS,
    MAX_VALUE,
    META,
    TABLES,
    TENANTS,
    VALUE,
    Entry,
    Meta,
    Path,
    State,
    VersionInfo,
    damaged,
    meta_of,
    path_of,
)

VaultState: TypeAlias = Literal["absent", "sealed", "open"]
_MICROSECONDS: Final = 1_000_000


class EmbeddedVault:
    """The vault of one installation; safe to use from several threads.

    Reads take tens of microseconds and may run on the event loop. Everything else writes, and blocks.

    Args:
        store: where its rows are.
        clock: for when a version was made.

    A file that cannot be used (``vault_newer``, ``vault_damaged``, what the store raises) makes a vault that is
    sealed and says why to whoever wants to open it.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.RLock()  # of all changes
        self._open: Contents | None = None
        self._scrubbed = True
        self._meta: Meta | None = None
        self._lost: RingwallError | None = None  # why its file cannot be used: then it counts as sealed
        try:
            store.write(lambda writer: [writer.execute(table) for table in TABLES])
            self._meta = self._stored()
        except RingwallError as fault:
            self._lost = fault

    # --- its state

    @property
    def state(self) -> VaultState:
        """Whether there is a vault, and whether its keys are in memory."""
        return "open" if self._open else "sealed" if self._meta or self._lost else "absent"

    @property
    def generation(self) -> int:
        """Which root key opens it, by its number; 0: there is no vault."""
        known = self._open or self._meta
        return known.generation if known else 0

    @property
    def sequence(self) -> int:
        """How many writes there were. While it is sealed: as the file says, which nobody has checked."""
        known = self._open or self._meta
        return known.sequence if known else 0

    @property
    def root_check(self) -> str:
        """Tells its root key from any other, and is no secret; no other root opens it. Empty: no vault."""
        known = self._open.meta if self._open else self._meta
        return known.root_check.hex()[:32] if known else ""

    def init(self, root: RootKeys, generation: int) -> None:
        """Make the vault, open.

        Raises:
            Refused: ``vault_exists``.
            Unavailable: ``store_unwritable``, or the root does not answer; there is still none.

        """
        with self._lock:
            self._usable()
            if self._meta:
                raise Refused("there is a vault already", code="vault_exists", remedy="`ringwall vault unseal`")
            made = Contents(root, generation, 1)
            made.replace(self._store, None, {})
            self._meta, self._open = made.meta, made

    def unseal(self, root: RootKeys) -> None:
        """Open it. A root key is checked by a MAC before anything is used; all rows but the values are, too.

        Raises:
            Refused: ``root_key_wrong``.
            BadInput: ``vault_damaged``: it stays sealed.
            Unavailable: ``vault_absent``, ``store_unreadable``, or the root does not answer.

        """
        with self._lock:
            if self._open:
                return
            self._usable()
            self._meta = self._stored()
            if self._meta is None:
                raise _absent()
            self._open = Contents.loaded(root, self._meta, self._store.rows(TENANTS), self._store.rows(MARKS))

    def seal(self) -> None:
        """Forget all keys. Every use is refused until it is opened again."""
        with self._lock:
            if self._open:
                self._meta, self._open = self._open.meta, None

    def check_sequence(self, last: int) -> None:
        """Raises Refused (``vault_rolled_back``): older than one that wrote ``last``; or why it is unusable."""
        self._usable()
        if self.sequence < last:
            raise Refused(
                f"the vault's file is older than the log: it has {self.sequence} writes, not {last}",
                code="vault_rolled_back",
                remedy="put the newest file back, or accept the loss: `ringwall vault restore --accept-older`",
            )

    def advance(self, past: int) -> None:
        """Count on after ``past``, so that an older file, once accepted, is told from the newer one again.

        Raises:
            Unavailable: ``vault_sealed``, ``vault_absent``, ``store_unwritable``.

        """
        with self._lock:
            old = self._opened()
            if old.sequence < past:
                made = Contents(old.root, old.generation, past + 1)
                made.hold(old.tenants, old.marks)
                made.replace(self._store, old.meta, None)
                self._open = made

    # --- secrets

    def put(self, owner: Owner, name: str, value: bytes, *, cas: int | None = None) -> int:
        """Keep a value as a new version.

        Args:
            owner: whose it is.
            name: of the secret.
            value: 1 byte to 64 KiB.
            cas: write only if this is the newest version; 0: only if there never was one.

        Returns:
            The new version's number. Of more than 32 versions the oldest are destroyed.

        Raises:
            BadInput: ``bad_secret_name``, ``bad_secret_value``, ``vault_damaged``.
            Refused: ``version_conflict``.
            Unavailable: ``vault_sealed``, ``vault_absent``, ``vault_full``, ``store_unwritable``; nothing changed.

        """
        path = path_of(owner, name)
        _check_value(value)
        with self._lock:
            contents = self._opened()
            mark = contents.marks.get(path, marks.NOTHING_YET)
            if cas is not None and cas != mark.high:
                raise Refused(f"the newest version of {path} is {mark.high}, not {cas}", code="version_conflict",
                              remedy="read the versions again, then decide")
            new = {} if path.tenant in contents.tenants else {path.tenant: Tenant.new(contents.root, path.tenant)}
            keys = new.get(path.tenant) or contents.tenants[path.tenant]
            number = mark.high + 1
            version, body = keys.seal(path, number, int(self._clock.now() * _MICROSECONDS), value)
            after, dropped = marks.added(path, mark, version)
            self._write(contents, Change(tenants=new, marks={path: after}, bodies={(path, number): body},
                                         gone=dropped))
        return number

    def read(self, owner: Owner, name: str, version: int | None = None) -> bytes:
        """A value; without ``version`` the newest one's.

        Raises:
            BadInput: ``no_such_secret``, ``secret_deleted``, ``secret_destroyed``, ``vault_damaged``,
                ``bad_secret_name``.
            Unavailable: ``vault_sealed``, ``vault_absent``, ``store_unreadable``.

        """
        path = path_of(owner, name)
        try:
            return self._read(path, version)
        except BadInput as fault:
            if fault.code != "vault_damaged":
                raise
        with self._lock:  # a write may have come between mark and value; now none can
            return self._read(path, version)

    def delete(self, owner: Owner, name: str, version: int) -> None:
        """Refuse a version's use until :meth:`undelete`. Raises like :meth:`read` and :meth:`put`."""
        self._set_state(owner, name, version, "deleted")

    def undelete(self, owner: Owner, name: str, version: int) -> None:
        """Take :meth:`delete` back. Raises the same."""
        self._set_state(owner, name, version, "live")

    def destroy(self, owner: Owner, name: str, version: int) -> None:
        """Forget a version's value and key for good. Raises the same."""
        self._set_state(owner, name, version, "destroyed")

    def versions(self, owner: Owner, name: str) -> list[VersionInfo]:
        """What versions there are, oldest first. Raises BadInput (``no_such_secret``), Unavailable."""
        path = path_of(owner, name)
        mark = self._opened().marks.get(path)
        if mark is None:
            raise marks.no_such(path)
        return [VersionInfo(version=one.number, created=one.created / _MICROSECONDS, state=one.state)
                for one in mark.versions]

    def listed(self, tenant: str = "") -> list[Entry]:
        """The names of what a tenant has, or all. Raises Unavailable (``vault_sealed``, ``vault_absent``)."""
        with self._lock:
            return marks.listed(self._opened().marks, tenant)

    # --- rotation and backup

    def rotate_root(self, root: RootKeys, generation: int) -> int:
        """Put everything under another root key, in one transaction; reads go on meanwhile.

        Args:
            root: the new one, which its source keeps already; the old one must stay there until this returns.
            generation: its number, later than :attr:`generation`.

        Returns:
            How many data keys were wrapped again.

        Raises:
            Refused: ``generation_conflict``, ``root_key_same``.
            BadInput: ``vault_damaged``.
            Unavailable: ``vault_sealed``, ``vault_absent``, ``store_unwritable``: the old root key still opens all.

        """
        with self._lock:
            old = self._opened()
            rotation.check_new(root, generation, old)
            made, count = rotation.under(root, generation, old)
            made.replace(self._store, old.meta, None)
            self._open = made
            self._scrub()
        return count

    def rotate_tenant(self, tenant: str) -> int:
        """Put a tenant's data keys under a new tenant key. Returns and raises like :meth:`rotate_root`, and Refused
        (``no_such_tenant``)."""
        with self._lock:
            contents = self._opened()
            change, count = rotation.tenant_moved(contents, tenant)
            contents.write(self._store, change)
            self._scrub()
        return count

    def backup(self) -> bytes:
        """All of it, encrypted as it is at rest. The root key is not in it.

        Raises:
            BadInput: ``vault_damaged``.
            Unavailable: ``vault_sealed``, ``vault_absent``, ``backup_too_large``, ``store_unreadable``.

        """
        with self._lock:
            return backup.made(self._opened(), self._store)

    def restore(self, blob: bytes, root: RootKeys | None = None) -> None:
        """Put a backup in the place of what is here: all of it or, after an error, nothing.

        Args:
            blob: from :meth:`backup`.
            root: the root key of the backup's generation (``backup.generation_of``); None: that of the open vault.
                Where there is no vault, it becomes the vault's own.

        Raises:
            BadInput: ``bad_backup``, ``vault_damaged``.
            Unavailable: ``vault_sealed``; ``vault_absent``, without a root key; ``store_unwritable``.

        """
        with self._lock:
            self._usable()
            if self._meta is None and root is not None:
                restored, bodies = backup.opened(blob, root)
                restored.replace(self._store, None, bodies)
                self._meta, self._open = restored.meta, restored
                return
            current = self._opened()
            restored, bodies = backup.opened(blob, root or current.root)
            after = backup.joined(current, restored)
            after.replace(self._store, current.meta, bodies)
            self._open = after
            self._scrub()

    # --- small things kept elsewhere

    def keep(self, owner: Owner, purpose: str, plain: bytes) -> bytes:
        """Encrypt what another table keeps, bound to its owner and purpose; a tenant's first one writes.

        Raises:
            BadInput: ``bad_secret_name``, ``bad_secret_value``, ``vault_damaged``.
            Unavailable: ``vault_sealed``, ``vault_absent``, ``store_unwritable``.

        """
        path = path_of(owner, purpose)
        _check_value(plain)
        contents = self._opened()
        if path.tenant not in contents.tenants:
            with self._lock:
                contents = self._opened()
                if path.tenant not in contents.tenants:
                    self._write(contents, Change(tenants={path.tenant: Tenant.new(contents.root, path.tenant)}))
        return contents.tenants[path.tenant].keep_one(bound("keep", *path), plain)

    def opened(self, owner: Owner, purpose: str, blob: bytes) -> bytes:
        """The reverse of :meth:`keep`; rotations in between do not matter.

        Raises:
            BadInput: ``bad_secret_name``, ``vault_damaged``: of another owner or purpose, or changed.
            Unavailable: ``vault_sealed``, ``vault_absent``.

        """
        path = path_of(owner, purpose)
        tenant = self._opened().tenants.get(path.tenant)
        if tenant is None:
            raise damaged(f"what is kept for tenant {path.tenant}")
        return tenant.kept_one(bound("keep", *path), blob, f"what is kept as {path}")

    # --- inside

    def _stored(self) -> Meta | None:
        return meta_of(self._store.rows(META))

    def _usable(self) -> None:
        """Raises RingwallError: the file was damaged, or could not be read, when this was made."""
        if self._lost is not None:
            raise self._lost

    def _opened(self) -> Contents:
        if (contents := self._open) is not None:
            return contents
        self._usable()
        if self._meta is None:
            raise _absent()
        raise Unavailable("the vault is sealed", code="vault_sealed", remedy="`ringwall vault unseal`")

    def _read(self, path: Path, number: int | None) -> bytes:
        contents = self._opened()
        version = marks.picked(path, contents.marks.get(path), number)
        rows = self._store.rows(VALUE, (*path, version.number))
        body = rows[0][0] if rows else None
        if not isinstance(body, bytes):
            raise damaged(f"version {version.number} of {path}")
        return contents.tenants[path.tenant].unseal(path, version, body)

    def _set_state(self, owner: Owner, name: str, number: int, state: State) -> None:
        path = path_of(owner, name)
        with self._lock:
            contents = self._opened()
            if change := marks.turned(path, contents.marks.get(path), number, state):
                self._write(contents, change)

    def _write(self, contents: Contents, change: Change) -> None:
        contents.write(self._store, change)
        if change.gone or not self._scrubbed:
            self._scrub()

    def _scrub(self) -> None:
        """What was just dropped leaves the write-ahead log too; if it cannot now, after the next write."""
        self._scrubbed = self._store.scrub()


def _check_value(value: bytes) -> None:
    if not 1 <= len(value) <= MAX_VALUE:
        raise BadInput(f"a secret has 1 to {MAX_VALUE} bytes, this one {len(value)}", code="bad_secret_value",
                       remedy="keep larger things encrypted elsewhere, and their key here")


def _absent() -> Unavailable:
    return Unavailable("there is no vault yet", code="vault_absent", remedy="`ringwall vault init`")
