"""A signed bundle on a running installation: it decides, is replaced while calls run, and a bad one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults import conftest
from tests.faults.test_freeze import restart_core, ringwall
from tests.policy.bundle.support import key_files, signing
from tests.policy.compile import the_opa
from tests.stack import Stack, wait_for

from ringwall.policy.bundle.folder import read_folder
from ringwall.policy.bundle.make import make

pytestmark = [pytest.mark.confined, pytest.mark.needs_opa]

RULE = """package ringwall.site

deny contains {{"code": "forbidden_word", "reason": "not that word", "rule": "site.rego: deny"}} if {{
	input.call.args.text == "{word}"
}}
"""


def bundle(folder: Path, word: str, *, signed: bool = True) -> None:
    """A policy that forbids one word, put in place as a whole."""
    (folder / "rego").mkdir(exist_ok=True)
    (folder / "rego" / "site.rego").write_text(RULE.format(word=word))
    draft = folder / "c" / "new"
    draft.write_bytes(make(the_opa(), read_folder(folder / "rego"), key=signing() if signed else None))
    draft.replace(folder / "c" / "policy.tar.gz")


def prepare(folder: Path) -> None:
    conftest.prepare(folder)
    key_files(folder / "c")
    bundle(folder, "one")


def manifest(folder: Path) -> str:
    return (f'{conftest.manifest(folder)}\n[policy]\nbundle = "{folder}/c/policy.tar.gz"\n'
            f'keys = ["{folder}/c/ed255190.pub.pem"]\n')


def test_a_bundle_decides_is_replaced_and_a_bad_one_changes_nothing() -> None:
    with Stack(manifest, prepare) as stack, stack.puppet("acme/ana") as agent:

        def forbidden(word: str) -> bool:
            return agent.call("echo/echo", text=word).get("code") == "forbidden_word"

        first = stack.status()["policy"]["revision"]
        assert (forbidden("one"), forbidden("two")) == (True, False)

        bundle(stack.folder, "two")  # an operator says so
        code, answer = ringwall(stack, "policy", "reload")
        second = answer["revision"]
        assert code == 0
        assert second != first
        assert answer["before"] in {first, second}
        by = "operator:" if answer["before"] == first else "watch"  # which may have been faster
        assert (forbidden("one"), forbidden("two")) == (False, True)

        bundle(stack.folder, "three")  # nobody says so
        wait_for("the watch", lambda: True if stack.status()["policy"]["revision"] != second else None)
        assert (forbidden("two"), forbidden("three")) == (False, True)
        third = stack.status()["policy"]["revision"]

        bundle(stack.folder, "four", signed=False)
        code, answer = ringwall(stack, "policy", "reload")
        assert (code, answer["error"]["code"]) == (1, "bundle_unsigned")
        assert (forbidden("three"), forbidden("four")) == (True, False)
        found = stack.status()["policy"]
        assert (found["revision"], found["fault"], found["stale_code"]) == (third, "", "bundle_unsigned")

        bundle(stack.folder, "five")
        ringwall(stack, "policy", "reload")
        restart_core(stack)
        wait_for("the new core", lambda: forbidden("five") or None)
        loaded = [record.body for record in stack.records("system", "policy_loaded")]
        assert [(one["before"], one["revision"]) for one in loaded[:2]] == [(first, second), (second, third)]
        assert loaded[1]["by"] == "watch" and loaded[0]["by"].startswith(by)
        assert "bundle_unsigned" in {record.body["code"] for record in stack.records("system", "policy_refused")}
        assert stack.verify().ok


def test_with_a_bad_bundle_it_does_not_start() -> None:
    stack = Stack(manifest, prepare)
    bundle(stack.folder, "one", signed=False)
    with pytest.raises(AssertionError), stack:
        pass
    assert any("bundle_unsigned" in line and "--key" in line for line in stack.log)
