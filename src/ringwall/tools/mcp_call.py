"""One call to an MCP server: what is asked, what the server says meanwhile, and what its answer becomes.

Sans-I/O; ``mcp_session`` and ``mcp_http`` carry it. What the server says on the way is told within bounds, because
the core takes so many bytes and pieces of one call and not more.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, cast

import msgspec

from ringwall.call import Json
from ringwall.errors import BadInput
from ringwall.tools import mcp_ops, mcp_rpc, values
from ringwall.tools.echo import Echoes
from ringwall.tools.mcp_rpc import Answer, Id, Note, Request
from ringwall.tools.patience import Patience
from ringwall.tools.protocol import CallTool
from ringwall.tools.values import NoAnswer, ToolFailed
from ringwall.wire.mcp import rpc

Tell: TypeAlias = Callable[[Json], bool]
"""Passes an intermediate chunk on; False: there were too many already, and it was not."""

MAX_TOLD: Final = 1024  # intermediate chunks of one call: a quarter of the pieces the core takes
MAX_TOLD_BYTES: Final = 1 << 20  # of them together: an eighth of what the core takes
MAX_ASKED: Final = 32  # questions of a server that nobody answered yet; honest ones ask one at a time
EVENTS: Final = frozenset({"notifications/progress", "notifications/message"})
_QUESTIONS: Final = {mcp_ops.method_of(op): ask for op, ask in mcp_ops.ANSWERS.items()}
CREDENTIAL: Final = "io.ringwall/credential"  # in ``params._meta``: what a worker shall use (``tools.giving``)
_UNANSWERED: Final = "nobody here answers that"


@dataclass(slots=True, kw_only=True)
class Exchange:
    """A call under way.

    ``method`` and ``params``: what is asked of the server. ``tell``: takes its events and questions; None where the
    caller wants the plain value. ``secrets``: what it was asked with, and must not come back. ``asks``: what the
    caller's client can be asked. ``session``: whose call it is. ``patience``: stands still while it is.
    """

    number: int
    method: str
    params: dict[str, Json]
    tell: Tell | None = None
    progress: bool = False
    secrets: Sequence[str] = ()
    asks: Sequence[str] = ()
    session: str = ""
    patience: Patience | None = None
    sent: bool = False  # it may have taken effect
    in_session: bool = False  # where to cancel it takes a message

    def request(self) -> bytes:
        """The request as sent."""
        return rpc.request(self.number, self.method, self.params)

    def hear(self, note: Note) -> None:
        """An event of this call. Raises BadInput, or NoAnswer if it holds a secret."""
        if self.tell is None or (note.method == "notifications/progress" and not self.progress):
            return
        params = mcp_rpc.fields(note.params)
        params.pop("progressToken", None)  # ours
        self.guarded({"event": {"method": note.method, "params": params}}, self.tell)

    def guarded(self, value: Json, tell: Tell) -> bool:
        """Tell something of the server's. Raises NoAnswer if it holds a secret."""
        if self.secrets and Echoes(self.secrets).whole(msgspec.json.encode(value)):
            raise NoAnswer("unknown", "upstream_echoes_secret")
        return tell(value)

    def outcome(self, answer: Answer) -> Json:
        """What the answer becomes.

        Raises:
            ToolFailed: the server, or its tool, says that it failed.
            BadInput: the answer is none; ``tool_input_required``: it asks for more, and nobody could give it.
            NoAnswer: it holds a secret.

        """
        found = mcp_rpc.fields(answer.result) if answer.result is not None else None
        fault = mcp_rpc.error(answer.error or b"") if found is None else None
        if self.secrets and Echoes(self.secrets).whole(msgspec.json.encode(fault if found is None else found)):
            raise NoAnswer("unknown", "upstream_echoes_secret")
        if found is None:
            text = str((fault or {})["message"])[: values.MAX_ERROR_TEXT]
            raise ToolFailed(text, None if self.tell is None else {"fault": fault})
        if found.get("resultType", "complete") != "complete":
            if self.tell is None:
                raise BadInput("the tool asks for input", code="tool_input_required")
            return {"result": found}
        if self.method == "tools/call":
            return self._of_tool(found)
        return found if self.tell is None else {"result": found}

    def _of_tool(self, found: dict[str, Json]) -> Json:
        content = _blocks(found)
        whole: Json = {"result": found}
        if found.get("isError", False):
            raise ToolFailed(values.error_text(content), None if self.tell is None else whole)
        return values.plain(content, found.get("structuredContent")) if self.tell is None else whole


def _blocks(found: Mapping[str, Json]) -> list[Json]:
    """A tool result's content. Raises BadInput unless the result has the form MCP says."""
    content = found.get("content")
    good = isinstance(content, list) and isinstance(found.get("isError", False), bool)
    for block in cast("list[Json]", content) if good else ():
        parts = cast("dict[str, Json]", block) if isinstance(block, dict) else {}
        kind = parts.get("type")
        good = good and isinstance(kind, str) and (kind != "text" or isinstance(parts.get("text"), str))
    if not good:
        raise BadInput("a tool server's answer is not what MCP says", code="bad_answer")
    return cast("list[Json]", content)


