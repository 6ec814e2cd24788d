"""What these tests share: a small office whose calls cross the real capability and policy rings into a real log."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ringwall.audit.budget import LogBudget
from ringwall.audit.journal import AuditJournal
from ringwall.call import (
    Allowed,
    Call,
    Denied,
    Digest,
    Event,
    Facts,
    Json,
    Kind,
    LaunchId,
    NeedsApproval,
    Outcome,
    Process,
    RingName,
    SessionId,
    Verdict,
    Verdicts,
    canonical,
)
from ringwall.capability.catalogue import Catalogues
from ringwall.capability.resolve import ManifestResolver
from ringwall.capability.resources import parse_pattern
from ringwall.capability.ring import CapabilityRing
from ringwall.clock import SystemClock
from ringwall.errors import BadInput
from ringwall.explain.judge import ORDER
from ringwall.explain.policies import in_force, policy
from ringwall.explain.recorded import Recorded, Unreadable, calls
from ringwall.explain.suggest import Advisor
from ringwall.identity.spiffe import SpiffeId
from ringwall.interface import Origin, Seq
from ringwall.keys.file import FileRootKeys
from ringwall.manifest.load import parse
from ringwall.policy.ring import PolicyRing

T = TypeVar("T")
IBAN = "DE89370400440532013000"
OTHER_IBAN = "GB33BUKB20201555555555"
TEXT = {"type": "string"}
MANIFEST = f"""\
version = 1
trust_domain = "acme.example"  # ours

[models.main]
wire = "openai"
url = "http://127.0.0.1:1/v1"
secret = "key"

[secrets.key]
from = "file"
file = "/nowhere/key"

[tools.docs]
command = ["docs"]
[tools.docs.ops.read]
effect = "read"
args = {{ path = "selector:path" }}  # nothing else yet
[tools.docs.ops.delete]
effect = "delete"
args = {{ path = "selector:path" }}
[tools.web]
command = ["web"]
[tools.web.ops.get]
effect = "fetch"
args = {{ link = "url" }}
[tools.pay]
command = ["pay"]
[tools.pay.ops.send]
effect = "pay"
args = {{ to = "target:iban", amount = "param", note = "payload" }}

[tenants.acme]
limits = {{ calls = "60/min" }}

[tenants.acme.roles.analyst]
limits = {{ calls = "30/min burst 5", tokens = "1000/session" }}
[tenants.acme.roles.analyst.tools]
# what an analyst may
"docs/read" = [
  "path:/srv/public/",  # all of it
]
"pay/send" = {{ resources = ["iban:{IBAN}"], max = {{ amount = 100 }} }}

[tenants.acme.roles.payer.tools]
"pay/send" = {{ resources = ["iban:{IBAN}"], approval = "always" }}

