"""A running installation of two tenants whose agents talk, for each module here (``tests/talking.py``)."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from tests.impostor import Impostor
from tests.stack import Puppet, Stack
from tests.talking import Server, manifest, serving


@pytest.fixture(scope="module")
def stack() -> Generator[Stack]:
    with Stack(manifest) as running:
        yield running
        assert running.status()["restarts"] == 0, "".join(running.log)
        report = running.verify()
        assert report.ok, report.problems


@pytest.fixture(scope="module")
def sam(stack: Stack) -> Generator[Server]:
    with serving(stack) as server:
        yield server


@pytest.fixture(scope="module")
def ana(stack: Stack) -> Generator[Puppet]:
    with stack.puppet("acme/ana") as puppet:
        yield puppet


@pytest.fixture(scope="module")
def impostor(stack: Stack, sam: Server) -> Impostor:
    return Impostor(stack)
