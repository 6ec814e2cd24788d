"""What the sidecar does about peers works inside its confinement: memfd, accepting, TLS, sockets of a namespace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.confined
def test_a_confined_sidecar_opens_a_gate_calls_a_peer_and_reaches_into_a_namespace() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.peers.confined"], cwd=ROOT, capture_output=True, text=True, timeout=120,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "LANG": "C.UTF-8"}, check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    answers, seen = told["sent"]
    assert answers == [[[str(number)], "done", ""] for number in range(3)], ran.stderr
    assert seen == ["spiffe://a.test/tenant/acme/agent/ana/role/reader"]
    assert told["status"] == [0]
    if os.geteuid() == 0:  # making another network namespace needs it here, not in production
        assert told["delivered"] == [[['"n"'], "done", ""]] * 5
