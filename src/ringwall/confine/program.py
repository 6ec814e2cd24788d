"""Finding the program and preparing its words, before anything is given up that this needs."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ringwall.confine.spec import Bind, Confinement

_MAX_INTERPRETERS: Final = 4  # nested "#!" lines; execve allows as many
_SHEBANG_BYTES: Final = 256  # BINPRM_BUF_SIZE


@dataclass(frozen=True, slots=True)
class Program:
    """``fd``: O_PATH descriptor of the file to execute. ``argv``: interpreters of "#!" lines put first."""

    fd: int
    argv: tuple[str, ...]


def find(argv: Sequence[str], env: Mapping[str, str]) -> Program:
    """Look the program up as execvp does, and its "#!" interpreters as the kernel does.

    The kernel would read a script through a descriptor that is gone by then, so the line is read here.
    Raises OSError.
    """
    path = _lookup(argv[0], env)
    words = tuple(argv)
    for _ in range(_MAX_INTERPRETERS + 1):
        interpreter = _shebang(path)
        if not interpreter:
            if not os.access(path, os.X_OK, effective_ids=True):
                raise PermissionError(errno.EACCES, "not executable", path)
            return Program(os.open(path, os.O_PATH | os.O_CLOEXEC), words)
        words = (*interpreter, path, *words[1:])
        path = interpreter[0]
    raise OSError(errno.ELOOP, "too many interpreters", argv[0])


def _lookup(name: str, env: Mapping[str, str]) -> str:
    if "/" in name:
        os.stat(name)
        return name
    for folder in env.get("PATH", os.defpath).split(":"):
        path = os.path.join(folder or ".", name)
        if os.path.isfile(path) and os.access(path, os.X_OK, effective_ids=True):
            return path
    raise FileNotFoundError(errno.ENOENT, "not found on PATH", name)


def _shebang(path: str) -> tuple[str, ...]:
    """The interpreter and its one argument, or nothing: a binary, or a file that may be run but not read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return ()
    try:
        head = os.read(fd, _SHEBANG_BYTES)
    finally:
        os.close(fd)
    if not head.startswith(b"#!"):
        return ()
    line = head[2:].split(b"\n", 1)[0].strip()
    return tuple(os.fsdecode(word) for word in line.split(None, 1))


def words(argv: Sequence[str], env: Mapping[str, str]) -> tuple[Any, Any]:
    """``argv`` and ``envp`` in C's form."""
    return _array(argv), _array([f"{key}={value}" for key, value in env.items()])


def _array(texts: Sequence[str]) -> Any:
    coded: list[bytes | None] = [os.fsencode(text) for text in texts]
    return (ctypes.c_char_p * (len(coded) + 1))(*coded, None)


def without_view(spec: Confinement, scratch: str) -> Confinement:
    """The same program where targets do not exist: every mention of one becomes its source.

    Args:
        spec: whose layers lack ``namespaces``.
        scratch: a folder of the host that stands in for /tmp.

    """
    # The longest target first: one may lie in another.
    pairs = sorted(((bind.target, bind.source) for bind in spec.binds), key=lambda pair: -len(pair[0]))

    def rewrite(text: str) -> str:
        for target, source in pairs:
            if text == target or text.startswith(target + "/"):
                return source + text[len(target) :]
        # What exists in the host's /tmp is meant: an attack's aim must not be turned aside by this.
        if text == "/tmp" or (text.startswith("/tmp/") and not os.path.lexists(text)):
            return scratch + text[len("/tmp") :]
        return text

    return replace(
        spec,
        argv=tuple(rewrite(word) for word in spec.argv),
        # Each part of a list of folders, and what follows the scheme of unix:/run/...
        env={key: ":".join(rewrite(part) for part in value.split(":")) for key, value in spec.env.items()},
        cwd=rewrite(spec.cwd),
        binds=(*spec.binds, Bind(scratch, scratch, writable=True)),
    )
