"""What every model wire does. Implementations: ``chat``, ``responses`` and ``messages``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, Protocol, TypeAlias

from ringwall.call import Json, Usage
from ringwall.wire.sse import Event

Api: TypeAlias = Literal["chat", "responses", "messages"]

MAX_RESPONSE: Final = 8 << 20  # bytes of an answer, and of all the events of a streamed one that carry something
BYTES_PER_TOKEN: Final = 4  # the usual rule of thumb, for upstreams that do not count


def estimate(sent: bytes, received: bytes) -> Usage:
    """Tokens by length, rounded up, for upstreams that do not count."""
    return Usage(tokens_in=-(-len(sent) // BYTES_PER_TOKEN), tokens_out=-(-len(received) // BYTES_PER_TOKEN))


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallAsked:
    """A tool call in an answer. ``arguments`` is what the model wrote: text that should be a JSON object."""

    id: str
    name: str
    arguments: str


class StreamReader(Protocol):
    """A provider's events in, pieces out. After an error it is of no more use."""

    @property
    def done(self) -> bool:
        """Whether the end marker came: nothing more is to be read."""
        ...

    def feed(self, event: Event) -> list[Json]:
        """Take one event, give the pieces it completes. Raises BadInput: ``bad_answer``, ``result_too_large``."""
        ...

    def end(self) -> tuple[list[Json], Usage | None]:
        """The stream ended: the last pieces, and what the upstream counted; None if it did not count.

        Raises:
            BadInput: ``truncated``: the end marker never came; ``bad_answer``.

        """
        ...


class StreamWriter(Protocol):
    """Pieces in, a provider's events as bytes out."""

    def feed(self, piece: Json) -> bytes:
        """The events that one piece becomes."""
        ...

    def end(self) -> bytes:
        """What follows the last piece. Raises BadInput (``truncated``) if that was not the closing one."""
        ...

    def error(self, code: str, reason: str, record: str) -> bytes:
        """The event that says that the answer stops here, instead of :meth:`end`."""
        ...


class ModelWire(Protocol):
    """One interface of a model provider."""

    api: ClassVar[Api]
    path: ClassVar[str]  # below the base URL, which ends in "/v1" with each of them

    def parse_request(self, value: Json) -> Json:
        """Check a request and give its canonical form, a fresh object.

        ``model`` stays in it, and ``stream`` where it is true. Parsing the canonical form changes nothing.

        Raises:
            BadInput: ``bad_request``, or ``thread_unsupported_request``; the cause names the field and says why.

        """
        ...

    def provider_tools(self, request: Json) -> tuple[str, ...]:
        """Tools that the provider would run itself, sorted: ``web_search`` or none. The wire bounds their options;
        whether they may be used is for others to say."""
        ...

    def outgoing(self, request: Json, model: str) -> Json:
        """The canonical request as it leaves: the upstream's name of the model, nothing stored, tokens counted."""
        ...

    def parse_answer(self, raw: bytes, request: Json) -> tuple[Json, Usage | None]:
        """Check a whole answer to a canonical request and give its canonical form, and what the upstream counted.

        Raises:
            BadInput: ``bad_answer``, also for a tool call that was not offered; ``result_too_large``.

        """
        ...

    def whole(self, pieces: Sequence[Json], request: Json) -> Json:
        """The canonical answer that these pieces make."""
        ...

    def estimated(self, answer: Json, usage: Usage) -> Json:
        """A canonical answer without usage, with this one put in and marked as estimated."""
        ...

    def reader(self, request: Json) -> StreamReader:
        """For the upstream's answer to a canonical request that asked for a stream."""
        ...

    def writer(self, request: Json) -> StreamWriter:
        """For the agent that sent this canonical request."""
        ...

    def tool_calls(self, answer: Json) -> list[ToolCallAsked]:
        """The tool calls of a canonical answer, in order."""
        ...

    def without_calls(self, answer: Json, refused: Mapping[str, str]) -> Json:
        """A copy of a canonical answer in which some calls are texts. ``refused``: text by the call's id."""
        ...

    def error(self, status: int, code: str, reason: str, record: str) -> bytes:
        """A refusal as the provider's SDKs expect it.

        Args:
            status: the HTTP status that goes with it.
            code: our error code.
            reason: one sentence.
            record: names the audit record; empty: there is none.

        """
        ...
