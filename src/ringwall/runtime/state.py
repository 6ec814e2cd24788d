"""The state folder: 0700, one core at a time, short names because socket paths are short."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from ringwall.errors import RingwallError, Unavailable

MAX_SOCKET_PATH: Final = 107  # sun_path of unix(7), less the closing NUL
_LONGEST: Final = len("/doors/0123456789abcdef/door.sock")
FIRST_UID: Final = 1_500_000_000  # far above what distributions and subuid ranges give away


def default_state() -> Path:
    """``RINGWALL_STATE``, else the usual place of this user."""
    named = os.environ.get("RINGWALL_STATE")
    if named:
        return Path(named)
    return Path("/var/lib/ringwall") if os.geteuid() == 0 else Path.home() / ".local/state/ringwall"


def client_socket(state: Path) -> Path:
    """The operator socket to ask: ``RINGWALL_SOCKET``, else that of the state folder."""
    named = os.environ.get("RINGWALL_SOCKET")
    return Path(named) if named else State(state.absolute()).operator_socket


class State:
    """Where everything of one installation lies. Build it with :meth:`open`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.operator_socket = root / "operator.sock"
        self.root_key = root / "root.key"
        self._lock = -1

    @classmethod
    def open(cls, root: Path) -> State:
        """Create or check the folder. Raises RingwallError when it is not safe to use."""
        root = root.absolute()
        if len(os.fsencode(root)) + _LONGEST > MAX_SOCKET_PATH:
            raise RingwallError(
                f"the state folder's path is too long for socket files: {root}",
                code="state_path_too_long",
                remedy="choose a shorter path with --state",
            )
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = root.lstat()
        except OSError as fault:
            raise RingwallError(
                f"the state folder {root} cannot be made: {fault.strerror}",
                code="bad_state_folder",
                remedy="choose another with --state",
            ) from fault
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise RingwallError(
                f"{root} is not a folder of yours", code="bad_state_folder", remedy="choose another with --state"
            )
        if found.st_mode & 0o077:
            raise RingwallError(
                f"others may enter the state folder {root}", code="bad_state_folder", remedy=f"chmod 700 {root}"
            )
        return cls(root)

    def lock(self) -> None:
        """One core a folder. Raises Unavailable if another holds it."""
        self._lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            os.close(self._lock)
            self._lock = -1
            raise Unavailable(
                f"another `ringwall up` uses {self.root}",
                code="already_running",
                remedy="stop it, or choose another folder with --state",
            ) from taken

    def door_folder(self, launch: str) -> Path:
        """The folder that an agent sees as /run/ringwall."""
        folder = self.root / "doors" / launch
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder.chmod(0o755)  # whatever the umask: the agent's uid is another, and sees this folder only
        return folder

    def workspace(self, tenant: str, agent: str, fresh: str = "") -> Path:
        """The folder Ringwall keeps for an agent; ``fresh`` names one of its own for a single launch."""
        folder = self.root / "work" / tenant / (f"{agent}.{fresh}" if fresh else agent)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def uid(self, name: str) -> int | None:
        """An outer uid of its own for ``name``, stable across restarts; None for an ordinary user."""
        if os.geteuid() != 0:
            return None
        path = self.root / "uids.json"
        known = _read_uids(path)
        if name not in known:
            known[name] = FIRST_UID + len(known)
            fresh = path.with_suffix(".new")
            with fresh.open("w") as file:
                json.dump(known, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)  # a forgotten uid would be given to somebody else, with the files it owns
            finally:
                os.close(folder)
        return known[name]


def _read_uids(path: Path) -> dict[str, int]:
    """Names and their uids; each uid belongs to one. Raises RingwallError: a guess could join two agents."""
    if not path.exists():
        return {}
    try:
        known = msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    except (OSError, msgspec.DecodeError) as fault:
        raise _bad_uids(path, str(fault)) from fault
    if sorted(known.values()) != list(range(FIRST_UID, FIRST_UID + len(known))):
        raise _bad_uids(path, "its numbers are not consecutive")
    return known


def _bad_uids(path: Path, why: str) -> RingwallError:
    return RingwallError(
        f"{path} is damaged: {why}", code="bad_state", remedy="restore it: it says which uid owns which files"
    )
