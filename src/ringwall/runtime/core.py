"""The core: the only place where all parts meet. It holds the wall, the keys and the log, and decides.

Started by the supervisor; never dumpable, so that no process of the same user reads its memory.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import dataclasses
import os
import resource
import secrets as random
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import uvloop

from ringwall.audit.journal import AuditJournal
from ringwall.call import Call, Event, Json, Kind, RingName
from ringwall.capability.catalogue import Catalogues
from ringwall.capability.resolve import ManifestResolver
from ringwall.capability.resources import canonical, parse_pattern
from ringwall.capability.ring import CapabilityRing
from ringwall.clock import SystemClock
from ringwall.confine.spec import Confinement
from ringwall.doors.agent import AgentDoor
from ringwall.doors.interface import Receive, Scope, Send
from ringwall.doors.listener import DoorServer, OperatorServer
from ringwall.doors.operator import OperatorDoor
from ringwall.errors import ManifestError, RingwallError
from ringwall.flow.book import LabelBook
from ringwall.flow.ring import FlowRing
from ringwall.guard.ring import GuardRing
from ringwall.identity.operators import OperatorPeers
from ringwall.identity.probe import probe as identity_probe
from ringwall.identity.registry import Registry
from ringwall.identity.ring import IdentityRing
from ringwall.interface import Attempts, Effect, Ring, Targets
from ringwall.keys.conformance import self_check
from ringwall.keys.file import FileRootKeys
from ringwall.limits.attempts import AttemptBudget
from ringwall.limits.memory import MemoryCounters
from ringwall.limits.ring import LimitsRing
from ringwall.manifest.types import Manifest
from ringwall.models.effect import ModelEffect
from ringwall.policy.data import policy_data
from ringwall.policy.embedded import EmbeddedPolicy
from ringwall.policy.ring import PolicyRing
from ringwall.runtime import control
from ringwall.runtime.children import Children
from ringwall.runtime.helpers import Helpers
from ringwall.runtime.launch import Launcher
from ringwall.runtime.operating import Operating
from ringwall.runtime.pins import LogPins
from ringwall.runtime.reading import read_manifest
from ringwall.runtime.runs import Tasks
from ringwall.runtime.secrets import FileSecrets
from ringwall.runtime.sessions import Sessions
from ringwall.runtime.state import State
from ringwall.runtime.tally import CountingJournal
from ringwall.runtime.views import Surroundings
from ringwall.tools.effect import ToolEffect
from ringwall.wall import Listing, Wall
from ringwall.wire.openai import parse_chat_request

PR_SET_DUMPABLE: Final = 4  # linux/prctl.h
RING_ORDER: Final[tuple[RingName, ...]] = ("identity", "capability", "limits", "flow", "guard", "policy")
CANNOT_START: Final = 2  # an exit code that the supervisor does not answer with a restart


class Core:
    """Everything of one running installation.

    Args:
        state: its folder, locked.
        manifest: what was granted.
        children: the line to the supervisor.

    """

    def __init__(self, *, state: State, manifest: Manifest, children: Children) -> None:
        self.state = state
        self.manifest = manifest
        self.children = children
        self.clock = SystemClock()
        self.stopping = asyncio.Event()
        self.fault = ""
        self._tasks = Tasks(self._failed)
        self.secrets = FileSecrets(manifest.secrets)
        self.around = Surroundings(
            state=state.root,
            core_pid=os.getpid(),
            manifest=manifest.path,
            secret_files=tuple(s.file for s in manifest.secrets.values()),
        )
        self.keys = FileRootKeys.open_or_create(state.root_key)
        self_check(self.keys)  # a provider that breaks a promise must not hold a log
        self.audit = AuditJournal.open(
            state.root, self.keys, self.clock, quota_mib=manifest.audit.quota_mib, origin=manifest.trust_domain
        )
        self.journal = CountingJournal(self.audit)
        self.sessions = Sessions()
        self.limits = LimitsRing(manifest, MemoryCounters(self.clock))
        self.book = LabelBook(self.journal)
        self.pins = {tenant: LogPins(tenant) for tenant in manifest.tenants}
        self.catalogues = Catalogues(lambda tenant: self.pins[tenant])
        self.registry = Registry(identity_probe())
        self.operators = OperatorPeers(self.registry.probe)
        self.helpers = Helpers(
            manifest=manifest,
            state=state,
            children=children,
            around=self.around,
            journal=self.journal,
            catalogues=self.catalogues,
            pins=self.pins,
            confine=self.confine,
            tasks=self._tasks,
            clock=self.clock,
        )
        self.rings = self.compose()
        self.doors = DoorServer(self._agent_app, self.registry)
        self.launcher = Launcher(
            manifest=manifest,
            state=state,
            children=children,
            registry=self.registry,
            doors=self.doors,
            sessions=self.sessions,
            journal=self.journal,
            secrets=self.secrets,
            around=self.around,
            strength=self.registry.probe.strength,
            tallies=self.journal.tallies,
            confine=self.confine,
            end_session=self.limits.end_session,
            on_fault=self._failed,
        )
        self.wall = self._wall()
        self._agent_door = AgentDoor(self.wall, self.registry)
        self.operator_door = OperatorServer(
            OperatorDoor(Operating(wall=self.wall, launcher=self.launcher, status=self.status), self.operators),
            self.operators,
        )

    def compose(self) -> Mapping[RingName, Ring]:
        """Every ring by its name. (The ablation suite, and nothing else, composes differently.)"""
        return {
            "identity": IdentityRing(self.registry, self.operators),
            "capability": CapabilityRing(self.manifest, self.catalogues),
            "limits": self.limits,
            "flow": FlowRing(manifest=self.manifest, sessions=self.sessions, book=self.book, canonical=_spelling),
            "guard": GuardRing(self.helpers.guard, self.manifest.guard),
            "policy": PolicyRing(EmbeddedPolicy.default(policy_data(self.manifest, parse_pattern)), self.clock),
        }

    def attempts(self) -> Attempts:
        """The budget spent before anything is parsed. (The benchmarks, and nothing else, lift it.)"""
        return AttemptBudget(self.clock)

    def confine(self, spec: Confinement) -> Confinement:
        """All layers, always. (The ablation suite, and nothing else, leaves one out.)"""
        return spec

    def _wall(self) -> Wall:
        rings = [self.rings[name] for name in RING_ORDER]
        tools = Listing(
            rings=rings,
            catalogue=lambda tenant: Targets(definitions=self.catalogues.of(tenant).definitions()),
            others=ToolEffect(self.helpers.sidecars.get, self._unchanged),
        )
        effects: Mapping[Kind, Effect] = {
            "tool": tools,
            "model": ModelEffect(self.manifest, self.helpers.sidecars.get, self.secrets.value),
            "operate": self.launcher,
        }
        resolver = ManifestResolver(self.manifest, self.catalogues, lambda: random.token_hex(8), parse_chat_request)
        return Wall(
            rings=rings,
            effects=effects,
            resolver=resolver,
            attempts=self.attempts(),
            journal=self.journal,
            clock=self.clock,
        )

    def _unchanged(self, call: Call) -> bool:
        """Whether a call was judged by the definition that its tool has now, and that was pinned."""
        tool = self.catalogues.of(call.tenant).tool(call.target.name)
        return tool is not None and not tool.changed and tool.definition == call.target.definition

    async def _agent_app(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._agent_door(scope, receive, send)

    async def run(self) -> int:
        """From the first record to the last. Returns the exit code."""
        inherited = await self.children.greeted()
        for tenant, pins in self.pins.items():
            self.book.restore(self._replayed(tenant, "label"))
            pins.restore(self._replayed(tenant, "pin"))
        await self.journal.note(
            Event(
                type="start",
                tenant="system",
                body={
                    "manifest": self.manifest.revision,
                    "restarts": self.children.restarts,
                    "pid": os.getpid(),
                    "agents_taken_over": len(inherited),
                    "identity": self.registry.probe.strength,
                },
            )
        )
        await self.helpers.start()
        for agent in inherited:
            await self.launcher.take_over(agent)
        await self.operator_door.open(self.state.operator_socket)
        self.children.ready(self._summary())
        stopped = [asyncio.create_task(self.stopping.wait()), asyncio.create_task(self.children.lost.wait())]
        await asyncio.wait(stopped, return_when=asyncio.FIRST_COMPLETED)
        for task in stopped:
            task.cancel()
        await self._close()
        return 1 if self.fault else 0

    async def _close(self) -> None:
        """Doors first, so that nothing new comes; the log last, so that every end is in it."""
        await self.operator_door.close()
        await self.doors.close()
        self.helpers.stop()
        await self.journal.note(Event(type="stop", tenant="system", body={"fault": self.fault}))
        await self.audit.close()

    def _replayed(self, tenant: str, kind: str) -> list[Mapping[str, Json]]:
        """Bodies of this type of event from a tenant's log, oldest first.

        A damaged log keeps its own tenant from everything and nobody else: the journal refuses that tenant's calls.
        """
        if tenant in self.audit.faults:
            return []
        return [record.body for record in self.audit.records(tenant, types=frozenset({kind}))]

    def _failed(self, fault: BaseException) -> None:
        """Background work failed: say so, stop, and let the supervisor start a clean core."""
        self.fault = f"{type(fault).__name__}: {fault}"
        print(f"ringwall: {self.fault}", file=sys.stderr, flush=True)
        self.stopping.set()

    def _summary(self) -> str:
        agents = sum(len(tenant.agents) for tenant in self.manifest.tenants.values())
        wrong = f", {len(self.helpers.problems)} with problems (ringwall status)" if self.helpers.problems else ""
        return f"{len(self.manifest.tenants)} tenants, {agents} agents, {len(self.manifest.tools)} servers{wrong}"

    async def status(self) -> Json:
        """For `ringwall status` and `doctor`."""
        probe = self.registry.probe
        return {
            "pid": os.getpid(),
            "restarts": self.children.restarts,
            "manifest": str(self.manifest.path),
            "revision": self.manifest.revision,
            "identity": {
                "method": probe.method,
                "strength": probe.strength,
                "tree": probe.tree,
                "detail": probe.detail,
                "remedy": probe.remedy,
            },
            "guard": dataclasses.asdict(self.helpers.guard.state),
            "audit": self.audit.status(),
            "runs": [
                {
                    "run": name,
                    "confined": run.confined,
                    "tenant": run.session.tenant,
                    "agent": run.session.agent,
                    "pid": run.child.pid,
                    **run.tally.summary(),
                }
                for name, run in self.launcher.runs.items()
            ],
            **self.helpers.status(),
        }


def _spelling(kind: str, text: str) -> str:
    return canonical(kind, text).id


def harden() -> None:
    """No core dump, no ptrace, no /proc/<pid>/mem for processes of the same user."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise RingwallError("the core's memory cannot be protected (prctl PR_SET_DUMPABLE)", code="not_hardened")


def arguments() -> argparse.ArgumentParser:
    """What the supervisor passes."""
    parser = argparse.ArgumentParser(prog="ringwall.runtime.core")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--control", type=int, required=True)
    return parser


async def serve(options: argparse.Namespace, make: type[Core]) -> int:
    """Run a core until it is told to stop."""
    children = Children()
    line = socket.socket(fileno=options.control)
    children.attach(control.Control(line, children.on_message, children.on_close))
    state = State.open(options.state)
    state.lock()
    core = make(state=state, manifest=read_manifest(options.manifest), children=children)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, core.stopping.set)
    return await core.run()


def main(make: type[Core] = Core) -> int:
    """Entry point of the core's process."""
    harden()
    options = arguments().parse_args()
    try:
        return uvloop.run(serve(options, make))
    except (ManifestError, RingwallError) as fault:
        print(f"ringwall: {fault}", file=sys.stderr, flush=True)
        return CANNOT_START


if __name__ == "__main__":
    sys.exit(main())
