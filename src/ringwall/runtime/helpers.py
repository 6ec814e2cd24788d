"""The core's helper processes: one guard, one sidecar a tenant, and the tool servers behind the sidecars."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence

from ringwall.call import Call, Event, Json
from ringwall.capability.catalogue import Catalogues
from ringwall.clock import Clock
from ringwall.confine.spec import Confinement
from ringwall.errors import RingwallError, Unavailable
from ringwall.guard.client import GuardClient
from ringwall.interface import Journal
from ringwall.manifest.types import Manifest, ToolServer
from ringwall.runtime import helper_views, loopback, views
from ringwall.runtime.children import Child, Children
from ringwall.runtime.folders import WRITABLE, unwritable
from ringwall.runtime.gateway import Gateway, complete
from ringwall.runtime.hello import hello, used
from ringwall.runtime.pins import LogPins
from ringwall.runtime.runs import Tasks
from ringwall.runtime.services import LastWords, Service
from ringwall.runtime.state import State
from ringwall.tools.protocol import OutletRefused
from ringwall.tools.sidecar_client import SidecarClient

READY_S = 60.0  # importing an MCP server's packages on a busy machine takes seconds, never this long
AGAIN_S = (0.5, 1.0, 2.0, 5.0, 15.0, 60.0)  # before a server elsewhere that could not be listed is asked again


class Helpers:
    """Starts them, keeps them running, says how they are.

    Args:
        manifest: which tenants and tool servers there are.
        state: gives each its own uid when the core is root.
        children: starts processes.
        around: what no view may show.
        journal: every end of a helper is a record.
        catalogues: take the tool definitions as each tenant's servers list them.
        pins: the hashes these are held to, by tenant.
        confine: the last word on a specification; the identity at run time.
        tasks: background work.
        clock: for back-off.
        gateway: knows what servers elsewhere offer.

    """

    def __init__(
        self,
        *,
        manifest: Manifest,
        state: State,
        children: Children,
        around: views.Surroundings,
        journal: Journal,
        catalogues: Catalogues,
        pins: Mapping[str, LogPins],
        confine: Callable[[Confinement], Confinement],
        tasks: Tasks,
        clock: Clock,
        gateway: Gateway,
    ) -> None:
        self._manifest = manifest
        self._state = state
        self._children = children
        self._around = around
        self._journal = journal
        self._catalogues = catalogues
        self._pins = pins
        self._confine = confine
        self._tasks = tasks
        self._clock = clock
        self._gateway = gateway
        self._servers: dict[tuple[str, str], tuple[Child, LastWords]] = {}
        self.services: list[Service] = []
        self.guard = GuardClient(on_fault=lambda: self.kill("guard"))
        self.sidecars: dict[str, SidecarClient] = {}
        self.problems: dict[str, str] = {}
        self._sooner = asyncio.Event()

    async def start(self) -> None:
        """Start the guard and every sidecar, then list every server's tools. Raises RingwallError on a time-out."""
        self.service(
            "guard",
            lambda: helper_views.guard_view(uid=self._state.uid("guard"), around=self._around),
            [socket.SOCK_STREAM],
            self._connect_guard,
        )
        for tenant in self._manifest.tenants:
            self._sidecar(tenant)
            self._check_folders(tenant)
        try:
            async with asyncio.timeout(READY_S):
                for service in self.services:
                    await service.ready.wait()
                for tenant in self._manifest.tenants:
                    await asyncio.gather(
                        *(
                            self._register(tenant, server)
                            for server in self._manifest.tools.values()
                            if used(self._manifest, tenant, server.name)
                        )
                    )
        except TimeoutError as late:
            waiting = [s for s in self.services if not s.ready.is_set()]
            names = ", ".join(f"{s.name} ({s.fault or s.words.text.strip() or 'no answer'})" for s in waiting)
            raise Unavailable(
                f"not ready after {READY_S:.0f} s: {names or 'a tool server'}", code="not_ready"
            ) from late

    def _check_folders(self, tenant: str) -> None:
        """Say now what a server would fail on later: a folder that its own uid cannot write."""
        for server in self._manifest.tools.values():
            if server.writable and used(self._manifest, tenant, server.name):
                wrong = unwritable(server, self._state.uid(f"{tenant}/server/{server.name}"))
                if wrong:
                    self.problems[f"{tenant}/{server.name}{WRITABLE}"] = wrong
                    print(f"ringwall: {tenant}/{server.name}: {wrong}", file=sys.stderr, flush=True)

    def service(
        self,
        name: str,
        spec: Callable[[], Confinement],
        sockets: Sequence[socket.SocketKind],
        connect: Callable[[Sequence[socket.socket]], Awaitable[None]],
    ) -> None:
        """Keep a process running from now on. Arguments as of ``Service``."""
        service = Service(
            name=name,
            children=self._children,
            spec=lambda: self._confine(spec()),
            sockets=sockets,
            connect=connect,
            report=self._ended,
        )
        self.services.append(service)
        self._tasks.start(service.run())

    async def _connect_guard(self, sockets: Sequence[socket.socket]) -> None:
        await self.guard.attach(sockets[0])

    def _sidecar(self, tenant: str) -> None:
        client = SidecarClient(
            hello=hello(self._manifest, tenant),
            spawn=lambda server: self._spawn_server(tenant, server),
            verify=lambda server, definitions: self._verify_later(tenant, server, definitions),
            clock=self._clock,
            on_down=lambda cause: self._end_sidecar(tenant),
            on_refused=lambda message: self._outlet_refused(tenant, message),
        )
        self.sidecars[tenant] = client

        async def connect(sockets: Sequence[socket.socket]) -> None:
            self._end_servers(tenant)
            await client.attach(sockets[0], sockets[1])

        self.service(
            f"sidecar-{tenant}",
            lambda: helper_views.sidecar_view(
                tenant=tenant, uid=self._state.uid(f"{tenant}/sidecar"), around=self._around
            ),
            [socket.SOCK_STREAM, socket.SOCK_SEQPACKET],
            connect,
        )

    def _end_sidecar(self, tenant: str) -> None:
        """Its link is closed: an honest sidecar ends by itself, one that was taken over is ended."""
        self.kill(f"sidecar-{tenant}")

    def kill(self, name: str) -> None:
        """End this service's process; it is started anew."""
        for service in self.services:
            if service.name == name:
                service.kill()

    async def _register(self, tenant: str, server: ToolServer) -> None:
        """Take a server's tool definitions; what is wrong with them is a problem of that server only. One elsewhere
        may be away for a while, and until it is listed no call ever gets as far as asking it."""
        if not await self._listed(tenant, server) and server.mcp:
            self._tasks.start(self._register_later(tenant, server))

    async def _register_later(self, tenant: str, server: ToolServer) -> None:
        """Ask again until it answers."""
        sooner = self._sooner
        for pause in itertools.chain(AGAIN_S, itertools.repeat(AGAIN_S[-1])):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await sooner.wait()
            sooner = self._sooner  # before it is asked: what comes meanwhile counts for the next time
            if await self._listed(tenant, server):
                return

    def ask_again(self) -> None:
        """Ask servers that could not be listed now, and not later: a secret that they want may be there."""
        self._sooner.set()
        self._sooner = asyncio.Event()

    async def _listed(self, tenant: str, server: ToolServer) -> bool:
        try:
            self._verify(tenant, server.name, await self._gateway.listed(tenant, server, self.sidecars[tenant]))
        except RingwallError as fault:
            self.problems[f"{tenant}/{server.name}"] = f"{fault} {self.words(tenant, server.name)}".strip()
            return False
        await self._pin(tenant, server.name)
        return True

    async def _pin(self, tenant: str, name: str) -> None:
        """Make new pins durable; a tool whose pin is not must not be used."""
        try:
            await self._pins[tenant].flush(self._journal)
        except RingwallError as fault:
            self._catalogues.of(tenant).drop(name)
            self.problems[f"{tenant}/{name}"] = str(fault)

    def _verify_later(self, tenant: str, name: str, definitions: Sequence[Json]) -> None:
        """The same when a server was started again."""
        self._verify(tenant, name, definitions)
        self._tasks.start(self._pin(tenant, name))

    def _verify(self, tenant: str, name: str, definitions: Sequence[Json]) -> None:
        """Hold a server's definitions to the pinned ones: a changed tool is refused until it was reviewed."""
        server = self._manifest.tools[name]
        self._catalogues.of(tenant).register(server, *complete(server, definitions))
        self.repinned(tenant, name)
        self._gateway.changed(tenant)

    def repinned(self, tenant: str, name: str) -> None:
        """Say again what is wrong with a server's tools: they were listed, or held to other pins."""
        found = (*self._gateway.problems(name), *self._catalogues.of(tenant).problems(name))
        if found:
            self.problems[f"{tenant}/{name}"] = "; ".join(found)
        else:
            self.problems.pop(f"{tenant}/{name}", None)

    def afterwards(self, call: Call, free: Callable[[], Awaitable[None]]) -> bool:
        """See ``SidecarClient.afterwards``."""
        sidecar = self.sidecars.get(call.tenant)
        return sidecar is not None and sidecar.afterwards(call.id, free)

    def words(self, tenant: str, server: str) -> str:
        """The end of what a tool server wrote to its standard error."""
        found = self._servers.get((tenant, server))
        return found[1].text.strip()[-400:] if found else ""

    async def _spawn_server(self, tenant: str, name: str) -> tuple[int, ...]:
        """Start a tool server confined; returns our ends of its standard streams, and its outlet if any."""
        server = self._manifest.tools[name]
        self._end_server(tenant, name)
        view = views.server_view(
            server=server, uid=self._state.uid(f"{tenant}/server/{name}"), around=self._around
        )
        spec = self._confine(loopback.with_outlet(view, server))
        words = LastWords()
        errors = await words.open()
        in_r, in_w = os.pipe()
        out_r, out_w = os.pipe()
        theirs = {0: in_r, 1: out_w, 2: errors}
        if server.worker:
            theirs[3] = await self._gateway.giving.open(tenant, name)
        try:
            child = await self._children.spawn(spec, theirs)
        except BaseException:
            os.close(in_w)
            os.close(out_r)
            raise
        finally:
            for number in theirs.values():
                os.close(number)
        self._servers[tenant, name] = (child, words)
        await self._journal.note(
            Event(
                type="server_start",
                tenant=tenant,
                body={"server": name, "pid": child.pid, "self_test": dict(child.self_test)},
            )
        )
        await self._children.go(child)
        return (in_w, out_r) if child.door is None else (in_w, out_r, os.dup(child.door))

    def _end_servers(self, tenant: str) -> None:
        """A new sidecar knows no server: those of the old one end with it."""
        for owner, name in list(self._servers):
            if owner == tenant:
                self._end_server(owner, name)

    def _end_server(self, tenant: str, name: str) -> None:
        found = self._servers.pop((tenant, name), None)
        self._gateway.giving.close(tenant, name)
        if found is not None:
            if not found[0].ended.done():
                self._children.signal(found[0], signal.SIGKILL)
            found[0].close()

    def kill_server(self, name: str, signum: int) -> list[asyncio.Future[int]]:
        """Signal every tenant's server of this name; a future for each that lives, done when it has ended."""
        alive = [child for (_, one), (child, _) in self._servers.items() if one == name and not child.ended.done()]
        for child in alive:
            self._children.signal(child, signum)
        return [child.ended for child in alive]

    def _outlet_refused(self, tenant: str, message: OutletRefused) -> None:
        """Write down what a server could not reach."""
        body = {"server": message.server, "code": message.code, "refused": message.count}
        self._journal.count(Event(type="outlet_refused", tenant=tenant, body=body))

    async def _ended(self, name: str, fault: str) -> None:
        await self._journal.note(Event(type="restart", tenant="system", body={"process": name, "fault": fault}))

    def status(self) -> Json:
        """Each helper: running or not, restarts, what was wrong last."""
        return {
            "processes": [
                {
                    "name": s.name,
                    "ready": s.ready.is_set(),
                    "restarts": s.restarts,
                    "fault": s.fault,
                    "pid": s.child.pid if s.child is not None else None,
                    "words": s.words.text[-400:] if s.fault else "",
                }
                for s in self.services
            ],
            "servers": [
                {"tenant": tenant, "name": name, "pid": child.pid, "running": not child.ended.done()}
                for (tenant, name), (child, _) in self._servers.items()
            ],
            "problems": dict(self.problems),
        }

    def stop(self) -> None:
        """End everything; nothing is started again."""
        for service in self.services:
            service.stop()
        for tenant, name in list(self._servers):
            self._end_server(tenant, name)
