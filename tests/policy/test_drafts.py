"""Drafts built by the real opa: replayed against a log, run beside a running core, explained by file and line."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.explain.support import MANIFEST, Desk
from tests.policy.compile import the_opa
from tests.stack import RINGWALL, Stack, wait_for

from ringwall.capability.resources import parse_pattern
from ringwall.cli.main import main
from ringwall.errors import PolicyError, RingwallError
from ringwall.explain.policies import built, draft
from ringwall.explain.suggest import Advisor
from ringwall.policy.bundle.reading import load
from ringwall.policy.data import policy_data

pytestmark = pytest.mark.needs_opa
RULE = """\
package ringwall.site

deny contains {
	"code": "no_reading",
	"reason": "nothing is read this week",
	"rule": "week.rego: reading",
} if {
	input.call.target in {"docs/read", "echo/echo"}
}
"""


@pytest.fixture
def week(tmp_path: Path) -> Path:
    the_opa()
    folder = tmp_path / "week"
    folder.mkdir()
    (folder / "week.rego").write_text(RULE)
    return folder


def replayed(desk: Desk, *arguments: str) -> Any:
    done = CliRunner().invoke(main, ["policy", "replay", "--state", str(desk.state), "-m", str(desk.path), "--json",
                                     *arguments])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_a_draft_is_replayed_from_its_folder_and_from_its_bundle(tmp_path: Path, week: Path) -> None:
    desk = Desk(tmp_path)
    name = desk.ask("docs/read", {"path": "/srv/public/a"})
    desk.ask("docs/read", {"path": "/srv/private/a"})
    bundle = tmp_path / "week.tar.gz"
    bundle.write_bytes(built(week, os.environ))
    for at in (week, bundle):
        found = replayed(desk, "--draft", str(at))
        assert (found["calls"], found["newly_refused"], found["unchanged"]) == (2, 1, 1)
        (group,) = found["groups"]
        assert (group["code"], group["examples"][0]["record"]) == ("no_reading", name)


def test_a_draft_and_an_edited_manifest_are_judged_together(tmp_path: Path, week: Path) -> None:
    desk = Desk(tmp_path)
    desk.ask("docs/delete", {"path": "/srv/public/a"})
    given = '"docs/delete" = ["path:/srv/"]\n"pay/send" = { res'
    desk.path.write_text(MANIFEST.replace('"pay/send" = { res', given, 1))
    assert replayed(desk, "--draft", str(week))["newly_allowed"] == 1


def test_a_draft_that_is_none_is_refused_with_its_cause(tmp_path: Path, week: Path) -> None:
    (week / "week.rego").write_text("package ringwall.site\ndeny contains")
    with pytest.raises(PolicyError):
        draft(week, os.environ)
    (tmp_path / "x.tar.gz").write_bytes(b"no bundle")
    with pytest.raises(PolicyError):
        draft(tmp_path / "x.tar.gz", os.environ)
    desk = Desk(tmp_path)
    desk.ask("docs/read", {"path": "/srv/public/a"})
    done = CliRunner().invoke(main, ["policy", "replay", "--state", str(desk.state), "-m", str(desk.path),
                                     "--draft", str(tmp_path / "x.tar.gz")])
    assert done.exit_code == 1


def test_a_refusal_by_the_organisations_rule_names_its_file_and_line(tmp_path: Path, week: Path) -> None:
    bundle = tmp_path / "week.tar.gz"
    bundle.write_bytes(built(week, os.environ))
    desk = Desk(tmp_path, f'{MANIFEST}\n[policy]\nbundle = "{bundle}"\n')
    name = desk.ask("docs/read", {"path": "/srv/public/a"})
    done = CliRunner().invoke(main, ["explain", name, "--json", "--state", str(desk.state), "-m",
                                     str(desk.path)])
    found = json.loads(done.output)
    assert (found["ring"], found["code"]) == ("policy", "no_reading")
    (rule,) = found["rules"]
    assert rule["file"].endswith("week.rego")
    assert (rule["row"], rule["rule"]) == (3, "week.rego: reading")
    assert (found["change"]["diff"], "policy" in found["change"]["advice"]) == ("", True)


def test_no_change_of_the_manifest_is_offered_against_a_rule_of_the_organisation(
        tmp_path: Path, week: Path) -> None:
    """The grant is missing and the rule denies: giving the grant alone would not help."""
    bundle = tmp_path / "week.tar.gz"
    bundle.write_bytes(built(week, os.environ))
    desk = Desk(tmp_path)
    seen = desk.recorded(desk.ask("docs/read", {"path": "/srv/private/a"}))
    advisor = Advisor(desk.text, desk.path, lambda manifest: load(bundle).policy(_base(manifest)))
    found = asyncio.run(advisor.suggest(seen))
    assert (found.diff, found.proved) == ("", False)


def _base(manifest: Any) -> Any:
    return policy_data(manifest, parse_pattern)


LIVE = """
version = 1
trust_domain = "acme.example"
[tools.echo]
builtin = "echo"
clearance = "private"
[tenants.acme.roles.clerk.tools]
"echo/echo" = []
[tenants.acme.agents.ana]
role = "clerk"
"""


@pytest.fixture(scope="module")
def live() -> Generator[Stack]:
    the_opa()
    with Stack(lambda _: LIVE) as running:
        yield running


def shadow(live: Stack, *arguments: str) -> Any:
    done = subprocess.run([*RINGWALL, "policy", "shadow", *arguments, "--state", str(live.state), "--json"],
                          capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.confined
def test_a_draft_beside_a_running_core_is_heard_in_the_log_and_decides_nothing(live: Stack, week: Path) -> None:
    begun = shadow(live, str(week))
    assert (begun["active"], begun["judged"]) == (True, 0)
    ran = live.python("acme/ana", "import ringwall\nprint([ringwall.call_tool('echo/echo', text='x')"
                                  " for _ in range(5)] and 'done')")
    assert "done" in str(ran), ran  # every call was allowed, as the active policy says
    found = wait_for("its verdicts", lambda: now if (now := shadow(live, "--show"))["judged"] >= 5 else None)
    group = next(one for one in found["differences"] if one["target"] == "echo/echo")
    assert (group["was"], group["would"], group["code"], group["count"]) == ("allowed", "denied", "no_reading", 5)
    ended = shadow(live, "--stop")
    assert ended["active"] is False
    assert shadow(live, "--show") == {"active": False}
    wait_for("the counted records", lambda: live.records("acme", "shadow_difference") or None)
    calls = {record.clear["call"] for record in live.records("acme", "intent")}
    counted = live.records("acme", "shadow_difference")
    examples = {record.body["call"] for record in counted if "call" in record.body}
    assert examples and examples <= calls
    assert len(live.records("system", "shadow_start", "shadow_stop")) == 2


@pytest.mark.confined
@pytest.mark.parametrize("args", [{}, {"show": True, "stop": True}, {"bundle": "relative"}, {"bundle": "/nowhere"},
                                  {"bundle": 1}, {"more": 1}])
def test_an_act_that_makes_no_sense_is_refused_and_starts_nothing(live: Stack, args: Any) -> None:
    with pytest.raises(RingwallError):
        live.client.operate("policy.shadow", args)
    assert live.client.operate("policy.shadow", {"show": True}) == {"active": False}
