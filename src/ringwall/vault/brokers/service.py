"""A broker process: ``python -m ringwall.vault.brokers.service``, started confined by the supervisor, one a tenant.

Descriptor 3 is the framed stream to the core. The clients of the providers are large and talk to strangers: they
are imported here and nowhere else, each only where a secret of its kind is asked for. Each order has a thread,
because these clients block, and one that is stuck must not hold up another provider.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Final, cast

from ringwall import hidden
from ringwall.clock import Clock, SystemClock
from ringwall.errors import BadInput, Refused, RingwallError, Unavailable
from ringwall.vault.brokers import protocol
from ringwall.vault.brokers.interface import REFUSED, UNAVAILABLE, Broker, Code, Order, refused
from ringwall.vault.brokers.protocol import (
    MAX_ORDERS,
    Cancel,
    Done,
    Failed,
    Fetch,
    FromProcess,
    Hello,
    Made,
    Mint,
    Renew,
    Renewed,
    Revoke,
    Seal,
    Task,
    Unseal,
    Value,
)
from ringwall.vault.brokers.roster import Roster
from ringwall.wire.frames import Link

LINK: Final = 3
ORDER_SECONDS: Final = 12.0  # then the core is told; it waits for 15 and takes the process for dead


class _Job:
    """An order under way."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.answered = False  # too late, or the core asks no more
        self.timer: asyncio.TimerHandle | None = None


