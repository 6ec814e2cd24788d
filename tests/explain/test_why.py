"""``ringwall explain``: which ring, why, on what facts, what the agent was told."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.explain.support import Desk

from ringwall.call import Denied, Event, Json, SessionId
from ringwall.cli.main import main
from ringwall.explain.recorded import Recorded
from ringwall.explain.why import _rules


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def explained(desk: Desk, name: str, *more: str) -> dict[str, Any]:
    done = CliRunner().invoke(
        main, ["explain", name, "--json", "--state", str(desk.state), "-m", str(desk.path), *more])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def shown(desk: Desk, name: str) -> str:
    done = CliRunner().invoke(main, ["explain", name, "--state", str(desk.state), "-m", str(desk.path)])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_refusal_says_ring_code_facts_and_what_the_agent_was_told(desk: Desk) -> None:
    found = explained(desk, desk.ask("docs/read", {"path": "/srv/private/a"}))
    assert (found["result"], found["ring"], found["code"]) == ("refused", "capability", "resource_not_granted")
    assert found["facts"]["arguments"] == {"path": "/srv/private/a"}
    assert found["facts"]["detail"]["granted"] == ["path:/srv/public/"]
    assert "/srv/public" not in json.dumps(found["told"])  # what is allowed besides is for operators only
    assert found["change"]["proved"] is True


def test_the_manifest_is_not_changed(desk: Desk) -> None:
    explained(desk, desk.ask("docs/read", {"path": "/srv/private/a"}))
    assert desk.path.read_text() == desk.text


def test_errors_of_the_agents_own_schema_were_told_in_full(desk: Desk) -> None:
    found = explained(desk, desk.ask("docs/read", {"path": "/srv/public/a", "lines": 3}))
    assert found["told"]["errors"] == found["facts"]["detail"]["errors"]


def test_a_request_that_never_became_a_call_is_explained_by_its_cause(desk: Desk) -> None:
    found = explained(desk, desk.ask("docs/read", {"path": "/srv/public/../private/a"}))
    assert (found["ring"], found["code"], found["result"]) == ("resolver", "bad_argument", "refused")
    assert "climbs" in found["meaning"]
    assert found["change"]["diff"] == ""
    assert found["change"]["advice"]


def test_a_launch_shows_what_its_process_tried_in_vain(desk: Desk) -> None:
    name = desk.log(lambda journal: journal.note(Event(
        type="launch", tenant="acme", subject="spiffe://x", session=SessionId("s1"),
        body={"confined": True, "self_test": {"connect out": "ENETUNREACH"}})))
    found = explained(desk, name)
    assert (found["ring"], found["facts"]["self_test"]) == ("kernel", {"connect out": "ENETUNREACH"})


def test_an_allowed_call_says_how_it_ended_and_so_does_its_outcome(desk: Desk) -> None:
    name = desk.ask("docs/read", {"path": "/srv/public/a"})
    found = explained(desk, name)
    assert (found["result"], found["ring"]) == ("allowed", "")
    assert "done" in found["meaning"]
    tenant, _, number = name.partition("/")
    assert explained(desk, f"{tenant}/{int(number) + 1}")["name"] == name


def test_a_record_without_its_key_still_says_ring_and_code(desk: Desk) -> None:
    name = desk.ask("docs/read", {"path": "/srv/private/a"})
    desk.log(lambda journal: journal.forget("acme", SessionId("s1")))
    found = explained(desk, name)
    assert (found["ring"], found["code"]) == ("capability", "resource_not_granted")
    assert "destroyed" in found["meaning"]
    assert found["change"]["diff"] == ""


def test_a_call_that_could_not_be_written_down_is_a_refusal_with_its_cause(desk: Desk) -> None:
    name = desk.log(lambda journal: journal.note(Event(
        type="refused_unrecorded", tenant="acme", subject="spiffe://x", session=SessionId("s1"),
        body={"kind": "tool", "code": "log_budget"})))
    found = explained(desk, name)
    assert (found["result"], found["ring"], found["code"]) == ("refused", "audit", "log_budget")
    assert "quota_mib" in found["change"]["advice"]


def test_a_peer_that_was_turned_away_is_a_refusal_by_its_certificate(desk: Desk) -> None:
    name = desk.log(lambda journal: journal.note(Event(
        type="peer_refused", tenant="acme", session=SessionId("s1"),
        body={"receiver": "spiffe://y", "code": "svid_untrusted"})))
    found = explained(desk, name)
    assert (found["result"], found["ring"], found["code"]) == ("refused", "certificate", "svid_untrusted")
    assert found["title"] == "somebody connected to spiffe://y"
    assert "its own trust domain" in found["change"]["advice"]


def test_without_a_manifest_it_explains_all_the_same(desk: Desk) -> None:
    name = desk.ask("docs/read", {"path": "/srv/private/a"})
    desk.path.unlink()
    found = explained(desk, name)
    assert found["code"] == "resource_not_granted"
    assert any("no such file" in note for note in found["change"]["notes"])


def test_what_an_agent_wrote_cannot_steer_the_terminal(desk: Desk) -> None:
    text = shown(desk, desk.ask("pay/send", {"to": "GB33BUKB20201555555555", "note": "\x1b[2J\u202eevil"}))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert all(len(line) <= 80 for line in text.splitlines() if not line.startswith((" ", "+", "-")))


def test_no_such_record_and_no_such_log_end_with_an_error(desk: Desk) -> None:
    desk.ask("docs/read", {"path": "/srv/public/a"})
    for name in ("acme/99", "other/1"):
        done = CliRunner().invoke(main, ["explain", name, "--state", str(desk.state), "-m", str(desk.path)])
        assert done.exit_code == 1


@dataclass(frozen=True)
class Part:
    value: Json
    file: str
    row: int
    rule: str


@dataclass(frozen=True)
class Made:
    contributions: tuple[Part, ...]


class FakePolicy:
    def __init__(self, revision: str, *parts: Part) -> None:
        self.revision = revision
        self._made = Made(parts)

    def trace(self, entry_point: str, document: Json) -> Made:
        return self._made


def by_policy(desk: Desk) -> Recorded:
    said = Denied(code="too_late", reason="not after hours", detail={"deny": [
        {"code": "too_late", "reason": "not after hours", "rule": "site: hours"}]})
    return desk.recorded(desk.ask("docs/read", {"path": "/srv/public/a"}, say={"policy": said}))


def test_a_rule_of_the_policy_is_named_with_file_and_line(desk: Desk) -> None:
    denial = {"code": "too_late", "reason": "not after hours", "rule": "site: hours"}
    other = {"code": "other", "reason": "", "rule": ""}
    policy = FakePolicy("", Part(denial, "site/hours.rego", 12, "data.ringwall.site.deny"),
                        Part(other, "site/hours.rego", 30, "data.ringwall.site.deny"))
    seen = by_policy(desk)
    seen.facts["policy"] = {"revision": ""}
    assert [(r.file, r.row, r.rule) for r in _rules(seen, "policy", policy)] == [
        ("site/hours.rego", 12, "site: hours")]


def test_lines_of_another_revision_are_not_shown_as_those_of_the_record(desk: Desk) -> None:
    denial = {"code": "too_late", "rule": "site: hours"}
    policy = FakePolicy("another", Part(denial, "site/hours.rego", 99, "x"))
    assert [(r.file, r.rule) for r in _rules(by_policy(desk), "policy", policy)] == [("", "site: hours")]


def test_audit_show_says_what_stopped_a_request_that_never_became_a_call(desk: Desk) -> None:
    name = desk.ask("docs/read", {"path": "/srv/public/../private/a"})
    done = CliRunner().invoke(main, ["audit", "show", name, "--state", str(desk.state)])
    assert "stopped   resolver · bad_argument" in done.output
