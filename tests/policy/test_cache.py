"""The cache remembers what was allowed, for exactly the same input, and nothing else."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.policy.support import CALL, LIST, data, document

from ringwall.clock import SystemClock
from ringwall.errors import PolicyError
from ringwall.manifest.types import PolicySettings
from ringwall.policy import choose
from ringwall.policy.cache import AllowCache
from ringwall.policy.embedded import EmbeddedPolicy
from ringwall.policy.opa.backend import OpaRest

GOOD: Any = {"allow": True, "deny": [], "ask": [], "remedy": ""}
DENIAL = {"code": "c", "reason": "r", "rule": "x.rego: y"}
QUESTION = {"code": "c", "question": "q", "rule": "x.rego: y"}


class Counting:
    """A backend that says what it is told to, and counts."""

    def __init__(self, answer: Any = GOOD) -> None:
        self.answer = answer
        self.asked = 0
        self.revision = "r1"
        self.then: str | None = None  # the revision it has when it has answered

    async def decide(self, entry_point: str, given: Any) -> Any:
        self.asked += 1
        await asyncio.sleep(0)
        if self.then is not None:
            self.revision = self.then
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def status(self) -> dict[str, Any]:
        return {"backend": "counting", "revision": self.revision, "fault": ""}

    async def close(self) -> None:
        pass


def ask(cache: AllowCache, given: Any = None, point: str = CALL) -> Any:
    return asyncio.run(cache.decide(point, document() if given is None else given))


def cached(backend: Counting, *, timeless: bool = True, most: int = 10) -> AllowCache:
    return AllowCache(backend, lambda _: timeless, most=most)


def test_an_allowed_input_is_asked_once_and_answered_with_a_fresh_copy() -> None:
    backend = Counting()
    cache = cached(backend)
    for _ in range(3):
        assert ask(cache) == GOOD
    ask(cache)["deny"].append(DENIAL)
    assert ask(cache) == GOOD
    assert backend.asked == 1


@pytest.mark.parametrize("answer", [
    {**GOOD, "allow": False}, {**GOOD, "deny": [DENIAL]}, {**GOOD, "ask": [QUESTION]},
    {**GOOD, "allow": False, "deny": [DENIAL]}, {**GOOD, "allow": "true"}, {**GOOD, "allow": 1}, {"allow": True},
    {**GOOD, "deny": None}, {**GOOD, "deny": {}}, True, "allow", [], {"targets": ["a/b"]}, None,
])
def test_what_is_no_plain_allowance_is_never_kept(answer: Any) -> None:
    backend = Counting(answer)
    cache = cached(backend)
    assert [ask(cache), ask(cache)] == [answer, answer]
    assert backend.asked == 2
    backend.answer = GOOD
    assert ask(cache) == GOOD
    backend.answer = answer
    assert ask(cache) == GOOD  # the same input was allowed meanwhile, under the same policy


def test_an_error_is_an_error_each_time() -> None:
    backend = Counting(PolicyError("down", code="opa_unreachable"))
    cache = cached(backend)
    for _ in range(2):
        with pytest.raises(PolicyError):
            ask(cache)
    assert backend.asked == 2


SCALARS = (st.none() | st.booleans() | st.integers(-2**62, 2**62) | st.text(max_size=4)
           | st.floats(allow_nan=False, allow_infinity=False))
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=6)


@given(st.dictionaries(st.sampled_from(["subject", "call", "facts", "x"]), JSON),
       st.dictionaries(st.sampled_from(["subject", "call", "facts", "x"]), JSON))
def test_inputs_that_differ_are_never_answered_for_each_other(one: Any, other: Any) -> None:
    backend = Counting()
    cache = cached(backend)
    ask(cache, one)
    ask(cache, other)
    assert backend.asked == (1 if repr(sorted_(one)) == repr(sorted_(other)) else 2)


def sorted_(value: Any) -> Any:
    if isinstance(value, dict):
        return "object", sorted((key, sorted_(item)) for key, item in value.items())  # {} is not []
    return [sorted_(item) for item in value] if isinstance(value, list) else value


def test_one_fact_an_approval_or_a_role_more_is_another_input() -> None:
    backend = Counting()
    cache = cached(backend)
    ask(cache)
    for path in (("subject", "role"), ("call", "approval"), ("call", "args"), ("facts", "limits"),
                 ("facts", "policy"), ("call", "digest")):
        changed = copy.deepcopy(document())
        changed[path[0]][path[1]] = {"changed": True}
        ask(cache, changed)
    assert backend.asked == 7


def test_another_entry_point_is_another_question() -> None:
    backend = Counting()
    cache = cached(backend)
    ask(cache)
    ask(cache, point=LIST)
    assert backend.asked == 2


def test_the_time_counts_unless_the_policy_cannot_see_it() -> None:
    for timeless, asked in ((True, 1), (False, 2)):
        backend = Counting()
        cache = cached(backend, timeless=timeless)
        for now in (1.0, 2.0):
            ask(cache, {**document(), "time": {"now": now}})
        assert backend.asked == asked


def test_another_revision_is_asked_anew_and_a_decision_under_change_is_not_kept() -> None:
    backend = Counting()
    cache = cached(backend)
    ask(cache)
    backend.revision = "r2"
    ask(cache)
    assert backend.asked == 2
    backend.revision, backend.then = "r3", "r4"
    ask(cache)
    backend.revision, backend.then = "r3", None
    ask(cache)
    assert backend.asked == 4
    backend.revision = ""  # nobody knows yet which policy it is
    ask(cache)
    ask(cache)
    assert backend.asked == 6


def test_it_holds_so_many_and_forgets_the_one_not_used_for_longest() -> None:
    backend = Counting()
    cache = cached(backend, most=2)
    for name in ("a", "b", "a", "c"):
        ask(cache, {"x": name})
    assert backend.asked == 3
    ask(cache, {"x": "a"})
    assert backend.asked == 3
    ask(cache, {"x": "b"})
    assert backend.asked == 4
    assert asyncio.run(cache.status())["cache"]["kept"] == 2


def test_what_is_no_json_is_left_to_the_policy() -> None:
    backend = Counting()
    cache = cached(backend)
    for odd in ({"x": object()}, {"x": "\ud800"}, ["no object"], None):
        assert asyncio.run(cache.decide(CALL, odd)) == GOOD
        assert asyncio.run(cache.decide(CALL, odd)) == GOOD
    assert backend.asked == 8


def test_the_manifest_chooses_backend_and_cache() -> None:
    loaded = EmbeddedPolicy.default(data())
    made = choose.backend(PolicySettings(), loaded, data(), SystemClock())
    assert made is loaded
    settings = PolicySettings(backend="opa", opa="unix:/run/opa/o.sock")
    opa = choose.backend(settings, loaded, data(), SystemClock())
    assert isinstance(opa, OpaRest)
    cache = choose.backend(PolicySettings(cache=True), loaded, data(), SystemClock())
    for now in (1.0, 2.0):
        asked = {**document(), "time": {"now": now}}
        assert asyncio.run(cache.decide(CALL, asked)) == loaded.evaluate(CALL, asked)
    assert asyncio.run(cache.status())["cache"] == {"kept": 1, "hits": 1, "misses": 1, "timeless": True}
    # Whatever OPA serves may change unseen while the cache answers: then the time counts, and nothing is found.
    settings = PolicySettings(backend="opa", opa="unix:/nowhere/o", cache=True)

    async def timeless() -> bool:
        unknown = choose.backend(settings, loaded, data(), SystemClock())
        found = await unknown.status()
        await unknown.close()
        return bool(found["cache"]["timeless"])
    assert asyncio.run(timeless()) is False
    with pytest.raises(PolicyError):
        choose.backend(PolicySettings(backend="opa", opa="http://10.0.0.1:1"), loaded, data(), SystemClock())
