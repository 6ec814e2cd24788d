"""``ringwall demo`` as a whole, for the tests that look at its result or its log."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 300  # a busy machine; usual is 15 to 30


def ringwall(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "ringwall.cli.main", *arguments], capture_output=True, text=True,
                          check=False, timeout=SECONDS)


@dataclass(frozen=True, slots=True)
class Shown:
    """What ``ringwall demo --json --keep`` said, and its log."""

    status: int
    report: dict[str, Any]
    errors: str
    state: Path

    def audit(self, record: str) -> dict[str, Any]:
        """As ``ringwall audit show RECORD --json``."""
        done = ringwall("audit", "show", record, "--state", str(self.state), "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@contextmanager
def demo() -> Generator[Shown]:
    """Run it."""
    done = ringwall("demo", "--json", "--keep")
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    state = Path(report["state"])
    yield Shown(done.returncode, report, done.stderr, state)
    shutil.rmtree(state.parents[1])
