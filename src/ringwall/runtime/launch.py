"""Launching an agent: the effect behind an operator's ``run``, and taking agents over after a restart."""

from __future__ import annotations

import asyncio
import os
import secrets as random
import shutil
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from ringwall.call import Call, Chunk, Event, Facts, Json, Last, LaunchId, SessionId
from ringwall.confine.spec import Confinement
from ringwall.doors.listener import DoorServer
from ringwall.errors import AuditError, Refused, RingwallError, Unavailable
from ringwall.identity.registry import Launch, Registry
from ringwall.identity.spiffe import SpiffeId
from ringwall.interface import Journal
from ringwall.manifest.types import Agent, Manifest
from ringwall.runtime import loopback, views
from ringwall.runtime.children import Child, Children, Inherited
from ringwall.runtime.freeze import Freeze, Freezes
from ringwall.runtime.peering import Peering
from ringwall.runtime.runs import Run, Tally, Tasks
from ringwall.runtime.sessions import Session, Sessions
from ringwall.runtime.state import State
from ringwall.runtime.unattested import NONE, Unattested
from ringwall.runtime.workload import SOCKET, Workload, entitled
from ringwall.vault.interface import Owner

STDIN: Final = 0  # its place among the held descriptors
MAX_TASK: Final = 16 << 10  # characters; a task is an instruction, not a document


class RunOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator asks for with ``run``."""

    agent: str
    task: str
    command: list[str]
    cwd: str
    path: str
    per_session: bool = False
    unconfined: bool = False


class Takeover(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor keeps of an agent for the next core."""

    launch: str
    session: str
    tenant: str
    agent: str
    context: str
    task: str
    confined: bool
    alone: bool = False  # it cannot start other processes


def find_agent(manifest: Manifest, name: str) -> tuple[str, Agent]:
    """``tenant/agent``, or an agent's name that only one tenant has. Raises RingwallError."""
    tenant, _, agent = name.rpartition("/")
    found = [
        (t.name, t.agents[agent]) for t in manifest.tenants.values() if agent in t.agents and tenant in {"", t.name}
    ]
    if len(found) != 1:
        known = ", ".join(sorted(f"{t.name}/{a}" for t in manifest.tenants.values() for a in t.agents))
        raise RingwallError(
            f"{'several agents are' if found else 'no agent is'} called {name}",
            code="unknown_agent",
            remedy=f"known: {known or 'none'}",
        )
    return found[0]


