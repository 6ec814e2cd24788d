"""What the core and a tenant's sidecar say to each other: one msgpack value per frame of ``wire.frames``.

The core believes nothing the sidecar says about reasons: the sidecar names a code out of a closed list, and
the sentence for it is written here. Text from outside travels as a result only, and so crosses the rings.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal, TypeAlias, TypeVar, cast

import msgspec
from msgspec import Meta

from ringwall.call import Json, Trait
from ringwall.errors import BadInput
from ringwall.peers import protocol as peers
from ringwall.peers.protocol import Gate, Incoming, Inside, PeerCode, PeerPiece, Pipe, ToSidecarPeers
from ringwall.tools.message import MAX_RESULT, Body, CallNumber, Message, Name

MAX_DEFINITIONS: Final = 1 << 20  # bytes of JSON; all definitions of one server
MAX_DEPTH: Final = 128  # nesting of a result: far beyond honest data, far below the recursion limits
MAX_VALUES: Final = 100_000  # in a result, names included, as in a request: the rings take 1 microsecond for each
MAX_CHUNKS: Final = 4096  # pieces of one answer: at 8 MiB a mean of 2 KiB
MAX_STREAM_PIECES: Final = 1 << 17  # of a streamed model answer: one a token, for the longest (128,000 tokens)
SETTLED: Final = "notifications/ringwall/settled"  # MCP of ``tools.serve``: a cancelled request's work is over
MAX_WATCHED: Final = 256  # resources that one listener watches
GRACE_S: Final = 2.0  # beyond what the sidecar allows a server elsewhere, for it to say why that is over
MAX_SERVERS: Final = 256  # servers or models in one hello

Generation: TypeAlias = Annotated[int, Meta(ge=1, le=2**53)]  # which start of a server; tells old news from new
HeaderValue: TypeAlias = Annotated[str, Meta(max_length=8192)]  # what common servers take in one header
Headers: TypeAlias = Annotated[dict[Name, HeaderValue], Meta(max_length=16)]
Traits: TypeAlias = Annotated[tuple[Trait, ...], Meta(max_length=4)]
Seconds: TypeAlias = Annotated[float, Meta(gt=0, le=3600)]

Code: TypeAlias = Literal[
    "",
    "tool_error",
    "server_gone",
    "server_lost",
    "bad_answer",
    "result_too_large",
    "too_many_values",
    "no_such_server",
    "no_such_operation",
    "bad_arguments",
    "sidecar_fault",
    "abandoned",
    "upstream_unreachable",
    "upstream_broken",
    "upstream_redirect",
    "upstream_denied",
    "upstream_limited",
    "upstream_refused",
    "upstream_failed",
    "upstream_slow",
    "upstream_echoes_secret",
    "address_refused",
    "host_refused",
    "tool_input_required",
    PeerCode,
]

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "tool_error": "the tool reported an error",
        "server_gone": "the tool server ended before the call; nothing was sent",
        "server_lost": "the tool server ended or broke the protocol while the call ran",
        "bad_answer": "the answer does not have the form it must have",
        "result_too_large": f"the answer is larger than {MAX_RESULT} bytes and was thrown away",
        "too_many_values": f"the answer has more than {MAX_VALUES} values and was thrown away",
        "no_such_server": "there is no such tool server or model here",
        "no_such_operation": "the tool server has no such operation",
        "bad_arguments": "the arguments do not fit this operation",
        "sidecar_fault": "the tenant's sidecar failed while the call ran",
        "abandoned": "nobody waited for the answer any more",
        "upstream_unreachable": "the upstream cannot be reached; nothing was sent",
        "upstream_broken": "the connection to the upstream broke before its answer was whole",
        "upstream_redirect": "the upstream wants to redirect, which is refused",
        "upstream_denied": "the upstream does not accept the key",
        "upstream_limited": "the upstream asks to slow down",
        "upstream_refused": "the upstream refused the request",
        "upstream_failed": "the upstream failed",
        "upstream_slow": "the upstream did not answer in time",
        "upstream_echoes_secret": "the upstream's answer holds the key it was sent, and was thrown away",
        "address_refused": "the name leads to an address that is not public; nothing was sent",
        "host_refused": "this server may not be asked under that URL; nothing was sent",
        "tool_input_required": "the tool asks for input that this door cannot give",
        "definition_changed": "the tool's definition changed while the call was judged; nothing was sent",
        "sidecar_lost": "the tenant's sidecar is gone; whether the call took effect is not known",
        "sidecar_unavailable": "the tenant's sidecar is not there; nothing was sent",
        "sidecar_busy": "the tenant's sidecar has too much to do; nothing was sent",
        "tool_timeout": "the tool did not answer in time; whether it took effect is not known",
        "model_timeout": "the model did not answer in time",
        **peers.REASONS,
    }
)


class ServerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A tool server. ``builtin``: answered by the sidecar itself; ``mcp``: an MCP server at ``url``; ``http``:
    asked by ``CallHttp``, below one of ``prefixes``; none of them: over pipes the core passes.

    ``private``: networks that are not public and that names may lead to all the same. ``network``: what a server
    over pipes reaches through the proxy that ``Outlet`` opens, as ``host:port``. ``asks``: what an MCP server may
    ask back while a call of form ``mcp`` runs.
    """

    builtin: Literal["", "echo"] = ""
    kind: Literal["pipes", "mcp", "http"] = "pipes"
    url: Annotated[str, Meta(max_length=2048)] = ""
    prefixes: Annotated[tuple[Annotated[str, Meta(max_length=2048)], ...], Meta(max_length=64)] = ()
    private: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    network: Annotated[tuple[Annotated[str, Meta(max_length=262)], ...], Meta(max_length=64)] = ()
    asks: Annotated[tuple[Literal["elicitation", "sampling", "roots"], ...], Meta(max_length=3)] = ()
    max_bytes: Annotated[int, Meta(ge=1024, le=MAX_RESULT)] = 1 << 20
    timeout_s: Seconds = 30.0


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model upstream. ``url``: base URL including ``/v1``; times in seconds."""

    url: Annotated[str, Meta(min_length=8, max_length=2048)]
    wire: Literal["openai", "anthropic"] = "openai"
    connect_s: Seconds = 10.0
    read_s: Seconds = 120.0
    retries: Annotated[int, Meta(ge=0, le=5)] = 2


class Hello(Message, frozen=True, tag="hello"):
    """First frame of the core: whose hands these are, and what they may reach."""

    tenant: Name
    servers: Annotated[dict[Name, ServerConfig], Meta(max_length=MAX_SERVERS)] = msgspec.field(
        default_factory=dict[str, ServerConfig]
    )
    models: Annotated[dict[Name, ModelConfig], Meta(max_length=MAX_SERVERS)] = msgspec.field(
        default_factory=dict[str, ModelConfig]
    )


class CallTool(Message, frozen=True, tag="tool"):
    """Run one operation. ``args``: canonical JSON of the arguments that were judged."""

    id: CallNumber
    server: Name
    op: Name
    args: Body
    form: Literal["value", "mcp"] = "value"
    session: Annotated[str, Meta(max_length=64)] = ""  # of an ``mcp`` server: whose; empty: the tenant's own
    headers: Headers = msgspec.field(default_factory=dict[str, str])  # what the core injects, for ``mcp``
    progress: bool = False  # the caller wants to hear of progress
    trace: Annotated[str, Meta(max_length=64)] = ""  # W3C traceparent, for ``params._meta``
    client: Traits = ()  # what the caller's own client says of itself
    inputs: Body = b""  # JSON of inputResponses and requestState: the same call again, as the server asked for
    credential: Annotated[str, Meta(max_length=64)] = ""  # names what the core gave a worker for this call


class CallHttp(Message, frozen=True, tag="http"):
    """Send one HTTP request and give its answer (``tools.outside.HttpAnswer``). Redirects are not followed."""

    id: CallNumber
    server: Name
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    url: Annotated[str, Meta(max_length=16_384)]
    headers: Headers = msgspec.field(default_factory=dict[str, str])
    injected: Headers = msgspec.field(default_factory=dict[str, str])  # hold secrets, which must not come back
    withheld: Annotated[tuple[HeaderValue, ...], Meta(max_length=4)] = ()  # secrets in the body: neither may they
    body: Body = b""


class CallModel(Message, frozen=True, tag="model"):
    """Send ``body`` to an upstream, with these headers and no other of ours. An answer that is no stream is one
    Piece, the provider's own answer; a stream is one Piece for each of ``wire.models.pieces``."""

    id: CallNumber
    upstream: Name
    body: Body
    headers: Annotated[dict[Name, HeaderValue], Meta(max_length=4)]
    api: Literal["chat", "responses", "messages"] = "chat"
    stream: bool = False


