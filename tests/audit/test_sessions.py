from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audit.support import FakeDisk, keys

from ringwall.audit.disk import SystemDisk
from ringwall.audit.sessions import KeyRing
from ringwall.errors import AuditError


def _ring(folder: Path, disk: SystemDisk | None = None) -> KeyRing:
    folder.mkdir(exist_ok=True)
    return KeyRing.open(folder, keys(), disk or SystemDisk())


def test_a_key_is_durable_and_the_same_after_reopening(tmp_path: Path) -> None:
    made = _ring(tmp_path / "acme").create("s1")
    again = _ring(tmp_path / "acme").current("s1")
    assert again is not None
    assert again.decrypt(made.encrypt(b"text", b"aad"), b"aad") == b"text"
    assert _ring(tmp_path / "acme").create("s1").id == made.id


def test_no_key_is_readable_in_the_file(tmp_path: Path) -> None:
    ring = _ring(tmp_path / "acme")
    ring.create("s1")
    with pytest.raises(AuditError, match="wrong_root_key"):
        KeyRing.read(tmp_path / "acme", type(keys())(b"z" * 32), SystemDisk())


@settings(max_examples=30)
@given(cut=st.integers(1, 150))
def test_an_unfinished_last_line_is_cut_and_the_keys_before_it_stand(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("keys") / "acme"
    first = _ring(folder).create("s1")
    whole = (folder / "session-keys").read_bytes()
    _ring(folder).create("s2")
    longer = (folder / "session-keys").read_bytes()
    torn = longer[:max(len(whole), len(longer) - cut)]
    (folder / "session-keys").write_bytes(torn)
    assert KeyRing.read(folder, keys(), SystemDisk()).current("s2") is None
    assert (folder / "session-keys").read_bytes() == torn
    ring = _ring(folder)
    found = ring.current("s1")
    assert found is not None
    assert found.id == first.id
    assert (folder / "session-keys").read_bytes() == whole
    ring.create("s2")
    assert _ring(folder).current("s2") is not None


@settings(max_examples=60)
@given(junk=st.binary(max_size=200))
def test_a_file_of_junk_is_refused_with_a_code(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    folder = tmp_path_factory.mktemp("keys") / "acme"
    folder.mkdir()
    (folder / "session-keys").write_bytes(junk)
    with pytest.raises(AuditError) as found:
        KeyRing.read(folder, keys(), SystemDisk())
    assert found.value.code == "session_keys_damaged"


def test_lines_swapped_between_sessions_do_not_open(tmp_path: Path) -> None:
    ring = _ring(tmp_path / "acme")
    one, two = ring.create("s1"), ring.create("s2")
    path = tmp_path / "acme" / "session-keys"
    path.write_bytes(path.read_bytes().replace(one.id.encode(), b"#").replace(two.id.encode(), one.id.encode())
                     .replace(b"#", two.id.encode()))
    with pytest.raises(AuditError, match="session_keys_damaged"):
        _ring(tmp_path / "acme").by_id(one.id)


def test_a_key_that_could_not_be_written_is_not_used(tmp_path: Path) -> None:
    disk = FakeDisk()
    ring = _ring(tmp_path / "acme", disk)
    disk.write_error = errno.ENOSPC
    with pytest.raises(AuditError, match="audit_disk_full"):
        ring.create("s1")
    assert ring.current("s1") is None
    with pytest.raises(AuditError, match="audit_disk_full"):
        ring.forget("s1")
    disk.write_error = None
    made = ring.create("s1")
    assert _ring(tmp_path / "acme").by_id(made.id) is not None


@pytest.mark.parametrize("session", ["x" * 257, "a\nb", "\u202e"])
def test_a_session_id_that_is_none_is_refused(tmp_path: Path, session: str) -> None:
    with pytest.raises(AuditError, match="bad_session"):
        _ring(tmp_path / "acme").create(session)


def test_forgetting_takes_the_key_out_of_the_file(tmp_path: Path) -> None:
    ring = _ring(tmp_path / "acme")
    gone, kept = ring.create("s1"), ring.create("s2")
    assert ring.forget("s1") == 1
    assert ring.forget("s1") == 0
    content = (tmp_path / "acme" / "session-keys").read_bytes()
    assert gone.id.encode() not in content
    assert ring.by_id(gone.id) is None
    assert ring.by_id(kept.id) is not None
    ring.create("s3")
    assert _ring(tmp_path / "acme").current("s3") is not None
