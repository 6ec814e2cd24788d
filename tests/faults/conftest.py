"""A small installation that is broken and mended, one for each file of tests."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.faults.gatehouse import House, gatehouse
from tests.stack import Puppet, Stack

MANIFEST = """
version = 1
trust_domain = "acme.example"

[tools.echo]
builtin = "echo"
clearance = "private"

[tools.ledger]
python = "ledger_tool"
read_only = [{code}]
writable = [{gate}]
clearance = "private"
[tools.ledger.ops.wait]
effect = "read"
args = {{ gate = "param" }}
[tools.ledger.ops.attempt]
effect = "read"
args = {{ what = "param", where = "param" }}

[tenants.acme.roles.clerk.tools]
"echo/echo" = []
"ledger/wait" = []
"ledger/attempt" = []
[tenants.acme.agents.ana]
role = "clerk"
[tenants.acme.agents.ben]
role = "clerk"
"""


def prepare(folder: Path) -> None:
    (folder / "gate").mkdir()
    (folder / "gate").chmod(0o777)  # as root, the tool server has a uid of its own


def manifest(folder: Path) -> str:
    return MANIFEST.format(code=json.dumps(str(folder / "p")), gate=json.dumps(str(folder / "gate")))


@pytest.fixture(scope="module")
def stack() -> Generator[Stack]:
    with Stack(manifest, prepare) as running:
        yield running


@pytest.fixture(scope="module")
def house() -> Generator[House]:
    """The gateway, with everything behind it; in the end the log verifies."""
    with gatehouse() as running:
        yield running
        report = running.stack.verify()
        assert report.ok, report.problems


@pytest.fixture(scope="module")
def ana(house: House) -> Generator[Puppet]:
    with house.stack.puppet("ana") as puppet:
        yield puppet


@pytest.fixture(scope="module")
def ben(house: House) -> Generator[Puppet]:
    with house.stack.puppet("ben") as puppet:
        yield puppet