class Cancel(Message, frozen=True, tag="cancel"):
    """Nobody waits for this call any more; it still gets its end. The server is told to stop.

    ``caller``: its end comes when the server has answered all the same, or is gone. ``timeout``: it comes at once,
    and the server must prove that it still answers.
    """

    id: CallNumber
    why: Literal["caller", "timeout"]


class ListTools(Message, frozen=True, tag="list"):
    """Ask a server for its definitions, anew."""

    id: CallNumber
    server: Name
    headers: Headers = msgspec.field(default_factory=dict[str, str])  # what the core injects, for ``mcp``


class Listen(Message, frozen=True, tag="listen"):
    """Hear what an MCP server says by itself, until cancelled or it ends: each Piece is a ``Heard``.

    ``session``, ``headers`` and ``client`` as in CallTool; ``uris``: of resources, each judged when it was
    subscribed.
    """

    id: CallNumber
    server: Name
    session: Annotated[str, Meta(max_length=64)] = ""
    headers: Headers = msgspec.field(default_factory=dict[str, str])
    client: Traits = ()
    uris: Annotated[tuple[Annotated[str, Meta(max_length=8192)], ...], Meta(max_length=MAX_WATCHED)] = ()


class Heard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which news. ``listening``: the server knows that we listen; ``uri``: of what was updated."""

    what: Literal["listening", "tools", "prompts", "resources", "updated"]
    uri: Annotated[str, Meta(max_length=8192)] = ""


class Attach(Message, frozen=True, tag="attach"):
    """On the descriptor socket, with two descriptors: where to write to the server, where to read from it."""

    server: Name
    generation: Generation


class Outlet(Message, frozen=True, tag="outlet"):
    """On the descriptor socket, with one descriptor: a TCP socket that listens inside a server's own network. What
    comes there may CONNECT to ``network`` of that server, and nowhere else."""

    server: Name
    generation: Generation


class Ready(Message, frozen=True, tag="ready"):
    """The server has shaken hands."""

    server: Name
    generation: Generation


class Lost(Message, frozen=True, tag="lost"):
    """The server's pipes are closed: it ended, or broke the protocol, or hung."""

    server: Name
    generation: Generation


