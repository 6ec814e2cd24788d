"""What leaves this machine: a checkpoint that plain openssl verifies, and proofs about single records."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ringwall.audit.checkpoint import SignedCheckpoint, VerifierKey
from ringwall.audit.merkle import Forest, Frontier, consistency_proof, inclusion_proof, leaf_hash, verify_inclusion
from ringwall.audit.reader import LogReader, log_folder
from ringwall.audit.segments import Damage, Unfinished
from ringwall.errors import AuditError


@dataclass(frozen=True, slots=True, kw_only=True)
class Inclusion:
    """A record's place under the checkpoint that ends its batch."""

    number: int
    record: bytes
    size: int
    root: bytes
    proof: tuple[bytes, ...]
    note: bytes

    @property
    def holds(self) -> bool:
        """Whether the proof leads from the record to the root."""
        return verify_inclusion(leaf_hash(self.record), self.number, self.size, self.proof, self.root)

    def text(self) -> bytes:
        """The proof and its checkpoint in one text, after the C2SP tlog-proof form."""
        lines = ["c2sp.org/tlog-proof@v1", f"index {self.number}"]
        lines += [base64.b64encode(h).decode() for h in self.proof]
        return ("\n".join(lines) + "\n\n").encode() + self.note


def include(state: Path, tenant: str, number: int, key: VerifierKey) -> Inclusion:
    """Prove one record against the checkpoint of its batch; reads one segment.

    Raises:
        AuditError: ``no_record``, or the log cannot be read.
        Damage: the log is damaged there.
        BadInput: the checkpoint does not verify.

    """
    reader = LogReader(log_folder(state, tenant))
    leaves: list[bytes] = []
    try:
        for found in reader.batches(number):
            batch, end = found.batch, found.batch.first + len(found.batch.records)
            leaves += map(leaf_hash, batch.records)
            if number < end:
                break
        else:
            raise _no_record(tenant, number)
    except Unfinished:
        raise _no_record(tenant, number) from None
    signed = SignedCheckpoint.parse(batch.checkpoint).verify(key)
    if signed.size != end or number < batch.first:
        raise Damage("the checkpoint is of another place in the log", number)
    forest = Forest(found.header.tree(), leaves)
    proof = tuple(inclusion_proof(number, end, forest))
    return Inclusion(
        number=number, record=batch.records[number - batch.first], size=end, root=signed.root, proof=proof,
        note=batch.checkpoint,
    )


def _no_record(tenant: str, number: int) -> AuditError:
    return AuditError(
        f"there is no record {tenant}/{number}", code="no_record", remedy="see `ringwall audit tail`"
    )


def newest(state: Path, tenant: str) -> bytes:
    """The newest signed checkpoint of a log. Raises AuditError (``no_record`` for an empty log), Damage."""
    reader = LogReader(log_folder(state, tenant))
    note = b""
    for path in reversed(reader.segments()):
        try:
            for found in reader.batches(reader.header(path).first):
                note = found.batch.checkpoint
        except Unfinished:
            pass
        if note:
            return note
    raise _no_record(tenant, 0)


def export_checkpoint(state: Path, tenant: str, key: VerifierKey, target: Path) -> tuple[Path, ...]:
    """Write a log's newest checkpoint so that others can verify it, and give the files written.

    ``checkpoint`` is the signed note; ``checkpoint.txt`` the signed bytes, ``checkpoint.sig`` the raw Ed25519
    signature and ``key.pem`` the public key, for openssl; ``key.vkey`` is the key as a note verifier wants it.

    Raises:
        AuditError: there is no record yet, or the log cannot be read.
        BadInput: the checkpoint does not verify.
        OSError: a file cannot be written.

    """
    note = newest(state, tenant)
    signed = SignedCheckpoint.parse(note)
    checkpoint = signed.verify(key)
    pem = Ed25519PublicKey.from_public_bytes(key.public).public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    return _write(target, {
        "checkpoint": note, "checkpoint.txt": checkpoint.text, "checkpoint.sig": signed.signature(key),
        "key.pem": pem, "key.vkey": f"{key}\n".encode(),
    })


def export_record(state: Path, tenant: str, number: int, key: VerifierKey, target: Path) -> tuple[Path, ...]:
    """Write one record's bytes and its proof, and give the files written. Raises like :func:`include`, OSError."""
    found = include(state, tenant, number, key)
    if not found.holds:
        raise Damage("the record does not belong to its checkpoint", number)
    return _write(target, {"record.json": found.record, "record.proof": found.text()})


def export_consistency(state: Path, tenant: str, older: bytes, key: VerifierKey, target: Path) -> tuple[Path, ...]:
    """Write the proof that an older checkpoint is a prefix of the newest: the whole log is read.

    Raises:
        AuditError: the log cannot be read.
        Damage: it is damaged, or shorter than the checkpoint.
        BadInput: the older checkpoint does not verify.

    """
    old = SignedCheckpoint.parse(older).verify(key)
    note = newest(state, tenant)
    new = SignedCheckpoint.parse(note).verify(key)
    if not 0 < old.size <= new.size:
        raise Damage(f"the log has {new.size} records, the older checkpoint {old.size}", new.size)
    leaves = [leaf_hash(raw) for _, raw in LogReader(log_folder(state, tenant)).records()][:new.size]
    proof = consistency_proof(old.size, new.size, Forest(Frontier(), leaves))
    lines = [f"old {old.size}", f"new {new.size}", *(base64.b64encode(h).decode() for h in proof)]
    return _write(target, {"consistency.proof": ("\n".join(lines) + "\n\n").encode() + note})


def _write(target: Path, files: dict[str, bytes]) -> tuple[Path, ...]:
    target.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (target / name).write_bytes(content)
    return tuple(target / name for name in files)
