"""What limits found out, a site's policy may deny on: through the real ring and the default policy."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.limits.test_ring import caller
from tests.policy.compile import the_opa
from tests.policy.support import data, document

from ringwall.manifest.types import Limits, Rate
from ringwall.policy.build import SOURCES, build
from ringwall.policy.embedded import EmbeddedPolicy
from ringwall.policy.ring import CALL

SITE = """
package ringwall.site

deny contains {
    "code": "nearly_used_up",
    "reason": "what is left is kept for the end of the day",
    "rule": "reserve.rego: what is left",
} if {
    some budget in input.facts.limits.agent
    budget.remaining * 10 < budget.limit
}
"""


@pytest.mark.needs_opa
def test_a_sites_policy_denies_on_what_is_left_of_a_limit(tmp_path: Path) -> None:
    for source in SOURCES.iterdir():
        if source.suffix in {".rego", ".json"} and source.name != "plan.json":
            (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / "reserve.rego").write_text(SITE)
    policy = EmbeddedPolicy(build(the_opa(), tmp_path), data())

    async def run() -> list[set[str]]:
        calls, _ = caller(role=Limits(calls=Rate(count=1, seconds=3600.0, burst=20)))
        said: list[set[str]] = []
        for _ in range(20):
            await calls.enter()
            facts = {"identity": {"attested": True}, **calls.facts}
            decided = policy.evaluate(CALL, document(facts=facts))
            said.append({denial["code"] for denial in decided["deny"]})
        return said

    assert asyncio.run(run()) == [set[str]()] * 18 + [{"nearly_used_up"}] * 2
