"""A site's rules join the shipped ones: they can refuse, ask and hide, and give nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.policy.compile import the_opa
from tests.policy.support import CALL, LIST, codes, data, document, subject
from tests.policy.test_ring import FixedClock, call

from ringwall.call import Allowed, Denied, Facts, NeedsApproval
from ringwall.policy.bundle.folder import read_folder
from ringwall.policy.bundle.make import make
from ringwall.policy.bundle.reading import open_bundle
from ringwall.policy.embedded import EmbeddedPolicy
from ringwall.policy.ring import PolicyRing

pytestmark = pytest.mark.needs_opa

DENY = '{"code": "site_says_no", "reason": "not here", "rule": "x.rego: x"}'
ASK = '{"code": "site_asks", "question": "sure?", "rule": "x.rego: x"}'
RATE = 'input.facts.limits["calls/agent"].remaining < 5'


def site(folder: Path, *rules: str) -> EmbeddedPolicy:
    (folder / "x.rego").write_text("package ringwall.site\n\n" + "\n".join(rules) + "\n")
    return open_bundle(make(the_opa(), read_folder(folder))).policy(data())


def test_a_sites_denial_wins_over_a_grant(tmp_path: Path) -> None:
    policy = site(tmp_path, f"deny contains {DENY} if input.call.target == \"docs/read\"")
    assert codes(policy.evaluate(CALL, document())) == {"site_says_no"}
    other = document(target="docs/search", args={"query": "x"}, resources=[])
    assert policy.evaluate(CALL, other)["allow"] is True


def test_a_sites_denial_stands_beside_the_shipped_ones(tmp_path: Path) -> None:
    policy = site(tmp_path, f"deny contains {DENY}")
    assert codes(policy.evaluate(CALL, document(target="docs/delete"))) == {"site_says_no", "not_granted"}


def test_a_site_may_ask_and_a_denial_wins(tmp_path: Path) -> None:
    policy = site(tmp_path, f"ask contains {ASK}")
    asked = policy.evaluate(CALL, document())
    assert (asked["allow"], [one["code"] for one in asked["ask"]]) == (False, ["site_asks"])
    verdict = asyncio.run(PolicyRing(policy, FixedClock()).enter(call(), _attested())).verdict
    assert isinstance(verdict, NeedsApproval) and verdict.code == "site_asks"
    both = site(tmp_path, f"ask contains {ASK}", f"deny contains {DENY}")
    assert isinstance(asyncio.run(PolicyRing(both, FixedClock()).enter(call(), _attested())).verdict, Denied)


def test_a_site_may_hide_a_tool_and_only_from_listings(tmp_path: Path) -> None:
    policy = site(tmp_path, 'hide contains "bank/pay" if input.subject.agent == "ana"')
    asked = {"subject": subject(), "targets": ["docs/read", "bank/pay"], "time": {"now": 1.0}}
    assert policy.evaluate(LIST, asked) == {"targets": ["docs/read"]}
    assert policy.evaluate(LIST, {**asked, "subject": subject("tom")}) == {"targets": ["bank/pay", "docs/read"]}
    assert policy.evaluate(CALL, document())["allow"] is True


def test_rate_facts_can_deny(tmp_path: Path) -> None:
    policy = site(tmp_path, f"deny contains {DENY} if {RATE}")
    for remaining, allowed in ((5, True), (4, False)):
        facts: Facts = {**document()["facts"],
                        "limits": {"calls/agent": {"limit": 10, "used": 10 - remaining, "remaining": remaining}}}
        assert policy.evaluate(CALL, document(facts=facts))["allow"] is allowed


@pytest.mark.parametrize("member", ['"no"', '{"code": "x"}', '{"code": 1, "reason": "r", "rule": "x"}', "1", "[]"])
def test_a_member_of_another_form_refuses_the_call(member: str, tmp_path: Path) -> None:
    policy = site(tmp_path, "deny contains found if some found in data.acme.odd")
    odd = {**data(), "acme": {"odd": [json.loads(member)]}}
    made = EmbeddedPolicy(open_bundle(make(the_opa(), read_folder(tmp_path))).compiled, odd)
    verdict = asyncio.run(PolicyRing(made, FixedClock()).enter(call(), _attested())).verdict
    assert isinstance(verdict, Denied) and verdict.code == "policy_error"
    assert asyncio.run(PolicyRing(policy, FixedClock()).enter(call(), _attested())).verdict == Allowed()


def _attested() -> Any:
    return {"identity": {"attested": True}}
