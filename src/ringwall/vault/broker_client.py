"""The core's end of a broker process: orders out, bounded answers in.

The process talks to providers and may be taken over by one. So nothing it says is believed but a code and the bytes
of a credential: lifetimes are clamped, and what answers no question, or answers another one, ends it.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, TypeVar

from ringwall.clock import Clock
from ringwall.errors import BadInput, Refused, RingwallError, Unavailable
from ringwall.manifest.types import MAX_SECONDS, OutsideVault, Secret
from ringwall.vault.brokers import protocol
from ringwall.vault.brokers.interface import REFUSED, Code, Minted, Order
from ringwall.vault.brokers.protocol import (
    Aws,
    Cancel,
    Done,
    Failed,
    Fetch,
    FromProcess,
    Hello,
    Made,
    Mint,
    OAuth,
    OpenBao,
    Postgres,
    Provider,
    Renew,
    Renewed,
    Revoke,
    Seal,
    Task,
    ToProcess,
    Unseal,
    Value,
    Vault,
)
from ringwall.wire.frames import Link

ANSWER_SECONDS: Final = 15.0  # the process answers each order within 12 by itself
OF_ONE: Final = protocol.MAX_ORDERS // 2  # orders at once for one secret: where its provider hangs, others' go on
_Answer = TypeVar("_Answer", Made, Renewed, Done, Value)
_FAILURES: Final[Mapping[Code, str]] = {
    "provider_denied": "the provider refuses: it does not accept who asks, or what is asked for",
    "provider_wider": "the provider gave more than was asked for, or does not say that it kept to it",
    "provider_garbage": "the provider's answer ends early, or is not what its protocol says",
    "provider_address_refused": "the provider's name leads to an address that is neither public nor in `private`",
    "scope_empty": "nothing is named that a credential could be for",
    "scope_inexpressible": "the provider cannot narrow a credential to what this call names",
    "scope_too_large": "what this call names is more than one credential of the provider can say",
    "not_renewable": "the provider prolongs nothing",
    "not_revocable": "the provider has no means to end it before its time",
    "unknown_secret": "the broker process was not told of this secret or vault",
    "no_such_secret": "the vault elsewhere has nothing of this name for this agent",
    "order_cancelled": "nobody waited for it any more",
    "provider_unreachable": "the provider cannot be reached, or says that it cannot answer",
    "provider_slow": "the provider does not answer in time",
    "provider_sealed": "the vault elsewhere is sealed, or cannot write its own log",
    "provider_missing": "the provider's client library is not installed",
    "broker_busy": "as many orders are under way as the broker process takes",
    "broker_failed": "the broker process failed at it",
}
_REMEDIES: Final[Mapping[Code, str]] = {
    "provider_missing": "docs/credentials.md says which extra has it",
    "provider_address_refused": "list its network in `private` of the secret or vault",
    "broker_failed": "`ringwall status` has the process's last words",
}


class BrokerClient:
    """One broker process after the other. While there is none, every order fails. Used from one event loop.

    Args:
        hello: what each new process is told first; see ``hello``.
        clock: judges lifetimes.
        on_down: the process broke the protocol or hangs, or its link closed: end it.

    """

    def __init__(self, hello: Hello, clock: Clock, on_down: Callable[[], None]) -> None:
        self._hello = hello
        self._clock = clock
        self._on_down = on_down
        self._link: Link | None = None
        self._mark = object()  # of the link that counts
        self._waiting: dict[int, tuple[type[FromProcess], asyncio.Future[FromProcess]]] = {}
        self._running: set[asyncio.Task[FromProcess]] = set()
        self._ids = itertools.count(1)
        self._slots = asyncio.Semaphore(protocol.MAX_ORDERS)  # more wait here: a freeze may revoke hundreds
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(OF_ONE))

    async def attach(self, sock: socket.socket) -> None:
        """A new process is there. Raises Unavailable: it is gone already."""
        self.detach()
        mark = self._mark = object()
        self._link = await Link.open(sock, self._frame, lambda: self._lost(mark))
        self._link.send(protocol.encode(self._hello))

    def detach(self) -> None:
        """The process is gone: whoever waits is told."""
        before, self._link, self._mark = self._link, None, object()
        if before is not None:
            before.close()
        for _, waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(_down())

    async def mint(self, secret: str, order: Order) -> Minted:
        """A credential, which ends no later than ``order.seconds`` from now, whatever the provider says.

        If this is cancelled, what is made all the same is revoked.

        Raises:
            Refused: a code of ``interface.RefusedCode``.
            Unavailable: a code of ``interface.UnavailableCode``, or ``broker_unavailable``.

        """
        made = await self._ask(Mint(id=next(self._ids), secret=secret, order=order), Made)
        try:
            until = self._clamped(made.expires_at, order)
        except Refused:
            self._give_back(secret, order, made.handle)
            raise
        return Minted(values=made.values, expires_at=until, handle=made.handle)

    async def renew(self, secret: str, order: Order, handle: str) -> float:
        """Its new end, as ``mint`` has it. Raises as ``mint``."""
        asked = Renew(id=next(self._ids), secret=secret, order=order, handle=handle)
        return self._clamped((await self._ask(asked, Renewed)).expires_at, order)

    async def revoke(self, secret: str, order: Order, handle: str) -> None:
        """End it at the provider. Raises as ``mint``."""
        await self._ask(Revoke(id=next(self._ids), secret=secret, order=order, handle=handle), Done)

    async def fetch(self, vault: str, token: str, path: str, key: str) -> bytes:
        """A value of a KV version 2 secret of a vault elsewhere.

        Args:
            vault: its name in the manifest.
            token: JWT-SVID of the agent that the value is for.
            path: below where the engine is.
            key: which of its values.

        Raises as ``mint``.
        """
        asked = Fetch(id=next(self._ids), vault=vault, token=token, path=path, key=key)
        return (await self._ask(asked, Value)).value

    async def encrypt(self, vault: str, token: str, key: str, plain: bytes) -> str:
        """Encrypted by a vault elsewhere, under its transit key of this name. Raises as ``mint``."""
        asked = Seal(id=next(self._ids), vault=vault, token=token, key=key, plain=plain)
        value = (await self._ask(asked, Value)).value
        if not value or len(value) > protocol.MAX_SEALED or not value.isascii():
            raise _failed("provider_garbage")
        return value.decode("ascii")

    async def decrypt(self, vault: str, token: str, key: str, blob: str) -> bytes:
        """What ``encrypt`` was given. Raises as ``mint``."""
        asked = Unseal(id=next(self._ids), vault=vault, token=token, key=key, blob=blob)
        return (await self._ask(asked, Value)).value

    def _clamped(self, until: float, order: Order) -> float:
        """Raises Refused (``provider_garbage``): it is over already."""
        now = self._clock.now()
        if until <= now:
            raise _failed("provider_garbage")
        return min(until, now + min(order.seconds, MAX_SECONDS))

    async def _ask(self, task: Task, kind: type[_Answer]) -> _Answer:
        """Raises as ``mint``."""
        running = asyncio.create_task(self._exchange(task, kind))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        try:
            found = await asyncio.shield(running)
        except asyncio.CancelledError:
            self._abandon(task, running)
            raise
        if isinstance(found, kind):
            return found
        raise _failed(found.code if isinstance(found, Failed) else "broker_failed")

    async def _exchange(self, task: Task, kind: type[FromProcess]) -> FromProcess:
        """One order, until it is answered: it has an answer even where nobody waits for it any more."""
        whose = task.secret if isinstance(task, Mint | Renew | Revoke) else f"vaults.{task.vault}"
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await held.enter_async_context(self._turns[whose])
                    await held.enter_async_context(self._slots)
            except TimeoutError:
                raise _failed("broker_busy") from None
            return await self._answered(task, kind)

    async def _answered(self, task: Task, kind: type[FromProcess]) -> FromProcess:
        mark = self._mark
        waiting: asyncio.Future[FromProcess] = asyncio.get_running_loop().create_future()
        self._waiting[task.id] = kind, waiting
        try:
            self._send(task)
            async with asyncio.timeout(ANSWER_SECONDS):
                return await waiting
        except TimeoutError:
            self._lost(mark)
            raise _down() from None
        finally:
            self._waiting.pop(task.id, None)

    def _abandon(self, task: Task, running: asyncio.Task[FromProcess]) -> None:
        if task.id not in self._waiting:
            running.cancel()  # it was not sent yet
            return

        def over(done: asyncio.Task[FromProcess]) -> None:
            if not done.cancelled() and done.exception() is None and isinstance(task, Mint):
                made = done.result()
                if isinstance(made, Made):  # it crossed the cancellation
                    self._give_back(task.secret, task.order, made.handle)

        running.add_done_callback(over)
        try:
            self._send(Cancel(id=task.id))
        except RingwallError:
            pass  # the process is gone, and its orders with it

    def _give_back(self, secret: str, order: Order, handle: str) -> None:
        """Revoke what nobody will use, as well as it goes."""
        task = Revoke(id=next(self._ids), secret=secret, order=order, handle=handle)
        running = asyncio.create_task(self._exchange(task, Done))
        self._running.add(running)

        def over(done: asyncio.Task[FromProcess]) -> None:
            self._running.discard(done)
            if not done.cancelled():
                done.exception()  # looked at: it has its end, and the lease's row is revoked, too

        running.add_done_callback(over)

    def _send(self, message: ToProcess) -> None:
        """Raises Unavailable."""
        if self._link is None:
            raise _down()
        try:
            self._link.send(protocol.encode(message))
        except Unavailable:
            raise _down() from None
        except BadInput:
            raise _failed("broker_failed") from None  # a frame too long to be sent

    def _frame(self, raw: bytes) -> None:
        if self._link is None:
            return  # behind nonsense, in the same read
        try:
            answer = protocol.from_process(raw)
            kind, waiting = self._waiting.get(answer.id, (None, None))
            if kind is None or waiting is None or waiting.done() or not isinstance(answer, (kind, Failed)):
                raise BadInput("the broker process answers what nobody asked", code="bad_frame")
        except BadInput:
            self._lost(self._mark)
            return
        waiting.set_result(answer)

    def _lost(self, mark: object) -> None:
        if mark is self._mark:  # and not a process before this one
            self.detach()
            self._on_down()


def hello(secrets: Iterable[Secret], vaults: Iterable[OutsideVault], pem: Callable[[Path], str]) -> Hello:
    """What a broker process is told.

    Args:
        secrets: all that it may be asked about; those that are not minted are left out.
        vaults: likewise.
        pem: reads a ``ca_file``; the process sees no file.

    """

    def ca(file: Path | None) -> str:
        return pem(file) if file is not None else ""

    return Hello(
        providers={one.name: _provider(one, ca(one.ca_file)) for one in secrets if one.minted},
        vaults={one.name: Vault(
            url=one.url, role=one.role, mount=one.mount, kv=one.kv, database=one.database, transit=one.transit,
            namespace=one.namespace, ca=ca(one.ca_file), private=one.private) for one in vaults},
    )


def _provider(secret: Secret, ca: str) -> Provider:
    match secret.source:
        case "aws":
            return Aws(role_arn=secret.role_arn, region=secret.region, sts=secret.sts, ca=ca,
                       private=secret.private)
        case "postgres":
            return Postgres(url=secret.url, admin_user=secret.admin_user, ca=ca, private=secret.private)
        case "oauth":
            return OAuth(token_url=secret.token_url, revoke_url=secret.revoke_url, client_id=secret.client_id,
                         resource=secret.resource, scopes=secret.scopes, ca=ca, private=secret.private)
        case _:  # the only other source that mints
            return OpenBao(vault=secret.vault, database=secret.database)


def _failed(code: Code) -> RingwallError:
    kind = Refused if code in REFUSED else Unavailable
    return kind(_FAILURES[code], code=code, remedy=_REMEDIES.get(code, ""))


def _down() -> Unavailable:
    return Unavailable("the broker process is not running", code="broker_unavailable", remedy="`ringwall status`")
