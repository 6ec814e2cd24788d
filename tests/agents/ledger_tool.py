"""An ordinary module served as a tool server (``python = "ledger_tool"``)."""

import os
import subprocess
import time
from pathlib import Path

from attempts import attempt as _attempt


def attempt(what: str, where: str) -> str:
    """Try to get out."""
    return _attempt(what, where)


def look(path: str) -> str:
    """Read a file."""
    return Path(path).read_text()


def environment() -> dict[str, str]:
    """What the server was given."""
    return dict(os.environ)


def descriptors() -> list[str]:
    """What is open."""
    found = list(Path("/proc/self/fd").iterdir())
    return sorted(str(each.readlink()) for each in found if each.is_symlink())


def wait(gate: str) -> str:
    """Say in a folder that it began, and go on when told there."""
    Path(gate, "began").touch()
    while not Path(gate, "go").exists():
        time.sleep(0.01)
    return "waited"


def breed(mark: str) -> int:
    """Leave a process behind."""
    return subprocess.Popen(["/bin/sleep", mark], start_new_session=True, stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL).pid
