"""The core's line to its agents' peers: what a tenant's sidecar carries, beside tools and models, on the same link.

The core hands over keys, trust and sockets, says whom to reach, and judges who comes in. It believes the sidecar
nothing: a connection number that was used, more connections at once than an honest sidecar asks about, or a launch
that never had a gate, end the link.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from ringwall.call import Last
from ringwall.errors import BadInput, Refused, RingwallError, Unavailable
from ringwall.identity.svid.interface import Bundle, X509Svid
from ringwall.peers import protocol
from ringwall.peers.interface import Answer
from ringwall.peers.protocol import (
    MAX_INSIDE,
    MAX_JUDGED,
    Admit,
    Deliver,
    Dismiss,
    FetchCard,
    FetchOwn,
    Gate,
    Identity,
    Incoming,
    Inside,
    Notify,
    Pipe,
    SendPeer,
    Trust,
)
from ringwall.tools import protocol as frames
from ringwall.tools.link import SidecarLink
from ringwall.tools.pending import PeerPending, last
from ringwall.tools.protocol import ToSidecar

_M = TypeVar("_M", Identity, Trust, SendPeer, Deliver, Notify, FetchCard)

CARD_PATH: Final = ".well-known/agent-card.json"  # A2A 1.0, section 8.2, below the base URL
MAX_CARD: Final = 256 << 10  # bytes; a card of a hundred skills has some 30,000

Judge: TypeAlias = Callable[[Incoming], Awaitable[socket.socket | None]]
"""Who comes in -> one end of a socket pair, which is handed over and closed, or None: refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerTimes:
    """How long the core waits for an end, in seconds."""

    answer_s: float = 120.0  # an agent asks its model
    stream_s: float = 900.0  # as long as an SVID lives, and so its connection; who subscribes again goes on
    card_s: float = 15.0  # push notifications, too


