"""The demo runs once for all tests of its result."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from tests.redteam.shown import Shown, demo


@pytest.fixture(scope="session")
def shown() -> Generator[Shown]:
    with demo() as found:
        yield found
