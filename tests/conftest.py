"""What all tests share: allowed skips, and how Hypothesis searches."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests.skips import SkipGuard, listed

# No deadline: the machine is shared. No database: what one run found must not steer the next one here.
for name, examples, fixed in (("ci", 50, True), ("dev", 50, False), ("full", 1000, False)):
    settings.register_profile(name, deadline=None, derandomize=fixed, max_examples=examples, database=None,
                              suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SkipGuard(listed(Path(__file__).parent / "skips.toml")))