[tenants.acme.agents.ana]
role = "analyst"
[tenants.acme.agents.pia]
role = "payer"
"""
LISTED: Mapping[str, list[Json]] = {
    "docs": [
        {"name": name, "inputSchema": {"type": "object", "required": ["path"], "properties": {
            "path": TEXT, "paths": {"type": "array", "items": TEXT}, "lines": {"type": "integer"}}}}
        for name in ("read", "delete")
    ],
    "web": [{"name": "get", "inputSchema": {"type": "object", "properties": {"link": TEXT}}}],
    "pay": [{"name": "send", "inputSchema": {"type": "object", "properties": {
        "to": TEXT, "amount": {"type": "number"}, "note": TEXT}}}],
}
OTHER_RINGS: Mapping[RingName, Facts] = {
    "identity": {"attested": True, "strength": "strong"},
    "limits": {},
    "flow": {"denied": False},
    "guard": {"blocked": False},
}  # pyright: ignore[reportAssignmentType]


class _Pins:
    def get(self, name: str) -> Digest | None:
        return None

    def set(self, name: str, definition: Digest, listed: Json) -> None:
        pass


class Desk:
    """Takes calls and writes them down as the core does; the rings that are not here say what a test wants."""

    def __init__(self, folder: Path, text: str = MANIFEST) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.path = folder / "ringwall.toml"
        self.path.write_text(text)
        self.text = text
        self.manifest = parse(text, self.path, check_pattern=parse_pattern)
        self.keys = FileRootKeys.open_or_create(self.state / "root.key") if self.state.exists() else self._new()
        self.catalogues = Catalogues(lambda _: _Pins())
        for name, server in self.manifest.tools.items():
            assert self.catalogues.of("acme").register(server, LISTED[name]) == []
        ids = itertools.count()
        self.resolver = ManifestResolver(self.manifest, self.catalogues, lambda: f"c{next(ids)}",
                                         lambda _, body: body)
        self.clock = SystemClock()
        self.capability = CapabilityRing(self.manifest, self.catalogues)
        self.policy = PolicyRing(policy(in_force(self.manifest), self.manifest), self.clock)
        self.journal: AuditJournal | None = None

    def _new(self) -> FileRootKeys:
        self.state.mkdir(mode=0o700)
        return FileRootKeys.open_or_create(self.state / "root.key")

    def log(self, work: Callable[[AuditJournal], Coroutine[Any, Any, T]], budget: LogBudget | None = None) -> T:
        """Do something with the journal open."""

        async def opened() -> T:
            journal = AuditJournal.open(self.state, self.keys, self.clock, quota_mib=64, budget=budget)
            try:
                return await work(journal)
            finally:
                await journal.close()

        return asyncio.run(opened())

    def ask(self, tool: str, args: Json, **how: Any) -> str:
        """One call of a tool; the record's name. See :meth:`write`."""
        return self.log(lambda journal: self.write(journal, {"tool": tool, "args": args}, **how))

    async def write(
        self,
        journal: AuditJournal,
        body: Json,
        *,
        kind: Kind = "tool",
        agent: str = "ana",
        role: str = "analyst",
        number: int = 0,
        session: str = "s1",
        say: Mapping[RingName, Verdict] | None = None,
    ) -> str:
        """Judge one request and write it down. ``say``: what rings answer that are not asked for real."""
        who = SpiffeId.make(trust_domain="acme.example", tenant="acme", agent=agent, role=role)
        subject = Process(spiffe_id=who, launch=LaunchId("l1"), connection=1, number=number)
        origin = Origin(subject=subject, session=session, key="k")
        try:
            call = self.resolver.resolve(origin, kind, canonical(body))
        except BadInput as fault:
            return await journal.note(Event(
                type="refused_before_call", tenant="acme", subject=str(who), session=SessionId(session),
                body={"kind": kind, "code": fault.code, "launch": "l1"}, sealed={"cause": fault.cause}))
        return await self._record(journal, call, await self._judge(call, say or {}))

    async def _judge(self, call: Call, say: Mapping[RingName, Verdict]) -> Verdicts:
        facts: Facts = {}
        said: list[tuple[RingName, Verdict]] = []
        for name in ORDER:
            if name in OTHER_RINGS:
                facts[name] = dict(OTHER_RINGS[name])
                verdict = say.get(name, Allowed())
            elif name in say:
                verdict = say[name]
            else:
                ring = self.capability if name == "capability" else self.policy
                verdict = (await ring.enter(call, facts)).verdict
            said.append((name, verdict))
            if isinstance(verdict, Denied):
                break
        return Verdicts(rings=tuple(said), facts=facts)

    async def _record(self, journal: AuditJournal, call: Call, verdicts: Verdicts) -> str:
        if verdicts.denied:
            return await journal.refusal(call, verdicts)
        if any(isinstance(verdict, NeedsApproval) for _, verdict in verdicts.rings):
            return await journal.held(call, verdicts)
        record = await journal.intent(call, verdicts)
        await journal.outcome(Seq(record), Outcome(end="done"))
        return record

    def recorded(self, name: str) -> Recorded:
        """A call as the log has it."""
        tenant, _, number = name.partition("/")
        found = next(iter(calls(self.state, tenant, self.keys, int(number))))
        assert isinstance(found, Recorded), found
        return found

    def all(self) -> list[Recorded | Unreadable]:
        return list(calls(self.state, "acme", self.keys))

    def advisor(self, text: str | None = None) -> Advisor:
        return Advisor(text or self.text, self.path, lambda manifest: policy(in_force(manifest), manifest))
