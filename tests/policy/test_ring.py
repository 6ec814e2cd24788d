"""The ring turns decisions into verdicts, and every fault into a denial."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.policy.support import data

from ringwall.call import Allowed, Approval, Call, CallId, Denied, Facts, NeedsApproval, Process, Resource, Target
from ringwall.call import LaunchId as Launch
from ringwall.errors import PolicyError
from ringwall.identity.spiffe import SpiffeId
from ringwall.interface import Targets
from ringwall.policy.embedded import EmbeddedPolicy
from ringwall.policy.ring import PolicyRing


class FixedClock:
    def now(self) -> float:
        return 1_700_000_000.0

    def monotonic(self) -> float:
        return 0.0


class Scripted:
    """A backend that answers what it is told to."""

    revision = "r" * 64

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[str, Any]] = []

    async def decide(self, entry_point: str, document: Any) -> Any:
        self.asked.append((entry_point, document))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


WHO = Process(spiffe_id=SpiffeId.parse("spiffe://acme.example/tenant/acme/agent/ana/role/analyst"),
              launch=Launch("l1"), connection=1)


def call(target: str = "docs/read", path: str = "/srv/team-1/a", approval: Approval | None = None,
         type_: str = "path") -> Call:
    named = "path" if type_ == "path" else "to"
    return Call.make(id=CallId("1"), kind="tool", subject=WHO, session=None, target=Target(name=target),
                     args={named: path}, approval=approval,
                     resources=(Resource(type=type_, id=path, key=tuple(path.strip("/").split("/")), action="read",
                                         argument=named),))


def enter(ring: PolicyRing, made: Call) -> tuple[Any, Facts]:
    facts: Facts = {"identity": {"attested": True}}
    passage = asyncio.run(ring.enter(made, facts))
    return passage.verdict, facts


def ring(answer: Any = None, approved: Callable[[Call], bool] = lambda _: False) -> PolicyRing:
    backend = EmbeddedPolicy.default(data()) if answer is None else Scripted(answer)
    return PolicyRing(backend, FixedClock(), approved)


def test_an_allowed_call_passes_and_the_revision_is_a_fact() -> None:
    verdict, facts = enter(ring(), call())
    assert verdict == Allowed()
    assert facts["policy"] == {"revision": EmbeddedPolicy.default({}).revision, "denials": 0, "approved": False}


def test_a_denial_names_its_rules_to_operators_only() -> None:
    verdict, facts = enter(ring(), call(path="/etc/shadow"))
    assert isinstance(verdict, Denied)
    assert verdict.code == "resource_not_granted"
    assert "rego" not in verdict.reason and verdict.remedy == ""
    assert verdict.detail["deny"][0]["rule"] == "grants.rego: covered"
    assert facts["policy"]["denials"] == 1


def test_approval_is_asked_for_and_taken_only_when_it_was_verified() -> None:
    claimed = call("bank/pay", "alice", Approval(record="acme/3"), "id")
    assert isinstance(enter(ring(), claimed)[0], NeedsApproval)
    assert enter(ring(approved=lambda _: True), claimed)[0] == Allowed()


def test_the_backend_sees_the_whole_input() -> None:
    backend = Scripted({"allow": True, "deny": [], "ask": [], "remedy": ""})
    verdict, _ = enter(PolicyRing(backend, FixedClock()), call())
    assert verdict == Allowed()
    point, document = backend.asked[0]
    assert point == "ringwall/decide/call"
    assert set(document) == {"subject", "call", "facts", "time"} and document["time"] == {"now": 1_700_000_000.0}


GOOD = {"allow": True, "deny": [], "ask": [], "remedy": ""}


@pytest.mark.parametrize("answer", [
    PolicyError("out of steps", code="policy_limit"), "yes", True, 1, [], {}, {"allow": True},
    {**GOOD, "allow": "true"}, {**GOOD, "allow": 1}, {**GOOD, "deny": None}, {**GOOD, "deny": {}},
    {**GOOD, "deny": ["x"]}, {**GOOD, "deny": [{"code": 1}]}, {**GOOD, "ask": "no"}, {**GOOD, "ask": [1]},
    {**GOOD, "remedy": None},
])
def test_an_ill_typed_decision_or_an_error_is_a_denial(answer: Any) -> None:
    verdict, facts = enter(ring(answer), call())
    assert isinstance(verdict, Denied) and verdict.code == "policy_error"
    assert facts["policy"]["denials"] == 1
    assert verdict.detail["cause"]


def test_a_decision_that_neither_denies_nor_allows_is_a_denial() -> None:
    verdict, _ = enter(ring({**GOOD, "allow": False}), call())
    assert isinstance(verdict, Denied) and verdict.code == "not_permitted"


def test_all_questions_are_put_to_the_human() -> None:
    def asks(*codes: str) -> NeedsApproval:
        questions = [{"code": code, "question": f"{code}?", "rule": "x"} for code in codes]
        verdict, _ = enter(ring({**GOOD, "allow": False, "ask": questions}), call())
        assert isinstance(verdict, NeedsApproval)
        return verdict

    assert (asks("a", "b").code, asks("a", "b").question) == ("a", "a?; b?")
    assert asks("a", "b") != asks("a")
    # What the grant asks is not asked any more once it is approved: the others must not change by that.
    assert asks("approval_required", "b") == asks("b")
    assert asks("approval_required").question == "approval_required?"


def test_any_denial_wins_over_allow_and_over_a_question() -> None:
    entry = {"code": "c", "reason": "r", "rule": "x.rego: y"}
    both = {**GOOD, "deny": [entry], "ask": [{"code": "a", "question": "q", "rule": "x"}]}
    verdict, _ = enter(ring(both), call())
    assert isinstance(verdict, Denied) and verdict.code == "c"


def test_a_listing_keeps_definitions_and_invents_none() -> None:
    shown = asyncio.run(ring().lists(WHO, Targets(definitions={"docs/read": {"x": 1}, "docs/delete": {}})))
    assert dict(shown.definitions) == {"docs/read": {"x": 1}}
    invented = asyncio.run(ring({"targets": ["evil/tool"]}).lists(WHO, Targets(definitions={"a/b": {}})))
    assert dict(invented.definitions) == {}


@pytest.mark.parametrize("answer", [PolicyError("no"), {}, {"targets": None}, {"targets": [1]}, ["a/b"]])
def test_a_listing_that_fails_shows_nothing(answer: Any) -> None:
    with pytest.raises(PolicyError):
        asyncio.run(ring(answer).lists(WHO, Targets(definitions={"a/b": {}})))
