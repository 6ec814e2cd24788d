"""The executor in this process and a real OPA over REST decide the same: random policies, hostile inputs.

A decision is the same if its value is (numbers by value), or if both refuse to give one. ``make full`` makes more.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.policy import support
from tests.policy.compile import the_opa
from tests.policy.opa_process import REVISION, bundle, running
from tests.policy.random_rego import Writer, changed, document

from ringwall.clock import SystemClock
from ringwall.errors import PolicyError
from ringwall.policy.build import CAPABILITIES, COMPILER, SOURCES, granted
from ringwall.policy.builtins import BUILTINS
from ringwall.policy.data import policy_data
from ringwall.policy.embedded import EmbeddedPolicy
from ringwall.policy.opa.address import Address
from ringwall.policy.opa.backend import OpaRest

FULL = os.environ.get("HYPOTHESIS_PROFILE") == "full"
POLICIES, INPUTS = (400, 100) if FULL else (80, 90)
MANIFESTS, CALLS = (40, 500) if FULL else (12, 250)
WANTED = 10_000  # decisions in one run, both tests together
BATCH = 32
SECONDS = 20.0  # for one decision, on a machine under load
BASE: Any = {"base": {"limits": {"k": 2}, "names": {"a": "x", "é": [1, 2]}}}


def plain(value: Any) -> Any:
    """Numbers by value: OPA writes 1.0 where we have 1, and the other way round."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def here(policy: EmbeddedPolicy, point: str, given: Any) -> Any:
    try:
        return plain(policy.evaluate(point, given))
    except PolicyError as error:
        return error.code


async def there(asked: OpaRest, point: str, given: Any) -> Any:
    try:
        return plain(await asked.decide(point, given))
    except PolicyError as error:
        return error.code


REFUSED = {"policy_limit", "policy_failed", "policy_conflict", "undefined_decision"}


def kind(found: Any) -> str:
    return found if isinstance(found, str) else "value"


def same(one: Any, other: Any) -> bool:
    if kind(one) != "value" or kind(other) != "value":
        return kind(one) in REFUSED and kind(other) in REFUSED
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)  # as text: to Python, true is 1


async def compare(policy: EmbeddedPolicy, asked: OpaRest, questions: Iterable[tuple[str, Any]],
                  count: Counter[str]) -> list[str]:
    """The differences, as texts to reproduce them with."""
    wrong: list[str] = []
    left = list(questions)
    while left:
        batch, left = left[:BATCH], left[BATCH:]
        answers = await asyncio.gather(*(there(asked, point, given) for point, given in batch))
        for (point, given), answer in zip(batch, answers, strict=True):
            ours = here(policy, point, given)
            # OPA is in trouble: asking on would only make it worse.
            assert not kind(answer).startswith("opa_"), f"{answer}: {point} {json.dumps(given)}"
            count[kind(ours)] += 1
            if not same(ours, answer):
                shown = [json.dumps(one) for one in (given, ours, answer)]
                wrong.append(f"{point} {shown[0]}\n  here  {shown[1]}\n  there {shown[2]}")
    return wrong


def random_policies(folder: Path, random: Random) -> tuple[list[Path], list[str]]:
    """Modules, each with its entry point."""
    made: list[Path] = []
    for number in range(POLICIES):
        path = folder / f"p{number}.rego"
        path.write_text(Writer(random).module(f"p{number}"))
        made.append(path)
    return made, [f"p{number}/call" for number in range(POLICIES)]


def plan_of(files: list[Path], points: list[str], folder: Path) -> bytes:
    """What ``EmbeddedPolicy`` loads, of files with other entry points than the shipped ones."""
    named = [word for point in points for word in ("-e", point)]
    subprocess.run([the_opa(), "build", "-t", "plan", *named, "--capabilities", str(SOURCES / CAPABILITIES), "-o",
                    str(folder / "plan.tgz"), *map(str, files)], check=True, capture_output=True)
    with tarfile.open(folder / "plan.tgz") as archive:
        member = archive.extractfile("/plan.json")
        assert member is not None
        plan = json.loads(member.read())
    return json.dumps({"opa": COMPILER, "revision": REVISION, "plan": plan,
                       "builtins": granted((SOURCES / CAPABILITIES).read_bytes())}).encode()