class Service:
    """Carries out orders. One per process.

    Args:
        clock: judges what providers say of time.
        seconds: how long an order may take.

    """

    def __init__(self, clock: Clock, *, seconds: float = ORDER_SECONDS) -> None:
        self._clock = clock
        self._seconds = seconds
        self._brokers: Roster | None = None
        self._jobs: dict[int, _Job] = {}  # one for each thread
        self._link: Link | None = None
        self._over = asyncio.Event()
        self._fault = ""

    async def run(self, link: socket.socket) -> int:
        """Serve until the core's link closes or SIGTERM comes. Returns the exit code."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._over.set)
        self._link = await Link.open(link, self._frame, self._over.set)
        await self._over.wait()
        self._link.close()
        if self._fault:
            print(f"ringwall broker: {self._fault}", file=sys.stderr)
            return 1
        return 0

    def _frame(self, raw: bytes) -> None:
        try:
            message = protocol.to_process(raw)
            if isinstance(message, Hello) is (self._brokers is not None):
                raise BadInput("the core says hello once, and first", code="bad_frame")
        except BadInput as fault:
            # The core is the one we obey: if it cannot be understood, no next frame can be either.
            self._end(str(fault))
            return
        match message:
            case Hello():
                self._brokers = Roster(message, self._clock)
            case Cancel():
                job = self._jobs.get(message.id)
                if job is not None:
                    self._late(job, "order_cancelled")
            case _:
                self._start(message)

    def _start(self, task: Task) -> None:
        if task.id in self._jobs:
            self._end("the core uses a number twice")
        elif len(self._jobs) < MAX_ORDERS:
            job = self._jobs[task.id] = _Job(task)
            job.timer = asyncio.get_running_loop().call_later(self._seconds, self._late, job, "provider_slow")
            self._thread(lambda: self._carried_out(job), job)
        elif all(job.answered for job in self._jobs.values()):
            # Threads cannot be ended; a process can, and is started anew.
            self._end("every thread waits for a provider that does not answer")
        else:
            self._tell(Failed(id=task.id, code="broker_busy"))

    def _late(self, job: _Job, code: Code) -> None:
        """Answer without the thread, which goes on."""
        if not job.answered:
            job.answered = True
            self._tell(Failed(id=job.task.id, code=code))

    def _thread(self, work: Callable[[], FromProcess], job: _Job) -> None:
        """Work on a job. The thread is a daemon: nothing waits for it when the process ends."""
        loop = asyncio.get_running_loop()

        def run() -> None:
            answer = work()
            try:
                loop.call_soon_threadsafe(self._finished, job, answer)
            except RuntimeError:
                pass  # the loop is closed: the process ends

        try:
            threading.Thread(target=run, daemon=True).start()
        except RuntimeError:
            self._finished(job, Failed(id=job.task.id, code="broker_busy"))

    def _finished(self, job: _Job, answer: FromProcess) -> None:
        if job.timer is not None:
            job.timer.cancel()
        if job.answered and isinstance(answer, Made):
            self._thread(lambda: self._undone(job, answer.handle), job)  # in the same slot
            return
        del self._jobs[job.task.id]
        if not job.answered:
            self._tell(answer)

    # --- in an order's thread

    def _carried_out(self, job: _Job) -> FromProcess:
        """Never raises: what leaves the process is a code, and nothing of a text that a library wrote."""
        brokers, number = self._brokers, job.task.id
        try:
            if brokers is None:
                return Failed(id=number, code="broker_failed")
            return _answer(brokers, job.task)
        except (Refused, Unavailable) as fault:
            return Failed(id=number, code=_code(fault))
        except Exception as fault:  # noqa: BLE001 (a library's own: nothing was given, and the core is told so)
            print(f"ringwall broker: {type(fault).__name__} of a library", file=sys.stderr)
            return Failed(id=number, code="broker_failed")

    def _undone(self, job: _Job, handle: str) -> FromProcess:
        """Revoke what was made when nobody waited any more."""
        number = job.task.id
        if self._brokers is not None and isinstance(job.task, Mint):
            _revoke(self._brokers.broker(job.task.secret), job.task.order, handle)
        return Failed(id=number, code="order_cancelled")

    # --- to the core

    def _tell(self, message: FromProcess) -> None:
        if self._link is None:
            return
        try:
            self._link.send(protocol.encode(message))
        except Unavailable:
            self._over.set()

    def _end(self, fault: str) -> None:
        self._fault = fault
        self._over.set()


def _answer(brokers: Roster, task: Task) -> FromProcess:
    match task:
        case Mint():
            return _mint(brokers.broker(task.secret), task)
        case Renew():
            until = brokers.broker(task.secret).renew(task.order, task.handle)
            return _sound(Renewed(id=task.id, expires_at=until))
        case Revoke():
            brokers.broker(task.secret).revoke(task.order, task.handle)
            return Done(id=task.id)
        case Fetch():
            value = brokers.outside(task.vault).fetch(task.token, task.path, task.key)
        case Seal():
            value = brokers.outside(task.vault).encrypt(task.token, task.key, task.plain).encode()
        case Unseal():
            value = brokers.outside(task.vault).decrypt(task.token, task.key, task.blob)
    return _sound(Value(id=task.id, value=value))


def _mint(broker: Broker, task: Mint) -> FromProcess:
    made = broker.mint(task.order)
    try:
        return _sound(Made(id=task.id, values=dict(made.values), expires_at=made.expires_at, handle=made.handle))
    except Exception:
        _revoke(broker, task.order, made.handle)
        raise


def _sound(answer: FromProcess) -> FromProcess:
    """The same, if the core takes it: what a provider gave may be too long, or of no use. Raises Refused."""
    try:
        return protocol.from_process(protocol.encode(answer))
    except BadInput:
        raise refused("provider_garbage", "what it gave is over a limit") from None


def _revoke(broker: Broker, order: Order, handle: str) -> None:
    """As well as it goes: the core revokes by the lease's row too, and the credential has an end."""
    try:
        broker.revoke(order, handle)
    except Exception as fault:  # noqa: BLE001 (of a library; the refusal that led here is what is told)
        print(f"ringwall broker: {type(fault).__name__} while revoking", file=sys.stderr)


def _code(fault: RingwallError) -> Code:
    known = fault.code in REFUSED or fault.code in UNAVAILABLE
    return cast("Code", fault.code) if known else "broker_failed"


async def _run() -> int:
    return await Service(SystemClock()).run(socket.socket(fileno=LINK))


def main() -> int:
    """Run on descriptor 3. Exit code 0: the core's link closed, or SIGTERM; 1: the core spoke nonsense, or all
    threads are stuck."""
    hidden.hide()  # logins and what is made with them pass through
    os.environ.clear()  # client libraries would look there for credentials, proxies and authorities
    logging.disable(logging.CRITICAL)  # and write requests, with what is in them, into logs
    warnings.simplefilter("ignore")
    return asyncio.run(_run())


if __name__ == "__main__":
    sys.exit(main())
