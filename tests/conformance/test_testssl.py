"""testssl.sh at an agent's listener: TLS 1.3 and nothing older, no tickets, nothing to resume."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.integration.test_messages import manifest, serving
from tests.stack import Stack

TESTSSL = shutil.which("testssl")
OLD = ("SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2")

pytestmark = pytest.mark.skipif(TESTSSL is None, reason="needs_testssl: no testssl found")


@pytest.fixture(scope="module")
def stack() -> Generator[Stack]:
    with Stack(manifest) as running:
        yield running


def test_it_sees_tls_1_3_only_and_no_tickets(stack: Stack, tmp_path: Path) -> None:
    assert TESTSSL is not None
    found = tmp_path / "found.json"
    with serving(stack, "acme/sam"):
        [listening] = stack.status()["messages"]["listening"].values()
        plain = ["--quiet", "--color", "0", "--warnings", "off", "--jsonfile", str(found)]
        command = [TESTSSL, "-p", "-S", *plain, listening["address"]]
        subprocess.run(command, check=False, capture_output=True, timeout=120)
    said = {one["id"]: one["finding"] for one in json.loads(found.read_text())}
    assert said["TLS1_3"].startswith("offered"), said
    assert all(said[name].startswith("not offered") for name in OLD), said
    assert said["TLS_session_ticket"].startswith("no"), said
