"""What the operator socket can do, behind the wall: start an agent, follow it, feed it, stop it, look around."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Final

import msgspec

from ringwall.call import Call, Denied, Event, Json, Last, Operator, Verdicts, as_object, subject_name
from ringwall.doors.interface import Acted
from ringwall.errors import AuditError, BadInput, Limited, Refused, RingwallError
from ringwall.interface import HeldCall, Journal, Origin, Refusal, Stopped
from ringwall.manifest.types import Operators
from ringwall.runtime.acts import RUN, Act, Arrivals, arguments
from ringwall.runtime.launch import Launcher
from ringwall.runtime.runs import Run
from ringwall.runtime.uploads import MAX_WHOLE, Uploads
from ringwall.wall import Wall

# What may be forwarded to an agent; SIGSTOP and the like would hold the terminal without saying why.
FORWARDED: Final = frozenset(
    {"SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGKILL", "SIGWINCH"}
)
STOP: Final = "stop"
CARRIED: Final = frozenset({"vault.init", "vault.unseal", "vault.put", "vault.rotate", "vault.restore"})
"""The acts that take something beside the call: whoever has none of them can hand in nothing."""
# Codes of a part that does not answer; anything else that a ring says is a decision.
DOWN: Final = frozenset({"audit_unavailable", "guard_unavailable", "policy_error", "ring_failed"})


class StopOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``stop`` takes: a signal for a run."""

    run: str
    signal: str


class Operating:
    """Implements ``doors.interface.Runs``.

    Args:
        wall: every act goes through it.
        launcher: has the runs.
        operators: who may ask for what; for what is a look or a byte of input and no call of its own.
        journal: counts those, and writes down what happened although a part was down.
        arrivals: told when each act arrived.
        tightening: verb -> the act itself, for those that only tighten and so happen although a part is down.
        ahead: what holds while an act is under way.
        status: what runs.
        uploads: what no call may carry.

    """

    def __init__(
        self,
        *,
        wall: Wall,
        launcher: Launcher,
        operators: Operators,
        journal: Journal,
        arrivals: Arrivals,
        tightening: Mapping[str, Act],
        ahead: Callable[[Call], AbstractContextManager[None]],
        status: Callable[[], Awaitable[Json]],
        uploads: Uploads,
    ) -> None:
        self._wall = wall
        self._launcher = launcher
        self._operators = operators
        self._journal = journal
        self._arrivals = arrivals
        self._tightening = dict(tightening)
        self._ahead = ahead
        self._status = status
        self._uploads = uploads

    async def start(self, origin: Origin, raw: bytes) -> AsyncGenerator[dict[str, Json], None] | Refusal:
        """An operator's ``run``: a call like any other; what it starts is then followed."""
        call = await self._wall.admit(origin, "operate", raw)
        if isinstance(call, Refusal):
            return call
        started: dict[str, Json] | None = None
        try:
            async with self._wall.perform(call) as running:
                if isinstance(running, Refusal):
                    return running
                if isinstance(running, HeldCall):
                    return Refusal(code="approval_unavailable", reason=running.question, record=running.record)
                async for chunk in running.chunks():
                    started = chunk.value
                last, record = running.last, running.record
        except Stopped as stop:
            return Refusal(code=stop.denied.code, reason=stop.denied.reason, remedy=stop.denied.remedy)
        if started is None or last is None or last.end != "done":
            return _failed(last, record, "the launch failed")
        return _follow(self._launcher.runs[str(started["run"])], started)

    async def operate(self, origin: Origin, raw: bytes) -> Acted | Refusal:
        """Any other act: a call like any other, whose one piece of an answer is the result."""
        arrived = self._arrivals.now()
        call = await self._wall.admit(origin, "operate", raw)
        if isinstance(call, Refusal):
            return call
        if call.target.name == RUN:
            return Refusal(code="bad_act", reason="a run has its own path", remedy="ringwall run")
        with self._arrivals.of(call, arrived), self._ahead(call):
            answer = await self._performed(call)
            if isinstance(answer, Refusal) and call.target.name in self._tightening:
                return await self._despite(call, answer)
            return answer

    async def _performed(self, call: Call) -> Acted | Refusal:
        result: Json = None
        try:
            async with self._wall.perform(call) as running:
                if isinstance(running, Refusal):
                    return running
                if isinstance(running, HeldCall):
                    return Refusal(code="approval_unavailable", reason=running.question, record=running.record)
                async for chunk in running.chunks():
                    result = chunk.value
                last, record = running.last, running.record
        except Stopped as stop:
            return Refusal(code=stop.denied.code, reason=stop.denied.reason, remedy=stop.denied.remedy)
        if last is None or last.end != "done":
            return _failed(last, record, "the act failed")
        return Acted(result=result, record=record)

    async def _despite(self, call: Call, refusal: Refusal) -> Acted | Refusal:
        """Do what only tightens although a part is down, if nothing but that speaks against it.

        A kill switch that waits for the guard, the policy or the disk would be theirs to hold. Who may use it is
        still asked of the rings that answer it: identity and capability.
        """
        down = outages(refusal, await self._wall.judge(call))
        if not down:
            return refusal
        try:
            result = await self._tightening[call.target.name](call)
        except RingwallError as fault:
            return Refusal(code=fault.code, reason=fault.cause, remedy=fault.remedy, record=refusal.record)
        event = Event(
            type="done_despite",
            tenant="system",
            subject=subject_name(call.subject),
            body={"verb": call.target.name, "digest": call.digest, "down": list(down), "refused": refusal.record},
        )
        record = await self._noted(event)
        return Acted(result={**(as_object(result) or {}), "down": list(down)}, record=record)

    async def _noted(self, event: Event) -> str:
        """Its record; without a log it is counted, and the count is written when there is one again."""
        try:
            return await self._journal.note(event)
        except AuditError:
            self._journal.count(event)
            return ""

    async def upload(self, origin: Origin, name: str, data: bytes) -> Json | Refusal:
        """Keep bytes for an act to come. Nothing is recorded of one who may; the act that takes them is."""
        who = origin.subject
        if not isinstance(who, Operator) or not self._operators.verbs(who.name, who.uid) & CARRIED:
            return self._may(origin, "vault.put") or _no_operator()
        try:
            kept = name or self._uploads.inward.put(who, data)
            size = self._uploads.inward.add(who, kept, data) if name else len(data)
        except RingwallError as fault:
            return _refusal(fault)
        return {"upload": kept, "bytes": size}

    async def download(self, origin: Origin, name: str) -> bytes | Refusal:
        """What an act left for this operator; the act was recorded."""
        who = origin.subject
        if not isinstance(who, Operator):
            return _no_operator()
        try:
            return self._uploads.outward.take(who, name, limit=MAX_WHOLE)
        except RingwallError as fault:
            return _refusal(fault)

    def _may(self, origin: Origin, verb: str, run: str = "") -> Refusal | None:
        """Whether an operator's role has this verb, for what is no call of its own; it is counted."""
        who = origin.subject
        may = isinstance(who, Operator) and verb in self._operators.verbs(who.name, who.uid)
        body = {"verb": verb, **({"run": run} if run else {}), **({} if may else {"refused": "not_granted"})}
        self._journal.count(Event(type="operator", tenant="system", subject=subject_name(who), body=body))
        if not may:
            return Refusal(
                code="not_granted",
                reason=f"your roles do not have {verb!r}",
                remedy="see [operators] in ringwall.toml",
            )
        return None

    async def attach(self, origin: Origin, run: str) -> AsyncGenerator[dict[str, Json], None] | Refusal:
        """Follow a run that an earlier connection, or an earlier core, started."""
        found = self._launcher.runs.get(run)
        if found is None:
            return _no_run(run)
        return self._may(origin, RUN, run) or _follow(found, None)

    async def stdin(self, origin: Origin, run: str, data: bytes, eof: bool) -> Refusal | None:
        """Input for the agent."""
        found = self._launcher.runs.get(run)
        if found is None:
            return _no_run(run)
        refused = self._may(origin, RUN, run)
        if refused is None:
            await found.write(data, eof=eof)
        return refused

    async def signal(self, origin: Origin, run: str, name: str) -> Refusal | None:
        """Forward a signal: the act ``stop``, so a call and a record of its own."""
        if run not in self._launcher.runs:
            return _no_run(run)
        order = msgspec.json.encode({"verb": STOP, "args": {"run": run, "signal": name}})
        answer = await self.operate(origin, order)
        return answer if isinstance(answer, Refusal) else None

    async def status(self, origin: Origin) -> Json | Refusal:
        """What runs, at which strength, and what is wrong."""
        return self._may(origin, "status") or await self._status()


