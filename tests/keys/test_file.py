from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.errors import BadInput, RingwallError, Unavailable
from ringwall.keys.conformance import self_check
from ringwall.keys.derived import DerivedRootKeys
from ringwall.keys.file import FileRootKeys


def test_a_created_key_passes_the_conformance_check_and_reopens_the_same(tmp_path: Path) -> None:
    made = FileRootKeys.create(tmp_path / "root.key")
    self_check(made)
    again = FileRootKeys.open(tmp_path / "root.key")
    assert again.derive("x") == made.derive("x")
    assert again.unwrap(b"c", made.wrap(b"c", b"k" * 32)) == b"k" * 32
    assert stat.S_IMODE((tmp_path / "root.key").stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["root.key"]


def test_what_is_derived_from_a_root_never_changes() -> None:
    """Values of version 0.1.0: state folders and vaults hold what they encrypted and signed."""
    keys = FileRootKeys(bytes(range(32)))
    assert keys.derive("svid/state").hex() == "7a7b45d3d3a2a6e052a11f81040d91680e95c6b6b778a8f85803373409d619ae"
    public = keys.signing_key("audit/checkpoint/acme").public_key().public_bytes_raw()
    assert public.hex() == "a21baa8cf574cd533cd167987480187c4a2286121373d6ef22aab6e68e499961"
    wrapped = bytes.fromhex("6e6e6e6e6e6e6e6e6e6e6e6ef8e9a7063f6f73f2cb0369b6072128c3f10aaef5aace6a41d3fa8866042bbf"
                            "276dfb90621410a430cec90453c710a1ac")
    assert keys.unwrap(b"audit/tenant-key/acme", wrapped) == b"k" * 32
    assert DerivedRootKeys(bytes(range(32))).unwrap(b"audit/tenant-key/acme", wrapped) == b"k" * 32


def test_a_key_file_of_version_0_1_0_opens(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    path.touch(mode=0o600)
    path.write_bytes(b"ringwall-root-key-v1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n")
    assert FileRootKeys.open(path).derive("x") == FileRootKeys(bytes(range(32))).derive("x")


def test_two_roots_share_no_key(tmp_path: Path) -> None:
    one, two = FileRootKeys.create(tmp_path / "1"), FileRootKeys.create(tmp_path / "2")
    assert one.derive("x") != two.derive("x")
    with pytest.raises(BadInput, match="unwrap_failed"):
        two.unwrap(b"c", one.wrap(b"c", b"k"))


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    path.write_bytes(b"precious")
    with pytest.raises(RingwallError) as found:
        FileRootKeys.create(path)
    assert found.value.code == "root_key_exists"
    assert path.read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o700, 0o644, 0o620])
def test_a_mode_that_lets_others_in_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "root.key"
    FileRootKeys.create(path)
    path.chmod(mode)
    with pytest.raises(Unavailable) as found:
        FileRootKeys.open(path)
    assert found.value.code == "root_key_exposed"
    assert "chmod 600" in found.value.remedy


def test_a_symbolic_link_is_refused_even_to_a_good_key(tmp_path: Path) -> None:
    FileRootKeys.create(tmp_path / "real")
    (tmp_path / "root.key").symlink_to(tmp_path / "real")
    with pytest.raises(Unavailable) as found:
        FileRootKeys.open(tmp_path / "root.key")
    assert found.value.code == "root_key_exposed"
    (tmp_path / "hanging").symlink_to(tmp_path / "nothing")
    with pytest.raises(Unavailable):
        FileRootKeys.open_or_create(tmp_path / "hanging")
    assert not (tmp_path / "nothing").exists()


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as found:
        FileRootKeys.open(tmp_path / "none")
    assert found.value.code == "root_key_missing"
    with pytest.raises(Unavailable):
        FileRootKeys.open(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(Unavailable) as found:
        FileRootKeys.open(tmp_path / "pipe")
    assert found.value.code == "root_key_exposed"


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    FileRootKeys.create(path)
    os.chown(path, 12345, 12345)
    with pytest.raises(Unavailable, match="12345"):
        FileRootKeys.open(path)


def test_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as found:
        FileRootKeys.create(tmp_path / "no" / "root.key")
    assert found.value.code == "root_key_unwritable"


@settings(max_examples=50)
@given(content=st.binary(max_size=120))
def test_bytes_that_are_no_key_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("keys") / "root.key"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(BadInput) as found:
        FileRootKeys.open(path)
    assert found.value.code == "bad_root_key"


def test_the_key_is_not_in_its_repr(tmp_path: Path) -> None:
    keys = FileRootKeys.create(tmp_path / "root.key")
    assert (tmp_path / "root.key").read_text().split("\n")[1] not in repr(keys)
    assert repr(keys) == "FileRootKeys(…)"


class _Weak(FileRootKeys):
    def unwrap(self, context: bytes, blob: bytes) -> bytes:
        return super().unwrap(b"always the same", blob)

    def wrap(self, context: bytes, key: bytes) -> bytes:
        return super().wrap(b"always the same", key)


def test_the_conformance_check_finds_a_provider_that_ignores_the_context() -> None:
    with pytest.raises(RingwallError) as found:
        self_check(_Weak(b"r" * 32))
    assert found.value.code == "keys_nonconforming"
    assert "another context" in found.value.cause
