"""What this machine can enforce, asked once, in a process of its own: the probes fork, and tests have threads."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache

from ringwall.confine.probe import Strength, Strengths

_ASK = """
import dataclasses, json
from ringwall.confine.probe import probe
print(json.dumps(dataclasses.asdict(probe())))
"""


@cache
def strengths() -> Strengths:
    """As ``confine.probe.probe``."""
    done = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, check=True, timeout=120)
    told = json.loads(done.stdout)
    return Strengths(root=told["root"], landlock_abi=told["landlock_abi"],
                     probes=tuple(Strength(**one) for one in told["probes"]))
