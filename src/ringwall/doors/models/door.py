"""OpenAI's and Anthropic's interfaces at an agent's own door, below ``/openai/v1/`` and ``/anthropic/v1/``.

Nothing here judges. A body goes to the wall as it came, in Base64, so that it is parsed once, there. Whatever key,
query or header an SDK sends is not looked at and never sent on: who asks, the connection proves, and the upstream's
key is the core's. What is looked at: ``ringwall-approval`` (the record of a held call that a human said yes to),
``Prefer: wait=N`` and ``traceparent``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from ringwall.call import Approval, Call, Json
from ringwall.doors.envelopes import model_call
from ringwall.doors.http import is_json, prefer_wait
from ringwall.doors.interface import Desk, Judge, Scope, Send
from ringwall.doors.models import replies
from ringwall.doors.models.judging import Judging
from ringwall.doors.models.offers import Offers, Provider
from ringwall.doors.models.replies import Reply
from ringwall.doors.models.telling import Ending, Telling
from ringwall.doors.protocol import Presence
from ringwall.errors import BadInput
from ringwall.interface import HeldCall, Origin, Refusal
from ringwall.models.interface import counted_bytes
from ringwall.wire import strict
from ringwall.wire.models import wire
from ringwall.wire.models.interface import BYTES_PER_TOKEN, Api

CALLS: Final[Mapping[str, Api]] = {
    "/openai/v1/chat/completions": "chat",
    "/openai/v1/responses": "responses",
    "/anthropic/v1/messages": "messages",
}
COUNT: Final = "/anthropic/v1/messages/count_tokens"
MAX_WAIT_S: Final = 3600.0  # how long one request may wait for a human; asking again is cheap
MAX_BODY: Final = 8 << 20  # bytes of a request whose tokens are counted, as of a call
MAX_HEADER: Final = 256  # characters of ours; records have some dozens
_TRACE: Final = frozenset("0123456789abcdef-")
_TRACE_LENGTH: Final = 55  # of a traceparent, version 00


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One request."""

    api: Api
    origin: Origin
    presence: Presence
    send: Send


class ModelDoor:
    """What an agent's door does below ``/openai/`` and ``/anthropic/``.

    Args:
        wall: every call goes through it.
        desk: where held calls wait.
        offers: which models a role has, and whose tool calls are judged.

    """

    def __init__(self, wall: Judge, desk: Desk, offers: Offers) -> None:
        self._wall = wall
        self._desk = desk
        self._offers = offers

    async def answer(self, scope: Scope, raw: bytes, presence: Presence, origin: Origin, send: Send) -> None:
        """Answer one request."""
        path = scope["raw_path"].decode("ascii")
        provider: Provider = "anthropic" if path.startswith("/anthropic/") else "openai"
        api: Api = CALLS.get(path) or ("messages" if provider == "anthropic" else "chat")
        reply = _unfit(scope, path, api)
        if reply is not None or path not in CALLS:
            knocked = self._wall.knock(origin, "model", raw)
            if knocked is not None:
                reply = replies.refused(api, knocked)
            elif reply is not None:
                self._wall.turned_away(origin, "model", {404: "unknown_path", 405: "unknown_method"}.get(
                    reply.status, "unknown_type"))
            await _write(send, reply or self._other(path, provider, api, raw, origin))
            return
        seconds = min(prefer_wait(scope["headers"]), MAX_WAIT_S)
        approval = header(scope, b"ringwall-approval")[:MAX_HEADER]
        body = model_call(api, raw, approval=approval, trace=trace(scope))
        ending = await self._call(_Asked(api=api, origin=origin, presence=presence, send=send), body, seconds)
        await (_write(send, ending) if isinstance(ending, Reply) else ending())

    async def _call(self, asked: _Asked, body: bytes, seconds: float) -> Ending:
        call = await self._wall.admit(asked.origin, "model", body)
        if isinstance(call, Refusal):
            return replies.refused(asked.api, call)
        ending = await self._once(asked, call)
        if not isinstance(ending, HeldCall):
            return ending
        if seconds:
            with asked.presence.waiting():
                over = await self._desk.decided(ending.record, seconds)
            if over:
                ending = await self._once(asked, replace(call, approval=Approval(record=ending.record)))
        return replies.held(asked.api, ending) if isinstance(ending, HeldCall) else ending

    async def _once(self, asked: _Asked, call: Call) -> Ending | HeldCall:
        async with self._wall.perform(call) as passage:
            if isinstance(passage, HeldCall):
                return passage
            if isinstance(passage, Refusal):
                return replies.refused(asked.api, passage)
            judging = Judging(self._wall, self._offers, asked.origin)
            with asked.presence.waiting():
                # The outcome is recorded before the last byte goes out.
                return await Telling(asked.api, call.args["request"], asked.send, passage, judging).tell()

    def _other(self, path: str, provider: Provider, api: Api, raw: bytes, origin: Origin) -> Reply:
        """What is no call of a model: which there are, and how long a request is."""
        if path == COUNT:
            return _count(api, raw)
        anthropic = provider == "anthropic"
        names = self._offers.models(origin, provider)
        asked = path.removeprefix(f"/{provider}/v1/models").removeprefix("/")
        if not asked:
            return _json(replies.listing([replies.model(name, anthropic) for name in names], anthropic))
        if asked in names:
            return _json(replies.model(asked, anthropic))
        return replies.wrong(api, 404, "not_granted", "this agent was given no such model")


def _unfit(scope: Scope, path: str, api: Api) -> Reply | None:
    """What is wrong with the request before anybody looks into its body."""
    posts = path in CALLS or path == COUNT
    models = f"/{'anthropic' if path.startswith('/anthropic/') else 'openai'}/v1/models"
    if not posts and path != models and not path.startswith(f"{models}/"):
        return replies.wrong(api, 404, "unknown_path", "there is nothing at this path: "
                             f"the paths are {', '.join([*CALLS, COUNT, models])}")
    method = "POST" if posts else "GET"
    if scope["method"] != method:
        return replies.wrong(api, 405, "unknown_method", f"this path takes {method} only")
    if posts and not is_json(scope["headers"]):
        return replies.wrong(api, 415, "unknown_type", "the body must be JSON in UTF-8")
    return None


def _count(api: Api, raw: bytes) -> Reply:
    """How many tokens a request has, by its length: the upstream is not asked, for its answer is a call."""
    try:
        value = strict.parse(raw, max_bytes=MAX_BODY)
        # All that counting does without and a request needs.
        request = wire(api).parse_request({"max_tokens": 1, **value} if isinstance(value, dict) else value)
    except BadInput as fault:
        return replies.wrong(api, 400, fault.code, fault.cause)
    return _json({"input_tokens": counted_bytes(request) // BYTES_PER_TOKEN + 1})


def header(scope: Scope, name: bytes) -> str:
    """The one value of a header; empty: there is none, or there are several."""
    found = [value for key, value in scope["headers"] if key == name]
    return found[0].decode("latin-1").strip() if len(found) == 1 else ""


def trace(scope: Scope) -> str:
    """The caller's W3C traceparent; one that is malformed is none (section 3.2 of Trace Context)."""
    found = header(scope, b"traceparent")
    return found if len(found) == _TRACE_LENGTH and set(found) <= _TRACE else ""


def _json(value: Json) -> Reply:
    return replies.good(msgspec.json.encode(value))


async def _write(send: Send, reply: Reply) -> None:
    await send({"type": "http.response.start", "status": reply.status, "headers": list(reply.headers)})
    await send({"type": "http.response.body", "body": reply.body})
