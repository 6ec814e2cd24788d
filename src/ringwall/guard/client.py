"""The core's side: sends texts to the guard's process and believes only answers about exactly those bytes."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ringwall.errors import BadInput, Unavailable
from ringwall.guard import spans
from ringwall.guard.interface import Direction, Finding, Findings
from ringwall.guard.protocol import (
    KEY_BYTES,
    MAX_STREAM,
    VERSION,
    Answer,
    Failed,
    Forget,
    FromGuard,
    Hello,
    Ready,
    Scan,
    StreamHash,
    answer_mac,
    encode,
    findings,
    from_guard,
    ready_mac,
    same,
)
from ringwall.guard.turns import Turns
from ringwall.wire.frames import Link

MOST_TEXTS: Final = 16 << 10  # texts in one request: each costs some microseconds however short it is
HUNG_SECONDS: Final = 5.0  # a guard that has not finished one request by then is ended and started anew
SCAN_SECONDS: Final = 1.0  # a request of at most spans.BATCH characters takes some 10 ms
READY_SECONDS: Final = 10.0  # a cold start reads and compiles the rules: 0.3 s here
MAX_WAITING: Final = 256  # requests without an answer; more means the guard does not keep up
MAX_WAITING_CHARACTERS: Final = 16 << 20  # the same, as memory
MAX_DROPPED: Final = 64  # streams the guard holds that nobody needs; it holds some thousand
_FAILURES: Final = {
    "guard_overloaded": "the guard holds too many streams",
    "guard_limit": "the text is over the guard's limits",
    "guard_out_of_step": "core and guard do not agree where this stream is",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardState:
    """For ``doctor``: whether the guard answers, with which rules and stages, and what is missing."""

    alive: bool
    rules: str = ""
    stages: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class _Waiting:
    answer: asyncio.Future[tuple[Finding, ...]]
    running: bytes
    direction: Direction
    lengths: tuple[int, ...]
    cost: int


@dataclass(frozen=True, slots=True)
class _Stream:
    """A stream under a name of its own, so that a late answer to an earlier one of that name is not its answer."""

    wire: str
    hash: StreamHash


class _Connection:
    """One connection to one guard process: its key, its streams, what is unanswered."""

    def __init__(self, on_fault: Callable[[], None]) -> None:
        self._on_fault = on_fault
        self._heard = 0.0  # when it answered last, or was asked after it had answered everything
        self.turns = Turns()
        self.key = secrets.token_bytes(KEY_BYTES)
        self.ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self.waiting: dict[tuple[str, int], _Waiting] = {}
        self.characters = 0
        self._streams: dict[str, _Stream] = {}
        self._dropped: list[str] = []  # forgotten here, and not yet told
        self._opened = 0
        self._link: Link | None = None

    async def open(self, sock: socket.socket) -> Ready:
        self._link = await Link.open(sock, self._frame, self._closed)
        self._link.send(encode(Hello(VERSION, self.key)))
        try:
            async with asyncio.timeout(READY_SECONDS):
                return await asyncio.shield(self.ready)
        except TimeoutError:
            self.close()
            raise Unavailable(f"the guard was not ready within {READY_SECONDS} s", code="guard_timeout") from None

    @property
    def alive(self) -> bool:
        return self._link is not None and self._link.alive

    async def ask(self, scan_of: Sequence[str], keys: list[int], *, stream: str, direction: Direction,
                  final: bool, seconds: float) -> tuple[Finding, ...]:
        """One request, one answer."""
        lengths = tuple(map(len, scan_of))
        cost = sum(lengths) + len(lengths)
        await self.turns.take(stream.rpartition("/")[0], cost, seconds)
        try:
            waiting = self._send_scan(Scan(stream, 0, direction, list(scan_of), keys, final), lengths, cost)
        except BaseException:
            self.turns.give_back(cost)
            raise
        late = asyncio.get_running_loop().call_later(seconds, _expire, waiting.answer, seconds)
        try:
            return await waiting.answer
        except (Unavailable, asyncio.CancelledError):
            self.forget(stream)
            if asyncio.get_running_loop().time() - self._heard > HUNG_SECONDS:
                self._faulty(Unavailable("the guard hangs", code="guard_timeout", remedy="the guard is restarted"))
            raise
        finally:
            late.cancel()

    def _send_scan(self, asked: Scan, lengths: tuple[int, ...], cost: int) -> _Waiting:
        """Send a request under its stream's own name. Raises BadInput, Unavailable: then nothing was sent."""
        if len(self.waiting) >= MAX_WAITING or self.characters + sum(lengths) > MAX_WAITING_CHARACTERS:
            raise Unavailable("too many texts wait for the guard", code="guard_overloaded",
                              remedy="try again later")
        opened = self._open(asked.stream)
        sequence = opened.hash.sequence
        try:
            payload = encode(Scan(opened.wire, sequence, asked.direction, asked.texts, asked.keys, asked.final))
        except BadInput:
            self.forget(asked.stream)
            raise
        loop = asyncio.get_running_loop()
        waiting = _Waiting(loop.create_future(), opened.hash.add(payload), asked.direction, lengths, cost)
        self._tell_dropped()
        self._send(payload)
        if not self.waiting:
            self._heard = loop.time()
        self.waiting[opened.wire, sequence] = waiting
        self.characters += sum(lengths)
        if asked.final:
            del self._streams[asked.stream]
        return waiting

    def forget(self, stream: str) -> None:
        """Drop a stream on both sides; a late answer to it will be checked and thrown away.

        The guard hears of it with the next request: by itself it would wake the guard for nothing, once a call.
        """
        dropped = self._streams.pop(stream, None)
        if dropped is not None and self.alive:
            self._dropped.append(dropped.wire)
            if len(self._dropped) >= MAX_DROPPED:
                self._tell_dropped()

    def _tell_dropped(self) -> None:
        for wire in self._dropped:
            self._send(encode(Forget(wire)))
        self._dropped.clear()

    def _open(self, stream: str) -> _Stream:
        opened = self._streams.get(stream)
        if opened is None:
            self._opened += 1
            opened = self._streams[stream] = _Stream(f"{self._opened}:{stream[:MAX_STREAM // 2]}", StreamHash())
        return opened

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
        self._closed()

    def _send(self, payload: bytes) -> None:
        if self._link is None or not self.alive:
            raise _unreachable()
        self._link.send(payload)

    def _frame(self, payload: bytes) -> None:
        try:
            self._believe(from_guard(payload))
        except BadInput as fault:
            self._faulty(Unavailable(fault.cause, code="guard_bad_verdict", remedy="the guard is restarted"))

    def _faulty(self, fault: Unavailable) -> None:
        """It hangs or lies: refuse what waits, and have its process ended, since it may not end by itself."""
        if self._link is None or not self.alive:
            return
        self._fail(fault)
        self.close()
        self._on_fault()

    def _believe(self, message: FromGuard) -> None:
        match message:
            case Ready():
                if self.ready.done() or message.version != VERSION \
                        or not same(message.mac, ready_mac(self.key, message)):
                    raise BadInput("the guard's greeting does not verify")
                self.ready.set_result(message)
            case Failed():
                if message.code not in _FAILURES:
                    raise BadInput("the guard failed in a way it does not have")
                waiting = self._take(message)
                if not waiting.answer.done():
                    waiting.answer.set_exception(Unavailable(_FAILURES[message.code], code=message.code))
            case Answer():
                waiting = self._waits(message)
                if not self.ready.done() or message.rules != self.ready.result().rules:
                    raise BadInput("the guard answers with other rules than it greeted with")
                if not same(message.mac, answer_mac(self.key, waiting.running, waiting.direction, message)):
                    raise BadInput("the guard's answer is not about what was sent")
                found = findings(message, waiting.lengths)
                self._take(message)
                if not waiting.answer.done():
                    waiting.answer.set_result(found)

    def _waits(self, message: Answer | Failed) -> _Waiting:
        waiting = self.waiting.get((message.stream, message.sequence))
        if waiting is None:
            raise BadInput("the guard answers what nobody asked")
        return waiting

    def _take(self, message: Answer | Failed) -> _Waiting:
        waiting = self._waits(message)
        del self.waiting[message.stream, message.sequence]
        self.characters -= sum(waiting.lengths)
        self._heard = asyncio.get_running_loop().time()
        self.turns.give_back(waiting.cost)
        return waiting

    def _closed(self) -> None:
        self._fail(_unreachable())

    def _fail(self, fault: Unavailable) -> None:
        for waiting in self.waiting.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(fault)
        self.waiting.clear()
        self._streams.clear()
        self.characters = 0
        self.turns.close(fault)
        if not self.ready.done():
            self.ready.set_exception(fault)
            self.ready.exception()  # nobody may be waiting for it: then it is not a forgotten error


