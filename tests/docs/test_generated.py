"""Pages made from code are as the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_generated_pages_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, "scripts/gen_docs.py", "--check"], cwd=ROOT, text=True,
                          capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_manifest_in_the_reference_is_the_one_that_init_writes() -> None:
    from ringwall.manifest.starter import STARTER

    assert f"```toml\n{STARTER}```" in (ROOT / "docs" / "manifest.md").read_text()
