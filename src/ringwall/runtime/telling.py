"""What the core tells beside its log: where calls are counted, the page for Prometheus, the exporter's process."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ringwall.audit.disk import Disk, SystemDisk
from ringwall.audit.journal import SYSTEM
from ringwall.audit.reader import log_folder, segment_paths
from ringwall.call import Denied
from ringwall.clock import Clock
from ringwall.doors.listener import SocketServer
from ringwall.errors import Unavailable
from ringwall.guard.interface import Direction, Findings, Guard
from ringwall.identity.pidfd import HasOptions
from ringwall.interface import Effect, Journal
from ringwall.manifest.types import Manifest
from ringwall.runtime import helper_views, views
from ringwall.runtime.helpers import Helpers
from ringwall.runtime.state import State
from ringwall.telemetry.calls import Calls, HeardJournal, OnwardEffect
from ringwall.telemetry.known import Known
from ringwall.telemetry.metrics import Metrics, Now, Result
from ringwall.telemetry.outbox import Outbox
from ringwall.telemetry.page import MetricsPage
from ringwall.telemetry.protocol import Hello
from ringwall.telemetry.spans import Tracer

EXPORTER: Final = "telemetry"
SERVICE: Final = "ringwall.telemetry.service"
NEEDS: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
MAX_CONNECTIONS: Final = 16  # Prometheus needs one, and a person who looks another
TRIES: Final = 25  # to listen: the process of a killed core may still end
TRY_SECONDS: Final = 0.2
BACKLOG: Final = 16


class Telling:
    """Everything of telemetry that one core has.

    Args:
        manifest: ``[telemetry]``, and the names that may be told.
        state: where the logs are; gives the exporter its uid.
        clock: for every duration.
        revision: of the policy in force.

    Raises:
        Unavailable: ``otel_missing``.

    """

    def __init__(self, manifest: Manifest, state: State, *, clock: Clock, revision: Callable[[], str]) -> None:
        self._manifest = manifest
        self._state = state
        self._clock = clock
        self._version = importlib.metadata.version("ringwall")
        self.metrics = Metrics(self._version)
        self._outbox: Outbox | None = None
        self._server: SocketServer | None = None
        self._end: Callable[[], None] = _nothing
        if not manifest.telemetry.otlp:
            self.calls = Calls(self.metrics, clock)
            return
        _installed()
        hello = Hello(manifest.telemetry.otlp, self._version, manifest.trust_domain)
        self._outbox = Outbox(hello, self._counted, lambda: self._end())  # noqa: PLW0108 (known later)
        self.calls = Calls(self.metrics, clock, Tracer(Known.of(manifest), revision), self._outbox.put)

    def _counted(self, result: Result, number: int) -> None:
        self.metrics.spans[result].inc(number)

    def secret_read(self) -> None:
        """An agent read a secret itself."""
        self.metrics.reads.inc()

    def disk(self) -> Disk:
        """The disk of the log, with each sync measured."""
        return _TimedDisk(self.metrics, self._clock)

    def journal(self, journal: Journal) -> HeardJournal:
        """The journal, with every call heard."""
        return HeardJournal(journal, self.calls, self.metrics, self._clock)

    def guard(self, guard: Guard) -> Guard:
        """The guard, with each question measured."""
        return _TimedGuard(guard, self.metrics, self._clock)

    def onward(self, effect: Effect) -> Effect:
        """An effect whose servers are told of our spans, and of nobody else's."""
        return OnwardEffect(effect, self.calls)

    async def start(self, helpers: Helpers, around: views.Surroundings, held: Callable[[], int]) -> None:
        """Export and serve from now on. Raises Unavailable (``metrics_address``).

        Args:
            helpers: are told of at each scrape, and keep the exporter's process running.
            around: what that does not see.
            held: how many calls wait for a human.

        """
        if self._outbox is not None:
            self._end = lambda: helpers.kill(EXPORTER)
            uid = self._state.uid(EXPORTER)
            helpers.service(
                EXPORTER, lambda: helper_views.endpoint_view(name=EXPORTER, uid=uid, around=around, module=SERVICE),
                [socket.SOCK_STREAM], self._connect)
        if self._manifest.telemetry.metrics:
            page = MetricsPage(self.metrics, lambda: self._now(helpers, held), self._clock)
            self._server = SocketServer(page, max_body=0)
            await self._server.serve("metrics", await _listening(self._manifest.telemetry.metrics), _Few())

    async def _connect(self, sockets: Sequence[socket.socket]) -> None:
        if self._outbox is not None:
            await self._outbox.attach(sockets[0])

    async def close(self) -> None:
        """Serve no more."""
        if self._server is not None:
            await self._server.close()
        if self._outbox is not None:
            self._outbox.detach()

    async def _now(self, helpers: Helpers, held: Callable[[], int]) -> Now:
        folders = {name: log_folder(self._state.root, name) for name in (SYSTEM, *self._manifest.tenants)}
        logs = await asyncio.to_thread(lambda: {name: _filled(folder) for name, folder in folders.items()})
        return Now(
            held=held(), logs=logs, quota=self._manifest.audit.quota_mib << 20,
            restarts={one.name: max(one.restarts, 0) for one in helpers.services},
            up=frozenset(one.name for one in helpers.services if one.ready.is_set()),
        )


