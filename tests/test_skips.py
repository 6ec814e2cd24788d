"""An unlisted skip fails; a listed one does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.skips import Skip, SkipGuard, listed

TESTS = """
import pytest

def test_skips(): pytest.skip("no [moon] tonight")

@pytest.mark.xfail(reason="known")
def test_xfails(): assert False

@pytest.mark.parametrize("x", ["a"])
def test_marked(x): pytest.skip("no sun")
"""


def run(pytester: pytest.Pytester, *allowed: Skip) -> dict[str, int]:
    pytester.makepyfile(test_it=TESTS)
    found = pytester.inline_run("-p", "no:cacheprovider", plugins=[SkipGuard(allowed)])
    passed, skipped, failed = found.listoutcomes()
    return {"passed": len(passed), "skipped": len(skipped), "failed": len(failed), "status": int(found.ret)}


def test_an_unlisted_skip_fails_the_session(pytester: pytest.Pytester) -> None:
    found = run(pytester, Skip(test="test_it.py::test_skips", reason="no [moon]*", why=""))
    assert found == {"passed": 0, "skipped": 2, "failed": 1, "status": 1}


def test_a_listed_skip_with_another_reason_fails(pytester: pytest.Pytester) -> None:
    assert run(pytester, Skip(test="*", reason="no sun", why=""))["failed"] == 1


def test_listed_skips_and_expected_failures_pass(pytester: pytest.Pytester) -> None:
    found = run(pytester, Skip(test="test_it.py::test_skips", reason="no*", why=""),
                Skip(test="test_it.py::test_marked[a]", reason="no sun", why=""))
    assert found == {"passed": 0, "skipped": 3, "failed": 0, "status": 0}


def test_a_module_that_skips_as_a_whole_fails(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it="import pytest\npytest.importorskip('no_such_module_at_all')")
    assert pytester.inline_run("-p", "no:cacheprovider", plugins=[SkipGuard(())]).ret != 0


def test_every_listed_skip_says_why_and_names_a_file_that_exists() -> None:
    skips = listed(Path(__file__).parent / "skips.toml")
    assert skips
    for skip in skips:
        assert len(skip.why) > 20, skip
        assert skip.reason.strip("*"), skip
        assert list(Path().glob(skip.test.split("::", maxsplit=1)[0])), skip
