"""The third ring: how much of it has there been? Rates, slots and token budgets, reserved before, settled after."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from ringwall.call import (
    Allowed,
    Call,
    Chunk,
    Denied,
    End,
    Facts,
    Json,
    Process,
    RingName,
    SessionId,
    Subject,
    Usage,
    canonical,
    texts,
)
from ringwall.errors import Unavailable
from ringwall.interface import Stopped, Targets, Through
from ringwall.limits.interface import Counters
from ringwall.manifest.types import Limits, Manifest

REFUNDED: Final[frozenset[End]] = frozenset({"refused", "held", "dry"})
"""Ends after which nothing happened: the call counts as not made."""
UNKNOWN_USE: Final[frozenset[End]] = frozenset({"done", "stopped", "cancelled", "unknown"})
"""Ends after which a report of no tokens means that nobody counted them: the reservation stands."""
BYTES_PER_TOKEN: Final = 3  # of a prompt: English has about 4, so this reserves too much rather than too little
MAX_CHARS_PER_TOKEN: Final = 8  # of an answer: no tokenizer does better on average; a floor for what was used
DEFAULT_ANSWER: Final = 1024  # tokens reserved for an answer whose request names no maximum


class _Scope(NamedTuple):
    name: str  # "tenant" or "agent"
    key: str
    limits: Limits


Undo = Callable[[], Awaitable[None]]


class LimitsRing:
    """Counts per tenant, and per agent within it. Implements ``interface.Ring``."""

    name: RingName = "limits"

    def __init__(self, manifest: Manifest, counters: Counters) -> None:
        """Take the manifest, whose limits hold, and the place where they are counted."""
        self._manifest = manifest
        self._counters = counters

    async def enter(self, call: Call, facts: Facts) -> Through:
        """Reserve all that the call needs, or nothing. Raises Unavailable when the counters are down."""
        found: dict[str, Json] = {}
        facts[self.name] = found
        if not isinstance(call.subject, Process):
            return Through(Allowed())  # an operator: only attempts are counted
        scopes = self._scopes(call.subject)
        if scopes is None:
            return Through(Denied(code="no_limits", reason="no limits are known for this agent",
                                  detail={"remedy": f"declare it under tenants.{call.tenant}"}))
        passage = _Reserved(self._counters)
        try:
            verdict = await self._reserve(call, call.subject, scopes, passage, found)
        except BaseException:  # also cancelled: a call that did not enter leaves nothing behind
            await passage.undo()
            raise
        if isinstance(verdict, Denied):
            await passage.undo()
            return Through(verdict)
        return passage

    async def lists(self, subject: Subject, targets: Targets) -> Targets:
        """Limits hide nothing."""
        return targets

    async def end_session(self, tenant: str, agent: str, session: SessionId) -> None:
        """Forget what a session spent: it is over and no call of it can come. For the supervisor of sessions."""
        await self._counters.forget(f"tokens:{tenant}/{agent}/{session}")

    def _scopes(self, subject: Process) -> tuple[_Scope, ...] | None:
        who = subject.spiffe_id
        tenant = self._manifest.tenants.get(who.tenant)
        role = tenant.roles.get(who.role) if tenant is not None else None
        if tenant is None or role is None:
            return None
        return (_Scope("tenant", who.tenant, tenant.limits),
                _Scope("agent", f"{who.tenant}/{who.agent}", role.limits))

    async def _reserve(self, call: Call, subject: Process, scopes: Sequence[_Scope], passage: _Reserved,
                       found: dict[str, Json]) -> Denied | None:
        for scope in scopes:
            denied = await self._slot(call, scope, passage, found) or await self._rate(scope, passage, found)
            if denied is not None:
                return denied
        if call.kind == "model":
            return await self._tokens(call, subject, scopes, passage, found)
        return None

    async def _slot(self, call: Call, scope: _Scope, passage: _Reserved, found: dict[str, Json]) -> Denied | None:
        most = scope.limits.concurrent
        if most is None:
            return None
        key = f"concurrent:{scope.key}"
        # Before the lease: releasing what was never held does nothing, and a cancelled lease may have been held.
        passage.always.append(lambda: self._counters.release(key, call.id))
        if not await self._counters.lease(key, call.id, most):
            return Denied(code="too_many_at_once", reason="too many calls at the same time",
                          detail={"scope": scope.name, "concurrent": most})
        found[f"{scope.name}_concurrent"] = {"most": most}
        return None

    async def _rate(self, scope: _Scope, passage: _Reserved, found: dict[str, Json]) -> Denied | None:
        rate = scope.limits.calls
        if rate is None:
            return None
        key = f"calls:{scope.key}"
        taken = await self._counters.take(key, rate)
        if not taken.taken:
            return Denied(code="rate_limited", reason="too many calls in too short a time",
                          retry_after=taken.retry_after, detail={"scope": scope.name, "burst": rate.burst,
                                                                 "count": rate.count, "seconds": rate.seconds})
        passage.refunds.append(lambda: self._counters.refund(key, rate))
        found[f"{scope.name}_calls"] = {"remaining": taken.remaining, "burst": rate.burst}
        return None

    async def _tokens(self, call: Call, subject: Process, scopes: Sequence[_Scope], passage: _Reserved,
                      found: dict[str, Json]) -> Denied | None:
        budgets = [scope.limits.tokens_per_session for scope in scopes]
        known = [budget for budget in budgets if budget is not None]
        if not known:
            return None
        who = subject.spiffe_id
        key = f"tokens:{who.tenant}/{who.agent}/{call.session or subject.launch}"
        prompt, answer = estimate(call.args)
        taken = await self._counters.reserve(key, min(known), prompt + answer)
        if not taken.taken:
            return Denied(code="budget_exhausted",
                          reason="the session's token budget does not suffice for this call",
                          detail={"budget": min(known), "remaining": taken.remaining, "wanted": prompt + answer})
        passage.reserved_tokens(key, prompt + answer, answer + taken.remaining)
        found["tokens"] = {"reserved": prompt + answer, "remaining": taken.remaining, "budget": min(known)}
        return None


class _Reserved(Through):
    """What one call holds, and how to give it back."""

    def __init__(self, counters: Counters) -> None:
        super().__init__(Allowed())
        self.always: list[Undo] = []
        self.refunds: list[Undo] = []
        self._counters = counters
        self._tokens: tuple[str, int] | None = None
        self._answer_chars = 0

    def reserved_tokens(self, key: str, amount: int, answer: int) -> None:
        """Note a reservation; ``answer`` is how many tokens the answer may have before the budget is overdrawn."""
        self._tokens = (key, amount)
        self._answer_chars = answer * MAX_CHARS_PER_TOKEN

    async def release(self, chunk: Chunk) -> Sequence[Chunk]:
        """Stop a stream that must have overdrawn the budget, whatever its upstream will say it used."""
        if self._tokens is not None and not chunk.whole:
            self._answer_chars -= sum(len(text) for text in texts(chunk.value))
            if self._answer_chars < 0:
                raise Stopped(Denied(code="budget_exhausted", reason="the session's token budget is used up"))
        return (chunk,)

    async def undo(self) -> None:
        """Give everything back: the call was refused here."""
        await self.leave("refused", Usage())

    async def leave(self, end: End, usage: Usage) -> None:
        """Free the slots, settle the tokens, refund the rate if nothing happened. Raises Unavailable, last."""
        backs = [*self.always, *(self.refunds if end in REFUNDED else ())]
        self.always, self.refunds = [], []
        if self._tokens is not None:
            (key, reserved), self._tokens = self._tokens, None
            used = _used(reserved, end, usage)
            backs.append(lambda: self._counters.settle(key, reserved, used))
        failed: Unavailable | None = None
        for back in reversed(backs):
            try:
                await back()
            except Unavailable as error:  # the others must be given back all the same
                failed = error
        if failed is not None:
            raise failed


def _used(reserved: int, end: End, usage: Usage) -> int:
    if end in REFUNDED:
        return 0
    used = usage.tokens_in + usage.tokens_out
    return reserved if used == 0 and end in UNKNOWN_USE else used


def estimate(request: Json) -> tuple[int, int]:
    """How many tokens a model request may use: prompt and answer. Rather too many than too few."""
    prompt = len(canonical(request)) // BYTES_PER_TOKEN + 1
    asked = [request.get(name) for name in ("max_completion_tokens", "max_tokens")]
    most = [one for one in asked if isinstance(one, int) and not isinstance(one, bool) and one > 0]
    choices = request.get("n")
    several = choices if isinstance(choices, int) and not isinstance(choices, bool) and choices > 0 else 1
    return prompt, (max(most) if most else DEFAULT_ANSWER) * several
