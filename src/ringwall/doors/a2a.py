"""A2A at an agent's own door: its peers as JSON-RPC and HTTP+JSON interfaces, below ``/a2a/<peer>``.

Nothing here judges. The body goes to the wall as it came, in Base64, so that it is parsed once, there.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec

from ringwall.call import Call, Json
from ringwall.doors.exchange import Exchange, write
from ringwall.doors.http import prefer_wait
from ringwall.doors.interface import Desk, Judge, Scope, Send
from ringwall.doors.protocol import Presence
from ringwall.doors.voices import RestVoice, RpcVoice, Voice
from ringwall.interface import Origin
from ringwall.wire import a2a

log = logging.getLogger("ringwall.doors")

PREFIX: Final = "/a2a/"
CARD: Final = ".well-known/agent-card.json"
MAX_WAIT_S: Final = 3600.0
VERSION: Final = "1.0"
_DIGITS: Final = frozenset("0123456789")
_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")

class _Asked(msgspec.Struct, frozen=True):
    """All that is read of a request here."""

    id: str | Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)] | None = None


_IDS: Final = msgspec.json.Decoder(_Asked)

Wire = Literal["rpc", "rest", "card", "push"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a path below ``/a2a/`` means. ``rest``: the path below the HTTP+JSON base, undecoded."""

    wire: Wire
    peer: str = ""
    rest: str = ""


def place_of(path: str) -> Place | None:
    """Read a path below ``/a2a/``; None: there is nothing. Names are taken as they stand: no percent-encoding."""
    parts = path.split("/")
    if len(parts) == 2 and parts[0] == "push" and _named(parts[1:]):
        return Place(wire="push", rest=parts[1])
    for length in (1, 2):
        peer, rest = parts[:length], parts[length:]
        if len(peer) < length or not _named(peer):
            continue
        if rest in ([], [""]):
            return Place(wire="rpc", peer="/".join(peer))
        if rest == CARD.split("/"):
            return Place(wire="card", peer="/".join(peer))
        if rest[0] == "rest" and len(rest) > 1:
            return Place(wire="rest", peer="/".join(peer), rest="/" + "/".join(rest[1:]))
    return None


def named(peer: str) -> bool:
    """Whether this can be a peer's name: ``agent`` or ``tenant/agent``."""
    parts = peer.split("/")
    return len(parts) < 3 and _named(parts)


def _named(parts: list[str]) -> bool:
    return all(part and set(part) <= _NAME and part not in {".", ".."} for part in parts)


def message(wire: str, body: bytes, **more: Json) -> bytes:
    """A request as the resolver of messages takes it."""
    return msgspec.json.encode({"wire": wire, "body": base64.b64encode(body).decode("ascii"), **more})


def header(scope: Scope, name: bytes) -> str:
    """The one value of a header; empty: there is none, or there are several."""
    found = [value for key, value in scope["headers"] if key == name]
    return found[0].decode("latin-1").strip() if len(found) == 1 else ""


def rpc_id(body: bytes) -> Json:
    """The id of a JSON-RPC request that was counted already; None if it cannot be told.

    It is only said back to whoever asked: what the request means, the strict parse at the wall alone decides.
    """
    try:
        return _IDS.decode(body).id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def wrong_version(scope: Scope) -> bool:
    """Whether the request asks for another protocol version than 1.0 (A2A 1.0, section 3.6)."""
    found = [value.decode("latin-1").strip() for name, value in scope["headers"] if name == b"a2a-version"]
    if not found or found == [""]:
        return False  # not said; several, or anything around it, is another version
    asked, _, patch = found[0].removeprefix(VERSION).partition(".")
    return len(found) > 1 or not found[0].startswith(VERSION) or bool(asked) or not set(patch) <= _DIGITS


class MessageDoor:
    """What an agent's door does below ``/a2a/``.

    Args:
        wall: every call goes through it.
        desk: where held calls wait.

    """

    def __init__(self, wall: Judge, desk: Desk) -> None:
        self._wall = wall
        self._desk = desk

    async def answer(self, scope: Scope, raw: bytes, presence: Presence, origin: Origin, send: Send) -> None:
        """Answer one request."""
        place = place_of(scope["raw_path"].decode("ascii")[len(PREFIX) :])
        method: str = scope["method"]
        if place is None or (place.wire in {"rpc", "push"} and method != "POST"):
            fault = a2a.fault_of("unknown_path", "there is nothing at this path", "")
            await write(send, RestVoice("").whole(fault, ""))
            return
        speak = speaker(place.wire, raw)
        if wrong_version(scope):
            fault = a2a.Fault(code=-32009, message=f"only version {VERSION} of A2A is spoken here")
            await write(send, speak(None).whole(fault, ""))
            return
        more: dict[str, Json] = {"peer": place.peer}
        if place.wire == "rest":
            query = scope["query_string"].decode("latin-1")
            more["http"] = {"method": method, "path": place.rest, "query": query}
        if place.wire == "push":
            more["push"] = place.rest
        if approval := header(scope, b"ringwall-approval"):
            more["approval"] = approval
        seconds = min(prefer_wait(scope["headers"]), MAX_WAIT_S)
        exchange = Exchange(self._wall, presence, send, speak)
        await exchange.run(origin, message(place.wire, raw, **more), self._desk, seconds)


def speaker(wire: Wire, raw: bytes) -> Callable[[Call | None], Voice]:
    """The binding that a request is answered in."""

    def speak(call: Call | None) -> Voice:
        if wire == "rpc":
            return RpcVoice(rpc_id(raw))
        return RestVoice(str(call.args["method"]) if call is not None else "")

    return speak
