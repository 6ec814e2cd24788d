"""Files that only this user reads and writes: how keys, PINs and identities are kept."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from ringwall.errors import Unavailable


def read_private(path: Path, limit: int, what: str) -> bytes:
    """Read a file that nobody else may read or change.

    Args:
        path: the file itself; a symbolic link is refused.
        limit: bytes; one more is returned of a longer file, so that its reader sees that it is too long.
        what: "root key", for the messages.

    Raises:
        FileNotFoundError: there is nothing of that name.
        Unavailable: ``root_key_unreadable`` or ``root_key_exposed`` (a symbolic link, not a plain file,
            another owner, or a mode that lets others read it).

    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as fault:
        linked = path.is_symlink()
        raise Unavailable(
            f"the {what} {path} is a symbolic link" if linked
            else f"the {what} {path} cannot be opened: {fault.strerror}",
            code="root_key_exposed" if linked else "root_key_unreadable",
            remedy="put the file itself there" if linked else "run this as the user who owns the file",
        ) from None
    try:
        _check(path, os.fstat(fd), what)
        return os.read(fd, limit + 1)
    except OSError as fault:
        raise Unavailable(f"the {what} {path} cannot be read: {fault.strerror}", code="root_key_unreadable",
                          remedy="check the disk") from None
    finally:
        os.close(fd)


def write_private(path: Path, content: bytes, what: str) -> None:
    """Make a new file of mode 0600, whole and on disk before it has its name.

    Raises:
        FileExistsError: something has that name already; it is never overwritten.
        Unavailable: ``root_key_unwritable``: the folder is missing or not ours, the disk full.

    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        try:
            _write_new(draft, content)
            os.link(draft, path, follow_symlinks=False)  # unlike rename, never replaces
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)
    except FileExistsError:
        raise
    except OSError as fault:
        raise Unavailable(
            f"the {what} {path} cannot be written: {fault.strerror}", code="root_key_unwritable",
            remedy=f"make {path.parent} a folder of this user, on a disk with space",
        ) from None


def remove_private(path: Path, what: str) -> None:
    """Remove a file, and drafts of it that a killed process left; none is no fault.

    Raises:
        Unavailable: ``root_key_unwritable``.

    """
    try:
        found = [path, *(one for one in path.parent.iterdir() if one.name.startswith(f".{path.name}."))]
    except FileNotFoundError:
        return
    try:
        for one in found:
            one.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as fault:
        raise Unavailable(f"the {what} {path} cannot be removed: {fault.strerror}", code="root_key_unwritable",
                          remedy=f"make {path.parent} a folder of this user") from None


def sync_folder(path: Path) -> None:
    """Make what was done to a folder's names durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _check(path: Path, found: os.stat_result, what: str) -> None:
    problem = remedy = ""
    if not stat.S_ISREG(found.st_mode):
        problem, remedy = "is not a plain file", "put the file itself there"
    elif found.st_uid != os.geteuid():
        problem = f"belongs to uid {found.st_uid}, not to this process's uid {os.geteuid()}"
        remedy = "run as that user, or give the file to this one"
    elif stat.S_IMODE(found.st_mode) & 0o177:
        problem = f"has mode {stat.S_IMODE(found.st_mode):04o}, others may read or change it"
        remedy = f"chmod 600 {path}; if others could read it, treat what it holds as known to them"
    if problem:
        raise Unavailable(f"the {what} {path} {problem}", code="root_key_exposed", remedy=remedy)


def _write_new(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(fd, 0o600)  # whatever the umask says
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view):]
        os.fsync(fd)
    finally:
        os.close(fd)