class PeerLine:
    """One tenant's, across restarts of its sidecar.

    A fresh sidecar knows nothing: ``on_up`` is told, and whoever owns identities and sockets hands them over again.

    Args:
        link: the tenant's, see ``SidecarClient.link``.
        times: limits.

    """

    def __init__(self, link: SidecarLink, *, times: PeerTimes | None = None) -> None:
        self._link = link
        self._times = times or PeerTimes()
        self._gated: set[str] = set()  # launches that had a gate at this sidecar
        self._number = 0  # the highest connection it told of
        self._judging: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self.on_incoming: Judge = _nobody
        self.on_up: Callable[[], None] = _nothing
        link.on_up = self._up
        link.on_incoming = self._incoming

    # --- what the sidecar is given

    async def identity(self, svid: X509Svid, launch: str) -> None:
        """Give a launch's SVID, or a newer one. Raises Unavailable, or BadInput: it is larger than SVIDs are."""
        self._tell(_fitting(Identity(launch=launch, spiffe_id=str(svid.spiffe_id), chain=list(svid.chain),
                                     key=svid.key, expires=svid.expires_at)))

    async def trust(self, bundles: Mapping[str, Bundle]) -> None:
        """Say whom to trust from now on. Raises Unavailable, or BadInput: a bundle is larger than bundles are."""
        self._tell(_fitting(Trust(bundles={domain: list(one.authorities) for domain, one in bundles.items()})))

    async def dismiss(self, launch: str) -> None:
        """Have a launch forgotten: key, gate, connections, inside sockets. A sidecar that is down forgot it."""
        if self._link.alive:
            self._tell(Dismiss(launch=launch))

    async def gate(self, launch: str, listener: socket.socket) -> None:
        """Pass a listening TCP socket, which stays open here. Give the identity first. Raises Unavailable."""
        self._link.hand_over(Gate(launch=launch), [listener.fileno()])
        self._gated.add(launch)

    async def inside(self, launch: str, sockets: Sequence[int]) -> None:
        """Pass unconnected TCP sockets of the launch's network namespace, which stay open here.

        Args:
            launch: whose.
            sockets: descriptors; at most MAX_INSIDE.

        Raises:
            Unavailable: the sidecar is not there.
            BadInput: there are too many or none.

        """
        if not 1 <= len(sockets) <= MAX_INSIDE:
            raise BadInput(f"there are {len(sockets)} inside sockets, not 1 to {MAX_INSIDE}", code="bad_arguments")
        self._link.hand_over(Inside(launch=launch), sockets)

    # --- what it carries

    async def send(
        self, *, launch: str, peer: str, url: str, body: bytes, envelope: str, stream: bool, call: str,
        seconds: float | None = None,
    ) -> AsyncGenerator[Answer | Last, None]:
        """POST to a peer over mutual TLS: each answer, then a Last, whatever happens.

        Args:
            launch: as whom.
            peer: the SPIFFE ID that its certificate must name; not a byte is sent before it has.
            url: where it listens.
            body: a JSON-RPC request.
            envelope: goes beside it; empty: none.
            stream: the answer is a stream of events, if it is no error.
            call: the id of the judged call.
            seconds: how long to wait for the end; None: as ``times`` has it.

        """
        answers = self._answers(
            lambda number: _fitting(SendPeer(id=number, launch=launch, peer=peer, url=url, body=body,
                                             envelope=envelope, stream=stream)),
            seconds=self._wait(stream, seconds), late="peer_slow", call=call,
        )
        async with aclosing(answers):
            async for item in answers:
                yield item

    async def deliver(
        self, *, launch: str, port: int, body: bytes, stream: bool, call: str, path: str = "/",
        seconds: float | None = None,
    ) -> AsyncGenerator[Answer | Last, None]:
        """POST to the own server of an agent on ``127.0.0.1:<port>`` of its namespace; ``path`` without a query."""
        answers = self._answers(
            lambda number: _fitting(Deliver(id=number, launch=launch, port=port, path=path, body=body,
                                            stream=stream)),
            seconds=self._wait(stream, seconds), late="agent_slow", call=call,
        )
        async with aclosing(answers):
            async for item in answers:
                # No envelope is the own server's to give: what it calls one is dropped.
                yield item if isinstance(item, Last) else Answer(body=item.body)

    async def notify(self, *, launch: str, port: int, path: str, body: bytes, token: str) -> Last:
        """POST a push notification to a port of the agent's own; any answer of 2xx is the end ``done``."""
        answers = self._answers(
            lambda number: _fitting(Notify(id=number, launch=launch, port=port, path=path, body=body, token=token)),
            seconds=self._times.card_s, late="agent_slow", call="",
        )
        async with aclosing(answers):
            async for item in answers:
                if isinstance(item, Last):
                    return item
        return last("unknown", "sidecar_lost", frames.REASONS["sidecar_lost"])

    async def card(self, *, launch: str, peer: str, url: str) -> bytes:
        """A peer's card as it comes, from below its base URL.

        Raises:
            Refused: ``peer_untrusted``: who answers is not that peer.
            Unavailable: any other code of an end.

        """
        whole = f"{url.rstrip('/')}/{CARD_PATH}"
        return await self._one(
            lambda number: _fitting(FetchCard(id=number, launch=launch, peer=peer, url=whole)), "peer_slow"
        )

    async def own_card(self, *, launch: str, port: int) -> bytes:
        """The card that an agent's own server gives. Raises Unavailable."""
        path = f"/{CARD_PATH}"
        return await self._one(
            lambda number: FetchOwn(id=number, launch=launch, port=port, path=path), "agent_slow"
        )

    # --- inside

    def _tell(self, message: ToSidecar) -> None:
        self._link.tell(message)

    def _wait(self, stream: bool, seconds: float | None) -> float:
        usual = self._times.stream_s if stream else self._times.answer_s
        return usual if seconds is None else seconds

    async def _answers(
        self, make: Callable[[int], ToSidecar], *, seconds: float, late: str, call: str
    ) -> AsyncGenerator[Answer | Last, None]:
        pieces = self._link.exchange(make, seconds=seconds, late=("unknown", late), pending=PeerPending(call))
        async with aclosing(pieces):
            async for item in pieces:
                yield item if isinstance(item, Last) else Answer(body=item.body, envelope=item.envelope)

    async def _one(self, make: Callable[[int], ToSidecar], late: str) -> bytes:
        found: list[bytes] = []
        answers = self._answers(make, seconds=self._times.card_s, late=late, call="")
        async with aclosing(answers):
            async for item in answers:
                if isinstance(item, Answer):
                    found.append(item.body)
                elif item.error is not None:
                    code, reason = str(item.error["code"]), str(item.error["reason"])
                    raise (Refused if code == "peer_untrusted" else Unavailable)(reason, code=code)
        if len(found) != 1 or len(found[0]) > MAX_CARD:
            code = late.replace("slow", "bad_answer")
            raise Unavailable(protocol.REASONS[code], code=code)
        return found[0]

    def _up(self) -> None:
        """A fresh sidecar. Those that the old one asked about are gone with it."""
        self._gated.clear()
        self._number = 0
        for task in self._judging:
            task.cancel()
        self.on_up()

    def _incoming(self, message: Incoming) -> None:
        """Somebody is at a gate. Raises BadInput for what no honest sidecar says."""
        if message.connection <= self._number:
            raise BadInput("the sidecar tells of a connection twice", code="bad_frame")
        if message.launch not in self._gated:
            raise BadInput("the sidecar tells of a gate that it was never given", code="bad_frame")
        if len(self._judging) >= MAX_JUDGED:
            raise BadInput("the sidecar asks about more connections than it may have waiting", code="bad_frame")
        self._number = message.connection
        task = asyncio.ensure_future(self._judge(message, self._link.epoch))
        self._judging.add(task)
        task.add_done_callback(self._judging.discard)

    async def _judge(self, message: Incoming, epoch: int) -> None:
        """Ask who must know, and say it. Whatever goes wrong: refused."""
        pipe: socket.socket | None = None
        try:
            try:
                # A chain of the peer's choice takes some 2 ms: other tenants have their turn before the next.
                async with self._turn:
                    await asyncio.sleep(0)
                pipe = await self.on_incoming(message)
            except RingwallError:
                pass  # whoever judges has recorded why
            if not self._link.alive or self._link.epoch != epoch:
                return
            if pipe is not None:
                self._link.hand_over(Pipe(connection=message.connection), [pipe.fileno()])
            self._tell(Admit(connection=message.connection, ok=pipe is not None))
        except Unavailable:
            pass  # the sidecar closes what nobody admits in time
        finally:
            if pipe is not None:
                pipe.close()


def _fitting(message: _M) -> _M:
    """The message itself. Raises BadInput: a sidecar would take it for nonsense, and end."""
    try:
        frames.decode_to_sidecar(frames.encode(message))
    except (BadInput, ValueError) as fault:
        raise BadInput(f"this does not fit into a frame: {fault}"[:200], code="bad_arguments") from None
    return message


async def _nobody(message: Incoming) -> socket.socket | None:
    """Nobody judges: nobody is let in."""
    return None


def _nothing() -> None:
    """Nobody has anything to hand over."""
