"""A small office for the tests of this package: a manifest, tool definitions, and calls made from bytes."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

from ringwall.call import Call, Denied, Digest, Facts, Json, Kind, LaunchId, Process, Subject, Verdict, canonical
from ringwall.capability.catalogue import Catalogues
from ringwall.capability.resolve import ManifestResolver
from ringwall.capability.ring import CapabilityRing
from ringwall.errors import BadInput
from ringwall.identity.spiffe import SpiffeId
from ringwall.interface import Origin
from ringwall.manifest.types import (
    Agent,
    ArgumentRole,
    Grant,
    Manifest,
    Model,
    Operation,
    ProviderTool,
    Role,
    Tenant,
    ToolServer,
)

TEXT: dict[str, Json] = {"type": "string"}
TEXTS: dict[str, Json] = {"type": "array", "items": TEXT}

MODELS = ("main", "finder", "finder/web_search", "main/web_search")
SEARCH = {"web_search": ProviderTool(name="web_search", effect="fetch")}

def role(text: str) -> ArgumentRole:
    name, _, kind = text.partition(":")
    return ArgumentRole(role=name, kind=kind)  # pyright: ignore[reportArgumentType]


def operation(effect: str, **args: str) -> Operation:
    return Operation(effect=effect, args={name: role(text) for name, text in args.items()})


def definition(name: str, required: tuple[str, ...] = (), **properties: Json) -> dict[str, Json]:
    return {"name": name, "description": f"does {name}",
            "inputSchema": {"type": "object", "properties": properties, "required": list(required)}}


DOCS = ToolServer(name="docs", ops={
    "read": operation("read", path="selector:path", encoding="param"),
    "list": operation("read", folder="selector:path"),
    "find": operation("read", invoice="selector:id", words="query"),
})
DOCS_LISTED = [
    definition("read", ("path",), path=TEXT, encoding=TEXT, follow={"type": "boolean"}),
    definition("list", folder={"type": "string", "default": "/srv/docs/private"}),
    definition("find", words=TEXT,
               invoice={"anyOf": [{"type": "integer"}, TEXT, {"type": "null"}], "default": None}),
    definition("shred", path=TEXT),
]
MAIL = ToolServer(name="mail", ops={
    "send": operation("send", to="target:email", cc="target:email", subject="payload", body="payload"),
})
MAIL_LISTED = [definition("send", ("to", "body"), to=TEXTS, cc=TEXTS, subject=TEXT, body=TEXT)]
PAY = ToolServer(name="pay", ops={
    "transfer": operation("pay", iban="target:iban", amount="param", note="payload"),
    "fetch": operation("fetch", link="url"),
})
PAY_LISTED = [
    definition("transfer", ("iban",), iban=TEXT, note=TEXT, amount={"type": "number", "exclusiveMinimum": 0}),
    definition("fetch", link=TEXT),
]
ECHO = ToolServer(name="echo", ops={"echo": operation("read", text="payload")})
ECHO_LISTED = [definition("echo", ("text",), text=TEXT)]
IBAN = "DE89370400440532013000"


def grant(tool: str, *resources: str, **more: Any) -> Grant:
    return Grant(tool=tool, resources=resources, **more)


def office() -> Manifest:
    grants = [
        grant("docs/read", "path:/srv/docs/public/", "path:/srv/docs/rules.txt"),
        grant("docs/list", "path:/srv/docs/public/"),
        grant("docs/find", "id:57", "id:INV-1"),
        grant("mail/send", "email:@customer.example", "email:boss@acme.example"),
        grant("pay/transfer", f"iban:{IBAN}", max={"amount": 50}), grant("pay/fetch", "url:https://x.example/v1/"),
        grant("echo/echo"), grant("gone/tool"),
    ]
    analyst = Role(name="analyst", models=MODELS, tools={one.tool: one for one in grants})
    held = Role(name="held", tools={"mail/send": grant("mail/send", "email:@customer.example", approval="always")})
    servers = (DOCS, MAIL, PAY, ECHO)
    return Manifest(
        version=1, trust_domain="acme.example", path=Path("ringwall.toml"),
        models={name: Model(name=name, wire="openai", url="http://127.0.0.1/v1", provider_tools=tools)
                for name, tools in (("main", {}), ("other", SEARCH), ("third", SEARCH), ("finder", SEARCH))},
        tools={server.name: server for server in servers},
        tenants={"acme": Tenant(name="acme", roles={"analyst": analyst, "held": held}, agents={
            "ana": Agent(name="ana", role="analyst"), "hal": Agent(name="hal", role="held")})})


class MemoryPins:
    """Pins in a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[str, Digest] = {}

    def get(self, name: str) -> Digest | None:
        return self.kept.get(name)

    def set(self, name: str, definition: Digest, listed: Json) -> None:
        self.kept[name] = definition


def process(agent: str = "ana", role: str = "analyst", tenant: str = "acme",
            domain: str = "acme.example") -> Process:
    who = SpiffeId.make(trust_domain=domain, tenant=tenant, agent=agent, role=role)
    return Process(spiffe_id=who, launch=LaunchId("l1"), connection=1)


def parse_model(api: str, request: Json) -> Json:
    if api != "chat" or "messages" not in request:
        raise BadInput("no messages")
    return {"model": request["model"], "messages": request["messages"]}


class Office:
    """Everything wired; ``ask`` goes from bytes to the ring's verdict."""

    def __init__(self, manifest: Manifest | None = None) -> None:
        self.manifest = manifest or office()
        self.pins = MemoryPins()
        self.catalogues = Catalogues(lambda _: self.pins)
        self.catalogue = self.catalogues.of("acme")
        for server, listed in ((DOCS, DOCS_LISTED), (MAIL, MAIL_LISTED), (PAY, PAY_LISTED), (ECHO, ECHO_LISTED)):
            assert self.catalogue.register(server, listed) == []
        ids = itertools.count()
        self.resolver = ManifestResolver(self.manifest, self.catalogues, lambda: f"c{next(ids)}", parse_model)
        self.ring = CapabilityRing(self.manifest, self.catalogues)
        self.facts: Facts = {}

    def resolve(self, body: Json, kind: Kind = "tool", subject: Subject | None = None) -> Call:
        raw = body if isinstance(body, bytes) else canonical(body)
        origin = Origin(subject=subject or process(), session="s1", key="k")
        return self.resolver.resolve(origin, kind, raw)

    def judge(self, call: Call) -> Verdict:
        self.facts = {}
        return asyncio.run(self.ring.enter(call, self.facts)).verdict

    def ask(self, tool: str, args: Json, subject: Subject | None = None) -> Verdict:
        try:
            return self.judge(self.resolve({"tool": tool, "args": args}, subject=subject))
        except BadInput as error:  # as the wall does
            return Denied(code=error.code, reason=error.cause)
