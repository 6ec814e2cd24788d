"""Doors come and go in one loop, each at its own path."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest
from tests.doors.fakes import LAUNCH, post, served

from ringwall.doors.listener import MAX_PATH, DoorServer, OperatorServer
from ringwall.errors import BadInput, Unavailable
from ringwall.identity.operators import OperatorPeers
from ringwall.identity.probe import Probe
from ringwall.identity.registry import Registry


async def nothing(scope: object, receive: object, send: object) -> None:
    """An app that no test reaches."""


def test_a_door_is_open_to_every_uid_and_the_operators_socket_to_one(tmp_path: Path) -> None:
    probe = Probe(method="inode", tree=True)

    async def scene() -> None:
        doors = DoorServer(nothing, Registry(probe))
        operators = OperatorServer(nothing, OperatorPeers(probe))
        await doors.add(LAUNCH, tmp_path / "a")
        await operators.open(tmp_path / "o")
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666
        assert stat.S_IMODE((tmp_path / "o").stat().st_mode) == 0o600
        with pytest.raises(Unavailable, match="door_exists"):
            await doors.add(LAUNCH, tmp_path / "b")
        await doors.close()
        await operators.close()

    asyncio.run(scene())
    assert list(tmp_path.iterdir()) == []


def test_a_stale_socket_file_is_replaced_and_anything_else_is_left_alone(tmp_path: Path) -> None:
    stale = tmp_path / "door.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(stale))
    with served(tmp_path) as door:
        assert b"200" in door.exchange(post())
        (tmp_path / "file").write_text("precious")
        (tmp_path / "link").symlink_to(tmp_path / "door.sock")
        for name in ("file", "link"):
            with pytest.raises(BadInput, match="not_a_socket"):
                door.run(door.server.add(LAUNCH.__class__("l2"), tmp_path / name))
        assert (tmp_path / "file").read_text() == "precious"


def test_a_path_that_no_socket_can_have_is_refused_with_a_remedy(tmp_path: Path) -> None:
    doors = DoorServer(nothing, Registry(Probe(method="inode", tree=True)))
    with pytest.raises(BadInput, match="shorter path"):
        asyncio.run(doors.add(LAUNCH, tmp_path / ("x" * MAX_PATH)))
    with pytest.raises(Unavailable, match="door_failed"):
        asyncio.run(doors.add(LAUNCH, tmp_path / "no" / "folder"))


def test_an_unregistered_launch_has_nobody_at_its_door(tmp_path: Path) -> None:
    with served(tmp_path) as door:
        door.on_loop(lambda: door.registry.withdraw(LAUNCH))
        assert b"launch_withdrawn" in door.exchange(post())
        assert door.wall.seen == []
