"""The smallest change that would allow a call: what it names, what it does not, and where there is none."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.explain.support import IBAN, MANIFEST, OTHER_IBAN, Desk

from ringwall.call import Denied, NeedsApproval
from ringwall.explain.suggest import Suggestion


def suggested(desk: Desk, tool: str, args: Any, text: str | None = None, **how: Any) -> Suggestion:
    seen = desk.recorded(desk.ask(tool, args, **how))
    return asyncio.run(desk.advisor(text).suggest(seen))


def changed(found: Suggestion) -> list[str]:
    """The lines a diff takes away and adds."""
    lines = [line for line in found.diff.splitlines() if not line.startswith(("+++", "---"))]
    return [line for line in lines if line[0] in "+-" and line[1:]]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_tool_is_given_for_exactly_this_resource(desk: Desk) -> None:
    found = suggested(desk, "docs/delete", {"path": "/srv/public//a.txt"})
    assert changed(found) == ['+"docs/delete" = ["path:/srv/public/a.txt"]']
    assert found.proved
    assert found.unasked == ("limits", "flow", "guard")


def test_a_resource_is_added_and_nothing_below_or_beside_it(desk: Desk) -> None:
    found = suggested(desk, "docs/read", {"path": "/srv/private/a.txt"})
    assert changed(found) == ['+  "path:/srv/private/a.txt",']


def test_a_maximum_is_raised_to_what_was_asked_for(desk: Desk) -> None:
    found = suggested(desk, "pay/send", {"to": IBAN, "amount": 250})
    assert changed(found)[1].endswith("max = { amount = 250 } }")


def test_a_call_that_is_refused_for_several_reasons_gets_all_of_them_and_no_more(desk: Desk) -> None:
    found = suggested(desk, "pay/send", {"to": OTHER_IBAN, "amount": 101, "note": "x"})
    assert changed(found) == [
        f'-"pay/send" = {{ resources = ["iban:{IBAN}"], max = {{ amount = 100 }} }}',
        f'+"pay/send" = {{ resources = ["iban:{IBAN}", "iban:{OTHER_IBAN}"], max = {{ amount = 101 }} }}',
    ]
    assert found.proved


def test_an_undeclared_argument_is_declared_by_what_its_value_looks_like_and_a_person_is_told_to_check(
        desk: Desk) -> None:
    found = suggested(desk, "docs/read", {"path": "/srv/public/a", "paths": ["/etc/passwd"]})
    assert changed(found) == [
        '-args = { path = "selector:path" }  # nothing else yet',
        '+args = { path = "selector:path", paths = "selector:path" }  # nothing else yet',
        '+  "path:/etc/passwd",',
    ]
    assert any("guess" in note for note in found.notes)


def test_processes_of_an_agent_may_call_when_that_is_what_was_refused(desk: Desk) -> None:
    found = suggested(desk, "docs/read", {"path": "/srv/public/a"}, number=2)
    assert changed(found) == ['+processes = "tree"']


def test_a_model_is_given_with_the_secret_it_needs(desk: Desk) -> None:
    name = desk.log(lambda journal: desk.write(journal, {"model": "main", "request": {}}, kind="model"))
    found = asyncio.run(desk.advisor().suggest(desk.recorded(name)))
    assert set(changed(found)) == {'+models = ["main"]', '+secrets = ["key"]'}


TENANT, AGENT = 'limits = { calls = "60/min" }', 'limits = { calls = "30/min burst 5", tokens = "1000/session" }'
LIMITS = {
    "one call more at once": (
        "rate_limited", {"scope": "agent", "burst": 5, "count": 30, "seconds": 60.0},
        AGENT.replace("burst 5", "burst 6")),
    "a rate without a burst": (
        "rate_limited", {"scope": "tenant", "burst": 60, "count": 60, "seconds": 60.0},
        TENANT.replace("60/min", "60/min burst 61")),
    "tokens of a session": (
        "budget_exhausted",
        {"scope": "agent", "name": "tokens_per_session", "budget": 1000, "remaining": 100, "wanted": 150},
        AGENT.replace("1000/", "1050/")),
    "one more at the same time than the default": (
        "too_many_at_once", {"scope": "tenant", "concurrent": 128},
        TENANT.replace(" }", ", concurrent = 129 }")),
}  # fmt: skip


@pytest.mark.parametrize(("code", "detail", "line"), LIMITS.values(), ids=LIMITS)
def test_a_limit_is_raised_by_what_was_missing(desk: Desk, code: str, detail: dict[str, Any], line: str) -> None:
    no = Denied(code=code, reason="too much", detail=detail)
    found = suggested(desk, "docs/read", {"path": "/srv/public/a"}, say={"limits": no})
    assert changed(found)[1] == f"+{line}"
    assert found.proved


def test_a_limit_that_cannot_be_one_higher_is_not_suggested(desk: Desk) -> None:
    no = Denied(code="too_many_at_once", reason="too much", detail={"scope": "agent", "concurrent": 10_000})
    found = suggested(desk, "docs/read", {"path": "/srv/public/a"}, say={"limits": no})
    assert (found.diff, "10000" in found.advice) == ("", True)


@pytest.mark.parametrize(("ring", "said"), [
    ("identity", Denied(code="peer_dead", reason="gone")),
    ("guard", Denied(code="sensitive_argument", reason="secret", detail={"findings": []})),
    ("flow", Denied(code="above_clearance", reason="private", detail={"rule": 11})),
    ("limits", Denied(code="no_limits", reason="unknown")),
    ("policy", Denied(code="site_rule", reason="the organisation says no", detail={"deny": []})),
    ("capability", Denied(code="definition_changed", reason="changed", detail={"listed": "a", "pinned": "b"})),
    ("capability", Denied(code="tool_unavailable", reason="down", detail={"problems": []})),
    ("flow", Denied(code="ring_failed", reason="broken", detail={"ring": "flow"})),
])
def test_where_no_manifest_is_right_it_says_what_to_do_instead(desk: Desk, ring: Any, said: Denied) -> None:
    found = suggested(desk, "docs/read", {"path": "/srv/public/a"}, say={ring: said})
    assert found.diff == ""
    assert found.advice or found.proved  # a site's rule: with the shipped policy of now, the call is allowed


def test_arguments_that_do_not_fit_the_tools_own_schema_are_the_agents_to_mend(desk: Desk) -> None:
    found = suggested(desk, "docs/read", {})
    assert found.diff == ""
    found = suggested(desk, "pay/send", {"to": IBAN, "amount": "many"})
    assert (found.diff, "mend" in found.advice) == ("", True)


def test_a_schema_fault_beside_an_undeclared_argument_keeps_the_call_refused(desk: Desk) -> None:
    found = suggested(desk, "pay/send", {"to": IBAN, "amount": "many", "more": 1})
    assert found.diff == ""


def test_a_tool_that_nobody_declared_is_not_given(desk: Desk) -> None:
    found = suggested(desk, "shell/run", {"command": "ls"})
    assert found.diff == ""
    assert "declare" in found.advice


def test_a_url_that_a_pattern_would_widen_is_not_written(desk: Desk) -> None:
    found = suggested(desk, "web/get", {"link": "https://x.example/a/"})
    assert found.diff == ""
    assert "below it" in found.advice
    assert changed(suggested(desk, "web/get", {"link": "https://x.example/a"})) == [
        '+"web/get" = ["url:https://x.example/a"]']


def test_a_held_call_is_answered_by_the_line_that_approves_it(desk: Desk) -> None:
    name = desk.ask("pay/send", {"to": IBAN}, agent="pia", role="payer")
    found = asyncio.run(desk.advisor().suggest(desk.recorded(name)))
    assert (found.diff, found.command) == ("", f"ringwall approvals approve {name}")


def test_a_call_that_would_be_held_after_the_change_says_so(desk: Desk) -> None:
    found = suggested(desk, "pay/send", {"to": OTHER_IBAN}, agent="pia", role="payer")
    assert f'"iban:{OTHER_IBAN}"' in found.diff
    assert "approve" in found.advice


def test_a_question_of_flow_is_no_denial(desk: Desk) -> None:
    asks = NeedsApproval(code="untrusted_target", question="Pay this account?")
    found = suggested(desk, "docs/read", {"path": "/srv/public/a"}, say={"flow": asks})
    assert found.command.startswith("ringwall approvals approve acme/")


def test_a_manifest_that_was_changed_already_needs_no_change(desk: Desk) -> None:
    newer = MANIFEST.replace('"path:/srv/public/"', '"path:/srv/"')
    found = suggested(desk, "docs/read", {"path": "/srv/private/a"}, newer)
    assert (found.diff, found.proved) == ("", True)


def test_an_agent_that_the_manifest_no_longer_has_is_put_back(desk: Desk) -> None:
    newer = MANIFEST.replace('[tenants.acme.agents.ana]\nrole = "analyst"\n', "")
    seen = desk.recorded(desk.ask("docs/read", {"path": "/srv/public/a"}, say={
        "capability": Denied(code="unknown_agent", reason="no such agent")}))
    found = asyncio.run(desk.advisor(newer).suggest(seen))
    assert changed(found)[:2] == ["+[tenants.acme.agents.ana]", '+role = "analyst"']


def test_nothing_is_suggested_that_does_not_help(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that denies whatever the manifest says: every change of the manifest is in vain."""
    seen = desk.recorded(desk.ask("docs/read", {"path": "/srv/private/a"}))
    advisor = desk.advisor()

    async def denies(self: object, call: object, facts: object) -> Any:
        class Passage:
            verdict = Denied(code="site_rule", reason="no")
        return Passage()

    monkeypatch.setattr("ringwall.policy.ring.PolicyRing.enter", denies)
    found = asyncio.run(advisor.suggest(seen))
    assert (found.diff, found.proved) == ("", False)
    assert "policy" in found.advice


LONG = MANIFEST.replace('"docs/read" = [\n  "path:/srv/public/",  # all of it\n]\n', "").replace(
    f'"pay/send" = {{ resources = ["iban:{IBAN}"], max = {{ amount = 100 }} }}\n', "") + f"""
[[tenants.acme.roles.analyst.authorization_details]]
type = "urn:ringwall:tool"
identifier = "docs/read"
actions = ["read"]
locations = ["path:/srv/public/"]
[[tenants.acme.roles.analyst.authorization_details]]
type = "urn:ringwall:tool"
identifier = "pay/send"
actions = ["pay"]
locations = ["iban:{IBAN}"]
max = {{ amount = 100 }}
"""


@pytest.mark.parametrize(("tool", "args"), [
    ("docs/read", {"path": "/srv/private/a.txt"}), ("pay/send", {"to": IBAN, "amount": 250})])
def test_a_grant_in_the_long_form_is_changed_by_hand(desk: Desk, tool: str, args: Any) -> None:
    found = suggested(desk, tool, args, LONG)
    assert (found.diff, found.proved) == ("", False)
    assert "authorization_details" in found.advice
