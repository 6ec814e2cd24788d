"""The core: the only place where all parts meet. It holds the wall, the keys and the log, and decides.

Started by the supervisor; never dumpable, so that no process of the same user reads its memory.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import os
import secrets as random
import sys
from collections.abc import Mapping
from typing import Final

from ringwall.audit.budget import LogBudget
from ringwall.audit.journal import AuditJournal
from ringwall.call import Call, Event, Json, Kind, RingName
from ringwall.capability.catalogue import Catalogues
from ringwall.capability.resolve import ManifestResolver
from ringwall.capability.resources import canonical
from ringwall.capability.ring import CapabilityRing
from ringwall.clock import SystemClock
from ringwall.confine.spec import Confinement
from ringwall.doors.agent import AgentDoor
from ringwall.doors.interface import Receive, Scope, Send
from ringwall.doors.listener import DoorServer, OperatorServer
from ringwall.doors.operator import OperatorDoor
from ringwall.flow.book import LabelBook
from ringwall.flow.ring import FlowRing
from ringwall.guard.ring import GuardRing
from ringwall.identity.probe import probe as identity_probe
from ringwall.identity.registry import Registry
from ringwall.identity.ring import IdentityRing
from ringwall.identity.workload.issuing import Issuing
from ringwall.interface import Attempts, Effect, Ring, Targets
from ringwall.keys.conformance import self_check
from ringwall.keys.file import FileRootKeys
from ringwall.limits.attempts import AttemptBudget
from ringwall.limits.gcra import Gcra
from ringwall.manifest.types import Manifest
from ringwall.models.effect import ModelEffect
from ringwall.policy.ring import PolicyRing
from ringwall.runtime.acts import Act, Acts
from ringwall.runtime.approving import Approving
from ringwall.runtime.children import Children
from ringwall.runtime.command import Command
from ringwall.runtime.conversations import Conversations
from ringwall.runtime.counting import Counting
from ringwall.runtime.deciding import Deciding
from ringwall.runtime.forgetting import Forgetting
from ringwall.runtime.fronting import PEERS
from ringwall.runtime.gateway import Gateway, parse_request
from ringwall.runtime.helpers import Helpers
from ringwall.runtime.holding import Holding
from ringwall.runtime.identities import Identities
from ringwall.runtime.launch import Launcher
from ringwall.runtime.pinning import Pinning
from ringwall.runtime.pins import LogPins
from ringwall.runtime.process import main
from ringwall.runtime.runs import Tasks
from ringwall.runtime.secrets import FileSecrets, secret_files
from ringwall.runtime.sessions import Sessions
from ringwall.runtime.shadowing import Shadowing
from ringwall.runtime.state import State
from ringwall.runtime.tally import CountingJournal
from ringwall.runtime.telling import Telling
from ringwall.runtime.views import Surroundings
from ringwall.runtime.workload import Workload
from ringwall.tools.giving import Giving
from ringwall.wall import Listing, Wall

_PROBED: Final = ("method", "strength", "tree", "sender", "detail", "remedy")
RING_ORDER: Final[tuple[RingName, ...]] = ("identity", "capability", "limits", "flow", "guard", "policy")


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
        self.files = FileSecrets(manifest.secrets)
        self.around = Surroundings(
            state=state.root,
            core_pid=os.getpid(),
            manifest=manifest.path,
            secret_files=secret_files(manifest),
        )
        self.keys = FileRootKeys.open_or_create(state.root_key)
        self_check(self.keys)  # a provider that breaks a promise must not hold a log
        self.telling = Telling(manifest, state, clock=self.clock, revision=lambda: self.policy.revision)
        self.audit = AuditJournal.open(
            state.root, self.keys, self.clock, quota_mib=manifest.audit.quota_mib, origin=manifest.trust_domain,
            budget=LogBudget(Gcra(self.clock), manifest.audit.quota_mib << 20), disk=self.telling.disk(),
        )
        self.journal = CountingJournal(self.telling.journal(self.audit))
        self.sessions = Sessions()
        self.counting = Counting(
            manifest=manifest, clock=self.clock, keys=self.keys, audit=self.audit, open_sessions=self.sessions.all,
            afterwards=lambda call, free: self.helpers.afterwards(call, free),  # noqa: PLW0108 (made below)
        )
        self.limits = self.counting.ring
        self.book = LabelBook(self.journal)
        self.pins = {tenant: LogPins(tenant) for tenant in manifest.tenants}
        self.catalogues = Catalogues(lambda tenant: self.pins[tenant], manifest.tools)
        self.command = Command(manifest=manifest, journal=self.journal, clock=self.clock)
        self.registry = Registry(identity_probe(), frozen=self.command.freezes.agent)
        self.operators = self.command.peers(self.registry.probe)
        self.identities = Identities(
            manifest=manifest, state=state, keys=self.keys, clock=self.clock, journal=self.journal,
            registry=self.registry, freezes=self.command.freezes,
        )
        self.conversations = Conversations(
            manifest=manifest, authority=self.identities.authority, registry=self.registry,
            sessions=self.sessions, labels=self.book, journal=self.journal, clock=self.clock, tasks=self._tasks,
            ids=_call_id, folder=state.root / PEERS,
        )
        self.giving = Giving()
        self.holding = Holding(
            manifest=manifest, state=state, clock=self.clock, journal=self.journal, files=self.files,
            identities=self.identities, freezes=self.command.freezes, uploads=self.command.uploads,
            giving=self.giving, counted=self.telling.secret_read,
        )
        self.gateway = Gateway(
            manifest=manifest, secrets=self.holding.using, giving=self.giving, clock=self.clock
        )
        self.helpers = Helpers(
            manifest=manifest, state=state, children=children, around=self.around, journal=self.journal,
            catalogues=self.catalogues, pins=self.pins, confine=self.confine, tasks=self._tasks, clock=self.clock,
            gateway=self.gateway,
        )
        self.pinning = Pinning(
            catalogues=self.catalogues, pins=self.pins, journal=self.journal, repinned=self.helpers.repinned
        )
        self.approving = Approving(
            manifest=manifest, journal=self.journal, clock=self.clock, secrets=self.files
        )
        self.deciding = Deciding(manifest, self.clock, self.journal)
        self.policy = self.deciding.backend
        self.shadowing = Shadowing(manifest, self.clock, self.journal)
        self.rings = self.compose()
        self.doors = DoorServer(self._agent_app, self.registry)
        self.issuing = Issuing(self.identities.authority, self.registry, self.clock)
        self.launcher = Launcher(
            manifest=manifest,
            state=state,
            children=children,
            registry=self.registry,
            doors=self.doors,
            workload=lambda: self.workload,
            peering=self.conversations.peering,
            sessions=self.sessions,
            journal=self.journal,
            known=self.holding.known,
            around=self.around,
            strength=self.registry.probe.strength,
            tallies=self.journal.tallies,
            confine=self.confine,
            end_session=self.holding.after(self.limits.end_session, self.sessions),
            standing=self.audit.set_standing,
            freezes=self.command.freezes,
            on_fault=self._failed,
        )
        self.wall = self._wall()
        self.workload = Workload(
            manifest=manifest, registry=self.registry, authority=self.identities.authority, issuing=self.issuing,
            wall=self.wall, journal=self.journal, clock=self.clock,
        )
        others = self.gateway.doors(self.wall, self.approving.desk, self.helpers.sidecars.get)
        self._agent_door = AgentDoor(self.wall, self.registry, self.approving.desk, others, self.gateway.offers)
        self.operator_door = OperatorServer(
            OperatorDoor(
                self.command.operating(wall=self.wall, launcher=self.launcher, status=self.status), self.operators
            ),
            self.operators,
        )

    def compose(self) -> Mapping[RingName, Ring]:
        """Every ring by its name. (The ablation suite, and nothing else, composes differently.)"""
        return {
            "identity": IdentityRing(
                self.registry, self.operators, self.command.freezes.waits, self.conversations.attest,
                self.identities.source,
            ),
            "capability": CapabilityRing(
                self.manifest,
                self.catalogues,
                self.approving.desk.granted,
                self.command.freezes.call,
                self.command.freezes.tool,
            ),
            "limits": self.limits,
            "flow": FlowRing(manifest=self.manifest, sessions=self.sessions, book=self.book, canonical=_spelling),
            "guard": GuardRing(self.telling.guard(self.helpers.guard), self.manifest.guard),
            "policy": self.shadowing.beside(PolicyRing(self.policy, self.clock, self.approving.desk.granted)),
        }

    def attempts(self) -> Attempts:
        """The budget spent before anything is parsed. (The benchmarks, and nothing else, lift it.)"""
        return AttemptBudget(self.clock)

    def acts(self) -> dict[str, Act]:
        """What operators may do beside starting agents, by its verb."""
        others: dict[str, Act] = {
            "status": self._status,
            **self.approving.acts(),
            **self.counting.acts(),
            **self.deciding.acts(),
            **self.shadowing.acts(),
            **self.pinning.acts(),
            **self.holding.acts(),
            **Forgetting(self.audit, self.sessions.get).acts(),
        }
        return self.command.acts(
            launcher=self.launcher,
            helpers=self.helpers,
            cancel=lambda matching, why: self.wall.cancel(matching, why),  # noqa: PLW0108 (no wall yet)
            others=others,
            tightening=self.holding.tightening(),
        )

    def confine(self, spec: Confinement) -> Confinement:
        """All layers, always. (The ablation suite, and nothing else, leaves one out.)"""
        return spec

    def _wall(self) -> Wall:
        rings = [self.rings[name] for name in RING_ORDER]
        tools = Listing(
            rings=rings,
            catalogue=lambda tenant: Targets(definitions=self.catalogues.of(tenant).definitions()),
            others=self.telling.onward(self.gateway.effect(self.helpers.sidecars.get, self._unchanged)),
        )
        effects: Mapping[Kind, Effect] = {
            "tool": self.counting.begins(tools),
            "model": self.counting.begins(
                ModelEffect(self.manifest, self.helpers.sidecars.get, self.holding.using)
            ),
            "secret": self.counting.begins(self.holding.effect(self.issuing)),
            "message": self.counting.begins(self.conversations),
            "operate": Acts(self.launcher, self.acts()),
        }
        resolver = ManifestResolver(
            self.manifest, self.catalogues, _call_id, parse_request, self.conversations.acting_for,
            self.conversations.resolve,
        )
        return Wall(
            rings=rings,
            effects=effects,
            resolver=resolver,
            attempts=self.attempts(),
            journal=self.journal,
            clock=self.clock,
            approvals=self.approving.desk,
            watch=self.telling.calls,
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
        self.command.restore(self.audit)
        for tenant, pins in self.pins.items():
            self.book.restore(self._replayed(tenant, "label"))
            pins.restore(self._replayed(tenant, "pin"))
        await self.journal.note(
            Event(
                type="start",
                tenant="system",
                body={
                    "manifest": self.manifest.revision,
                    "path": str(self.manifest.path),
                    "restarts": self.children.restarts,
                    "pid": os.getpid(),
                    "agents_taken_over": len(inherited),
                    "identity": self.registry.probe.strength,
                    "policy": self.policy.revision,
                },
            )
        )
        await self.identities.start(self._tasks)
        self.deciding.start(self._tasks)
        self.approving.check()
        for tenant in self.manifest.tenants:
            if tenant not in self.audit.faults:
                self.approving.restore(tenant, self.audit)
                self.conversations.restore(tenant, self.audit)
        self._tasks.start(self.approving.tend())
        self._tasks.start(self.approving.webhook.run())
        await self.policy.status()  # an OPA is asked and given its data before the first call has to wait for it
        await self.counting.open([str(agent.meta["session"]) for agent in inherited])
        self.identities.reach(self.helpers, self.around, self._tasks)
        await self.holding.open(self.audit, self.helpers, self.around, self._tasks, inherited)
        await self.helpers.start()
        await self.conversations.serve(self.wall, self.helpers)
        await self.telling.start(self.helpers, self.around, lambda: self.approving.status()["waiting"])
        for agent in inherited:
            await self.launcher.take_over(agent)
        await self.launcher.open_clients()
        await self.command.open(self.operator_door, self.state.operator_socket)
        gc.collect()
        gc.freeze()  # what start-up made stays: a full collection stopped every call for 30 ms by looking at it
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
        await self.workload.close()
        await self.conversations.close()
        await self.gateway.close()
        await self.telling.close()
        await self.holding.close(for_good=not self.fault)
        self.helpers.stop()
        await self.policy.close()
        await self.counting.close()
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

    async def _status(self, call: Call) -> Json:
        return await self.status()

    async def status(self) -> Json:
        """For `ringwall status` and `doctor`."""
        probe = self.registry.probe
        return {
            "pid": os.getpid(),
            "restarts": self.children.restarts,
            "manifest": str(self.manifest.path),
            "revision": self.manifest.revision,
            "identity": {name: getattr(probe, name) for name in _PROBED},
            "svid": self.identities.status(),
            "guard": dataclasses.asdict(self.helpers.guard.state),
            "policy": await self.policy.status(),
            "audit": self.audit.status(),
            "runs": [run.told() for run in self.launcher.runs.values()],
            "approvals": self.approving.status(),
            "messages": self.conversations.status(),
            **self.holding.status(),
            **self.command.status(),
            **self.helpers.status(),
        }


def _spelling(kind: str, text: str) -> str:
    return canonical(kind, text).id


def _call_id() -> str:
    return random.token_hex(8)


if __name__ == "__main__":
    sys.exit(main(Core))
