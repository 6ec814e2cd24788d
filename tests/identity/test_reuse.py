"""A recycled process number makes nobody else of anybody."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.identity import reuse
from tests.identity.processes import unshared


def test_forced_reuse_of_a_process_number_fools_credentials_and_no_pidfd_method(tmp_path: Path) -> None:
    done = subprocess.run(
        [*unshared("--pid", "--mount-proc"), sys.executable, reuse.__file__, str(tmp_path / "s")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert all(answer["credentials_name_victim"] for answer in answers)  # the attack really happened
    strong = {answer["answer"] for answer in answers if answer["method"] != "peercred"}
    assert strong <= {"peer_dead", "peer_unknown"}
    weak = {answer["early"]: answer["answer"] for answer in answers if answer["method"] == "peercred"}
    # Why it is called weak: a connection that was accepted too late belongs to whoever has the number then.
    assert weak == {True: "peer_dead", False: "attested"}
