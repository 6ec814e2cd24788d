"""The peers' door: A2A requests of other agents, over connections whose certificate the core has judged.

The sidecar, or an Envoy in front, ended the TLS and pipes bytes; who the peer is, is the core's own finding.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import count
from typing import Final

from ringwall.call import Call, Json, Peer, as_object
from ringwall.doors.a2a import CARD, Wire, header, message, speaker, wrong_version
from ringwall.doors.exchange import Exchange, write
from ringwall.doors.http import read_body
from ringwall.doors.interface import Judge, Receive, Scope, Send
from ringwall.doors.protocol import CONNECTION, PRESENCE, Presence
from ringwall.doors.voices import ENVELOPE, RestVoice, SealedVoice, Voice
from ringwall.errors import RingwallError
from ringwall.identity.spiffe import AnyId
from ringwall.interface import Origin
from ringwall.peers.interface import PeerConnection, Vouching, answers
from ringwall.wire import a2a

log = logging.getLogger("ringwall.doors")

REST: Final = "/rest"


class PeersDoor:
    """The ASGI app behind every agent's listener.

    Args:
        wall: every call goes through it.
        vouching: seals what is answered.
        label: of all that the receiver was shown, now.

    """

    def __init__(self, wall: Judge, vouching: Vouching, label: Callable[[Peer], str]) -> None:
        self._wall = wall
        self._vouching = vouching
        self._label = label

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. When the peer goes, a call that runs for it is cancelled."""
        raw = await read_body(receive)
        if raw is None:
            return
        presence: Presence = scope["extensions"][PRESENCE]
        try:
            await self._answer(scope, raw, presence, send)
        except asyncio.CancelledError:
            if presence.gone:
                return
            raise
        except RingwallError as fault:
            # Nothing can be vouched for now, so nothing of an answer is given; 503, because the message may have
            # arrived. An answer that has begun is cut off by the server, which takes no second head.
            log.error("a peer's request could not be answered: %s", fault.code)
            none = a2a.fault_of("unavailable", "no answer can be given now", "")
            await write(send, RestVoice("").whole(none, ""))

    async def _answer(self, scope: Scope, raw: bytes, presence: Presence, send: Send) -> None:
        connection: PeerConnection = scope["extensions"][CONNECTION]
        path, method = scope["raw_path"].decode("ascii"), str(scope["method"])
        wire, more = _wire(path, method, scope["query_string"].decode("latin-1"))
        if wire is None or wrong_version(scope):
            fault = a2a.fault_of("unknown_path", "there is nothing at this path, in this version", "")
            await write(send, RestVoice("").whole(fault, ""))
            return
        token = more["envelope"] = header(scope, ENVELOPE)
        subject = Peer(
            spiffe_id=connection.sender,
            receiver=connection.receiver,
            launch=connection.launch,
            connection=connection.number,
        )
        # Another domain's authority makes as many names as it likes: they have one budget of attempts together.
        foreign = connection.sender.trust_domain != connection.receiver.trust_domain
        who = AnyId(connection.sender.trust_domain, ()) if foreign else connection.sender
        origin = Origin(subject=subject, session=connection.session, key=f"{connection.receiver}|{who}")
        plain = speaker(wire, raw)

        def speak(call: Call | None) -> Voice:
            numbers = count()  # of the events of one answer

            def seal(body: bytes, record: str) -> str:
                return self._seal(subject, call, answers(token, next(numbers)), body, record)

            return SealedVoice(plain(call), seal)

        await Exchange(self._wall, presence, send, speak).run(origin, message(wire, raw, **more))

    def _seal(self, subject: Peer, call: Call | None, asked: str, body: bytes, record: str) -> str:
        told = as_object(call.args.get("envelope")) if call is not None else None
        token, _ = self._vouching.seal(
            sender=str(subject.receiver),
            receiver=str(subject.spiffe_id),
            body=body,
            label=self._label(subject),
            chain=(),
            record=record,
            trace=str(told["trace"]) if told else "",
            reply_to=asked,
        )
        return token


def _wire(path: str, method: str, query: str) -> tuple[Wire | None, dict[str, Json]]:
    if path == "/" and method == "POST" and not query:
        return "rpc", {}
    if path == f"/{CARD}" and method == "GET" and not query:
        return "card", {}
    if path.startswith(f"{REST}/"):
        return "rest", {"http": {"method": method, "path": path.removeprefix(REST), "query": query}}
    return None, {}