class Launcher:
    """Implements ``interface.Effect`` for kind "operate"."""

    def __init__(
        self,
        *,
        manifest: Manifest,
        state: State,
        children: Children,
        registry: Registry,
        doors: DoorServer,
        workload: Callable[[], Workload],
        peering: Peering,
        sessions: Sessions,
        journal: Journal,
        known: Callable[[Owner], Callable[[], tuple[bytes, ...]]],
        around: views.Surroundings,
        strength: str,
        tallies: dict[str, Tally],
        confine: Callable[[Confinement], Confinement],
        end_session: Callable[[str, str, SessionId], Awaitable[None]],
        standing: Callable[[Mapping[str, Json]], None],
        freezes: Freezes,
        on_fault: Callable[[BaseException], None],
    ) -> None:
        self._manifest = manifest
        self._state = state
        self._children = children
        self._registry = registry
        self._doors = doors
        self._workload = workload
        self._peering = peering
        self._sessions = sessions
        self._journal = journal
        self._known = known
        self._around = around
        self._strength = strength
        self._tallies = tallies
        self._confine = confine
        self._end_session = end_session
        self._standing = standing
        self._freezes = freezes
        self._tasks = Tasks(on_fault)
        self.runs: dict[str, Run] = {}

    async def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        """Launch; the one chunk tells the run's id and what the terminal shows."""
        try:
            order = msgspec.convert(call.args, RunOrder)
            if len(order.task) > MAX_TASK:
                raise RingwallError(f"the task has more than {MAX_TASK} characters", code="task_too_long")
            started = await self._launch(order)
        except msgspec.ValidationError as fault:
            yield Last(end="failed", error={"code": "bad_run_order", "reason": str(fault)})
            return
        except RingwallError as fault:
            remedy = f" ({fault.remedy})" if fault.remedy else ""
            yield Last(end="failed", error={"code": fault.code, "reason": fault.cause + remedy})
            return
        yield Chunk(value=started)
        yield Last(end="done")

    async def _launch(self, order: RunOrder) -> dict[str, object]:
        tenant, agent = find_agent(self._manifest, order.agent)
        self._check_frozen(tenant, agent)
        if agent.attestation == NONE:
            raise RingwallError(f"{tenant}/{agent.name} is a client that nobody starts", code="not_launched",
                                remedy="it asks by itself: `ringwall wrap`, or its socket below clients/")
        launch, session_id = random.token_hex(8), random.token_hex(8)
        workspace = agent.work or self._state.workspace(tenant, agent.name, launch if order.per_session else "")
        uid = self._state.uid(f"{tenant}/agent/{agent.name}")
        if uid is not None and agent.work is None:
            os.chown(workspace, uid, uid)
        spec = views.agent_view(
            agent=agent,
            command=order.command,
            program=views.find_program(order.command[0], Path(order.cwd), order.path),
            cwd=Path(order.cwd),
            workspace=workspace,
            door=self._state.door_folder(launch),
            uid=uid,
            around=self._around,
            workload=SOCKET if entitled(self._manifest, self._spiffe(tenant, agent)) else "",
            loopback=loopback.of_agent(agent),
            familiar=loopback.familiar(agent),
        )
        if agent.work is not None:
            self._around.check_writable(agent.work)
        if order.unconfined:
            spec = loopback.unconfined(spec)
        takeover = Takeover(
            launch=launch,
            session=session_id,
            tenant=tenant,
            agent=agent.name,
            context=str(workspace.resolve()),
            task=order.task,
            confined=not order.unconfined,
            alone=spec.one_process,
        )
        spec = self._confine(spec)
        theirs, ours = _pipes()
        try:
            child = await self._children.spawn(
                spec, dict(enumerate(theirs)), hold=ours, meta=msgspec.to_builtins(takeover)
            )
        except BaseException:
            for number in ours:
                os.close(number)
            raise
        finally:
            for number in theirs:
                os.close(number)
        run = await self._admit(takeover, agent, child, ours)
        try:
            record = await self._written(run, order, tenant, agent)
            self._check_frozen(tenant, agent)  # meanwhile
            await self._children.go(child)
        except RingwallError:
            self._children.signal(child, signal.SIGKILL)  # not written down, so it never starts
            raise
        return {
            "run": launch,
            "record": record,
            "agent": agent.name,
            "tenant": tenant,
            "spiffe_id": str(self._spiffe(tenant, agent)),
            "confined": not order.unconfined,
            "supervisor": os.getppid(),  # while it lives, a core that went away comes back
            "self_test": dict(child.self_test),
        }

    def _check_frozen(self, tenant: str, agent: Agent) -> None:
        """Raises Refused: what is frozen is not started either."""
        why = self._freezes.agent(self._spiffe(tenant, agent))
        if why:
            raise Refused(f"{tenant}/{agent.name} is frozen ({why})", code="frozen", remedy="ringwall thaw")

    async def open_clients(self) -> None:
        """Open the doors of those that nobody launches. Raises as ``Unattested.open``."""
        await Unattested(
            manifest=self._manifest, state=self._state, registry=self._registry, doors=self._doors,
            sessions=self._sessions, journal=self._journal,
        ).open()

    def kill(self, freeze: Freeze) -> list[asyncio.Future[int]]:
        """Kill every run that a freeze covers; a future for each, done when it has ended."""
        found = [run for run in self.runs.values() if freeze.covers_agent(run.session.tenant, run.session.agent)]
        alive = [run.child for run in found if not run.child.ended.done()]
        for child in alive:
            self._children.signal(child, signal.SIGKILL)
        return [child.ended for child in alive]

    async def _written(self, run: Run, order: RunOrder, tenant: str, agent: Agent) -> str:
        """The launch record, with what the process tried in vain before its program starts."""
        return await self._journal.note(
            Event(
                type="launch",
                tenant=tenant,
                subject=str(self._spiffe(tenant, agent)),
                session=run.session.id,
                body={
                    "launch": run.session.launch,
                    "pid": run.child.pid,
                    "confined": not order.unconfined,
                    "strength": self._strength,
                    "self_test": dict(run.child.self_test),
                    "context": run.session.context,
                },
                sealed={"command": order.command, "task": order.task},
            )
        )

    async def _admit(self, takeover: Takeover, agent: Agent, child: Child, ours: tuple[int, int, int]) -> Run:
        """Register the process and open its door."""
        launch, session = LaunchId(takeover.launch), SessionId(takeover.session)
        opened = Session(
            id=session,
            tenant=takeover.tenant,
            agent=takeover.agent,
            launch=launch,
            context=takeover.context,
            task=takeover.task,
        )
        self._sessions.open(opened)
        if not child.ended.done():  # one that ended while no core was up is only seen off
            entry = Launch(
                id=launch,
                spiffe_id=self._spiffe(takeover.tenant, agent),
                pidfd=child.pidfd,
                pidns_fd=child.pidns,
                processes=agent.processes,
                session=session,
                confined=takeover.confined,
                strength=self._strength,
            )
            try:
                self._registry.register(entry)
            except Unavailable:  # it ended at this very moment; were it alive, nothing would attest it
                self._children.signal(child, signal.SIGKILL)
        await self._doors.add(launch, self._state.door_folder(launch) / "door.sock")
        await loopback.open_door(self._doors, launch, child, agent=agent, alone=takeover.alone)
        await self._workload().add(launch, self._spiffe(takeover.tenant, agent), self._state.door_folder(launch))
        await self._peering.add(opened, self._spiffe(takeover.tenant, agent), agent, child.inside)
        tally = self._tallies.setdefault(launch, Tally())
        run = Run(
            session=opened,
            child=child,
            stdin=ours[0],
            stdout=ours[1],
            stderr=ours[2],
            secrets=self._known(Owner(tenant=takeover.tenant, agent=agent.name, role=agent.role)),
            tally=tally,
            confined=takeover.confined,
            kill=lambda signum: self._children.signal(child, signum),
            release_input=lambda: self._children.release(child, STDIN),
        )
        self.runs[launch] = run
        self._tell_unconfined()
        self._tasks.start(self._watch(run))
        return run

    async def take_over(self, inherited: Inherited) -> None:
        """An agent that outlived the last core: same process, same session, a new door at the same place."""
        takeover = msgspec.convert(inherited.meta, Takeover)
        tenant = self._manifest.tenants.get(takeover.tenant)
        agent = tenant.agents.get(takeover.agent) if tenant is not None else None
        stdin, stdout, stderr = inherited.held
        if agent is None:
            await self._turn_away(inherited, takeover, "not_in_manifest")
        elif self._freezes.killed(takeover.tenant, takeover.agent):
            await self._turn_away(inherited, takeover, "frozen")
        else:
            await self._admit(takeover, agent, inherited.child, (stdin, stdout, stderr))

    async def _turn_away(self, inherited: Inherited, takeover: Takeover, why: str) -> None:
        """An agent that may not go on: written down, killed, forgotten."""
        known = takeover.tenant in self._manifest.tenants
        event = Event(
            type="not_taken_over",
            tenant=takeover.tenant if known else "system",
            session=SessionId(takeover.session),
            body={
                "tenant": takeover.tenant,
                "agent": takeover.agent,
                "launch": takeover.launch,
                "pid": inherited.child.pid,
                "why": why,
            },
        )
        await self._note(event, f"{takeover.tenant}/{takeover.agent}, which may not go on,")
        for number in inherited.held:
            os.close(number)
        self._children.signal(inherited.child, signal.SIGKILL)
        self._tasks.start(self._see_off(inherited.child, takeover.launch))

    async def _see_off(self, child: Child, launch: str) -> None:
        await child.ended
        self._children.forget(child)
        shutil.rmtree(self._state.door_folder(launch), ignore_errors=True)

    async def _watch(self, run: Run) -> None:
        """Once it has ended: close its door, forget it, write it down."""
        status = await run.status()
        launch = run.session.launch
        self._registry.withdraw(launch)
        await self._doors.remove(launch)
        await self._workload().remove(launch)
        await self._peering.remove(launch)
        self._sessions.close(run.session.id)
        await self._end_session(run.session.tenant, run.session.agent, run.session.id)
        await run.ended()
        self._children.forget(run.child)
        shutil.rmtree(self._state.door_folder(launch), ignore_errors=True)
        await self._write_exit(run, status)
        await run.collected()
        self.runs.pop(launch, None)
        self._tallies.pop(launch, None)
        self._tell_unconfined()

    def _tell_unconfined(self) -> None:
        """While an agent runs unconfined, every record of every tenant shows it: it can touch what they rest on."""
        loose = sum(not run.confined for run in self.runs.values())
        self._standing({"unconfined_agents": loose} if loose else {})

    async def _write_exit(self, run: Run, status: int) -> None:
        tenant = self._manifest.tenants[run.session.tenant]
        event = Event(
            type="exit",
            tenant=tenant.name,
            subject=str(self._spiffe(tenant.name, tenant.agents[run.session.agent])),
            session=run.session.id,
            body={"launch": run.session.launch, "status": status, **run.tally.summary()},
        )
        await self._note(event, event.subject)

    async def _note(self, event: Event, whose: str) -> None:
        """Write an end down. It is one: nothing is allowed by going on, and a full log is not the others' fault."""
        try:
            await self._journal.note(event)
        except AuditError as fault:
            print(f"ringwall: the end of {whose} is not recorded: {fault}", file=sys.stderr, flush=True)

    def _spiffe(self, tenant: str, agent: Agent) -> SpiffeId:
        return SpiffeId.make(
            trust_domain=self._manifest.trust_domain, tenant=tenant, agent=agent.name, role=agent.role
        )


def _pipes() -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Three pipes: the agent's ends (0, 1, 2), then ours, ours not blocking."""
    in_r, in_w = os.pipe()
    out_r, out_w = os.pipe()
    err_r, err_w = os.pipe()
    for number in (in_w, out_r, err_r):
        os.set_blocking(number, False)
    return (in_r, out_w, err_w), (in_w, out_r, err_r)
