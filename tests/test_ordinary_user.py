"""As root: what starts confined processes must hold for an ordinary uid too, from an environment it can read."""

from __future__ import annotations

import os
import subprocess

import pytest

SECONDS = 1200  # the first run makes an environment; then the confined tests of the whole tree run once more


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary uid")
def test_confinement_and_end_to_end_hold_for_an_ordinary_uid() -> None:
    done = subprocess.run(["scripts/ordinary.sh", "-q", "-m", "confined", "tests"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout[-20_000:]
