"""``EmbeddedPolicy.trace``: the same decision, and the file and row of each rule that contributed to it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.policy.support import CALL, LIST, codes, data, document

from ringwall.errors import PolicyError
from ringwall.policy.build import SOURCES
from ringwall.policy.embedded import Contribution, EmbeddedPolicy

DOCUMENTS: tuple[Any, ...] = (
    document(), document(args={"path": "/srv/team-1/a", "limit": 500}), document(facts={}),
    document(target="bank/pay", args={"to": "alice", "amount": 1}), document(kind="secret"), {},
)


@pytest.mark.parametrize("asked", DOCUMENTS)
def test_a_traced_decision_is_the_decision(asked: Any) -> None:
    policy = EmbeddedPolicy.default(data())
    assert policy.trace(CALL, asked).result == policy.evaluate(CALL, asked)


@pytest.mark.parametrize("asked", DOCUMENTS)
def test_each_denial_has_a_rule_and_the_rule_stands_at_that_row(asked: Any) -> None:
    traced = EmbeddedPolicy.default(data()).trace(CALL, asked)
    origins: dict[str, Contribution] = {}
    for one in traced.contributions:
        if isinstance(one.value, dict) and "code" in one.value:
            origins.setdefault(str(one.value["code"]), one)
    assert codes(traced.result) <= set(origins)
    for denial in traced.result["deny"]:  # type: ignore[index, call-overload]
        origin = origins[denial["code"]]
        lines = (SOURCES / origin.file.rsplit("/", 1)[-1]).read_text().splitlines()
        assert lines[origin.row - 1].startswith("deny contains"), origin
        assert f'"code": "{denial["code"]}"' in "\n".join(lines[origin.row - 1:origin.row + 2])
        assert origin.rule == f"data.ringwall.{origin.file.rsplit('/', 1)[-1].removesuffix('.rego')}.deny"


def test_a_denial_is_traced_to_its_origin_before_the_rules_that_pass_it_on() -> None:
    traced = EmbeddedPolicy.default(data()).trace(CALL, document(facts={"identity": {"attested": True},
                                                                        "guard": {"blocked": True}}))
    passed = [one.rule for one in traced.contributions
              if isinstance(one.value, dict) and one.value.get("code") == "guard_blocked"]
    assert passed == ["data.ringwall.facts.deny", "data.ringwall.decide.deny"]


def test_a_listing_is_traced_too_and_an_error_is_the_same_error() -> None:
    policy = EmbeddedPolicy.default(data(), )
    asked = {"subject": document()["subject"], "targets": ["docs/read", "x/y"], "time": {"now": 1.0}}
    traced = policy.trace(LIST, asked)
    assert traced.result == {"targets": ["docs/read"]} == policy.evaluate(LIST, asked)
    assert "data.ringwall.decide.visible" in {one.rule for one in traced.contributions}
    with pytest.raises(PolicyError) as caught:
        policy.trace("ringwall/decide/nothing", asked)
    assert caught.value.code == "unknown_entry_point"