@pytest.mark.needs_opa
def test_random_policies_decide_the_same_here_and_there(tmp_path: Path) -> None:
    random = Random(4711)  # noqa: S311 (reproducible, not secret)
    files, points = random_policies(tmp_path, random)
    here_ = EmbeddedPolicy(plan_of(files, points, tmp_path), BASE)
    data = tmp_path / "data.json"
    data.write_text(json.dumps(BASE))
    address = Address(path=str(tmp_path / "o"))
    count: Counter[str] = Counter()

    async def act() -> list[str]:
        asked = OpaRest(address, {}, SystemClock(), revision=REVISION, entry_points=points, seconds=SECONDS)
        try:
            return await compare(here_, asked, [(point, document(random)) for point in points
                                                for _ in range(INPUTS)], count)
        finally:
            await asked.close()
    made = bundle(tmp_path, sources=[*files, data], roots=[*(point.partition("/")[0] for point in points), "base"])
    with running(address, made):
        wrong = asyncio.run(act())
    assert not wrong, f"{len(wrong)} of {count.total()}:\n" + "\n".join(wrong[:5])
    assert count.total() == POLICIES * INPUTS
    assert count["value"] > 0.6 * count.total() and count["policy_failed"] > 0.02 * count.total(), count


@pytest.mark.needs_opa
def test_the_default_policy_decides_the_same_here_and_there(tmp_path: Path) -> None:
    random = Random(815)  # noqa: S311 (reproducible, not secret)
    address = Address(path=str(tmp_path / "o"))
    count: Counter[str] = Counter()
    allowed: Counter[Any] = Counter()

    async def act() -> list[str]:
        wrong: list[str] = []
        for _ in range(MANIFESTS):
            base = random_data(random)
            policy = EmbeddedPolicy.default(base)
            asked = OpaRest(address, base, SystemClock(), revision=REVISION, seconds=SECONDS)
            questions = [(support.CALL, changed(random, support.document())) for _ in range(CALLS)]
            allowed.update(found["allow"] for point, given in questions
                           if isinstance(found := here(policy, point, given), dict))
            questions += [(support.LIST, changed(random, listing())) for _ in range(20)]
            wrong += await compare(policy, asked, questions, count)
            await asked.close()
        return wrong
    with running(address, bundle(tmp_path)):
        wrong = asyncio.run(act())
    assert not wrong, f"{len(wrong)} of {count.total()}:\n" + "\n".join(wrong[:5])
    assert count.total() + POLICIES * INPUTS >= WANTED
    assert allowed[True] > 0.05 * allowed.total() and allowed[False] > 0.2 * allowed.total(), allowed


def listing() -> Any:
    return {"subject": support.subject(), "time": {"now": 1.0}, "targets": ["docs/read", "docs/search", "x"]}


def random_data(random: Random) -> Any:
    """The data of a manifest whose grants differ from the shared one's."""
    shared = support.manifest()
    tenant = shared.tenants["acme"]
    role = tenant.roles["analyst"]
    tools = {name: replace(grant, max={"limit": random.choice((0, 1, 200))} if random.random() < 0.3 else grant.max,
                           resources=random.choice((grant.resources, grant.resources, (), ("path:/srv/", "id:a"))),
                           approval=random.choice(("never", "never", "always")))
             for name, grant in role.tools.items() if random.random() < 0.9}
    roles = {**tenant.roles, "analyst": replace(role, tools=tools)}
    made = replace(shared, tenants={**shared.tenants, "acme": replace(tenant, roles=roles)})
    return policy_data(made, support.fake_pattern)


@pytest.mark.needs_opa
def test_upper_and_lower_case_are_opas_for_every_character(tmp_path: Path) -> None:
    texts = [chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000]
    texts = [one for one in texts if one != one.lower() or one != one.upper()] + ["ΑΣ", "aİb", "ßß", "ᾳ", "x\u0307"]
    (tmp_path / "input.json").write_text(json.dumps(texts))
    done = subprocess.run([the_opa(), "eval", "--format=json", "-i", str(tmp_path / "input.json"),
                           "[[lower(text) | some text in input], [upper(text) | some text in input]]"],
                          capture_output=True, check=True)
    found = json.loads(done.stdout)["result"][0]["expressions"][0]["value"]
    assert found == [[BUILTINS[name].function(text) for text in texts] for name in ("lower", "upper")]
