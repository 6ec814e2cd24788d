"""The journal: what the wall writes to, one log a tenant. See ``interface.Journal``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

from ringwall.audit.budget import SMALL, LogBudget, afterwards, over
from ringwall.audit.counts import COUNT_SECONDS, Counter
from ringwall.audit.disk import Disk, SystemDisk
from ringwall.audit.reader import LogReader, log_folder, tenants
from ringwall.audit.records import DURABILITY, Record, call_record, event_record, outcome_record, parse_record
from ringwall.audit.segments import SEGMENT_BYTES, Damage
from ringwall.audit.sessions import KeyRing, SessionKey
from ringwall.audit.tenant import Pending, Settings, TenantAudit, check_tenant, slow
from ringwall.call import Call, Event, Json, Outcome, SessionId, Verdicts, subject_name
from ringwall.clock import Clock
from ringwall.errors import AuditError, BadInput, Unavailable
from ringwall.interface import Seq
from ringwall.keys.interface import RootKeys

SYSTEM: Final = "system"  # the reserved log, for what belongs to no tenant
DEADLINE_SECONDS: Final = 2.0  # a caller who waited this long for the disk is refused
ORIGIN: Final = "ringwall"  # first part of a log's name in its checkpoints, unless another is given
_MIB: Final = 1 << 20
_T = TypeVar("_T")


class AuditJournal:
    """The audit ring's other half. Build it with :meth:`open`; use it from one event loop; close it.

    All coroutines raise AuditError (``audit_slow``, ``audit_disk_full``, ``audit_quota``,
    ``audit_read_only``, ``audit_io_error``, ``audit_damaged``, ``audit_busy``, ``audit_closed``, …):
    then nothing was acknowledged, and nothing may happen.
    """

    def __init__(self, settings: Settings, *, deadline: float) -> None:
        self._settings = settings
        self._clock = settings.clock
        self._deadline = deadline
        self._tenants: dict[str, TenantAudit] = {}
        self._opening: dict[str, asyncio.Task[TenantAudit]] = {}
        self._faults: dict[str, AuditError] = {}
        self._standing: dict[str, Json] = {}
        self._budget = settings.budget
        self._counter = Counter(self._write_count)
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def open(
        cls, state_dir: Path, keys: RootKeys, clock: Clock, *, quota_mib: int, origin: str = ORIGIN,
        disk: Disk | None = None, deadline: float = DEADLINE_SECONDS, segment: int = SEGMENT_BYTES,
        budget: LogBudget | None = None,
    ) -> AuditJournal:
        """Open every log of a state folder for writing. Blocks for the disk.

        A tenant whose log is damaged is kept apart: its calls are refused, ``faults`` says why.

        Args:
            state_dir: the state folder; logs are in ``audit/<tenant>``.
            keys: the root keys.
            clock: for records, deadlines of retries, counted records.
            quota_mib: most MiB of segments per tenant.
            origin: first part of the logs' names in checkpoints, for instance the trust domain.
            disk: the file system; the real one if not given.
            deadline: seconds a caller waits at most for a record to be durable.
            segment: bytes of a new segment file.
            budget: what one agent may write; None: as much as there is.

        Raises:
            AuditError: the system log cannot be opened.
            Unavailable: the root keys do not answer.

        """
        journal = cls(
            Settings(state=state_dir, keys=keys, clock=clock, disk=disk or SystemDisk(), origin=origin,
                     quota=quota_mib * _MIB, segment=segment, budget=budget),
            deadline=deadline,
        )
        try:
            journal._tenants[SYSTEM] = TenantAudit.open(SYSTEM, journal._settings)
            for tenant in tenants(state_dir):
                if tenant != SYSTEM:
                    journal._open_at_start(tenant)
        except BaseException:
            journal._close_logs()
            raise
        return journal

    def _open_at_start(self, tenant: str) -> None:
        try:
            found = TenantAudit.open(tenant, self._settings)
        except AuditError as fault:
            self._faults[tenant] = fault
            event = Event(type="log_refused", tenant=SYSTEM, body={"log": tenant, "code": fault.code})
        else:
            self._tenants[tenant] = found
            event = _opened(tenant, found)
        self._tenants[SYSTEM].log.append(self._event(event), durable=False)

    @property
    def faults(self) -> Mapping[str, AuditError]:
        """The tenants whose log takes no records, and why: for ``doctor`` and ``status``."""
        broken = {name: t.log.fault for name, t in self._tenants.items()}
        return self._faults | {name: fault for name, fault in broken.items() if fault is not None}

    def status(self) -> Json:
        """For ``status`` and ``doctor``: per log its records, whether new calls have room, and its fault."""
        faults = self.faults
        logs: dict[str, Json] = {
            name: {"records": held.log.size, "room": held.log.has_room, "fault": None}
            for name, held in self._tenants.items()
        }
        for name, fault in faults.items():
            logs[name] = {"records": None, "room": False, "fault": {
                "code": fault.code, "cause": fault.cause, "remedy": fault.remedy,
            }}
        return {"durability": DURABILITY, "logs": logs}

    def set_standing(self, facts: Mapping[str, Json]) -> None:
        """Clear facts about this installation that every record shows from now on; empty: none."""
        self._standing = dict(facts)

    async def intent(self, call: Call, verdicts: Verdicts) -> Seq:
        """An allowed call, durable on return. Its effect begins after that."""
        held = await self._tenant(call.tenant)
        session = call.session or ""
        key = await self._key(held, session)
        now = self._clock.now()
        record = call_record(call, verdicts, type="intent", now=now, key=key, standing=self._standing)
        if not self._fits(call, len(record) + afterwards(call)):
            raise over()  # never without its body: a flood would be the way to do something unseen
        pending = Pending(call.id, subject_name(call.subject), session, key)

        def abandoned(number: int) -> None:
            self._refuse_late(held, number, pending)

        number = await self._durable(held, record, abandoned)
        held.pending[number] = pending
        return Seq(f"{held.log.tenant}/{number}")

    async def refusal(self, call: Call, verdicts: Verdicts) -> Seq:
        """A refused call with all that was judged, durable on return."""
        return await self._judged(call, verdicts, "refused")

    async def held(self, call: Call, verdicts: Verdicts) -> Seq:
        """A call that waits for a human, with all that was judged, durable on return."""
        return await self._judged(call, verdicts, "held")

    async def _judged(self, call: Call, verdicts: Verdicts, type: str) -> Seq:  # noqa: A002
        held = await self._tenant(call.tenant)
        session = call.session or ""
        key = await self._key(held, session)
        now = self._clock.now()
        record = call_record(call, verdicts, type=type, now=now, key=key, standing=self._standing)
        if not self._fits(call, len(record)):
            if type != "refused":
                raise over()
            if len(record) > SMALL:
                record = call_record(call, verdicts, type=type, now=now, key=key, standing=self._standing,
                                     whole=False)
            if self._budget is not None and not self._budget.short(call.subject, len(record)):
                raise over()
        return Seq(f"{held.log.tenant}/{await self._durable(held, record, None)}")

    def _fits(self, call: Call, size: int) -> bool:
        return self._budget is None or self._budget.whole(call.subject, size)

    async def outcome(self, seq: Seq, outcome: Outcome) -> None:
        """How an intent ended. Durable with the next batch, at most 50 ms later.

        Raises AuditError also for a name that is no open intent (``bad_seq``).
        """
        tenant, _, number = seq.partition("/")
        held = self._tenants.get(tenant)
        pending = held.pending.pop(int(number), None) if held and number.isascii() and number.isdigit() else None
        if held is None or pending is None:
            raise AuditError(f"{seq[:80]!r} is no intent that waits for its outcome", code="bad_seq")
        self._write_outcome(held, int(number), outcome, pending)

    async def note(self, event: Event) -> Seq:
        """An event, durable on return."""
        held = await self._tenant(event.tenant)
        key = await self._key(held, event.session or "") if event.sealed else None
        record = self._event(event, key)
        if self._budget is not None and not self._budget.event(event, len(record)):
            raise over()
        return Seq(f"{held.log.tenant}/{await self._durable(held, record, None)}")

    def count(self, event: Event) -> None:
        """Count an event that may come in floods: at most one record a second for equal ones, none lost."""
        check_tenant(event.tenant)
        self._event(event)  # a wrong event is the caller's fault now, not the timer's later
        self._counter.add(event, now=self._clock.now(), monotonic=self._clock.monotonic())
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(COUNT_SECONDS, self._tick)

    def flush_counts(self) -> None:
        """Hand over the counted records that are due by the clock."""
        self._counter.flush(monotonic=self._clock.monotonic())

    async def forget(self, tenant: str, session: SessionId, by: str = "") -> Seq:
        """Destroy a session's keys: nothing opens its bodies. The record of that; BadInput if there were none."""
        held = await self._tenant(tenant)
        gone = await asyncio.to_thread(held.ring.forget, session)
        if not gone:
            raise BadInput(f"no session {session[:64]!a} has keys in this log", code="no_such_session")
        event = Event(type="session_forgotten", tenant=tenant, session=session, subject=by, body={"keys": gone})
        return await self.note(event)

    def records(
        self, tenant: str, since: int = 0, types: Collection[str] | None = None
    ) -> Iterator[Record]:
        """A tenant's durable records from number ``since`` on, for start-up replay. Blocks for the disk.

        Args:
            tenant: whose log; one that was never written to has no records.
            since: the first number wanted.
            types: only these; None for all.

        Raises:
            AuditError: the log is damaged or cannot be read.

        """
        return read_records(self._settings.state, tenant, since, types)

    def unsealed(self, tenant: str, record: Record) -> Json:
        """The decrypted body of a call or outcome; None if there is none or its key is gone. Raises BadInput."""
        held = self._tenants.get(tenant)
        return None if held is None else open_body(record, held.ring)

    async def close(self) -> None:
        """Write everything that waits, counted records too, and give up the files. Idempotent.

        Raises:
            AuditError: counted records could not be written.

        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        fault = self._counter.flush(monotonic=float("inf"))
        await asyncio.to_thread(self._close_logs)
        if fault is not None:
            raise fault

    def _close_logs(self) -> None:
        """The system log last: it says how long the others were."""
        system = self._tenants.pop(SYSTEM, None)
        for name, held in sorted(self._tenants.items()):
            held.log.close()
            if system is not None:
                self._last_words(system, name, held)
        self._tenants.clear()
        if system is not None:
            system.log.close()

    def _last_words(self, system: TenantAudit, name: str, held: TenantAudit) -> None:
        event = Event(type="log_closed", tenant=SYSTEM, body=_tip(name, held.log.size, held.log.checkpoint))
        try:
            system.log.append(self._event(event), durable=False, essential=True)
        except AuditError:
            pass  # the system log broke before: `faults` has said so, and the tenant's own log is whole

    async def _tenant(self, tenant: str) -> TenantAudit:
        held = self._tenants.get(tenant)
        if held is not None:
            return held
        fault = self._faults.get(tenant)
        if fault is not None:
            raise AuditError(fault.cause, code=fault.code, remedy=fault.remedy)
        check_tenant(tenant)
        if SYSTEM not in self._tenants:
            raise AuditError("the audit log is closed", code="audit_closed")
        task = self._opening.get(tenant)
        if task is None:
            task = asyncio.ensure_future(self._open_tenant(tenant))
            self._opening[tenant] = task
            task.add_done_callback(lambda done: self._opened(tenant, done))
        return await self._in_time(asyncio.shield(task))

    async def _open_tenant(self, tenant: str) -> TenantAudit:
        try:
            held = await asyncio.to_thread(TenantAudit.open, tenant, self._settings)
        except Unavailable as fault:
            raise AuditError(fault.cause, code=fault.code, remedy=fault.remedy) from None
        self._tenants[tenant] = held
        await self.note(_opened(tenant, held))
        return held

    def _opened(self, tenant: str, done: asyncio.Task[TenantAudit]) -> None:
        self._opening.pop(tenant, None)
        if not done.cancelled():
            done.exception()  # whoever waited has it; nobody may be left to

    async def _in_time(self, work: Awaitable[_T]) -> _T:
        """Wait for work that goes on without us if it is too slow. Raises AuditError (``audit_slow``)."""
        try:
            async with asyncio.timeout(self._deadline):
                return await work
        except TimeoutError:
            raise slow() from None

    async def _durable(self, held: TenantAudit, record: bytes, abandoned: Callable[[int], None] | None) -> int:
        """Append and wait. A caller who gives up is told nothing was written, and ``abandoned`` mends that."""
        answer = held.log.submit(record, durable=True, abandoned=abandoned)
        late = asyncio.get_running_loop().call_later(self._deadline, _expire, answer)
        try:
            return await answer
        except asyncio.CancelledError:
            if abandoned is not None and answer.done() and not answer.cancelled() and answer.exception() is None:
                abandoned(answer.result())  # it became durable while its caller was being cancelled
            raise
        finally:
            late.cancel()

    def _refuse_late(self, held: TenantAudit, number: int, pending: Pending) -> None:
        """An intent became durable after its caller gave up: say that nothing happened."""
        late = Outcome(end="refused", code="not_acknowledged")
        try:
            self._write_outcome(held, number, late, pending)
        except AuditError:
            pass  # the log broke meanwhile: the next start records the outcome as unknown

    def _write_outcome(self, held: TenantAudit, number: int, outcome: Outcome, pending: Pending) -> None:
        record = outcome_record(
            number, outcome, now=self._clock.now(), call=pending.call, subject=pending.subject, key=pending.key,
            session=pending.session,
        )
        held.log.submit(record, durable=False, essential=True).add_done_callback(_seen)

    def _write_count(self, event: Event, count: int, since: float) -> None:
        held = self._tenants.get(event.tenant)
        if held is None:
            held = self._tenants[SYSTEM]  # a tenant without a log yet: its floods do not make one
        record = event_record(
            event, now=self._clock.now(), standing=self._standing, count=count, since=since
        )
        held.log.submit(record, durable=False, essential=True).add_done_callback(_seen)

    def _tick(self) -> None:
        self._timer = None
        self.flush_counts()
        if len(self._counter):
            self._timer = asyncio.get_running_loop().call_later(COUNT_SECONDS, self._tick)

    def _event(self, event: Event, key: SessionKey | None = None) -> bytes:
        return event_record(event, now=self._clock.now(), standing=self._standing, key=key)

    async def _key(self, held: TenantAudit, session: str) -> SessionKey:
        return held.ring.current(session) or await self._in_time(held.session_key(session))


def read_records(
    state: Path, tenant: str, since: int = 0, types: Collection[str] | None = None
) -> Iterator[Record]:
    """See :meth:`AuditJournal.records`; for readers without a journal."""
    try:
        for number, raw in LogReader(log_folder(state, check_tenant(tenant))).records(since):
            record = parse_record(number, raw)
            if types is None or record.type in types:
                yield record
    except Damage as fault:
        raise AuditError(
            f"the log is damaged at {tenant}/{fault.record}: {fault.cause}", code="audit_damaged",
            remedy="see `ringwall audit verify`",
        ) from None
    except BadInput as fault:
        raise AuditError(fault.cause, code=fault.code, remedy="see `ringwall audit verify`") from None
    except AuditError as fault:
        if fault.code != "no_log":
            raise


def open_body(record: Record, ring: KeyRing) -> Json:
    """A record's body; None if it has none or its session's key was forgotten. Raises BadInput, AuditError."""
    key = ring.by_id(record.key_id) if record.sealed is not None else None
    return None if key is None else record.unseal(key)


def _opened(tenant: str, held: TenantAudit) -> Event:
    return Event(type="log_opened", tenant=SYSTEM, body=_tip(tenant, held.opened_size, held.opened_note))


def _tip(tenant: str, size: int, note: bytes) -> dict[str, Json]:
    """What anchors one log in another."""
    return {"log": tenant, "size": size, "checkpoint": note.decode()}


def _expire(answer: asyncio.Future[int]) -> None:
    if not answer.done():
        answer.set_exception(slow())


def _seen(answer: asyncio.Future[int]) -> None:
    if not answer.cancelled():
        answer.exception()  # a broken log refuses every later call and stands in `faults`: not lost
