"""The third ring: how much of it has there been? Rates, slots and budgets, reserved before, settled after."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from ringwall.call import (
    Allowed,
    Call,
    Chunk,
    Denied,
    End,
    Facts,
    Json,
    Operator,
    Peer,
    Process,
    RingName,
    SessionId,
    Subject,
    Usage,
    as_object,
)
from ringwall.clock import Clock
from ringwall.errors import Unavailable
from ringwall.interface import Stopped, Targets, Through
from ringwall.limits.budgets import (
    BYTES_PER_TOKEN,
    REFUNDED,
    UNKNOWN_USE,
    Budget,
    Cost,
    Prices,
    budgets,
    day,
    estimate,
    session_book,
)
from ringwall.limits.fair import Turns
from ringwall.limits.gcra import Take
from ringwall.limits.interface import MOST, STORE_DOWN, Counters, Reserve
from ringwall.limits.memory import MemoryCounters
from ringwall.limits.scopes import MAX_RESOURCES, Scope, Scopes, whose
from ringwall.manifest.types import Manifest, Rate

MAX_CHARS_PER_TOKEN: Final = 8  # of an answer: no tokenizer does better on average; a floor for what was used
FRACTION: Final = 10  # of a limit that holds while its store is down and the manifest says ``local``

Undo = Callable[[], Awaitable[None]]
Afterwards = Callable[[Call, Undo], bool]
"""Run this once a call can do nothing more, although its caller is gone. False: it can do nothing more now."""


class _Reservation(NamedTuple):
    budget: Budget
    amount: int


class LimitsRing:
    """Counts per tenant, agent, peer, process, tool and resource. Implements ``interface.Ring``.

    Args:
        manifest: its limits hold.
        counters: where they are counted.
        clock: its UTC day names the budgets of a day.
        turns: who may be inside the rings, and when.
        afterwards: keeps slots taken while tools go on that nobody waits for.

    """

    name: RingName = "limits"

    def __init__(self, manifest: Manifest, counters: Counters, clock: Clock, turns: Turns,
                 afterwards: Afterwards = lambda call, free: False) -> None:
        self._scopes = Scopes(manifest)
        self._prices = Prices(manifest)
        self._counters = counters
        self._spare = MemoryCounters(clock)
        self._clock = clock
        self._turns = turns
        self._afterwards = afterwards

    async def enter(self, call: Call, facts: Facts) -> Through:
        """Reserve all that the call needs, or nothing."""
        found: dict[str, Json] = {}
        facts[self.name] = found
        if isinstance(call.subject, Operator):
            return Through(Allowed())  # only attempts are counted
        scopes = self._scopes.of(call, call.subject)
        if scopes is None:
            return Through(Denied(code="no_limits", reason="no limits are known for this agent",
                                  detail={"remedy": f"declare it under tenants.{call.tenant}"}))
        if sum(scope.name == "resource" for scope in scopes) > MAX_RESOURCES:
            return Through(Denied(code="too_many_resources", reason="one call names too many resources at once",
                                  detail={"most": MAX_RESOURCES}))
        if not await self._turns.take(call.tenant, call.id):
            return Through(Denied(code="too_many_at_once", reason="too many calls at the same time",
                                  retry_after=1.0, detail={"scope": "tenant", "waiting": True}))
        passage = _Reserved(call, self._prices, self._turns, self._afterwards)
        try:
            denied = await self._reserve(call, scopes, passage, found)
        except Unavailable as fault:
            denied = Denied(code=fault.code, reason="the limits of this call cannot be counted, so it is refused",
                            remedy="ask the operator to run `ringwall limits`",
                            detail={"cause": fault.cause, "remedy": fault.remedy})
        except BaseException:  # also cancelled: a call that did not enter leaves nothing behind
            await passage.undo()
            raise
        if denied is not None:
            await passage.undo()
            return Through(denied)
        return passage

    async def lists(self, subject: Subject, targets: Targets) -> Targets:
        """Limits hide nothing."""
        return targets

    async def end_session(self, tenant: str, agent: str, session: SessionId) -> None:
        """Forget what a session spent: it is over and no call of it can come. For the supervisor of sessions."""
        await self._counters.forget(session_book(tenant, agent, session))

    async def charge(self, call: Call, end: End | None, usage: Usage, at: float, reserve: Reserve) -> None:
        """Count a call of the log again in every budget of its session and, if today, of its day.

        Args:
            call: as recorded.
            end: how it ended; None: it is still under way, and its reservation stands.
            usage: what it used.
            at: when it was made, in seconds since the epoch.
            reserve: of the counters that are being filled.

        """
        subject = call.subject
        scopes = None if isinstance(subject, Operator) else self._scopes.of(call, subject)
        if scopes is None or isinstance(subject, Operator):
            return
        wanted = self._prices.wanted(call)
        cost = wanted if end is None else self._prices.used(call, wanted, end, usage)
        for budget in budgets(scopes, call.kind, _book(call, subject), day(at)):
            amount = getattr(cost, budget.what) or 0
            if amount and (budget.period == "session" or day(at) == day(self._clock.now())):
                await reserve(budget.book, budget.field, MOST, min(amount, MOST), budget.keep)

    async def _reserve(self, call: Call, scopes: Sequence[Scope], passage: _Reserved,
                       found: dict[str, Json]) -> Denied | None:
        for scope in scopes:
            if scope.concurrent is not None:
                denied = await self._slot(call, scope, scope.concurrent, passage, found)
                if denied is not None:
                    return denied
            if scope.limits.calls is not None:
                denied = await self._rate(scope, scope.limits.calls, passage, found)
                if denied is not None:
                    return denied
        return await self._budgets(call, scopes, passage, found)

    async def _slot(self, call: Call, scope: Scope, most: int, passage: _Reserved,
                    found: dict[str, Json]) -> Denied | None:
        key = scope.key("concurrent")
        # Before the lease: releasing what was never held does nothing, and a cancelled lease may have been held.
        passage.always.append(lambda: self._counters.release(key, call.id))
        try:
            taken = await self._counters.lease(key, call.id, most)
        except Unavailable as down:
            _only_local(scope, down)
            most = max(most // FRACTION, 1)
            passage.always.append(lambda: self._spare.release(key, call.id))
            taken = await self._spare.lease(key, call.id, most)
        if not taken.taken:
            return Denied(code="too_many_at_once", reason="too many calls at the same time",
                          detail={"scope": scope.name, "concurrent": most})
        _note(found, scope, "concurrent", most, taken.remaining)
        return None

    async def _rate(self, scope: Scope, rate: Rate, passage: _Reserved, found: dict[str, Json]) -> Denied | None:
        key, counters = scope.key("calls"), self._counters
        try:
            taken = await counters.take(key, rate)
        except Unavailable as down:
            _only_local(scope, down)
            counters, rate = self._spare, tenth(rate)
            taken = await counters.take(key, rate)
        if not taken.taken:
            return Denied(code="rate_limited", reason="too many calls in too short a time",
                          retry_after=taken.retry_after, detail={"scope": scope.name, "burst": rate.burst,
                                                                 "count": rate.count, "seconds": rate.seconds})
        passage.refunds.append(lambda: counters.refund(key, rate))
        _note(found, scope, "calls", rate.burst, taken.remaining)
        return None

    async def _budgets(self, call: Call, scopes: Sequence[Scope], passage: _Reserved,
                       found: dict[str, Json]) -> Denied | None:
        if not any(scope.budgeted for scope in scopes) or isinstance(call.subject, Operator):
            return None
        cost = passage.cost
        for budget in budgets(scopes, call.kind, _book(call, call.subject), day(self._clock.now())):
            amount = getattr(cost, budget.what)
            if amount is None:
                return Denied(code="no_price", reason="what this model costs is unknown, and the budget is money",
                              detail={"scope": budget.scope.name, "model": call.target.name})
            amount = min(amount, MOST)
            taken = await self._counters.reserve(budget.book, budget.field, budget.limit, amount, budget.keep)
            if not taken.taken:
                return _exhausted(budget, amount, taken)
            passage.reserved(self._counters, _Reservation(budget, amount), taken.remaining)
            _note(found, budget.scope, budget.name, budget.limit, taken.remaining)
        return None

    async def show(self, call: Call) -> Mapping[str, Json]:
        """What is used and left for calls such as this one, by scope. Takes nothing."""
        if isinstance(call.subject, Operator):
            return {}
        found: dict[str, Json] = {}
        scopes = self._scopes.of(call, call.subject) or []
        for scope in scopes:
            if scope.concurrent is not None:
                held = await self._counters.held(scope.key("concurrent"))
                _note(found, scope, "concurrent", scope.concurrent, max(scope.concurrent - held, 0))
            rate = scope.limits.calls
            if rate is not None:
                _note(found, scope, "calls", rate.burst, await self._counters.look(scope.key("calls"), rate))
        for budget in budgets(scopes, "model", _book(call, call.subject), day(self._clock.now())):
            used = (await self._counters.spent(budget.book)).get(budget.field, 0)
            _note(found, budget.scope, budget.name, budget.limit, max(budget.limit - used, 0))
        return found


class _Reserved(Through):
    """What one call holds, and how to give it back."""

    def __init__(self, call: Call, prices: Prices, turns: Turns, afterwards: Afterwards) -> None:
        super().__init__(Allowed())
        self.always: list[Undo] = []
        self.refunds: list[Undo] = []
        self._call = call
        self._prices = prices
        self._turns = turns
        self._afterwards = afterwards
        self._cost: Cost | None = None
        self._budgets: list[tuple[Counters, _Reservation]] = []
        self._answer_chars: int | None = None
        self._told = 0  # characters of an answer that went out piece by piece

    @property
    def cost(self) -> Cost:
        """What is set aside, worked out once."""
        if self._cost is None:
            self._cost = self._prices.wanted(self._call)
        return self._cost

    def reserved(self, counters: Counters, one: _Reservation, left: int) -> None:
        """Note a reservation; an answer may be so long until it must have overdrawn a budget of tokens."""
        self._budgets.append((counters, one))
        if one.budget.what == "tokens":
            chars = (one.amount + left) * MAX_CHARS_PER_TOKEN
            self._answer_chars = chars if self._answer_chars is None else min(self._answer_chars, chars)

    async def release(self, chunk: Chunk) -> Sequence[Chunk]:
        """Stop a stream that must have overdrawn the budget, whatever its upstream will say it used."""
        if self._call.kind == "model":
            piece = as_object(chunk.value) or {}
            self._told += len(piece.get("text", "") if not chunk.whole else _arguments(piece))
            if self._answer_chars is not None and self._told > self._answer_chars:
                raise Stopped(Denied(code="budget_exhausted", reason="the token budget is used up"))
        return (chunk,)

    async def undo(self) -> None:
        """Give everything back: the call was refused here."""
        await self.leave("refused", Usage())

    async def leave(self, end: End, usage: Usage) -> None:
        """Free turn and slots, settle budgets, refund the rate if nothing happened. Raises Unavailable, last."""
        self._turns.done(self._call.id)
        slots = self.always
        backs = [*(self.refunds if end in REFUNDED else ()), *self._settling(end, usage)]
        self.always, self.refunds, self._budgets = [], [], []
        if not slots or not self._afterwards(self._call, lambda: _give_back(slots)):
            backs = [*slots, *backs]
        await _give_back(backs)

    def _settling(self, end: End, usage: Usage) -> list[Undo]:
        if not self._budgets:
            return []
        cost = self._prices.used(self._call, self.cost, end, self._at_least(end, usage))
        return [_settle(counters, one, min(getattr(cost, one.budget.what) or 0, MOST))
                for counters, one in self._budgets if (getattr(cost, one.budget.what) or 0) != one.amount]


    def _at_least(self, end: End, usage: Usage) -> Usage:
        """What was used, and no less than what went out: who hangs up before the end, where an upstream counts, has
        had more than he reserved for if he named no maximum."""
        if not self._told:
            return usage
        if usage.tokens_in + usage.tokens_out or end not in UNKNOWN_USE:
            return replace(usage, tokens_out=max(usage.tokens_out, self._told // MAX_CHARS_PER_TOKEN))
        prompt, answer = estimate(self._call.args)
        return replace(usage, tokens_in=prompt, tokens_out=max(answer, self._told // BYTES_PER_TOKEN + 1))


def _arguments(piece: dict[str, Json]) -> str:
    """What a tool call in a streamed answer says."""
    return (as_object(piece.get("call")) or {}).get("arguments", "")


async def _give_back(backs: Sequence[Undo]) -> None:
    """All of them, in reverse order. Raises Unavailable, last."""
    failed: Unavailable | None = None
    for back in reversed(backs):
        try:
            await back()
        except Unavailable as error:  # the others must be given back all the same
            failed = error
    if failed is not None:
        raise failed


def _settle(counters: Counters, one: _Reservation, used: int) -> Undo:
    return lambda: counters.settle(one.budget.book, one.budget.field, one.amount, used)


def _book(call: Call, subject: Process | Peer) -> str:
    who = whose(subject)
    return session_book(who.tenant, who.agent, call.session or subject.launch)


def _only_local(scope: Scope, down: Unavailable) -> None:
    """Raise on, unless this limit may be counted here while its store is down."""
    if scope.limits.on_store_down != "local" or down.code != STORE_DOWN:
        raise down


def tenth(rate: Rate) -> Rate:
    """What is let through of a rate while nobody knows what others let through."""
    return Rate(count=rate.count, seconds=rate.seconds * FRACTION, burst=max(rate.burst // FRACTION, 1))


def _exhausted(budget: Budget, amount: int, taken: Take) -> Denied:
    return Denied(code="budget_exhausted",
                  reason=f"the budget of {budget.what} for this {budget.period} does not suffice for this call",
                  detail={"scope": budget.scope.name, "budget": budget.limit, "remaining": taken.remaining,
                          "wanted": amount, "name": budget.name})


def _note(found: dict[str, Any], scope: Scope, name: str, limit: int, left: int) -> None:
    """One fact; of several resources the one with the least left."""
    facts: dict[str, Json] = found.setdefault(scope.name, {})
    old = facts.get(name)
    if old is None or left < old["remaining"]:
        facts[name] = {"limit": limit, "used": limit - left, "remaining": left}
