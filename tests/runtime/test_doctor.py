"""What `doctor` says of what an operator froze."""

from __future__ import annotations

from typing import Any

import pytest
from tests.machine import strengths

from ringwall.identity.probe import probe as identity_probe
from ringwall.runtime.doctor import examine

FROZEN = {"scope": "agent", "name": "acme/ana", "by": "operator:rita", "reason": "a drill"}
STATUS: Any = {"guard": {"alive": False}, "audit": {"logs": {}, "durability": "d"}, "problems": {}, "runs": [],
               "policy": {"backend": "embedded", "revision": "c" * 64, "opa": "1.21.3", "fault": ""}}


@pytest.mark.parametrize(("durable", "level", "said", "mend"), [
    (True, "degraded", "agent acme/ana by operator:rita: a drill", "ringwall thaw agent acme/ana"),
    (False, "weak", "a restart would forget it", "make room"),
])
def test_a_freeze_is_shown_and_one_that_a_restart_forgets_is_weak(
    durable: bool, level: str, said: str, mend: str
) -> None:
    every = examine(confinement=strengths(), identity=identity_probe(), policy={"revision": "", "opa": ""},
                    status={**STATUS, "frozen": [{**FROZEN, "durable": durable}]})
    (finding,) = [one for one in every if one.area == "frozen"]
    assert finding.level == level
    assert said in finding.detail
    assert mend in finding.mend
