"""The state folder: ours alone, one core at a time, and names that stay."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringwall.errors import RingwallError, Unavailable
from ringwall.runtime.state import FIRST_UID, MAX_SOCKET_PATH, State, default_state


@pytest.fixture
def open_mask() -> Iterator[None]:
    old = os.umask(0)
    yield
    os.umask(old)


@pytest.fixture
def closed_mask() -> Iterator[None]:
    old = os.umask(0o077)
    yield
    os.umask(old)


def code(root: Path) -> str:
    with pytest.raises(RingwallError) as fault:
        State.open(root)
    assert fault.value.remedy
    return fault.value.code


@pytest.mark.usefixtures("open_mask")
def test_it_is_made_for_us_alone_whatever_the_umask(tmp_path: Path) -> None:
    state = State.open(tmp_path / "a" / "s")
    assert state.root.stat().st_mode & 0o777 == 0o700
    assert state.workspace("acme", "ana").stat().st_mode & 0o777 == 0o700
    state.lock()
    assert (state.root / "lock").stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("closed_mask")
def test_an_agents_door_can_be_crossed_whatever_the_umask(tmp_path: Path) -> None:
    assert State.open(tmp_path / "s").door_folder("0123456789abcdef").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o750, 0o755, 0o777])
def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s").chmod(mode)
    assert code(tmp_path / "s") == "bad_state_folder"


def test_a_link_or_a_file_is_no_folder_of_ours(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").touch()
    assert code(tmp_path / "link") == "bad_state_folder"
    assert code(tmp_path / "file") == "bad_state_folder"
    assert code(tmp_path / "file" / "below") == "bad_state_folder"


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir(mode=0o700)
    os.chown(tmp_path / "s", 12345, 12345)
    assert code(tmp_path / "s") == "bad_state_folder"


def test_a_path_too_long_for_sockets_is_refused_by_bytes(tmp_path: Path) -> None:
    assert code(Path("/" + "x" * (MAX_SOCKET_PATH - 20))) == "state_path_too_long"
    assert code(Path("/" + "ü" * (MAX_SOCKET_PATH // 2 - 10))) == "state_path_too_long"
    longest = State.open(tmp_path / "s").root / "doors" / "0123456789abcdef" / "door.sock"
    assert len(os.fsencode(longest)) <= MAX_SOCKET_PATH


def test_one_core_a_folder(tmp_path: Path) -> None:
    first, second = State.open(tmp_path / "s"), State.open(tmp_path / "s")
    first.lock()
    for _ in range(2):
        with pytest.raises(Unavailable) as fault:
            second.lock()
        assert fault.value.code == "already_running"
    os.close(first._lock)
    second.lock()
    os.close(second._lock)


def test_an_agents_folder_stays_and_a_fresh_one_is_another(tmp_path: Path) -> None:
    state = State.open(tmp_path / "s")
    assert state.workspace("acme", "ana") == state.workspace("acme", "ana")
    assert len({state.workspace("acme", "ana"), state.workspace("acme", "ana", "1"), state.workspace("evil", "ana"),
                state.workspace("acme", "bob")}) == 4


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = State.open(tmp_path / "s").root
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return folder


def test_every_name_has_a_uid_of_its_own_for_ever(as_root: Path) -> None:
    first = State(as_root)
    given = {name: first.uid(name) for name in ("guard", "acme/agent/ana", "acme/sidecar")}
    assert sorted(given.values()) == [FIRST_UID, FIRST_UID + 1, FIRST_UID + 2]  # type: ignore[type-var]
    again = State(as_root)
    assert again.uid("new") == FIRST_UID + 3
    assert {name: again.uid(name) for name in given} == given


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a":"b"}', '{"a":0}', '{"a":1500000000,"b":1500000000}',
                                  '{"a":1500000001}', "\x00", '{"a":1500000000.5}'])
def test_damaged_uids_are_refused_and_not_guessed(as_root: Path, text: str) -> None:
    (as_root / "uids.json").write_text(text)
    with pytest.raises(RingwallError) as fault:
        State(as_root).uid("a")
    assert fault.value.code == "bad_state"


def test_an_ordinary_user_gives_no_uids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State.open(tmp_path / "s")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert state.uid("guard") is None
    assert not (state.root / "uids.json").exists()


def test_the_usual_place_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGWALL_STATE", "/x/y")
    assert default_state() == Path("/x/y")
    monkeypatch.delenv("RINGWALL_STATE")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_state() == Path("/var/lib/ringwall")