def stopping(runs: Mapping[str, Run]) -> Act:
    """The act ``stop``, on these runs."""

    async def stop(call: Call) -> Json:
        order = arguments(call, StopOrder)
        found = runs.get(order.run)
        if found is None:
            raise Refused(f"nothing runs under {order.run[:64]!r}", code="no_such_run",
                          remedy="`ringwall status` lists what runs")
        if order.signal not in FORWARDED:
            raise BadInput(f"{order.signal[:64]!r} is not forwarded to agents", code="bad_signal",
                           remedy="one of " + ", ".join(sorted(FORWARDED)))
        found.stop(signal.Signals[order.signal])
        return {"run": order.run, "signal": order.signal}

    return stop


def outages(refusal: Refusal, verdicts: Verdicts) -> tuple[str, ...]:
    """What is down, if that is all that speaks against a call; else nothing.

    Args:
        refusal: what the wall answered.
        verdicts: what every ring says, asked once more.

    """
    denied = verdicts.denied
    if not denied:
        return (refusal.code,) if refusal.code in DOWN else ()
    guard_down = any(name == "guard" and said.code in DOWN for name, said in denied)
    for name, said in denied:
        follows = name == "policy" and guard_down and _codes(said) <= {"guard_blocked"}
        if name in {"identity", "capability"} or not (said.code in DOWN or follows):
            return ()
    return tuple(f"{name}: {said.code}" for name, said in denied)


def _codes(denied: Denied) -> set[str]:
    """Every denial that the policy found, not the first alone."""
    return {str(one.get("code")) for one in denied.detail.get("deny", [])} or {denied.code}


async def _follow(run: Run, started: dict[str, Json] | None) -> AsyncGenerator[dict[str, Json], None]:
    if started is not None:
        yield {"started": started}
    async for line in run.stream():
        yield dict(line)


def _refusal(fault: RingwallError) -> Refusal:
    wait = fault.retry_after if isinstance(fault, Limited) else None
    return Refusal(code=fault.code, reason=fault.cause, remedy=fault.remedy, retry_after=wait)


def _no_operator() -> Refusal:
    return Refusal(code="operator_only", reason="only an operator may ask for this")


def _failed(last: Last | None, record: str, otherwise: str) -> Refusal:
    """How the effect says that it failed."""
    error: Mapping[str, str] = (last.error if last is not None else None) or {}
    return Refusal(
        code=error.get("code", "failed"),
        reason=error.get("reason", otherwise),
        remedy=error.get("remedy", ""),
        record=record,
    )


def _no_run(run: str) -> Refusal:
    return Refusal(
        code="no_such_run", reason=f"nothing runs under {run[:64]!r}", remedy="`ringwall status` lists what runs"
    )
