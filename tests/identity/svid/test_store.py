"""The file of the authority's keys: never in clear, never believed when it was changed."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import run
from tests.identity.svid.world import ROOT, World

from ringwall.errors import RingwallError, Unavailable
from ringwall.identity.svid.store import KeyStore
from ringwall.keys.file import FileRootKeys


def saved(folder: Path) -> Path:
    run(World(folder).authority.start())
    return folder / "identity" / "keys.json"


def load(path: Path, root: FileRootKeys = ROOT) -> object:
    return KeyStore(path.parent, root, "example.org").load()


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    world = World(tmp_path)
    run(world.authority.start())
    found = KeyStore(world.folder, ROOT, "example.org").load()
    assert found is not None
    assert [(key.use, key.phase) for key in found.keys] == [("x509", "active"), ("jwt", "active")]
    assert found.sequence == world.authority.bundle().sequence


def test_no_private_key_is_on_disk_and_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    world = World(tmp_path)
    run(world.authority.start())
    found = KeyStore(world.folder, ROOT, "example.org").load()
    assert found is not None
    path = world.folder / "keys.json"
    everything = b"".join(file.read_bytes() for file in world.folder.iterdir())
    for key in found.keys:
        number = key.private.private_numbers().private_value
        raw = number.to_bytes(32, "big")
        for form in (raw, raw.hex().encode(), str(number).encode()):
            assert form not in everything
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(world.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("field", ["sequence", "trust_domain", "v", "mac"])
def test_a_changed_field_is_damage(tmp_path: Path, field: str) -> None:
    path = saved(tmp_path)
    found = json.loads(path.read_bytes())
    found[field] = found[field] + ("x" if isinstance(found[field], str) else 1)
    path.write_text(json.dumps(found))
    with pytest.raises(RingwallError, match="svid_keys_damaged"):
        load(path)


@pytest.mark.parametrize("field", ["phase", "turn", "expires", "wrapped", "certificate", "name"])
def test_a_changed_key_is_damage(tmp_path: Path, field: str) -> None:
    path = saved(tmp_path)
    found = json.loads(path.read_bytes())
    row = found["keys"][0]
    value = row[field]
    row[field] = "old" if field == "phase" else value + 1 if isinstance(value, float) else "AAAA" + value[4:]
    path.write_text(json.dumps(found))
    with pytest.raises(RingwallError, match="svid_keys_damaged"):
        load(path)


def test_a_key_cannot_be_moved_to_another_use_or_brought_back(tmp_path: Path) -> None:
    path = saved(tmp_path)
    found = json.loads(path.read_bytes())
    one, other = found["keys"]
    one["wrapped"], other["wrapped"] = other["wrapped"], one["wrapped"]
    path.write_text(json.dumps(found))
    with pytest.raises(RingwallError, match="svid_keys_damaged"):
        load(path)


def test_another_root_key_opens_nothing(tmp_path: Path) -> None:
    with pytest.raises(RingwallError, match="svid_keys_damaged"):
        load(saved(tmp_path), FileRootKeys(b"x" * 32))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"{}", b"[" * 50_000, b" " * (65 << 10)],
                         ids=["empty", "cut", "list", "no text", "object", "deep", "large"])
def test_a_file_that_is_no_keyring_is_damage(tmp_path: Path, content: bytes) -> None:
    path = saved(tmp_path)
    path.write_bytes(content)
    with pytest.raises(RingwallError, match="svid_keys_damaged"):
        load(path)


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    path = saved(tmp_path)
    other = tmp_path / "other.json"
    path.rename(other)
    path.symlink_to(other)
    with pytest.raises(Unavailable, match="svid_keys_unreadable"):
        load(path)


def test_a_draft_of_a_killed_core_is_swept_away(tmp_path: Path) -> None:
    path = saved(tmp_path)
    draft = path.parent / ".keys.json.0011223344556677"
    draft.write_text("half")
    load(path)
    assert not draft.exists()


@given(st.integers(0, 2000), st.integers(1, 255))
def test_any_changed_byte_is_damage(tmp_path_factory: pytest.TempPathFactory, place: int, change: int) -> None:
    folder = tmp_path_factory.mktemp("s")
    path = saved(folder)
    raw = bytearray(path.read_bytes())
    raw[place % len(raw)] ^= change
    path.write_bytes(raw)
    with pytest.raises(RingwallError, match="svid_keys_damaged"):
        load(path)
