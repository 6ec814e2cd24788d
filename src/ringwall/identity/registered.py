"""A launch as the registry keeps it: with its own copies of the descriptors that pin the process."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringwall.identity import pidfd

if TYPE_CHECKING:
    from ringwall.identity.registry import Launch  # which imports us


@dataclass(slots=True, kw_only=True)
class Registered:
    """A launch with the registry's own copies of its descriptors."""

    launch: Launch
    pidfd: int
    pidns: int | None
    key: tuple[int, int]
    started: int
    connections: int = 0

    @classmethod
    def of(cls, launch: Launch) -> Registered:
        """Raises OSError or ValueError if the process is dead or the descriptors are not what they must be."""
        with owned(pidfd.duplicate(launch.pidfd)) as own:
            pid = pidfd.number(own)
            if pid <= 0 or not pidfd.alive(own):
                raise OSError("the process has exited, or is outside our pid namespace")
            started = pidfd.start_time(pid)
            if not pidfd.alive(own):
                raise OSError("the process has exited")
            key = pidfd.key(own)
            pidns = None if launch.pidns_fd is None else pidfd.duplicate(launch.pidns_fd)
            return cls(launch=launch, pidfd=own, pidns=pidns, key=key, started=started)

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self.pidfd)
        if self.pidns is not None:
            os.close(self.pidns)


@contextmanager
def owned(descriptor: int) -> Generator[int]:
    """Close the descriptor only if the block fails."""
    try:
        yield descriptor
    except BaseException:
        os.close(descriptor)
        raise


def by_number(pid: int) -> tuple[int, int]:
    """Pin a process by its number, the weak way: whoever has that number now."""
    with owned(os.pidfd_open(pid)) as peer:
        return peer, pidfd.start_time(pid)