class _TimedDisk(SystemDisk):
    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock

    def sync(self, fd: int) -> None:
        since = self._clock.monotonic()
        super().sync(fd)
        self._metrics.sync.observe(self._clock.monotonic() - since)


class _TimedGuard:
    def __init__(self, guard: Guard, metrics: Metrics, clock: Clock) -> None:
        self._guard = guard
        self._metrics = metrics
        self._clock = clock

    async def scan(self, stream: str, direction: Direction, texts: Sequence[str], final: bool, *,
                   keys: Sequence[int] = ()) -> Findings:
        since = self._clock.monotonic()
        found = await self._guard.scan(stream, direction, texts, final, keys=keys)
        self._metrics.guard[direction].observe(self._clock.monotonic() - since)
        return found

    def forget(self, stream: str) -> None:
        self._guard.forget(stream)


class _Few:
    """Any process of this machine's network may ask, but not too many at a time. See ``doors.interface.Peers``."""

    def __init__(self) -> None:
        self._open = 0

    def open(self, sock: HasOptions) -> bool | Denied:
        if self._open >= MAX_CONNECTIONS:
            return Denied(code="too_many_connections", reason="too many ask for metrics", retry_after=1.0)
        self._open += 1
        return True

    def close(self, connection: object) -> None:
        self._open -= 1


def _installed() -> None:
    for name in NEEDS:
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise Unavailable("[telemetry] otlp is set, and OpenTelemetry's SDK is not installed",
                              code="otel_missing", remedy="pip install 'ringwall[otel]', or remove otlp")


async def _listening(address: str) -> socket.socket:
    """Raises Unavailable (``metrics_address``)."""
    host, _, port = address.rpartition(":")
    bare, fault = host.strip("[]"), ""
    for _ in range(TRIES):
        try:
            return socket.create_server((bare, int(port)), backlog=BACKLOG,
                                        family=socket.AF_INET6 if ":" in bare else socket.AF_INET)
        except OSError as refused:
            fault = str(refused.strerror)
        await asyncio.sleep(TRY_SECONDS)
    raise Unavailable(f"[telemetry] metrics: {address} cannot be listened at: {fault}", code="metrics_address",
                      remedy="choose a free address of this machine")


def _filled(folder: Path) -> int:
    """Bytes of a log's segments; 0 where there is none yet."""
    try:
        return sum(path.stat().st_size for path in segment_paths(folder))
    except OSError:
        return 0


def _nothing() -> None:
    return None
