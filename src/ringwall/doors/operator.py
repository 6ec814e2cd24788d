"""The operators' door: start a run, follow it, feed it, signal it, ask what runs; hand over what no call may carry.

A run is answered with lines of JSON as they come (``application/x-ndjson``). Whoever asks is attested for each
request; what they ask is decided behind ``Runs``.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from typing import Final, cast

import msgspec

from ringwall.call import Denied, Json
from ringwall.doors.http import (
    Problem,
    encode_problem,
    encode_result,
    is_json,
    of_denied,
    of_refusal,
    read_body,
    send_json,
    send_problem,
    status_of,
)
from ringwall.doors.interface import Acted, Receive, Runs, RunStream, Scope, Send
from ringwall.doors.protocol import CONNECTION, PRESENCE, Presence
from ringwall.errors import RingwallError
from ringwall.identity.operators import OperatorConnection, OperatorPeers
from ringwall.interface import Origin, Refusal

log = logging.getLogger("ringwall.doors")

EOF_HEADER: Final = b"ringwall-eof"
_RUN: Final = re.compile(rb"/v1/runs/([A-Za-z0-9_-]{1,64})/(stdin|signal|attach)")
_HANDED: Final = re.compile(rb"/v1/(uploads|downloads)/([0-9a-f]{32})")
_PIECE: Final = 1 << 20  # bytes of a download that are sent at once
_METHODS: Final = {
    "uploads": "POST",
    "downloads": "GET",
    "run": "POST",
    "operate": "POST",
    "stdin": "POST",
    "signal": "POST",
    "attach": "GET",
    "status": "GET",
}


class _SignalBody(msgspec.Struct, forbid_unknown_fields=True):
    signal: str


class _Wrong(Exception):
    """The request is answered with this instead."""

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.status = status
        self.problem = problem


class OperatorDoor:
    """The ASGI app.

    Args:
        runs: does what operators ask.
        operators: says who is behind a connection.

    """

    def __init__(self, runs: Runs, operators: OperatorPeers) -> None:
        self._runs = runs
        self._operators = operators

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. A stream ends when its reader goes; the run itself goes on."""
        raw = await read_body(receive)
        if raw is None:
            return
        presence: Presence = scope["extensions"][PRESENCE]
        try:
            await self._answer(scope, raw, send, presence)
        except asyncio.CancelledError:
            if not presence.gone:
                raise
        except _Wrong as wrong:
            extra = ((b"allow", b"GET, POST"),) if wrong.status == 405 else ()
            await send_problem(send, wrong.status, wrong.problem, extra)
        except RingwallError as fault:
            await send_problem(send, 503, Problem(code=fault.code, reason=fault.cause, remedy=fault.remedy))
        except Exception:
            log.exception("the operators' door failed")
            await send_problem(send, 500, Problem(code="internal", reason="the door failed"))

    async def _answer(self, scope: Scope, raw: bytes, send: Send, presence: Presence) -> None:
        verb, run = _route(scope)
        origin = self._origin(scope)
        if verb in {"run", "attach"}:
            if verb == "run":
                _need_json(scope)
                stream = await self._runs.start(origin, raw)
            else:
                stream = await self._runs.attach(origin, run)
            await _stream(send, _granted(stream), presence)
            return
        if verb == "downloads":
            await _whole(send, await self._downloaded(origin, run))
            return
        result: Json = None
        record = ""
        if verb == "uploads":
            _need_bytes(scope)
            result = await self._uploaded(origin, run, raw)
        elif verb == "operate":
            _need_json(scope)
            acted = await self._acted(origin, raw, presence)
            result, record = acted.result, acted.record
        elif verb == "stdin":
            eof = any(name == EOF_HEADER and value == b"1" for name, value in scope["headers"])
            _granted(await self._runs.stdin(origin, run, raw, eof))
        elif verb == "signal":
            _need_json(scope)
            _granted(await self._runs.signal(origin, run, _signal_name(raw)))
        else:
            result = await self._runs.status(origin)
            if isinstance(result, Refusal):
                raise _Wrong(status_of(result), of_refusal(result))
        body = encode_result(result, record)
        if body is None:
            raise _Wrong(502, Problem(code="bad_result", reason="the result is not JSON"))
        await send_json(send, body)

    async def _acted(self, origin: Origin, raw: bytes, presence: Presence) -> Acted:
        with presence.waiting():
            acted = await self._runs.operate(origin, raw)
        if isinstance(acted, Refusal):
            raise _Wrong(status_of(acted), of_refusal(acted))
        return acted

    async def _uploaded(self, origin: Origin, name: str, raw: bytes) -> Json:
        kept = await self._runs.upload(origin, name, raw)
        if isinstance(kept, Refusal):
            raise _Wrong(status_of(kept), of_refusal(kept))
        return kept

    async def _downloaded(self, origin: Origin, name: str) -> bytes:
        found = await self._runs.download(origin, name)
        if isinstance(found, Refusal):
            raise _Wrong(status_of(found), of_refusal(found))
        return found

    def _origin(self, scope: Scope) -> Origin:
        connection: OperatorConnection = scope["extensions"][CONNECTION]
        found = self._operators.attest(connection.number)
        if isinstance(found, Denied):
            raise _Wrong(403, of_denied(found))
        return Origin(subject=found, session=None, key=f"operator:{found.name}")


