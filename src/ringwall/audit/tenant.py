"""Everything the journal holds for one tenant: its log, its session keys, its intents without outcome."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringwall.audit.budget import LogBudget
from ringwall.audit.checkpoint import Signer, VerifierKey
from ringwall.audit.disk import Disk, replace_file
from ringwall.audit.log import TenantLog
from ringwall.audit.reader import key_folder, log_folder
from ringwall.audit.records import cut_record, effects, outcome_record
from ringwall.audit.recovery import Found
from ringwall.audit.segments import SEGMENT_BYTES
from ringwall.audit.sessions import KeyRing, SessionKey
from ringwall.audit.store import disk_error
from ringwall.call import Outcome
from ringwall.clock import Clock
from ringwall.errors import AuditError, BadInput
from ringwall.keys.interface import RootKeys, audit_signer

OPEN_SECONDS: Final = 30.0  # what opening may wait for the disk, per record it has to write
CUT_NOTE: Final = "cut-note"  # says what is being cut until its record is durable
MAX_TENANT_BYTES: Final = 200  # file names have at most 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What all logs of one state folder share. ``quota`` in bytes per tenant; ``budget``: of each agent in it."""

    state: Path
    keys: RootKeys
    clock: Clock
    disk: Disk
    origin: str
    quota: int
    segment: int = SEGMENT_BYTES
    budget: LogBudget | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """An intent that waits for its outcome."""

    call: str
    subject: str
    session: str
    key: SessionKey


class TenantAudit:
    """One tenant's log with its keys. Build it with :meth:`open`, which blocks for the disk."""

    def __init__(self, log: TenantLog, ring: KeyRing) -> None:
        self.log = log
        self.ring = ring
        self.pending: dict[int, Pending] = {}
        self.opened_size = log.size
        self.opened_note = log.checkpoint
        self._making: dict[str, asyncio.Task[SessionKey]] = {}

    @classmethod
    def open(cls, tenant: str, settings: Settings) -> TenantAudit:
        """Open or make a tenant's log; record a cut and the outcomes that the last run did not write.

        Raises:
            AuditError: see ``TenantLog.open`` and ``KeyRing.open``; ``bad_tenant``, ``key_changed``.
            Unavailable: the root keys do not answer.

        """
        folder = log_folder(settings.state, check_tenant(tenant))
        signer = _signer(tenant, settings)
        log, found = TenantLog.open(
            folder, signer=signer, disk=settings.disk, clock=settings.clock, effects=effects,
            quota=settings.quota, segment=settings.segment,
        )
        try:
            _cut(log, folder, found, settings)
            _close_intents(log, found, settings)
            ring = KeyRing.open(folder, settings.keys, settings.disk)
        except BaseException:
            log.close()
            raise
        return cls(log, ring)

    async def session_key(self, session: str) -> SessionKey:
        """The key of a session, made (durably, off the loop) at its first record. Raises AuditError."""
        key = self.ring.current(session)
        if key is not None:
            return key
        task = self._making.get(session)
        if task is None:
            task = asyncio.ensure_future(asyncio.to_thread(self.ring.create, session))
            self._making[session] = task
            task.add_done_callback(lambda done: self._made(session, done))
        return await asyncio.shield(task)

    def _made(self, session: str, done: asyncio.Task[SessionKey]) -> None:
        self._making.pop(session, None)
        if not done.cancelled():
            done.exception()  # whoever waited has it; nobody may be left to


def check_tenant(tenant: str) -> str:
    """A tenant's name as a folder name. Raises AuditError (``bad_tenant``)."""
    plain = tenant.replace(".", "a").replace("_", "a").replace("-", "a")
    if not (plain.isascii() and plain.isalnum()) or tenant in {".", ".."} or len(tenant) > MAX_TENANT_BYTES:
        raise AuditError(
            f"{tenant[:60]!r} cannot name a log", code="bad_tenant",
            remedy="use at most 200 letters, digits, '.', '_' and '-'",
        )
    return tenant


def _signer(tenant: str, settings: Settings) -> Signer:
    """The log's signer; its public key is published once and must stay the same."""
    path = key_folder(settings.state) / f"{tenant}.pub"
    key = settings.keys.signing_key(audit_signer(tenant))
    try:
        if path.exists():
            published = VerifierKey.parse(path.read_text().removesuffix("\n"))
            signer = Signer(published.name, key)
            if signer.verifier != published:
                raise AuditError(
                    f"the log of {tenant} was signed with another key than root.key gives", code="key_changed",
                    remedy="put back the root.key that belongs to this state folder",
                )
            return signer
        signer = Signer(f"{settings.origin}/{tenant}", key)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(settings.disk, path, f"{signer.verifier}\n".encode())
    except (BadInput, UnicodeDecodeError) as fault:
        raise AuditError(
            f"{path} is no public key: {fault}", code="key_damaged",
            remedy="restore it from a backup; it is public",
        ) from None
    except OSError as fault:
        raise disk_error(fault) from None
    return signer


def _cut(log: TenantLog, folder: Path, found: Found | None, settings: Settings) -> None:
    """Cut an unfinished batch and record that; a crash in between loses neither. Raises AuditError."""
    note = folder / CUT_NOTE
    try:
        if found is not None and found.unfinished is not None:
            tail = found.path.read_bytes()[found.unfinished.offset:].rstrip(b"\0")
            record = cut_record(
                now=settings.clock.now(), tenant=folder.name, segment=found.header.number,
                offset=found.unfinished.offset, size=len(tail), sha256=hashlib.sha256(tail).hexdigest(),
            )
            replace_file(settings.disk, note, record)
            log.cut(found.unfinished.offset)
        if note.exists():
            log.append(note.read_bytes(), essential=True).result(OPEN_SECONDS)
            note.unlink()
    except TimeoutError:
        raise slow() from None
    except OSError as fault:
        raise disk_error(fault) from None


def _close_intents(log: TenantLog, found: Found | None, settings: Settings) -> None:
    """Intents of an earlier run without outcome get one: unknown. Raises AuditError."""
    missing = sorted(found.open) if found else []
    unknown = Outcome(end="unknown", code="core_stopped")
    try:
        answers = [
            log.append(
                outcome_record(number, unknown, now=settings.clock.now(), call="", subject="", session="",
                               key=None),
                durable=number == missing[-1], essential=True,
            )
            for number in missing
        ]
        for answer in answers:
            answer.result(OPEN_SECONDS)
    except TimeoutError:
        raise slow() from None


def slow() -> AuditError:
    """The error of a disk that does not answer in time."""
    return AuditError(
        "the audit log did not become durable in time", code="audit_slow",
        remedy="check the disk of the state folder",
    )


