"""Replay: what a draft would have changed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.explain.support import IBAN, MANIFEST, OTHER_IBAN, Desk

from ringwall.audit.budget import LogBudget
from ringwall.call import Denied, SessionId
from ringwall.capability.resources import parse_pattern
from ringwall.cli.replay import replay as command
from ringwall.explain.judge import Dry
from ringwall.explain.policies import in_force, policy
from ringwall.explain.recorded import Unreadable
from ringwall.explain.replay import Replay, replay
from ringwall.limits.gcra import Gcra
from ringwall.manifest.load import parse

CALLS: tuple[tuple[str, Any], ...] = (
    ("docs/read", {"path": "/srv/public/a"}),
    ("docs/read", {"path": "/srv/private/a"}),
    ("docs/delete", {"path": "/srv/public/a"}),
    ("pay/send", {"to": IBAN, "amount": 50}),
    ("pay/send", {"to": OTHER_IBAN, "amount": 50}),
    ("docs/read", {"path": "/srv/public/a", "lines": 1}),
    ("shell/run", {"x": 1}),
    ("docs/read", {"path": "/srv/../a"}),  # never became a call
)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    for tool, args in CALLS:
        desk.ask(tool, args)
    return desk


def against(desk: Desk, text: str = MANIFEST) -> Replay:
    manifest = parse(text, desk.path, check_pattern=parse_pattern)
    return asyncio.run(replay(desk.all(), Dry(manifest, policy(in_force(manifest), manifest))))


def test_the_same_manifest_and_policy_change_nothing(desk: Desk) -> None:
    found = against(desk)
    assert (found.calls, found.unchanged, found.changed) == (7, 7, 0)


def test_a_narrower_grant_refuses_what_was_allowed(desk: Desk) -> None:
    found = against(desk, MANIFEST.replace("path:/srv/public/", "path:/srv/public/b"))
    assert (found.newly_refused, found.newly_allowed) == (1, 0)
    group = found.sorted()[0]
    assert (group.code, group.target, group.examples[0].was) == ("resource_not_granted", "docs/read", "allowed")


def test_a_wider_grant_allows_what_was_refused_and_names_who_never_judged_it(desk: Desk) -> None:
    found = against(desk, MANIFEST.replace("path:/srv/public/", "path:/srv/"))
    assert (found.newly_refused, found.newly_allowed) == (0, 1)
    example = found.sorted()[0].examples[0]
    assert (example.now, example.not_judged) == ("allowed", ("limits", "flow", "guard"))


def test_asking_a_human_first_counts_apart(desk: Desk) -> None:
    found = against(desk, MANIFEST.replace("max = { amount = 100 } }", 'approval = "always" }'))
    assert (found.newly_asked, found.newly_refused, found.newly_allowed) == (1, 0, 0)


def test_refusals_of_rings_with_state_stand(desk: Desk) -> None:
    for ring in ("identity", "limits", "flow", "guard"):
        desk.ask("docs/read", {"path": "/srv/public/a"}, say={ring: Denied(code="no", reason="no")})
    assert against(desk).unchanged == 11


def test_a_frozen_tool_was_frozen_whatever_the_manifest_says(desk: Desk) -> None:
    no = Denied(code="frozen", reason="this is frozen", detail={"why": "incident"})
    desk.ask("docs/read", {"path": "/srv/public/a"}, say={"capability": no})
    assert against(desk).changed == 0


def test_a_call_that_was_approved_is_not_newly_held(desk: Desk) -> None:
    name = desk.ask("pay/send", {"to": IBAN}, agent="pia", role="payer")
    assert desk.recorded(name).record.type == "held"
    assert against(desk).changed == 0


def test_bodies_whose_key_was_destroyed_are_counted_and_not_guessed(desk: Desk) -> None:
    desk.ask("docs/read", {"path": "/srv/public/a"}, session="s2")
    desk.log(lambda journal: journal.forget("acme", SessionId("s1")))
    found = against(desk)
    assert (found.calls, found.unchanged, found.not_replayable, found.key_destroyed) == (8, 1, 7, 7)


def test_a_body_that_the_log_budget_left_out_is_not_taken_for_a_destroyed_key(desk: Desk) -> None:
    with_body(desk, 0)
    name = with_body(desk, 30_000)
    seen = desk.all()[-1]
    assert isinstance(seen, Unreadable)
    assert (seen.tenant + f"/{seen.record.number}", "left out" in seen.why) == (name, True)
    found = against(desk)
    assert (found.calls, found.unchanged) == (9, 8)
    assert (found.not_replayable, found.key_destroyed, found.left_out) == (1, 0, 1)


def with_body(desk: Desk, size: int) -> str:
    """A refused call of an agent that may keep no body of more than some bytes."""
    budget = LogBudget(Gcra(desk.clock), quota=256 << 10)
    body = {"tool": "pay/send", "args": {"to": OTHER_IBAN, "amount": 50, "note": "a" * size}}
    return desk.log(lambda journal: desk.write(journal, body), budget)


def invoked(desk: Desk, *arguments: str) -> Any:
    done = CliRunner().invoke(
        command, ["--state", str(desk.state), "-m", str(desk.path), "--json", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_it_begins_where_it_is_told_to(desk: Desk) -> None:
    assert invoked(desk)["calls"] == 7
    assert invoked(desk, "--tenant", "acme")["calls"] == 7
    third = desk.all()[2]
    assert invoked(desk, "--since", f"acme/{third.record.number}")["calls"] == 5
    assert invoked(desk, "--since", "2200-01-01")["calls"] == 0
    assert invoked(desk, "--since", "2020-01-01T00:00")["calls"] == 7


@pytest.mark.parametrize("since", ["x/", "/3", "yesterday", "acme/-1", "acme/٣"])
def test_a_start_that_is_none_is_refused(desk: Desk, since: str) -> None:
    done = CliRunner().invoke(command, ["--state", str(desk.state), "-m", str(desk.path), "--since", since])
    assert done.exit_code in {1, 2}


def test_the_text_names_differences_with_examples(desk: Desk) -> None:
    desk.path.write_text(MANIFEST.replace("path:/srv/public/", "path:/srv/public/b"))
    done = CliRunner().invoke(command, ["--state", str(desk.state), "-m", str(desk.path)])
    assert "newly refused   1" in done.output
    assert "allowed -> capability: resource_not_granted" in done.output
