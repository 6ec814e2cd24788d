"""A skipped test is a promise nobody checked: each allowed skip is listed in ``skips.toml``, any other fails."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """An allowed skip: which tests, with which reason in the report, and why that is acceptable."""

    test: str  # pattern of test ids, as in tests/policy/test_plan.py::*
    reason: str  # pattern of the reason that the test gives
    why: str


def listed(path: Path) -> tuple[Skip, ...]:
    """The skips that a file allows. Raises TypeError for an entry with other keys."""
    return tuple(Skip(**entry) for entry in tomllib.loads(path.read_text()).get("skip", []))


class SkipGuard:
    """A pytest plugin that turns an unlisted skip into a failure."""

    def __init__(self, allowed: Sequence[Skip]) -> None:
        self._allowed = allowed

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Tests and fixtures that skip."""
        report = yield
        if report.skipped and not hasattr(report, "wasxfail"):
            self._judge(report, item.nodeid)
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
            self, collector: pytest.Collector) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Modules that skip as a whole."""
        report = yield
        if report.skipped:
            self._judge(report, collector.nodeid)
        return report

    def _judge(self, report: pytest.TestReport | pytest.CollectReport, test: str) -> None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if not any(_matches(test, skip.test) and _matches(reason, skip.reason) for skip in self._allowed):
            report.outcome = "failed"
            report.longrepr = f"{test} was skipped ({reason}), and tests/skips.toml does not list that"


def _matches(text: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))  # brackets of ids are meant literally