class Changed(Message, frozen=True, tag="changed"):
    """The server says that its definitions changed."""

    server: Name
    generation: Generation


class OutletRefused(Message, frozen=True, tag="outlet_refused"):
    """A server wanted to reach what it may not, or in a way it may not, ``count`` times since last said."""

    server: Name
    code: Literal["bad_request", "not_listed", "address_refused", "unreachable", "too_many"]
    count: Annotated[int, Meta(ge=1, le=2**53)]


class Piece(Message, frozen=True, tag="piece"):
    """A piece of an answer, as JSON."""

    id: CallNumber
    value: Body


class Ended(Message, frozen=True, tag="ended"):
    """The end of a call. ``status``: the upstream's HTTP status, 0 if there was none."""

    id: CallNumber
    end: Literal["done", "failed", "unknown"]
    code: Code = ""
    status: Annotated[int, Meta(ge=0, le=999)] = 0


class Definitions(Message, frozen=True, tag="definitions"):
    """A server's definitions: a JSON array of objects."""

    id: CallNumber
    definitions: Annotated[bytes, Meta(max_length=MAX_DEFINITIONS)]


Order: TypeAlias = CallTool | CallHttp | CallModel | Cancel | ListTools | Listen | ToSidecarPeers
ToSidecar: TypeAlias = Hello | Order
News: TypeAlias = Ready | Lost | Changed | OutletRefused  # of tool servers
FromSidecar: TypeAlias = News | Piece | Ended | Definitions | Incoming | PeerPiece
Passed: TypeAlias = Attach | Outlet | Gate | Inside | Pipe

