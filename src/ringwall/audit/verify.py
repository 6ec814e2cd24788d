"""The offline verifier: reads everything, trusts nothing but the public keys, changes nothing.

Each log is recomputed from its records and compared with every checkpoint in it, with its head, with what the
system log says of it, and with checkpoints that the reader kept elsewhere. Somebody who holds the signing key
can still rewrite a whole log and its anchors on this machine; only a checkpoint kept elsewhere shows that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ringwall.audit.checkpoint import SignedCheckpoint, VerifierKey
from ringwall.audit.head import read_head
from ringwall.audit.merkle import Frontier
from ringwall.audit.reader import Located, LogReader, key_folder, log_folder, tenants, unreadable
from ringwall.audit.records import effects, parse_record
from ringwall.audit.recovery import follow_batch
from ringwall.audit.segments import Damage, Unfinished
from ringwall.errors import AuditError, BadInput

SYSTEM: Final = "system"
ANCHORS: Final = frozenset({"log_opened", "log_closed"})  # records of the system log that anchor another log


@dataclass(frozen=True, slots=True)
class Problem:
    """``record`` names the first record that does not stand any more, for instance ``acme/57``."""

    record: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    """What was found out about one log; ``records`` and ``root`` (hex) are of its verified part."""

    log: str
    records: int
    root: str
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The verifier's result."""

    logs: tuple[LogReport, ...]

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(p for log in self.logs for p in log.problems)

    @property
    def ok(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class _Claim:
    """Somebody says that the log had this root at this size."""

    size: int
    root: bytes
    source: str


@dataclass(slots=True)
class _Run:
    """The state of one log's verification."""

    log: str
    key: VerifierKey
    claims: list[_Claim]
    tree: Frontier = field(default_factory=Frontier)
    open: set[int] = field(default_factory=set[int])
    anchors: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    problems: list[Problem] = field(default_factory=list[Problem])
    notes: list[str] = field(default_factory=list[str])

    def problem(self, record: int | str, cause: str) -> None:
        self.problems.append(Problem(f"{self.log}/{record}", cause))

    def report(self) -> LogReport:
        return LogReport(
            log=self.log, records=self.tree.size, root=self.tree.root().hex(), problems=tuple(self.problems),
            notes=tuple(self.notes),
        )


def load_keys(folder: Path) -> dict[str, VerifierKey]:
    """Public keys by tenant from ``*.pub`` files. Raises AuditError (``key_damaged``, ``log_unreadable``)."""
    found: dict[str, VerifierKey] = {}
    try:
        for path in sorted(folder.glob("*.pub")):
            found[path.stem] = VerifierKey.parse(path.read_text().removesuffix("\n"))
    except OSError as fault:
        raise unreadable(fault) from None
    except (BadInput, UnicodeDecodeError) as fault:
        raise AuditError(
            f"a public key in {folder} is damaged: {fault}", code="key_damaged",
            remedy="verify with your own copy of the keys: --keys DIR",
        ) from None
    return found


def verify(
    state: Path, keys: Mapping[str, VerifierKey] | None = None, known: Sequence[bytes] = ()
) -> Report:
    """Verify all logs of a state folder.

    Args:
        state: the state folder, or a copy of it; may be in use by a running core.
        keys: public keys by tenant; those in the state folder if not given.
        known: signed checkpoints kept elsewhere, which the logs must contain.

    Raises:
        AuditError: there is no log, it cannot be read, or a public key is damaged.
        BadInput: a known checkpoint is none, or of no log here.

    """
    held = load_keys(key_folder(state)) if keys is None else keys
    claims: dict[str, list[_Claim]] = {}
    for note in known:
        _claim_known(note, held, claims)
    names = tenants(state)
    runs: list[LogReport] = []
    for log in names:
        run = _verify_log(state, log, held, claims.get(log, []))
        for other, notes in run.anchors.items():
            if other in held:
                claims.setdefault(other, []).extend(_anchor(note, held[other], run, other) for note in notes)
            if other not in names:
                names.append(other)  # it had records, and its folder is gone
        runs.append(run.report())
    if SYSTEM not in names:
        missing = Problem(f"{SYSTEM}/0", "the log is missing")
        runs.append(LogReport(log=SYSTEM, records=0, root="", problems=(missing,)))
    return Report(logs=tuple(runs))


def _claim_known(note: bytes, keys: Mapping[str, VerifierKey], claims: dict[str, list[_Claim]]) -> None:
    signed = SignedCheckpoint.parse(note)
    for log, key in keys.items():
        if key.name == signed.checkpoint.origin:
            found = signed.verify(key)
            claims.setdefault(log, []).append(_Claim(found.size, found.root, "a checkpoint kept elsewhere"))
            return
    raise BadInput(
        f"no log here is called {signed.checkpoint.origin!r}", code="unknown_log",
        remedy="give the checkpoint of one of this state folder's logs",
    )


def _anchor(note: str, key: VerifierKey, run: _Run, other: str) -> _Claim:
    try:
        found = SignedCheckpoint.parse(note.encode()).verify(key)
    except BadInput as fault:
        run.problem("anchors", f"the system log holds a checkpoint of {other} that does not verify: {fault.cause}")
        return _Claim(0, Frontier().root(), "")
    return _Claim(found.size, found.root, "the system log")


def _verify_log(state: Path, log: str, keys: Mapping[str, VerifierKey], claims: list[_Claim]) -> _Run:
    key = keys.get(log)
    if key is None:
        run = _Run(log, VerifierKey(log, b""), [])
        run.problem(0, "there is no public key for this log")
        return run
    run = _Run(log, key, list(claims))
    folder = log_folder(state, log)
    try:
        # Before the segments: what a running core adds in between only makes them longer.
        head = read_head(folder, key)
        if head is not None:
            run.claims.append(_Claim(head.size, head.root, "its head"))
    except Damage as fault:
        run.problem("head", fault.cause)
    try:
        _replay(LogReader(folder), run)
    except Unfinished as fault:
        run.notes.append(
            f"unfinished batch from {log}/{fault.record} on, not yet cut: it is being written, or the core was "
            "killed while writing and will cut and record it when it starts"
        )
    except Damage as fault:
        run.problem(fault.record, fault.cause)
        return run
    except AuditError as fault:
        if fault.code != "no_log":
            raise
        run.problem(0, "the log's folder is missing")
        return run
    _check_length(run)
    return run


def _replay(reader: LogReader, run: _Run) -> None:
    segment = -1
    for found in reader.batches():
        if found.header.number != segment:
            segment = found.header.number
            _check_header(found, run)
        batch = found.batch
        end = batch.first + len(batch.records)
        for claim in run.claims:
            # Every claim is of a checkpoint, and checkpoints stand at the ends of batches only.
            if batch.first < claim.size < end:
                raise Damage(
                    f"the log was forked: {claim.source} is of {claim.size} records, and this log has no "
                    "checkpoint there", batch.first,
                )
        note = follow_batch(batch, run.tree, run.open, effects)
        try:
            SignedCheckpoint.parse(note).verify(run.key)
        except BadInput as fault:
            raise Damage(f"the checkpoint after the record: {fault.cause}", run.tree.size - 1) from None
        for claim in run.claims:
            if claim.size == end and claim.root != run.tree.root():
                raise Damage(f"the log was forked: {claim.source} has another root", end - 1)
        _look_into(found, run)


def _check_header(found: Located, run: _Run) -> None:
    """What a segment says about everything before it must be so."""
    header = found.header
    if header.frontier != run.tree.hashes or set(header.open) != run.open or header.first != run.tree.size:
        raise Damage("the segment's header does not agree with the records before it", header.first)


def _look_into(found: Located, run: _Run) -> None:
    for number, raw in enumerate(found.batch.records, found.batch.first):
        try:
            record = parse_record(number, raw)
        except BadInput as fault:
            raise Damage(fault.cause, number) from None
        if run.log == SYSTEM and record.type in ANCHORS:
            note, log = record.body.get("checkpoint"), record.body.get("log")
            if isinstance(note, str) and isinstance(log, str) and note:
                run.anchors.setdefault(log, []).append(note)


def _check_length(run: _Run) -> None:
    for claim in run.claims:
        if claim.size > run.tree.size:
            run.problem(
                run.tree.size, f"the log ends here, but {claim.source} says it had {claim.size} records"
            )
            return
