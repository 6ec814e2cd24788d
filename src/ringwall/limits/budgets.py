"""What a call may use of which budget: calls, tokens and money, a session and a day. Whole numbers throughout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from ringwall.call import Call, End, Json, Usage
from ringwall.limits.interface import KEEP_DAY, KEEP_SESSION
from ringwall.limits.scopes import Scope
from ringwall.manifest.types import Limits, Manifest, Price
from ringwall.models.interface import asked, counted_bytes

What = Literal["calls", "tokens", "money"]
REFUNDED: Final[frozenset[End]] = frozenset({"refused", "held", "dry"})
"""Ends after which nothing happened: the call counts as not made."""
UNKNOWN_USE: Final[frozenset[End]] = frozenset({"done", "stopped", "cancelled", "unknown"})
"""Ends after which a report of no tokens means that nobody counted them: the reservation stands."""
BYTES_PER_TOKEN: Final = 3  # of a prompt: English has about 4, so this reserves too much rather than too little
DEFAULT_ANSWER: Final = 1024  # tokens reserved for an answer whose request names no maximum
_MILLION: Final = 1_000_000


class Cost(NamedTuple):
    """What one call uses; ``money`` is None where the price is unknown."""

    calls: int
    tokens: int
    money: int | None


class Budget(NamedTuple):
    """One budget that a call has to fit in."""

    scope: Scope
    what: What
    period: Literal["session", "day"]
    book: str
    limit: int

    @property
    def name(self) -> str:
        """As the manifest spells it; ``tokens`` a session have the older, shorter name."""
        return f"{self.what}_per_{self.period}"

    @property
    def field(self) -> str:
        return self.scope.field(self.what)

    @property
    def keep(self) -> int:
        return KEEP_SESSION if self.period == "session" else KEEP_DAY


def day(now: float) -> str:
    """The UTC day of a time since the epoch."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")


def day_book(owner: str, date: str) -> str:
    """The book of one owner's day."""
    return f"{owner}|day:{date}"


def session_book(tenant: str, agent: str, session: str) -> str:
    """The book of one session."""
    return f"{tenant}/{agent}|session:{session}"


def budgets(scopes: Sequence[Scope], kind: str, session: str, date: str) -> Iterator[Budget]:
    """Every budget that holds for a call of this kind.

    Args:
        scopes: whom it is counted for.
        kind: only models use tokens.
        session: its session's book.
        date: its UTC day.

    """
    for scope in scopes:
        for what, by_session, by_day in _limits(scope.limits):
            if what == "tokens" and kind != "model":
                continue
            if by_session is not None:
                yield Budget(scope, what, "session", session, by_session)
            if by_day is not None:
                yield Budget(scope, what, "day", day_book(scope.owner, date), by_day)


def _limits(limits: Limits) -> tuple[tuple[What, int | None, int | None], ...]:
    return (("calls", limits.calls_per_session, limits.calls_per_day),
            ("tokens", limits.tokens_per_session, limits.tokens_per_day),
            ("money", limits.money_per_session, limits.money_per_day))


class Prices:
    """What calls cost, by the manifest."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def wanted(self, call: Call) -> Cost:
        """What to set aside for a call: rather too much than too little."""
        if call.kind != "model":
            return Cost(1, 0, self._tool(call))
        prompt, answer = estimate(call.args)
        return Cost(1, prompt + answer, _money(self._price(call), prompt, answer))

    def used(self, call: Call, reserved: Cost, end: End, usage: Usage) -> Cost:
        """What it cost in the end."""
        if end in REFUNDED:
            return Cost(0, 0, 0)
        tokens = usage.tokens_in + usage.tokens_out
        if call.kind != "model" or (tokens == 0 and end in UNKNOWN_USE):
            return reserved
        return Cost(1, tokens, _money(self._price(call), usage.tokens_in, usage.tokens_out))

    def _tool(self, call: Call) -> int:
        if call.kind != "tool":
            return 0  # a peer may be called what a server is called
        server, _, operation = call.target.name.partition("/")
        found = self._manifest.tools.get(server)
        known = found.ops.get(operation) if found is not None else None
        return known.cost if known is not None else 0

    def _price(self, call: Call) -> Price | None:
        model = self._manifest.models.get(call.target.name)
        return model.price if model is not None else None


def _money(price: Price | None, tokens_in: int, tokens_out: int) -> int | None:
    """In micro-units, rounded up."""
    if price is None:
        return None
    return -(-(tokens_in * price.tokens_in + tokens_out * price.tokens_out) // _MILLION)


def estimate(args: Json) -> tuple[int, int]:
    """How many tokens a model call may use: prompt and answer. Rather too many than too few.

    Raises:
        BadInput: ``bad_request``: these are no arguments of a model call.

    """
    request = asked(args).request
    prompt = counted_bytes(request) // BYTES_PER_TOKEN + 1
    named = [request.get(name) for name in ("max_completion_tokens", "max_tokens", "max_output_tokens")]
    most = [one for one in named if isinstance(one, int) and not isinstance(one, bool) and one > 0]
    return prompt, max(most) if most else DEFAULT_ANSWER

