from __future__ import annotations

import os
from pathlib import Path

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.keys.holding import bound_to_its_generation, code_of, mark, told_when_damaged

from ringwall.errors import BadInput, Refused, Unavailable
from ringwall.keys.age import AgeSeal
from ringwall.keys.conformance import source_self_check
from ringwall.keys.sealed import SealedSource


def identity(path: Path, content: str = "") -> Path:
    path.touch(mode=0o600)
    path.write_text(content or f"# created: today\n# public key: ...\n{pyrage.x25519.Identity.generate()}\n")
    return path


def folder_of(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir()
    return folder


def test_an_age_identity_keeps_every_promise_of_a_source(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    source_self_check(SealedSource(folder, AgeSeal(identity(tmp_path / "id"))), ())
    assert list(folder.iterdir()) == []


def test_a_file_of_one_generation_does_not_pass_as_another_one(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    bound_to_its_generation(SealedSource(folder, AgeSeal(identity(tmp_path / "id"))), folder, ())


def test_a_damaged_or_open_file_is_told(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    told_when_damaged(SealedSource(folder, AgeSeal(identity(tmp_path / "id"))), folder)


def test_the_identity_opens_it_again_and_another_one_does_not(tmp_path: Path) -> None:
    right = identity(tmp_path / "id")
    keys, shown = SealedSource(tmp_path, AgeSeal(right)).create(1, ())
    assert shown == ()
    assert mark(SealedSource(tmp_path, AgeSeal(right)).open(1, ())) == mark(keys)
    with pytest.raises(Refused, match="identity") as found:
        SealedSource(tmp_path, AgeSeal(identity(tmp_path / "other"))).open(1, ())
    assert code_of(found) == "root_key_wrong"
    assert "AGE-SECRET" not in str(found.value)


@pytest.mark.parametrize("spoil", ["gone", "link", "mode", "folder"])
def test_an_identity_file_that_is_gone_or_open_to_others_is_refused(tmp_path: Path, spoil: str) -> None:
    path = identity(tmp_path / "id")
    if spoil == "mode":
        path.chmod(0o644)
    else:
        path.rename(tmp_path / "elsewhere")
    if spoil == "link":
        path.symlink_to(tmp_path / "elsewhere")
    if spoil == "folder":
        path.mkdir()
    with pytest.raises(Unavailable) as found:
        SealedSource(tmp_path, AgeSeal(path)).create(1, ())
    assert code_of(found) == ("keys_unavailable" if spoil == "gone" else "root_key_exposed")
    assert not (tmp_path / "root-1.age").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_an_identity_of_another_user_is_refused(tmp_path: Path) -> None:
    path = identity(tmp_path / "id")
    os.chown(path, 12345, 12345)
    with pytest.raises(Unavailable, match="12345"):
        SealedSource(tmp_path, AgeSeal(path)).create(1, ())


def test_a_file_with_two_identities_is_refused(tmp_path: Path) -> None:
    both = f"{pyrage.x25519.Identity.generate()}\n{pyrage.x25519.Identity.generate()}\n"
    with pytest.raises(BadInput) as found:
        AgeSeal(identity(tmp_path / "id", both)).seal(b"x", ())
    assert code_of(found) == "bad_identity"
    assert "AGE-SECRET-KEY-1Q" not in str(found.value)


@given(content=st.one_of(st.binary(max_size=300), st.just(b"AGE-SECRET-KEY-1" + b"Q" * 58), st.just(b"x" * 9999)))
def test_no_bytes_in_the_place_of_an_identity_are_one(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("age") / "id"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(BadInput) as found:
        AgeSeal(path).seal(b"x", ())
    assert found.value.code == "bad_identity"
