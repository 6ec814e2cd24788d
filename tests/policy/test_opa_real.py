"""A real OPA on a Unix socket and on loopback: started, killed, restarted, given another bundle."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path

import pytest
from tests.policy.opa_process import REVISION, ROOTS, bundle, free_port, running
from tests.policy.support import CALL, LIST, data, document

from ringwall.clock import SystemClock
from ringwall.errors import PolicyError
from ringwall.policy.embedded import EmbeddedPolicy
from ringwall.policy.opa.address import Address
from ringwall.policy.opa.backend import OpaRest

pytestmark = pytest.mark.needs_opa
SECONDS = 30.0  # the machine may be under load; what is slow is tested against a scripted server
OUTSIDE = document(resources=[{"type": "path", "id": "/etc/x", "key": ["etc", "x"], "action": "read",
                               "argument": "path"}])


def policy(address: Address, revision: str = "", base: object = None) -> OpaRest:
    return OpaRest(address, data() if base is None else base, SystemClock(), revision=revision, seconds=SECONDS)


async def refusal(asked: OpaRest) -> str:
    with pytest.raises(PolicyError) as caught:
        await asked.decide(CALL, document())
    return caught.value.code


@pytest.mark.parametrize("kind", ["unix", "loopback"])
def test_opa_decides_what_the_core_would_decide_itself(kind: str, tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "o")) if kind == "unix" else Address(host="127.0.0.1", port=free_port())
    here = EmbeddedPolicy.default(data())

    async def act() -> None:
        asked = policy(address, REVISION)
        listing = {"subject": document()["subject"], "targets": ["docs/read", "docs/delete"], "time": {"now": 1.0}}
        assert await asked.decide(CALL, document()) == here.evaluate(CALL, document())
        assert (await asked.decide(CALL, OUTSIDE))["allow"] is False
        assert await asked.decide(CALL, OUTSIDE) == here.evaluate(CALL, OUTSIDE)
        assert await asked.decide(LIST, listing) == here.evaluate(LIST, listing) == {"targets": ["docs/read"]}
        found = await asked.status()
        assert found["fault"] == "" and found["revision"] == REVISION and found["opa"] == str(address)
        await asked.close()
    with running(address, bundle(tmp_path)):
        asyncio.run(act())


def test_an_opa_that_is_killed_refuses_and_decides_again_after_a_restart(tmp_path: Path) -> None:
    address, made = Address(path=str(tmp_path / "o")), bundle(tmp_path)

    async def act() -> None:
        asked = policy(address)
        await asked.status()
        with running(address, made) as process:
            await asked.status()
            assert (await asked.decide(CALL, document()))["allow"] is True
            under_way = [asyncio.create_task(asked.decide(CALL, document())) for _ in range(50)]
            await asyncio.sleep(0)
            process.kill()
            process.wait()
            ended = await asyncio.gather(*under_way, return_exceptions=True)
            assert all(isinstance(one, PolicyError) or one["allow"] is True for one in ended)
            assert await refusal(asked) in {"opa_unreachable", "opa_open"}
        fresh = policy(address)  # the breaker's own pauses are tested with a clock of the test's
        with running(address, made):
            await fresh.status()
            assert (await fresh.decide(CALL, document()))["allow"] is True
        with running(address, made):  # new, and it holds no grants of ours
            assert (await fresh.decide(CALL, document()))["allow"] is True
        await asked.close()
        await fresh.close()
    asyncio.run(act())


def test_grants_of_another_manifest_never_decide(tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "o"))
    empty = {"ringwall": {"trust_domain": "acme.example", "tenants": {}}}

    async def act() -> None:
        generous, strict = policy(address), policy(address, base=empty)
        await generous.status()
        await strict.status()
        for _ in range(3):  # each takes its own grants back before it believes an answer
            assert (await generous.decide(CALL, document()))["allow"] is True
            assert (await strict.decide(CALL, document()))["allow"] is False
        await generous.close()
        await strict.close()
    with running(address, bundle(tmp_path)):
        asyncio.run(act())


@pytest.mark.parametrize(("revision", "roots", "pinned", "code"), [
    (REVISION, ("ringwall",), "", "opa_refused"), (REVISION, ROOTS, "b" * 64, "opa_revision"),
    ("", ROOTS, "", "opa_no_policy"),
])
def test_a_bundle_that_is_not_ours_or_leaves_no_place_for_grants_does_not_decide(
        revision: str, roots: tuple[str, ...], pinned: str, code: str, tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "o"))

    async def act() -> None:
        asked = policy(address, pinned)
        found = await asked.status()
        assert found["fault"].startswith(f"{code}: "), found
        assert await refusal(asked) == code
        await asked.close()
    with running(address, bundle(tmp_path, revision=revision, roots=roots)):
        asyncio.run(act())


def test_an_opa_without_a_bundle_does_not_decide(tmp_path: Path) -> None:
    address = Address(host="127.0.0.1", port=free_port())

    async def act() -> None:
        asked = policy(address)
        assert (await asked.status())["fault"].startswith("opa_no_policy")
        assert await refusal(asked) == "opa_no_policy"
        await asked.close()
    with running(address):
        asyncio.run(act())


def test_builtin_errors_and_conflicts_are_refusals_and_undefined_is_one(tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "o"))
    rego = tmp_path / "p.rego"
    rego.write_text('package ringwall.decide\n\ncall := to_number(input.x)\n\nlist := 1 if input.a\n\n'
                    "list := 2 if input.b\n")

    async def act() -> None:
        asked = policy(address)
        await asked.status()
        for point, given, code in ((CALL, {"x": "no number"}, "policy_failed"), (CALL, {}, "undefined_decision"),
                                   (LIST, {"a": 1, "b": 1}, "policy_failed"), (LIST, {}, "undefined_decision")):
            with pytest.raises(PolicyError) as caught:
                await asked.decide(point, given)
            assert caught.value.code == code
        assert await asked.decide(CALL, {"x": "7"}) == 7
        assert (await asked.status())["breaker"] == "closed"
        await asked.close()
    with running(address, bundle(tmp_path, roots=("ringwall/decide",), sources=[rego])):
        asyncio.run(act())


def test_ten_thousand_grants_are_handed_over(tmp_path: Path) -> None:
    address = Address(host="127.0.0.1", port=free_port())
    base = data()
    roles = base["ringwall"]["tenants"]["acme"]["roles"]
    tool = roles["analyst"]["tools"]["docs/read"]
    roles.update({f"role{number}": {"models": {}, "tools": dict.fromkeys((f"t/{n}" for n in range(10)), tool)}
                  for number in range(1000)})

    async def act() -> None:
        asked = policy(address, base=base)
        await asked.status()
        assert (await asked.decide(CALL, document()))["allow"] is True
        await asked.close()
    with running(address, bundle(tmp_path)):
        asyncio.run(act())
        with urllib.request.urlopen(f"{address}/v1/data/ringwall/tenants/acme/roles") as answer:  # noqa: S310
            assert len(json.load(answer)["result"]) == len(roles)
