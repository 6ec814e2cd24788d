"""``python -m ringwall.redteam.escape [--json]``: run as an agent, tries to get out in every way we know.

Prints each attempt with the kernel's answer. Exits 0 only if all failed. What an agent may do by design (write
/workspace and /tmp, reach its door) is printed and not counted.
"""
# One system call a line: what pathlib would add around it must not be in the way.
# ruff: noqa: PTH108, PTH118

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from ringwall.redteam.ways import Way, ways

OUT: Final = "GOT OUT"
_WIDTH: Final = 80
_DOOR: Final = "/run/ringwall/door.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """``result``: an errno's name, or GOT OUT."""

    name: str
    result: str


def attempt(way: Way) -> Result:
    """Make one attempt."""
    try:
        way.act()
    except OSError as stopped:
        return Result(name=way.name, result=errno.errorcode.get(stopped.errno or 0, type(stopped).__name__))
    return Result(name=way.name, result=OUT)


def _may_write(folder: str) -> None:
    path = os.path.join(folder, f".ringwall-escape-{os.getpid()}")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    os.unlink(path)


def _may_connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(path)


def allowed(env: Mapping[str, str]) -> list[Result]:
    """What works by design, where it is there."""
    home, scratch, door = env.get("HOME", "/workspace"), env.get("TMPDIR", "/tmp"), env.get("RINGWALL_DOOR", _DOOR)
    tried = [
        Way(f"write {home}", lambda: _may_write(home)),
        Way(f"write {scratch}", lambda: _may_write(scratch)),
        Way(f"connect to the door {door}", lambda: _may_connect(door)),
    ]
    made = [attempt(way) for way in tried]
    return [Result(name=each.name, result="works" if each.result == OUT else each.result) for each in made]


def _line(name: str, result: str) -> str:
    room = _WIDTH - len(result) - 3
    return f"  {name[:room]:<{room}} {result}"


def main(arguments: list[str] | None = None) -> int:
    """Try everything, print it, give the exit code: 0 nothing got out, 1 something did, 2 wrong usage."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments not in ([], ["--json"]):
        sys.stderr.write("usage: python -m ringwall.redteam.escape [--json]\n")
        return 2
    fine = allowed(os.environ)
    results = [attempt(way) for way in ways(os.environ)]
    escaped = [each.name for each in results if each.result == OUT]
    if arguments:
        tree = {"attempts": [asdict(r) for r in results], "allowed": [asdict(r) for r in fine], "escaped": escaped}
        sys.stdout.write(json.dumps(tree) + "\n")
    else:
        lines = ["Ways out of this confinement, and what the kernel said:"]
        lines += [_line(each.name, each.result) for each in results]
        lines += ["Allowed by design:", *(_line(each.name, each.result) for each in fine)]
        lines.append(
            ": ".join(
                [f"{len(results)} attempts, {len(escaped)} got out", *([", ".join(escaped)] if escaped else [])]
            )
        )
        sys.stdout.write("\n".join(lines) + "\n")
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main())
