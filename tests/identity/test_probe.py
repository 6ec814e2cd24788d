"""What the kernel can do is tried out; whatever fails makes identity weaker, never looser."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ringwall.identity import pidfd
from ringwall.identity.probe import probe
from ringwall.identity.transport import SO_PASSPIDFD


def _no_option(sock: socket.socket) -> int:
    raise OSError(92, "Protocol not available")


def _no_ioctl(pidns: int, pid: int) -> int:
    raise OSError(25, "Inappropriate ioctl for device")


def _one_inode(descriptor: int) -> tuple[int, int]:
    return 14, 1


def test_this_kernel_is_probed_by_what_it_does_and_leaves_no_descriptor_behind() -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    found = probe()
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    assert found.strength in {"strong", "weak"}
    assert (found.method == "inode" and found.reads) == (not found.detail)


def test_equal_inodes_of_two_processes_are_noticed_and_numbers_are_compared_instead() -> None:
    found = probe(key=_one_inode)
    assert (found.method, found.strength) == ("number", "strong")


def test_a_kernel_without_peer_pidfds_gives_the_weak_form_with_a_remedy() -> None:
    found = probe(peer=_no_option)
    assert (found.method, found.strength, found.tree) == ("peercred", "weak", False)
    assert "6.5" in found.remedy


def test_a_peer_pidfd_of_the_wrong_process_trusts_nobody() -> None:
    found = probe(peer=lambda _: os.pidfd_open(1 if os.getpid() != 1 else os.getppid()))
    assert (found.method, found.strength) == ("none", "none")


def test_without_the_namespace_ioctl_descendants_cannot_be_told() -> None:
    assert not probe(inside=_no_ioctl).tree
    assert not probe(inside=lambda pidns, pid: pid + 1).tree
    assert probe().tree == _has_ioctl()


def _plain() -> tuple[socket.socket, socket.socket]:
    near, far = socket.socketpair()
    far.sendall(b"a")
    return near, far


def _no_option_at_all() -> tuple[socket.socket, socket.socket]:
    raise OSError(92, "Protocol not available")


def _of_one_process() -> tuple[socket.socket, socket.socket]:
    """As if the kernel joined what two processes sent, and named one of them."""
    near, far = _plain()
    near.setsockopt(socket.SOL_SOCKET, SO_PASSPIDFD, 1)
    far.sendall(b"b")
    return near, far


def test_the_sender_of_each_read_is_named_here_and_by_inode_as_well_as_by_number() -> None:
    assert probe().sender == "every read"
    assert probe(key=_one_inode).sender == "every read"


@pytest.mark.parametrize("connection", [_plain, _no_option_at_all, _of_one_process])
def test_where_senders_are_not_named_the_connection_is_what_counts_and_that_is_said(
    connection: Callable[[], tuple[socket.socket, socket.socket]],
) -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    found = probe(connection=connection)
    assert (found.method, found.sender) == ("inode", "connection")
    assert "PIDFD" in found.detail
    assert "6.5" in found.remedy
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_a_weak_method_has_no_use_for_senders() -> None:
    assert probe(peer=_no_option).sender == "connection"


def _has_ioctl() -> bool:
    ours = os.open("/proc/self/ns/pid", os.O_RDONLY)
    try:
        return pidfd.number_inside(ours, os.getpid()) == os.getpid()
    except OSError:
        return False
    finally:
        os.close(ours)