class GuardClient:
    """Asks the guard. One for the core; ``attach`` it again when the guard's process was restarted.

    Args:
        seconds: how long one request may take, and how long it may wait for its turn.
        on_fault: called when the guard hangs or lies; the runtime ends its process and starts it anew.

    """

    def __init__(self, *, seconds: float = SCAN_SECONDS, on_fault: Callable[[], None] = lambda: None) -> None:
        self._seconds = seconds
        self._on_fault = on_fault
        self._connection: _Connection | None = None
        self._ready: Ready | None = None

    @classmethod
    async def open(cls, sock: socket.socket, *, seconds: float = SCAN_SECONDS) -> GuardClient:
        """A client on a connected stream socket. Raises Unavailable when the guard does not come up."""
        client = cls(seconds=seconds)
        await client.attach(sock)
        return client

    async def attach(self, sock: socket.socket) -> None:
        """Use this socket from now on; what still waits for the old one is refused. Raises Unavailable."""
        self.close()
        connection = _Connection(self._on_fault)
        self._connection = connection
        self._ready = await connection.open(sock)

    def close(self) -> None:
        """End the connection; all that waits is refused."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._ready = None

    @property
    def state(self) -> GuardState:
        """What ``doctor`` shows."""
        if self._connection is None or self._ready is None or not self._connection.alive:
            return GuardState(alive=False)
        waiting = len(self._connection.waiting) + self._connection.turns.waiting
        return GuardState(alive=True, rules=self._ready.rules, stages=tuple(self._ready.stages),
                          degraded=tuple(self._ready.degraded), waiting=waiting)

    async def scan(self, stream: str, direction: Direction, texts: Sequence[str], final: bool, *,
                   keys: Sequence[int] = ()) -> Findings:
        """What these texts carry.

        Args:
            stream: which stream they belong to, as ``<caller>/<name>``; requests of one stream must not overlap
                in time, and those of one caller wait in one line.
            direction: where they come from, as the core knows it.
            texts: any number, any length: long ones go in several requests.
            final: nothing more will follow in this stream.
            keys: which of the texts are names of JSON members, by index.

        Raises:
            Unavailable: ``guard_unreachable``, ``guard_timeout``, ``guard_overloaded``, ``guard_limit``,
                ``guard_bad_verdict``: nothing is known about the texts.
            BadInput: ``bad_text``: a text is not valid Unicode.

        """
        connection, ready = self._connection, self._ready
        if connection is None or ready is None or not connection.alive:
            raise _unreachable()
        names = frozenset(keys)
        cut = list(spans.batches([len(text) for text in texts], most=MOST_TEXTS))
        found: list[Finding] = []
        for number, pieces in enumerate(cut):
            answer = await connection.ask(
                [texts[p.text][p.start:p.end] for p in pieces],
                [i for i, p in enumerate(pieces) if p.text in names] if names else [],
                stream=stream, direction=direction, final=final and number == len(cut) - 1, seconds=self._seconds)
            found += (Finding(pieces[f.text].text, pieces[f.text].start + f.start, pieces[f.text].start + f.end,
                              f.category, f.score, f.rule) for f in answer)
        return Findings(found=tuple(found if len(cut) == 1 else spans.merge(found)), rules=ready.rules)

    def forget(self, stream: str) -> None:
        """This stream is over without a final request."""
        if self._connection is not None:
            self._connection.forget(stream)


def _expire(answer: asyncio.Future[tuple[Finding, ...]], seconds: float) -> None:
    if not answer.done():
        answer.set_exception(Unavailable(f"the guard did not answer within {seconds} s", code="guard_timeout"))


def _unreachable() -> Unavailable:
    return Unavailable("the guard is not connected", code="guard_unreachable",
                       remedy="see `ringwall doctor`; nothing passes until the guard is back")
