"""A wall with a true desk behind fake rings: one ring asks, another may deny."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tests.fakes import ALICE, FakeClock, World, call

from ringwall.approvals.desk import Desk
from ringwall.approvals.endorsements import Endorsements, Matcher
from ringwall.approvals.item import Item
from ringwall.call import Approval, Call, Json, NeedsApproval, Operator, Process, Resource
from ringwall.capability.resources import covers, parse_pattern
from ringwall.interface import HeldCall, Refusal
from ringwall.manifest.types import (
    Agent,
    ApprovalSettings,
    ArgumentRole,
    Grant,
    Manifest,
    Operation,
    Role,
    Tenant,
    ToolServer,
)
from ringwall.running import Running

IBAN = "DE89370400440532013000"
ANN = Operator(name="ann", uid=1000, connection=1)
BOB = Operator(name="bob", uid=1001, connection=2)
ASK = NeedsApproval(code="untrusted_target", question="May it?", arguments=("to",))
MANIFEST = Manifest(
    version=1, trust_domain="example.org", path=Path("/m"),
    tools={"bank": ToolServer(name="bank", ops={"pay": Operation(effect="pay", args={
        "to": ArgumentRole(role="target", kind="iban"), "amount": ArgumentRole(role="param"),
        "subject": ArgumentRole(role="payload"), "pin": ArgumentRole(role="secret"),
    })})},
    tenants={"acme": Tenant(
        name="acme",
        roles={
            "reader": Role(name="reader", tools={"bank/pay": Grant(tool="bank/pay", resources=("iban:" + IBAN,))}),
            "writer": Role(name="writer"),
        },
        agents={"alice": Agent(name="alice", role="reader")},
    )},
)


def matcher(text: str) -> Matcher:
    pattern = parse_pattern(text)
    return Matcher(type=pattern.type, text=pattern.text, covers=lambda resource: covers(pattern, resource))


def pay(to: str = IBAN, approval: str = "", *, who: Process = ALICE, session: str = "s1", **more: Json) -> Call:
    """A payment of 5, unless ``more`` says otherwise."""
    made = call("bank/pay", {"to": to, "amount": 5, **more}, session=session, subject=who)
    return Call.make(
        id=made.id, kind="tool", subject=who, session=made.session, target=made.target, args=made.args,
        resources=(Resource(type="iban", id=to, key=(to,), action="pay", argument="to"),),
        approval=Approval(record=approval) if approval else None,
    )


def with_approval(asked: Call, record: str) -> Call:
    return dataclasses.replace(asked, approval=Approval(record=record))


class Bench(World):
    """``settings`` change the manifest's; ``told`` is what a webhook would be told."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(("identity", "limits", "flow", "policy"))
        self.told: list[Item] = []
        self.settings = ApprovalSettings(**settings)
        self.clock: FakeClock
        self.endorsements = Endorsements(
            manifest=MANIFEST, journal=self.journal, clock=self.clock, matcher=matcher
        )
        self.desk = Desk(
            settings=self.settings, journal=self.journal, clock=self.clock, endorsements=self.endorsements,
            on_held=self.told.append,
        )
        self.wall._approvals = self.desk
        self.rings["flow"].verdict = ASK

    async def ask(self, asked: Call) -> HeldCall | Refusal | Json:
        """What comes of a call: the held call, the refusal, or the pieces of its answer."""
        async with self.wall.perform(asked) as passage:
            if isinstance(passage, Running):
                return [chunk.value async for chunk in passage.chunks()]
            return passage

    async def held(self, asked: Call) -> str:
        """The record of a call that must be held."""
        found = await self.ask(asked)
        assert isinstance(found, HeldCall), found
        return found.record

    async def refused(self, asked: Call) -> str:
        """The code of a call that must be refused."""
        found = await self.ask(asked)
        assert isinstance(found, Refusal), found
        return found.code

    async def approved(self, asked: Call) -> Call:
        """Held, then approved: the call that may run."""
        record = await self.held(asked)
        await self.desk.decide(record, ANN, yes=True)
        return with_approval(asked, record)