def exchange(number: int, message: CallTool, args: Json, tell: Tell, secrets: Sequence[str] = ()) -> Exchange:
    """The exchange for a call. Raises BadInput (``bad_arguments``)."""
    if not isinstance(args, dict):
        raise BadInput("a tool's arguments are an object", code="bad_arguments")
    given = cast("dict[str, Json]", args)
    method = mcp_ops.method_of(message.op)
    params: dict[str, Json] = {"name": message.op, "arguments": given} if method == "tools/call" else dict(given)
    if "_meta" in params:
        raise BadInput("an argument is called _meta", code="bad_arguments")
    meta: dict[str, Json] = {}
    if message.progress and message.form == "mcp":
        meta["progressToken"] = number
    if message.trace:
        meta["traceparent"] = message.trace
    if message.credential:
        meta[CREDENTIAL] = message.credential
    if meta:
        params["_meta"] = meta
    params |= _inputs(message.inputs)
    return Exchange(number=number, method=method, params=params, tell=tell if message.form == "mcp" else None,
                    progress="progressToken" in meta, secrets=secrets, asks=message.client,
                    session=message.session)


def _inputs(raw: bytes) -> dict[str, Json]:
    """What a server asked for in an earlier answer, and its state. Raises BadInput (``bad_arguments``)."""
    if not raw:
        return {}
    try:
        given = mcp_rpc.fields(raw)
    except BadInput as fault:
        raise BadInput("the answers to a tool's questions cannot be read", code="bad_arguments") from fault
    responses, state = given.get("responses"), given.get("state")
    right = (responses is None or isinstance(responses, dict)) and (state is None or isinstance(state, str))
    if not right or not set(given) <= {"responses", "state"}:
        raise BadInput("the answers to a tool's questions cannot be read", code="bad_arguments")
    named: dict[str, Json] = {"inputResponses": responses, "requestState": state or None}  # "": it gave none
    return {name: value for name, value in named.items() if value is not None}


@dataclass(slots=True)
class Questions:
    """What the server of one session asked, and nobody answered yet.

    ``asks``: what was offered to it in the handshake.
    """

    asks: Sequence[str]
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _open: dict[int, tuple[Id, str, Exchange]] = field(default_factory=dict[int, tuple[Id, str, Exchange]])

    def has(self, number: int) -> bool:
        """Whether this question is open."""
        return number in self._open

    def put(self, asked: Request, call: Exchange | None) -> bytes | None:
        """Take a request of the server's: what to answer at once, or None where it was passed on.

        Args:
            asked: the request.
            call: the call it belongs to; None: that cannot be told.

        Raises:
            BadInput: its parameters cannot be read.
            NoAnswer: they hold a secret.

        """
        if asked.method == "ping":
            return rpc.result(asked.id, {})
        needed = _QUESTIONS.get(asked.method)
        if needed not in self.asks or call is None or call.tell is None or len(self._open) >= MAX_ASKED:
            return _refusal(asked.id)
        if needed not in call.asks:
            return _refusal(asked.id)
        number = next(self.numbers)
        params = mcp_rpc.fields(asked.params)
        told = {"ask": {"number": number, "method": asked.method, "params": params}}
        if not call.guarded(told, call.tell):
            return _refusal(asked.id)
        self._open[number] = (asked.id, asked.method, call)
        if call.patience is not None:
            call.patience.asked()
        return None

    def answer(self, op: str, args: Json, session: str) -> bytes:
        """The reply to a question, from a call ``{number, answer}``; a refusal where the answer is
        ``{"error": {"code", "message"}}``. Only the session that was asked may answer: over pipes all share one
        server. Raises BadInput (``bad_arguments``) if there is no such question."""
        given = cast("dict[str, Json]", args) if isinstance(args, dict) else {}
        number, answer = given.get("number"), given.get("answer")
        asked = self._open.get(number) if isinstance(number, int) else None
        if asked is None or asked[1] != mcp_ops.method_of(op) or asked[2].session != session:
            raise BadInput("nobody asks that, or not any more", code="bad_arguments")
        if not isinstance(answer, dict) or len(given) != 2:
            raise BadInput("nobody asks that, or not any more", code="bad_arguments")
        self._close(cast("int", number))
        said = cast("dict[str, Json]", answer)
        if set(said) == {"error"} and isinstance(said["error"], dict):
            fault = cast("dict[str, Json]", said["error"])
            code, text = fault.get("code"), fault.get("message")
            return _refusal(asked[0], code if isinstance(code, int) else rpc.INVALID_PARAMS,
                            text if isinstance(text, str) else _UNANSWERED)
        return rpc.result(asked[0], said)

    def over(self, call: Exchange) -> list[bytes]:
        """A call has ended: the refusals of what it left unanswered."""
        left = [number for number, (_, _, owner) in self._open.items() if owner is call]
        return [_refusal(self._close(number)) for number in left]

    def _close(self, number: int) -> Id:
        to, _, call = self._open.pop(number)
        if call.patience is not None:
            call.patience.answered()
        return to


class Told:
    """What has been told of one call so far. ``tell`` of a call, bounded."""

    def __init__(self, pass_on: Callable[[bytes], None]) -> None:
        self._pass_on = pass_on
        self._pieces = 0
        self.bytes = 0

    def __call__(self, value: Json) -> bool:
        raw = msgspec.json.encode(value)
        if self._pieces >= MAX_TOLD or self.bytes + len(raw) > MAX_TOLD_BYTES:
            return False
        self._pieces += 1
        self.bytes += len(raw)
        self._pass_on(raw)
        return True


def _refusal(to: Id, code: int = rpc.METHOD_NOT_FOUND, message: str = _UNANSWERED) -> bytes:
    """What a server gets instead of an answer to its question."""
    return rpc.error(to, rpc.Fault(code=code, message=message))
