"""What `doctor` says of the policy: who decides, how it is reached, and that nothing passes while it cannot."""

from __future__ import annotations

from typing import Any

import pytest
from tests.machine import strengths

from ringwall.identity.probe import probe as identity_probe
from ringwall.runtime.doctor import Finding, examine

OPA = {"backend": "opa", "opa": "unix:/run/opa/o", "version": "1.21.3", "revision": "a" * 64, "fault": "",
       "remedy": ""}
REST: Any = {"guard": {"alive": False}, "audit": {"logs": {}, "durability": "d"}, "problems": {}, "frozen": [],
             "runs": []}


def found(status: Any) -> Finding:
    policy = {"revision": "b" * 64, "opa": "1.21.3"}
    every = examine(confinement=strengths(), identity=identity_probe(), policy=policy, status=status)
    return next(one for one in every if one.area == "policy")


@pytest.mark.parametrize(("policy", "level", "said"), [
    (OPA, "strong", "unix:/run/opa/o"), ({**OPA, "opa": "http://127.0.0.1:8181"}, "degraded", "port"),
    ({**OPA, "fault": "opa_slow: late", "remedy": "look"}, "off", "opa_slow"),
    ({"backend": "embedded", "revision": "c" * 64, "opa": "1.21.3", "fault": ""}, "strong", "cccccccccccc"),
    ({**OPA, "stale": "it is not signed", "stale_remedy": "sign it"}, "degraded", "it is not signed"),
])
def test_the_running_core_says_what_decides(policy: Any, level: str, said: str) -> None:
    finding = found({**REST, "policy": policy})
    assert finding.level == level and said in finding.detail
    assert bool(finding.mend) is (level != "strong")


def test_without_a_core_the_shipped_policy_is_named() -> None:
    assert "bbbbbbbbbbbb" in found(None).detail
