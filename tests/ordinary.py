"""An interpreter that an ordinary user can run, for repeating tests without root.

Where the tests run as root the interpreter often lies in a folder only root can cross. ``ordinary_python`` makes
a copy of it, mostly hard links, that any uid can read, with the packages of this environment; once a session.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ORDINARY_UID: Final = 12345
SOURCES: Final = Path(__file__).resolve().parent.parent / "src"
_LIBRARY: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"
# Large, and no test needs them.
_LEFT_OUT: Final = frozenset(
    {"site-packages", "test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "__pycache__", "pyright",
     "ruff", "pip", "setuptools", "hypothesis", "pygments", "nodeenv.py"}
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordinary:
    """How to run something as an ordinary user: the interpreter, the uid (and gid), the environment."""

    python: Path
    uid: int
    env: Mapping[str, str]
    home: Path  # a folder of that uid

    def run(
        self, arguments: Sequence[str], *, seconds: float = 120.0, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """``python ARGUMENTS`` as that uid; output captured as text."""
        as_them = {"user": self.uid, "group": self.uid, "extra_groups": []} if os.geteuid() == 0 else {}
        settings: dict[str, Any] = {
            "env": dict(self.env), "cwd": self.home, "capture_output": True, "text": True, "timeout": seconds,
            **as_them, **more,
        }  # fmt: skip
        return subprocess.run([str(self.python), *arguments], check=False, **settings)


@functools.cache
def ordinary_python() -> Ordinary:
    """The interpreter for ordinary users, made at the first call and removed when the tests end.

    When the tests do not run as root it is simply the one that runs them.
    """
    top = Path(tempfile.mkdtemp(prefix="ringwall-ordinary-"))
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    top.chmod(0o755)
    home = top / "home"
    home.mkdir(mode=0o700)
    env = {
        "PATH": f"{top / 'python' / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(SOURCES),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if os.geteuid() != 0:
        return Ordinary(python=Path(sys.executable), uid=os.geteuid(), env=env, home=home)
    os.chown(home, ORDINARY_UID, ORDINARY_UID)
    return Ordinary(python=_copy(top / "python"), uid=ORDINARY_UID, env=env, home=home)


def _copy(prefix: Path) -> Path:
    base = Path(sys.base_prefix)
    libraries = prefix / "lib"
    _link_tree(Path(sysconfig.get_path("stdlib")), libraries / _LIBRARY)
    _link_tree(Path(sysconfig.get_path("purelib")), libraries / _LIBRARY / "site-packages")
    for shared in (base / "lib").glob("libpython*.so*"):
        shutil.copy2(shared, libraries / shared.name)
    python = prefix / "bin" / "python3"
    python.parent.mkdir()
    # The run path inside the binary names the original's folder, which nobody else may enter.
    old = os.fsencode(base / "lib") + b"\0"
    new = b"$ORIGIN/../lib\0".ljust(len(old), b"\0")
    binary = Path(sys.executable).resolve().read_bytes()
    python.write_bytes(binary.replace(old, new) if len(new) == len(old) else binary)
    python.chmod(0o755)
    return python


def _link_tree(source: Path, target: Path) -> None:
    """Hard links where possible, copies across file systems."""
    for folder, folders, files in os.walk(source):
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        there = target / Path(folder).relative_to(source)
        there.mkdir(parents=True, exist_ok=True)
        for name in files:
            if name in _LEFT_OUT:
                continue
            try:
                os.link(Path(folder, name), there / name)
            except OSError:
                shutil.copy2(Path(folder, name), there / name)