_encoder: Final = msgspec.msgpack.Encoder()
_to_sidecar: Final = msgspec.msgpack.Decoder(ToSidecar)
_from_sidecar: Final = msgspec.msgpack.Decoder(FromSidecar)
_passed: Final = msgspec.msgpack.Decoder(Passed)


def encode(message: ToSidecar | FromSidecar | Passed) -> bytes:
    """The payload of one frame."""
    return _encoder.encode(message)


def decode_to_sidecar(raw: bytes) -> ToSidecar:
    """What the core said. Raises BadInput."""
    return _decode(_to_sidecar, raw)


def decode_from_sidecar(raw: bytes) -> FromSidecar:
    """What the sidecar said; it may be taken over. Raises BadInput."""
    return _decode(_from_sidecar, raw)


def decode_passed(raw: bytes) -> Passed:
    """The message beside passed descriptors. Raises BadInput."""
    return _decode(_passed, raw)


_T = TypeVar("_T")


def _decode(decoder: msgspec.msgpack.Decoder[_T], raw: bytes) -> _T:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise BadInput(f"a frame between core and sidecar is malformed: {fault}"[:300], code="bad_frame") from fault


def decode_value(raw: bytes) -> Json:
    """A result's JSON. Raises BadInput: ``bad_answer``, malformed or too deep, or ``too_many_values``."""
    _few(raw)
    try:
        value: Json = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise BadInput(f"a result is not JSON: {fault}"[:300], code="bad_answer") from fault
    _shallow(raw, value)
    return value


def encode_value(value: Json) -> bytes:
    """A result as JSON. Raises BadInput if it cannot be JSON, is too deep, too large or has too many values."""
    try:
        raw = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as fault:
        raise BadInput(f"a result is not JSON: {fault}"[:300], code="bad_answer") from fault
    if len(raw) > MAX_RESULT:
        raise BadInput(f"a result has {len(raw)} bytes, more than {MAX_RESULT}", code="result_too_large")
    _few(raw)
    _shallow(raw, value)
    return raw


def _few(raw: bytes) -> None:
    if _values(raw) > MAX_VALUES:
        raise BadInput(f"a result has more than {MAX_VALUES} values", code="too_many_values")


def _values(raw: bytes) -> int:
    """How many values and names a text has at most, before it is known to be JSON; exact only where it matters.

    All but the first follow one of four characters. Up to its first fault, a backslash stands inside strings only:
    without escaped quotes, every other part between quotes is outside strings.
    """
    rough = _starts(raw)
    if rough <= MAX_VALUES:
        return rough
    plain = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    strings = plain.count(b'"') // 2
    return strings if strings > MAX_VALUES else _starts(b"".join(plain.split(b'"')[::2]))


def _starts(raw: bytes) -> int:
    return 1 + sum(raw.count(mark) for mark in (b",", b":", b"[", b"{"))


def _shallow(raw: bytes, value: Json) -> None:
    """Refuse a value nested deeper than MAX_DEPTH; the walk is skipped where the bytes cannot be that deep."""
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH or not isinstance(value, dict | list):
        return
    level: list[Json] = [value]
    for _ in range(MAX_DEPTH):
        inner = (
            part
            for item in level
            for part in (
                cast("dict[str, Json]", item).values() if isinstance(item, dict) else cast("list[Json]", item)
            )
        )
        level = [part for part in inner if isinstance(part, dict | list)]
        if not level:
            return
    raise BadInput(f"a result is nested more than {MAX_DEPTH} levels deep", code="bad_answer")
