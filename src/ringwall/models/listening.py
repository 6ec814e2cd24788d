"""What the core makes of what a sidecar says of a model's answer: believed piece by piece, or not at all. Sans-I/O.

The sidecar parses a provider's answer in the same way, and may be taken over: nothing is taken from it that is not
the answer to this request, in its closed form.
"""

from __future__ import annotations

from typing import Final, Protocol

from ringwall.call import Chunk, Json, Last, Usage
from ringwall.errors import BadInput
from ringwall.models.interface import Asked
from ringwall.tools.protocol import REASONS
from ringwall.wire.models.interface import estimate
from ringwall.wire.models.pieces import parse_piece, with_usage

NEVER_SENT: Final = frozenset(
    {
        "sidecar_unavailable",
        "sidecar_busy",
        "no_such_server",
        "bad_arguments",
        "upstream_unreachable",
        "upstream_denied",
        "upstream_limited",
    }
)


MAX_ID: Final = 256  # characters, as of all names in answers


class Listening(Protocol):
    """One answer."""

    def piece(self, raw: bytes) -> list[Chunk | Last]:
        """The sidecar gave a piece. Raises BadInput."""
        ...

    def last(self, last: Last) -> list[Chunk | Last]:
        """The sidecar says how it ended. Raises BadInput."""
        ...

    def misfit(self, code: str) -> Last:
        """The end of an answer that is none: what it cost so far."""
        ...


class Whole:
    """An answer in one piece.

    Args:
        wanted: the call's arguments.
        body: the request as it left.

    """

    def __init__(self, wanted: Asked, body: bytes) -> None:
        self._wanted = wanted
        self._body = body
        self._raw = b""

    def piece(self, raw: bytes) -> list[Chunk | Last]:
        self._raw += raw
        return []

    def last(self, last: Last) -> list[Chunk | Last]:
        seconds = last.usage.seconds
        if last.end != "done":
            return [Last(end=last.end, error=last.error, usage=_spent(last, estimate(self._body, b"")))]
        spoken = self._wanted.wire
        value, counted = spoken.parse_answer(self._raw, self._wanted.request)
        usage = counted or estimate(self._body, self._raw)
        if counted is None:
            value = spoken.estimated(value, usage)
        return [Chunk(value=value), Last(end="done", usage=_of(usage, seconds))]

    def misfit(self, code: str) -> Last:
        return _misfit(code, estimate(self._body, b""))


class Stream:
    """An answer in pieces.

    Args:
        wanted: the call's arguments.
        body: the request as it left.

    """

    def __init__(self, wanted: Asked, body: bytes) -> None:
        self._body = body
        self._offered = wanted.offered
        self._one_text = wanted.api == "chat"
        self._opened = False
        self._part = -1
        self._kind = ""  # of what came last of this part; "sealed": no text may follow
        self._texts: dict[str, int] = {}  # the part that a kind of text is in
        self._ids: set[str] = set()
        self._said = 0  # characters
        self._close: Json = None

    def piece(self, raw: bytes) -> list[Chunk | Last]:
        value = parse_piece(raw)
        if self._close is not None or ("open" in value) is self._opened:
            raise BadInput("an answer opens once, first, and nothing follows its end", code="bad_answer")
        self._opened = True
        if "close" in value:
            self._close = value  # kept until the sidecar says that this was all
            return []
        if "open" not in value:
            self._grow(value)
        return [Chunk(value=value, whole="text" not in value)]

    def _grow(self, value: Json) -> None:
        self._place(value["part"], value.get("kind") or ("call" if "call" in value else "opaque"))
        called = value.get("call")
        if len(value.get("opaque", {}).get("id", "")) > MAX_ID:  # it is told again with every piece of its part
            raise BadInput("an answer has a part with a name that is none", code="bad_answer")
        self._said += len(called["arguments"] if called is not None else value.get("text", ""))
        if called is None:
            return
        if called["name"] not in self._offered:
            raise BadInput("an answer calls a tool that the request did not offer", code="bad_answer")
        if called["id"] in self._ids:
            raise BadInput("two tool calls of an answer have the same id", code="bad_answer")
        self._ids.add(called["id"])

    def _place(self, part: int, kind: str) -> None:
        """Raises BadInput where writers would put two texts into one that were judged as two."""
        again, before = part == self._part, self._kind
        follows = not again or kind == "opaque" or (kind != "call" and kind == before)
        if part < self._part or not (follows or (before, kind) == ("opaque", "thinking")):
            raise BadInput("the parts of an answer are out of order", code="bad_answer")
        if self._one_text and kind not in ("call", "opaque") and self._texts.setdefault(kind, part) != part:
            raise BadInput("a text of an answer goes on in another part", code="bad_answer")
        self._part, self._kind = part, "sealed" if again and kind == "opaque" != before else kind

    def last(self, last: Last) -> list[Chunk | Last]:
        seconds = last.usage.seconds
        if last.end != "done":
            # What the agent was given was not "never sent", whatever the sidecar calls its end.
            usage = _of(self._estimated(), seconds) if self._opened else _spent(last, self._estimated())
            return [Last(end=last.end, error=last.error, usage=usage)]
        if self._close is None:
            raise BadInput("a streamed answer has no end", code="bad_answer")
        counted = self._close["close"]["usage"]
        usage = self._estimated()
        if counted is not None:
            usage = Usage(tokens_in=counted["tokens_in"], tokens_out=counted["tokens_out"])
        return [Chunk(value=with_usage(self._close, usage)), Last(end="done", usage=_of(usage, seconds))]

    def misfit(self, code: str) -> Last:
        return _misfit(code, self._estimated())

    def _estimated(self) -> Usage:
        return estimate(self._body, b" " * self._said)


def _of(usage: Usage, seconds: float) -> Usage:
    return Usage(tokens_in=usage.tokens_in, tokens_out=usage.tokens_out, seconds=seconds)


def _misfit(code: str, usage: Usage) -> Last:
    known = code if code in REASONS else "bad_answer"
    return Last(end="failed", error={"code": known, "reason": REASONS[known]}, usage=usage)


def _spent(last: Last, usage: Usage) -> Usage:
    """What a failed call cost: nothing if it was not sent or not taken, else prompt and answer by their length."""
    seconds = last.usage.seconds
    if last.error is not None and last.error["code"] in NEVER_SENT:
        return Usage(seconds=seconds)
    return _of(usage, seconds)
