"""Secrets from files: only from plain files of ours that nobody else can read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ringwall.errors import RingwallError
from ringwall.manifest.types import Secret
from ringwall.runtime.secrets import MAX_SECRET, FileSecrets


def secrets(**files: Path) -> FileSecrets:
    return FileSecrets({name: Secret(name=name, file=file) for name, file in files.items()})


def written(path: Path, data: bytes = b"sk-1\n", mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def code(file: Path) -> str:
    with pytest.raises(RingwallError) as fault:
        secrets(key=file).value("key")
    assert "sk-1" not in str(fault.value)
    return fault.value.code


@pytest.mark.parametrize(("data", "value"), [(b"sk-1", b"sk-1"), (b"sk-1\n", b"sk-1"), (b"sk-1\r\n", b"sk-1"),
                                             (b" a b \n", b" a b "), (b"x" * MAX_SECRET, b"x" * MAX_SECRET)])
def test_a_value_is_read_without_its_closing_newline(tmp_path: Path, data: bytes, value: bytes) -> None:
    assert secrets(key=written(tmp_path / "k", data)).value("key") == value


def test_a_new_value_counts_at_once(tmp_path: Path) -> None:
    held = secrets(key=written(tmp_path / "k"))
    held.value("key")
    written(tmp_path / "k", b"sk-2")
    assert held.value("key") == b"sk-2"


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o644, 0o700, 0o602])
def test_a_file_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    assert code(written(tmp_path / "k", mode=mode)) == "secret_unsafe"


def test_links_folders_devices_and_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(written(tmp_path / "k"))
    (tmp_path / "folder").mkdir(mode=0o600)
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert code(tmp_path / "link") == "secret_unreadable"
    assert code(tmp_path / "none") == "secret_unreadable"
    assert code(tmp_path / "folder") == "secret_unsafe"
    assert code(tmp_path / "fifo") == "secret_unsafe"


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    os.chown(written(tmp_path / "k"), 12345, 12345)
    assert code(tmp_path / "k") == "secret_unsafe"


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n\r\n", b"x" * (MAX_SECRET + 1)])
def test_an_empty_or_cut_value_is_never_used(tmp_path: Path, data: bytes) -> None:
    assert code(written(tmp_path / "k", data)) == "secret_unsafe"


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(RingwallError):
        secrets().value("key")
