"""What `doctor` and `status` say of how processes are told apart, and of which bytes the sender is looked at."""

from __future__ import annotations

from typing import Any

import pytest
from tests.machine import strengths

from ringwall.cli.up import _rows
from ringwall.identity.probe import Probe
from ringwall.runtime.doctor import examine

EVERY = Probe(method="inode", tree=True, reads=True)
CONNECTION = Probe(method="inode", tree=True, detail="SO_PASSPIDFD: Protocol not available")
STATUS: Any = {
    "pid": 1, "restarts": 0, "processes": [], "servers": [], "proposed": [], "manifest": "/m", "runs": [],
    "guard": {"alive": False}, "audit": {"logs": {}, "durability": "d"}, "problems": {}, "frozen": [],
    "policy": {"backend": "embedded", "revision": "a" * 64, "opa": "1.21.3", "fault": ""},
}


@pytest.mark.parametrize(("probe", "level", "said", "mend"), [
    (EVERY, "strong", "sender of every read checked", ""),
    (CONNECTION, "degraded", "sender of connection checked (SO_PASSPIDFD: Protocol not available)", "Linux 6.5"),
    (Probe(method="peercred", tree=False), "weak", "sender of connection checked", "Linux 6.5"),
])
def test_where_only_the_connection_is_looked_at_doctor_says_so_and_why(
    probe: Probe, level: str, said: str, mend: str
) -> None:
    every = examine(confinement=strengths(), identity=probe, policy=STATUS["policy"], status=None)
    (finding,) = [one for one in every if one.area == "identity"]
    assert finding.level == level
    assert said in finding.detail
    assert mend in finding.mend and bool(mend) == bool(finding.mend)


def test_status_says_it_too() -> None:
    identity = {"method": "inode", "strength": "strong", "tree": True, "sender": "connection"}
    rows = dict(_rows({**STATUS, "identity": identity}))
    assert rows["attestation"] == "strong, by inode, sender of connection checked"