def _route(scope: Scope) -> tuple[str, str]:
    """The verb, and the id of a run, of an upload or of a download. Raises _Wrong."""
    path: bytes = scope["raw_path"]
    found, handed = _RUN.fullmatch(path), _HANDED.fullmatch(path)
    if found is not None:
        verb, run = found[2].decode(), found[1].decode()
    elif handed is not None:
        verb, run = handed[1].decode(), handed[2].decode()
    elif path in {b"/v1/run", b"/v1/operate", b"/v1/status", b"/v1/uploads"}:
        verb, run = path[4:].decode(), ""
    else:
        raise _Wrong(404, Problem(code="unknown_path", reason="there is nothing at this path"))
    if scope["method"] != _METHODS[verb]:
        raise _Wrong(405, Problem(code="unknown_method", reason=f"this path takes {_METHODS[verb]} only"))
    if scope["query_string"]:
        raise _Wrong(400, Problem(code="bad_query", reason="this path takes no query"))
    return verb, run


def _need_json(scope: Scope) -> None:
    if not is_json(scope["headers"]):
        raise _Wrong(415, Problem(code="unknown_type", reason="the body must be application/json"))


def _need_bytes(scope: Scope) -> None:
    """Bytes as they are: nothing of them is decoded, parsed or logged."""
    fields: list[tuple[bytes, bytes]] = scope["headers"]
    kinds = [value.strip().lower() for name, value in fields if name == b"content-type"]
    if kinds != [b"application/octet-stream"] or any(name == b"content-encoding" for name, _ in fields):
        raise _Wrong(415, Problem(code="unknown_type", reason="the body must be application/octet-stream"))


def _signal_name(raw: bytes) -> str:
    try:
        return msgspec.json.decode(raw, type=_SignalBody).signal
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        reason = f'the body must be {{"signal": "SIGTERM"}}: {fault}'
        raise _Wrong(400, Problem(code="bad_body", reason=reason)) from None


def _granted(answer: RunStream | Refusal | None) -> RunStream:
    if isinstance(answer, Refusal):
        raise _Wrong(status_of(answer), of_refusal(answer))
    return cast("RunStream", answer)


async def _whole(send: Send, data: bytes) -> None:
    """Bytes in pieces, each of which waits until the reader has taken the one before."""
    fields = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % len(data)),
              (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    for start in range(0, len(data), _PIECE):
        await send({"type": "http.response.body", "body": data[start : start + _PIECE], "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _stream(send: Send, stream: RunStream, presence: Presence) -> None:
    """One JSON object a line. A fault in the middle is the last line, as an ``error``."""
    fields = [(b"content-type", b"application/x-ndjson"), (b"transfer-encoding", b"chunked")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    lines: AsyncIterator[dict[str, Json]] = aiter(stream)
    try:
        with presence.waiting():
            async for line in lines:
                await _line(send, msgspec.json.encode(line))
    except RingwallError as fault:
        await _line(send, encode_problem(Problem(code=fault.code, reason=fault.cause, remedy=fault.remedy)))
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _line(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body + b"\n", "more_body": True})
