"""The child's own root: a small tmpfs that shows the binds, a process list of its own, four devices, /tmp.

Everything is opened before anything is covered, every step below the new root goes component by component
without following links, and the old root is detached at the end.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from collections.abc import Generator, Sequence
from typing import Final

from ringwall.confine import syscalls
from ringwall.confine.landlock import Rule
from ringwall.confine.spec import Bind

# sys/mount.h, linux/mount.h, linux/openat2.h
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REC, _PRIVATE = 1, 2, 4, 8, 0x4000, 0x40000
_DETACH: Final = 2
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_CLONE_TREE: Final = 1 | os.O_CLOEXEC  # OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC
_EMPTY_PATH: Final = 0x1000
_RECURSIVE: Final = 0x8000
_TO_DESCRIPTOR: Final = 0x04 | 0x40  # MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
_NO_LINKS: Final = 0x04  # RESOLVE_NO_SYMLINKS
_AT_CWD: Final = -100

_STAGE: Final = "/tmp"  # the new root is built over this folder, in this child's mounts only
DEVICES: Final = ("null", "zero", "full", "random", "urandom")
_DEVICE_LINKS: Final = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
_ROOT_SIZE: Final = "size=1m,nr_inodes=2048,mode=0755"  # folders and empty files only
_INODES_PER_MIB: Final = 256  # an average file of 4 KiB


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class _Attributes(ctypes.Structure):
    """struct mount_attr."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns", ctypes.c_uint64),
    )


class Trees:
    """Detached copies of every source, opened while the host's files are still to be seen."""

    def __init__(self, binds: Sequence[Bind]) -> None:
        # Outer targets first, so that an inner one finds its place.
        self.binds = sorted(binds, key=lambda bind: bind.target.count("/"))
        self._trees: list[tuple[str, int]] = []
        for bind in self.binds:
            with naming(bind.source):
                found = _open_real(bind.source)
                self._add(bind.target, found, _ATTR_NOSUID | _ATTR_NODEV | (0 if bind.writable else _ATTR_RDONLY))
        self.devices: list[tuple[str, int]] = []
        for name in DEVICES:
            with naming(f"/dev/{name}"):
                self.devices.append((name, _clone(os.open(f"/dev/{name}", os.O_PATH | os.O_CLOEXEC))))

    def _add(self, target: str, found: int, attributes: int) -> None:
        tree = _clone(found)
        _set_attributes(tree, attributes, recursive=True)
        self._trees.append((target, tree))

    def attach(self, root: int) -> None:
        """Move every tree to its place below ``root`` and close it."""
        for target, tree in self._trees:
            with naming(target):
                _attach(root, target, tree)
        for name, tree in self.devices:
            _attach(root, f"/dev/{name}", tree)


@contextlib.contextmanager
def naming(path: str) -> Generator[None]:
    """Let an OSError say which path it was about: the operator has to find it."""
    try:
        yield
    except OSError as fault:
        fault.filename = path
        raise


def _open_real(path: str) -> int:
    how = _OpenHow(os.O_PATH | os.O_CLOEXEC, 0, _NO_LINKS)
    return syscalls.call("openat2", _AT_CWD, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))


def _clone(found: int) -> int:
    try:
        return syscalls.call("open_tree", found, b"", _CLONE_TREE | _EMPTY_PATH | _RECURSIVE)
    finally:
        os.close(found)


def _set_attributes(tree: int, attributes: int, *, recursive: bool) -> None:
    wanted = _Attributes(attributes, 0, 0, 0)
    flags = _EMPTY_PATH | (_RECURSIVE if recursive else 0)
    syscalls.call("mount_setattr", tree, b"", flags, ctypes.byref(wanted), ctypes.sizeof(wanted))


def _enter(folder: int, name: str) -> int:
    """The folder ``name`` in ``folder``, made if it is missing; a symbolic link is refused. Closes ``folder``."""
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=folder)
        return os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError as fault:
        # In a read-only bind mkdir says EROFS before it looks whether the folder exists.
        with contextlib.suppress(OSError):
            return os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        raise fault
    finally:
        os.close(folder)


def _attach(root: int, target: str, tree: int) -> None:
    *parents, last = target.strip("/").split("/")
    folder = os.dup(root)
    for name in parents:
        folder = _enter(folder, name)
    if stat.S_ISDIR(os.fstat(tree).st_mode):
        place = _enter(folder, last)
    else:
        try:
            place = _empty_file(folder, last)
        finally:
            os.close(folder)
    try:
        syscalls.call("move_mount", tree, b"", place, b"", _TO_DESCRIPTOR)
    finally:
        os.close(place)
        os.close(tree)


def _empty_file(folder: int, name: str) -> int:
    with contextlib.suppress(OSError):  # it may exist, in a read-only bind: then the next open decides
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o444, dir_fd=folder))
    return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)


def _scratch(path: str, mib: int) -> None:
    size = f"size={mib}m,nr_inodes={mib * _INODES_PER_MIB},mode=1777"
    syscalls.mount("tmpfs", path, "tmpfs", _NOSUID | _NODEV, size)


def build(binds: Sequence[Bind], tmp_mib: int) -> None:
    """Make the view and enter it. Call in a new mount and process namespace, with CAP_SYS_ADMIN over them.

    Raises OSError with ``filename`` set to what could not be shown.
    """
    syscalls.mount("none", "/", None, _REC | _PRIVATE)
    trees = Trees(binds)
    syscalls.mount("tmpfs", _STAGE, "tmpfs", _NOSUID | _NODEV, _ROOT_SIZE)
    os.chdir(_STAGE)
    for name in ("proc", "dev", "dev/shm", "tmp"):
        os.mkdir(name, 0o755)
    # Before the pivot: the kernel mounts proc in a user namespace only while the full one is in sight.
    with naming("proc"):
        syscalls.mount("proc", "proc", "proc", _NOSUID | _NODEV | _NOEXEC | _RDONLY, "subset=pid")
    _scratch("tmp", tmp_mib)
    _scratch("dev/shm", tmp_mib)
    for name, goal in _DEVICE_LINKS.items():
        os.symlink(goal, f"dev/{name}")
    root = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    trees.attach(root)
    syscalls.call("pivot_root", b".", b".")
    syscalls.call("umount2", b".", _DETACH)
    _set_attributes(root, _ATTR_RDONLY | _ATTR_NOSUID, recursive=False)
    os.close(root)
    os.chdir("/")


def rules(binds: Sequence[Bind], *, with_view: bool) -> tuple[Rule, ...]:
    """What Landlock allows: the binds, and of the launcher's own making only what programs need."""
    shown = [Rule(bind.target if with_view else bind.source, "write" if bind.writable else "run") for bind in binds]
    devices = [Rule(f"/dev/{name}", "write") for name in DEVICES]
    if not with_view:
        return (*shown, *devices, Rule("/proc/self", "read"))
    # Folders between the root and a bind are the launcher's own: their names tell only what was bound, and an
    # interpreter that imports from /srv/lib/tool must list /srv/lib.
    made = [Rule("/", "list"), Rule("/proc", "read"), Rule("/dev/shm", "write"), Rule("/tmp", "write")]
    return (*shown, *devices, *made)
