"""Acts of operators through a real wall: roles, records, and what happens although a part is down."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from tests.fakes import World, run

from ringwall.call import Allowed, Call, CallId, Chunk, Denied, Facts, Json, Last, Operator, Target, Verdicts
from ringwall.capability.catalogue import Catalogues
from ringwall.capability.ring import CapabilityRing
from ringwall.doors.interface import Acted
from ringwall.errors import BadInput
from ringwall.interface import Origin, Refusal
from ringwall.manifest.types import Manifest, NamedOperator, Operators
from ringwall.runtime.acts import Acts, Arrivals
from ringwall.runtime.launch import Launcher
from ringwall.runtime.operating import Operating, outages, stopping
from ringwall.runtime.runs import Run
from ringwall.runtime.uploads import Uploads

RESPONDER = Operator(name="rita", uid=1000, connection=1)
AUDITOR = Operator(name="otto", uid=1001, connection=2)
OPERATORS = Operators(named={
    "rita": NamedOperator(name="rita", uid=1000, roles=("responder", "launcher")),
    "otto": NamedOperator(name="otto", uid=1001, roles=("auditor",)),
})
MANIFEST = Manifest(version=1, trust_domain="example.org", path=Path("/nowhere/ringwall.toml"), operators=OPERATORS)
GUARD_DOWN = Denied(code="guard_unavailable", reason="the text could not be judged")
POLICY_FOLLOWS = Denied(code="guard_blocked", reason="r", detail={"deny": [{"code": "guard_blocked"}]})


class FakeRun:
    def __init__(self) -> None:
        self.stopped: list[int] = []
        self.written: list[bytes] = []

    def stop(self, signum: int) -> None:
        self.stopped.append(signum)

    async def write(self, data: bytes, *, eof: bool) -> None:
        self.written.append(data)


class FakeLauncher:
    def __init__(self, runs: Mapping[str, FakeRun]) -> None:
        self.runs = runs

    async def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        yield Last(end="done")


class Bench:
    """A wall with a real capability ring; ``identity``, ``guard``, ``policy`` say what the test says."""

    def __init__(self) -> None:
        self.world = World(("identity", "guard", "policy"))
        self.frozen: list[Json] = []
        self.fault: Exception | None = None
        self.program = FakeRun()
        self.launcher = FakeLauncher({"r1": self.program})
        acts = {"freeze": self._freeze, "stop": stopping(cast("dict[str, Run]", self.launcher.runs))}
        wall = self.world.wall
        wall._effects["operate"] = Acts(self.launcher, {**acts, "thaw": self._freeze})  # pyright: ignore[reportPrivateUsage]
        ring = CapabilityRing(MANIFEST, Catalogues(lambda _: cast("Any", None)))
        wall._rings = (self.world.rings["identity"], ring, *wall._rings[1:])  # pyright: ignore[reportPrivateUsage]
        wall._resolver = self  # pyright: ignore[reportPrivateUsage]
        self.operating = Operating(
            wall=wall, launcher=cast("Launcher", self.launcher), operators=OPERATORS, journal=self.world.journal,
            arrivals=Arrivals(self.world.clock), tightening=acts, ahead=lambda _: nullcontext(),
            status=self._status, uploads=Uploads(self.world.clock, lambda _, __: None),
        )

    def resolve(self, origin: Origin, kind: Any, raw: bytes) -> Call:
        order = msgspec.json.decode(raw)
        return Call.make(id=CallId("c"), kind=kind, subject=origin.subject, session=None,
                         target=Target(name=order["verb"]), args=order["args"])

    async def _freeze(self, call: Call) -> Json:
        if self.fault is not None:
            raise self.fault
        self.frozen.append(call.args)
        return {"frozen": call.args}

    async def _status(self) -> Json:
        return "fine"

    def ask(self, verb: str, who: Operator = RESPONDER, **args: Any) -> Acted | Refusal:
        raw = msgspec.json.encode({"verb": verb, "args": args})
        return run(self.operating.operate(origin(who), raw))

    def notes(self) -> list[tuple[str, str]]:
        return [(event.type, event.subject) for event in self.world.journal.of("note")]


def origin(who: Operator) -> Origin:
    return Origin(subject=who, session=None, key=f"operator:{who.name}")


def code(answer: object) -> str:
    assert isinstance(answer, Refusal), answer
    return answer.code


def test_an_act_is_a_call_with_an_intent_and_an_outcome() -> None:
    bench = Bench()
    assert bench.ask("freeze", name="x") == Acted(result={"frozen": {"name": "x"}}, record="acme/1")
    assert [what for what, _ in bench.world.journal.log] == ["intent", "outcome"]


def test_a_role_that_does_not_have_the_verb_is_refused_on_the_record() -> None:
    bench = Bench()
    assert code(bench.ask("freeze", AUDITOR)) == "not_granted"
    assert code(bench.ask("freeze", Operator(name="rita", uid=1001, connection=1))) == "not_granted"
    assert code(bench.ask("erase")) == "unknown_verb"
    assert bench.frozen == []
    assert [what for what, _ in bench.world.journal.log] == ["refusal"] * 3


def test_what_an_act_raises_is_told_with_its_remedy_and_its_record() -> None:
    bench = Bench()
    bench.fault = BadInput("no such agent", code="unknown_agent", remedy="known: a")
    answer = bench.ask("freeze")
    assert answer == Refusal(code="unknown_agent", reason="no such agent", remedy="known: a", record="acme/1")


def test_a_run_is_not_started_on_this_path() -> None:
    assert code(Bench().ask("run")) == "bad_act"


@pytest.mark.parametrize("down", ["guard", "policy", "audit", "raising"])
def test_a_freeze_happens_although_a_part_is_down_and_says_so(down: str) -> None:
    bench = Bench()
    if down == "guard":
        bench.world.rings["guard"].verdict = GUARD_DOWN
        bench.world.rings["policy"].verdict = POLICY_FOLLOWS
    elif down == "policy":
        bench.world.rings["policy"].verdict = Denied(code="policy_error", reason="the policy could not decide")
    elif down == "raising":
        bench.world.rings["policy"].on_enter = broken
    else:
        bench.world.journal.broken = {"intent", "note"}
    answer = bench.ask("freeze", name="x")
    assert isinstance(answer, Acted)
    assert answer.result["down"]
    assert bench.frozen == [{"name": "x"}]
    events = bench.world.journal.of("count") if down == "audit" else bench.world.journal.of("note")
    assert [(e.type, e.subject, e.body["verb"]) for e in events if e.type == "done_despite"] == [
        ("done_despite", "operator:rita", "freeze")]


async def broken(_: Call, __: Facts) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(("ring", "verdict"), [
    ("identity", Denied(code="not_operator", reason="r")),
    ("identity", Denied(code="ring_failed", reason="r")),
    ("guard", Denied(code="secret", reason="r")),
    ("policy", Denied(code="site_says_no", reason="r", detail={"deny": [{"code": "site_says_no"}]})),
])
def test_a_freeze_that_a_ring_decided_against_does_not_happen(ring: Any, verdict: Denied) -> None:
    bench = Bench()
    bench.world.rings[ring].verdict = verdict
    assert code(bench.ask("freeze")) == verdict.code
    assert bench.frozen == []


def test_what_loosens_waits_for_every_part() -> None:
    bench = Bench()
    bench.world.rings["guard"].verdict = GUARD_DOWN
    assert code(bench.ask("thaw")) == "guard_unavailable"
    assert bench.frozen == []


def test_a_policy_that_denies_for_its_own_reasons_too_is_heard_while_the_guard_is_down() -> None:
    both = Denied(code="guard_blocked", reason="r", detail={"deny": [{"code": "guard_blocked"}, {"code": "no"}]})
    refusal = Refusal(code="guard_unavailable", reason="r")

    def said(policy: Denied) -> Verdicts:
        return Verdicts(rings=(("capability", Allowed()), ("guard", GUARD_DOWN), ("policy", policy)), facts={})

    assert outages(refusal, said(both)) == ()
    assert outages(refusal, said(POLICY_FOLLOWS)) == ("guard: guard_unavailable", "policy: guard_blocked")
    alone = Verdicts(rings=(("policy", POLICY_FOLLOWS),), facts={})
    assert outages(refusal, alone) == ()


def test_a_signal_is_the_act_stop() -> None:
    bench = Bench()
    assert run(bench.operating.signal(origin(RESPONDER), "r1", "SIGTERM")) is None
    assert bench.program.stopped == [15]
    assert [what for what, _ in bench.world.journal.log] == ["intent", "outcome"]
    assert code(run(bench.operating.signal(origin(RESPONDER), "r1", "SIGSTOP"))) == "bad_signal"
    assert code(run(bench.operating.signal(origin(RESPONDER), "r9", "SIGTERM"))) == "no_such_run"
    assert code(run(bench.operating.signal(origin(AUDITOR), "r1", "SIGTERM"))) == "not_granted"
    bench.world.rings["guard"].verdict = GUARD_DOWN
    assert run(bench.operating.signal(origin(RESPONDER), "r1", "SIGKILL")) is None
    assert bench.program.stopped == [15, 9]


def test_input_attaching_and_looking_need_the_role_and_are_counted() -> None:
    bench = Bench()
    assert run(bench.operating.stdin(origin(RESPONDER), "r1", b"hi", eof=False)) is None
    assert run(bench.operating.status(origin(AUDITOR))) == "fine"
    counted = [(e.subject, dict(e.body)) for e in bench.world.journal.of("count")]
    assert counted == [("operator:rita", {"verb": "run", "run": "r1"}), ("operator:otto", {"verb": "status"})]
    assert code(run(bench.operating.stdin(origin(AUDITOR), "r1", b"hi", eof=False))) == "not_granted"
    assert isinstance(run(bench.operating.attach(origin(AUDITOR), "r1")), Refusal)
    nobody = Operator(name="eve", uid=1002, connection=9)
    assert isinstance(run(bench.operating.status(origin(nobody))), Refusal)
    assert bench.program.written == [b"hi"]
    refused = [e.subject for e in bench.world.journal.of("count") if "refused" in e.body]
    assert refused == ["operator:otto", "operator:otto", "operator:eve"]


def test_what_is_handed_in_beside_the_calls_needs_an_act_that_takes_it_and_is_recorded_as_nothing() -> None:
    bench = Bench()
    for name in ("", "0" * 32):
        assert code(run(bench.operating.upload(origin(AUDITOR), name, b"value"))) == "not_granted"
    assert [e.body.get("refused") for e in bench.world.journal.of("count")] == ["not_granted"] * 2
    bench = Bench()
    bench.operating._operators = Operators()  # pyright: ignore[reportPrivateUsage]
    kept = run(bench.operating.upload(origin(RESPONDER), "", b"value"))
    assert not isinstance(kept, Refusal)
    name = kept["upload"]
    assert run(bench.operating.upload(origin(RESPONDER), name, b" and more")) == {"upload": name, "bytes": 14}
    assert code(run(bench.operating.upload(origin(AUDITOR), name, b"x"))) == "no_such_upload"
    assert code(run(bench.operating.upload(origin(RESPONDER), "", bytes(1 << 20)))) == "upload_too_large"
    assert code(run(bench.operating.download(origin(RESPONDER), name))) == "no_such_upload"
    assert bench.world.journal.log == []


def test_what_an_act_left_is_fetched_by_its_operator_once() -> None:
    bench = Bench()
    name = bench.operating._uploads.outward.put(RESPONDER, b"shares")  # pyright: ignore[reportPrivateUsage]
    assert code(run(bench.operating.download(origin(AUDITOR), name))) == "no_such_upload"
    assert run(bench.operating.download(origin(RESPONDER), name)) == b"shares"
    assert code(run(bench.operating.download(origin(RESPONDER), name))) == "no_such_upload"
