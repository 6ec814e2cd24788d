"""Where a manifest may lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.manifest.samples import FULL

from ringwall.errors import ManifestError
from ringwall.manifest.load import parse
from ringwall.manifest.place import check_place, writable_folders


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    folder = tmp_path / "office"
    folder.mkdir()
    file = folder / "ringwall.toml"
    file.write_text("version = 1")
    file.chmod(0o644)
    return file


def refusal(path: Path, writable: list[Path]) -> str:
    with pytest.raises(ManifestError) as caught:
        check_place(path, writable)
    return str(caught.value)


def test_a_manifest_beside_a_work_folder_is_fine(manifest: Path) -> None:
    check_place(manifest, [manifest.parent / "work", manifest.parent.parent / "office2"])


@pytest.mark.parametrize("up", [0, 1])
def test_a_manifest_inside_a_writable_folder_is_refused(manifest: Path, up: int) -> None:
    folder = manifest.parents[up]
    assert f"lies in {folder}, which an agent" in refusal(manifest, [folder])


def test_a_link_does_not_hide_the_writable_folder_on_either_side(manifest: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    into = work / "ringwall.toml"
    into.symlink_to(manifest)
    assert "which an agent" in refusal(into, [work])
    alias = tmp_path / "alias"
    alias.symlink_to(manifest.parent)
    assert "which an agent" in refusal(manifest, [alias])
    outer = tmp_path / "outer.toml"
    outer.symlink_to(into)
    assert "which an agent" in refusal(outer, [work])


def test_a_manifest_or_folder_that_everybody_can_write_is_refused(manifest: Path) -> None:
    manifest.chmod(0o646)
    assert "everybody can write it" in refusal(manifest, [])
    manifest.chmod(0o644)
    manifest.parent.chmod(0o1777)
    assert "everybody can write its folder" in refusal(manifest, [])


def test_a_folder_above_may_be_open_only_with_the_sticky_bit(manifest: Path) -> None:
    manifest.parent.parent.chmod(0o1777)
    check_place(manifest, [])
    manifest.parent.parent.chmod(0o777)
    assert "everybody can write its folder" in refusal(manifest, [])


def test_a_second_name_is_refused(manifest: Path) -> None:
    os.link(manifest, manifest.parent / "other")
    assert "second name" in refusal(manifest, [])


@pytest.mark.needs_root
@pytest.mark.parametrize("whose", ["file", "folder"])
def test_another_users_file_or_folder_is_refused(manifest: Path, whose: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give a file away")
    os.chown(manifest if whose == "file" else manifest.parent, 12345, 12345)
    assert "belongs to another user (uid 12345)" in refusal(manifest, [])


def test_a_missing_file_and_a_loop_of_links_are_refused(tmp_path: Path) -> None:
    assert "cannot be looked at" in refusal(tmp_path / "none", [])
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert "cannot be looked at" in refusal(tmp_path / "a", [])


def test_work_folders_and_writable_folders_of_servers_are_the_writable_ones() -> None:
    found = writable_folders(parse(FULL, Path("/etc/office/ringwall.toml")))
    assert found == (Path("/srv/work"), Path("/srv/pay"))
