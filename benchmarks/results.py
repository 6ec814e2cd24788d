"""What was measured where: figures of the benchmarks with machine, versions and commit, in results.json.

``python benchmarks/results.py`` prints what is stored; a benchmark stores its figures with ``--save``.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).with_name("results.json")
PACKAGES: Final = ("uvicorn", "httptools", "uvloop", "msgspec", "cryptography", "google-re2", "mcp")


def machine(folder: Path) -> str:
    """This machine in words, with the file system of a folder."""
    cpu = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")),
        platform.machine(),
    )
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (f"{os.cpu_count()} CPUs ({cpu}), {gib:.0f} GiB, Linux {platform.release()}, "
            f"{file_system(folder)}")


def file_system(folder: Path) -> str:
    """The type of the file system a folder lies on."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    inside = [fields for fields in mounts if folder.resolve().is_relative_to(fields[1])]
    return max(inside, key=lambda fields: len(fields[1]))[2] if inside else "unknown file system"


def versions() -> dict[str, str]:
    """Of everything on the path of a call."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def commit() -> str:
    """The commit that is checked out, marked if the tree differs from it."""
    def git(*arguments: str) -> str:
        done = subprocess.run(("git", *arguments), capture_output=True, text=True, check=False, cwd=FILE.parent)
        return done.stdout.strip()
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "../src")
    return (git("rev-parse", "--short", "HEAD") or "no repository") + (" with changes" if changed else "")


def save(benchmark: str, figures: dict[str, Any], *, folder: Path) -> None:
    """Put one benchmark's figures in place of its last ones."""
    stored: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}
    stored[benchmark] = {
        "machine": machine(folder), "versions": versions(), "commit": commit(), "figures": figures,
    }
    FILE.write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n")


def main() -> int:
    if not FILE.exists():
        print("nothing is stored yet: run a benchmark with --save")
        return 0
    for name, entry in json.loads(FILE.read_text()).items():
        print(f"{name}: {entry['machine']}; commit {entry['commit']}")
        print(f"  {', '.join(f'{package} {number}' for package, number in entry['versions'].items())}")
        print(f"  {json.dumps(entry['figures'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
