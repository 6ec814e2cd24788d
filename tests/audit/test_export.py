from __future__ import annotations

import asyncio
import base64
import subprocess
from pathlib import Path

import pytest
from tests.audit.support import a_call, opened, verdicts, verify_consistency

from ringwall.audit.checkpoint import SignedCheckpoint
from ringwall.audit.export import export_checkpoint, export_consistency, export_record, include, newest
from ringwall.audit.merkle import leaf_hash, verify_inclusion
from ringwall.audit.reader import key_folder
from ringwall.audit.segments import Damage
from ringwall.audit.verify import load_keys
from ringwall.errors import AuditError, BadInput


def _write(state: Path, count: int) -> None:
    async def scene() -> None:
        async with opened(state) as journal:
            for n in range(0, count, 5):
                await asyncio.gather(*(journal.intent(a_call(id=str(n + i)), verdicts()) for i in range(5)))

    asyncio.run(scene())


# The command of docs/audit.md.
COMMAND = "openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in checkpoint.txt -sigfile checkpoint.sig"


def _openssl(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(COMMAND.split(), cwd=folder, capture_output=True, text=True, check=False)


def test_plain_openssl_verifies_a_checkpoint_and_refuses_a_changed_one(tmp_path: Path) -> None:
    _write(tmp_path / "state", 5)
    key = load_keys(key_folder(tmp_path / "state"))["acme"]
    export_checkpoint(tmp_path / "state", "acme", key, tmp_path / "out")
    good = _openssl(tmp_path / "out")
    assert (good.returncode, good.stdout.strip()) == (0, "Signature Verified Successfully")
    text = (tmp_path / "out" / "checkpoint.txt").read_bytes()
    (tmp_path / "out" / "checkpoint.txt").write_bytes(text.replace(b"\n5\n", b"\n6\n"))
    assert _openssl(tmp_path / "out").returncode != 0


def test_the_command_in_the_documentation_is_the_one_that_was_run() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
    assert COMMAND in " ".join(docs.replace("\\\n", " ").split())


def test_every_record_is_proved_against_the_checkpoint_of_its_batch(tmp_path: Path) -> None:
    _write(tmp_path, 150)  # several segments, so that proofs lean on stored frontiers
    key = load_keys(key_folder(tmp_path))["acme"]
    for number in range(0, 150, 7):
        found = include(tmp_path, "acme", number, key)
        assert found.holds
        index, *hashes = found.text().split(b"\n\n")[0].decode().split("\n")[1:]
        proof = [base64.b64decode(h) for h in hashes]
        assert index == f"index {number}"
        assert verify_inclusion(leaf_hash(found.record), number, found.size, proof, found.root)
        signed = SignedCheckpoint.parse(found.text().split(b"\n\n", 1)[1]).verify(key)
        assert (signed.size, signed.root) == (found.size, found.root)
    with pytest.raises(AuditError, match="no_record"):
        include(tmp_path, "acme", 150, key)


def test_an_older_checkpoint_is_proved_to_be_a_prefix(tmp_path: Path) -> None:
    state, out = tmp_path / "state", tmp_path / "out"
    _write(state, 10)
    older = newest(state, "acme")
    _write(state, 20)
    key = load_keys(key_folder(state))["acme"]
    export_consistency(state, "acme", older, key, out)
    lines, note = (out / "consistency.proof").read_bytes().split(b"\n\n", 1)
    old, new, *hashes = lines.decode().split("\n")
    before, after = SignedCheckpoint.parse(older).verify(key), SignedCheckpoint.parse(note).verify(key)
    assert (old, new) == (f"old {before.size}", f"new {after.size}")
    proof = [base64.b64decode(h) for h in hashes]
    assert verify_consistency(before.size, before.root, after.size, after.root, proof)
    with pytest.raises(Damage):
        export_consistency(state, "acme", _of_another_log(tmp_path, key.name), key, out)


def _of_another_log(tmp_path: Path, name: str) -> bytes:
    """A checkpoint that this key signed, of more records than there are."""
    _write(tmp_path / "longer", 200)
    note = newest(tmp_path / "longer", "acme")
    assert note.startswith(name.encode())
    return note


def test_a_record_is_exported_as_the_very_bytes_of_its_leaf(tmp_path: Path) -> None:
    _write(tmp_path / "state", 5)
    key = load_keys(key_folder(tmp_path / "state"))["acme"]
    export_record(tmp_path / "state", "acme", 3, key, tmp_path / "out")
    assert (tmp_path / "out" / "record.json").read_bytes() == include(tmp_path / "state", "acme", 3, key).record


def test_an_empty_log_and_a_foreign_checkpoint_are_refused(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path):
            pass

    asyncio.run(scene())
    key = load_keys(key_folder(tmp_path))["system"]
    with pytest.raises(AuditError, match="no_record"):
        export_checkpoint(tmp_path, "system", key, tmp_path / "out")
    with pytest.raises(BadInput, match="bad_checkpoint"):
        export_consistency(tmp_path, "system", b"junk", key, tmp_path / "out")
