"""Two tenants, three agents and one elsewhere that talk to each other, for the rings that judge them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ringwall.call import Call, CallId, Json, LaunchId, Peer, Process, Resource, SessionId, Target
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.manifest.load import parse
from ringwall.manifest.types import Manifest

TEXT = """\
version = 1
trust_domain = "acme.example"
a2a = { max_hops = 2 }

[identity.federation."partner.test"]
bundle = "/etc/ringwall/partner.json"

[peers.partner]
spiffe_id = "spiffe://partner.test/agents/bob"
url = "https://a2a.partner.test:8443/rpc"
[peers.partner.skills.invoice]
[peers.partner.skills.other]

[tools.docs]
python = "acme.docs"
[tools.docs.ops.read]
effect = "read"
args = { path = "selector:path" }
[tools.pay]
python = "acme.pay"
[tools.pay.ops.send]
effect = "pay"
args = { to = "target:iban", amount = "param" }

[tenants.acme.roles.analyst.tools]
"docs/read" = ["path:/srv/docs/public/"]
[tenants.acme.roles.seller]
svid = { x509 = true }
models = []
[tenants.acme.roles.seller.tools]
"docs/read" = ["path:/srv/docs/"]
"pay/send" = { resources = ["iban:DE89370400440532013000"], max = { amount = 50 } }

[tenants.acme.agents.ana]
role = "analyst"
processes = "tree"
listen = "127.0.0.1:7001"
serve = 9000
push = 9001
send = { sam = ["quote", "pay"], partner = ["invoice"] }
skills = { news = {} }
receive = { sam = ["news"] }
[tenants.acme.agents.sam]
role = "seller"
listen = "127.0.0.1:7002"
serve = 9000
send = { partner = ["invoice", "other"], "globex/gus" = ["audit"], ana = ["news"] }
[tenants.acme.agents.sam.skills.quote]
uris = ["https://files.acme.example/in/"]
output = ["text/plain", "application/pdf"]
[tenants.acme.agents.sam.skills.pay]
[tenants.acme.agents.sam.skills.tell]
[tenants.acme.agents.sam.receive]
ana = { skills = ["quote", "pay"], lends = ["pay/send"], relays = ["globex/gus/audit"] }
partner = { skills = ["quote"], lends = ["docs/read"] }
"globex/gus" = ["tell"]

[tenants.globex.roles.reader.tools]
"docs/read" = ["path:/srv/docs/"]
[tenants.globex.agents.kim]
role = "reader"
[tenants.globex.roles.auditor]
[tenants.globex.agents.gus]
role = "auditor"
listen = "127.0.0.1:7003"
serve = 9000
skills = { audit = {} }
receive = { "acme/sam" = ["audit"] }
"""
def without(manifest: Manifest, agent: str, key: str, peer: str) -> Manifest:
    """The manifest with one end's grant taken away: the loader would refuse it, the rings must not need that."""
    tenant = manifest.tenants[IDS[agent].tenant]
    one = tenant.agents[agent]
    grants = {name: grant for name, grant in getattr(one, key).items() if name != peer}
    agents = {**tenant.agents, agent: dataclasses.replace(one, **{key: grants})}
    return dataclasses.replace(
        manifest, tenants={**manifest.tenants, tenant.name: dataclasses.replace(tenant, agents=agents)})


SKILL = "urn:ringwall:skill"
_WHO = (("ana", "acme", "analyst"), ("sam", "acme", "seller"), ("gus", "globex", "auditor"),
        ("kim", "globex", "reader"))
IDS = {name: SpiffeId.make(trust_domain="acme.example", tenant=tenant, agent=name, role=role)
       for name, tenant, role in _WHO}
PARTNER = "spiffe://partner.test/agents/bob"
STRANGER = "spiffe://acme.example/tenant/acme/agent/ana/role/boss"
EVENT = {"statusUpdate": {"taskId": "t1", "contextId": "c1", "status": {"state": "TASK_STATE_COMPLETED"}}}
IBAN = "DE89370400440532013000"


def parley(*edits: tuple[str, str]) -> Manifest:
    text = TEXT
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    return parse(text, Path("/etc/office/ringwall.toml"))


def spiffe(name: str) -> str:
    return str(IDS[name]) if name in IDS else {"partner": PARTNER, "stranger": STRANGER}[name]


def name_for(tenant: str, who: str) -> str:
    """How a tenant spells it."""
    return who if who not in IDS or IDS[who].tenant == tenant else f"{IDS[who].tenant}/{who}"


def params(skill: str = "quote", **more: Json) -> Json:
    message = {"messageId": "m1", "role": "ROLE_USER", "parts": [{"text": "hello"}], "metadata": {SKILL: skill}}
    return {"message": {**message, **more}}


def message(
    *, direction: str, sender: str, receiver: str, skill: str, method: str = "SendMessage",
    behalf: tuple[str, ...] = (), given: Json = None, named: str | None = None, envelope: Json = False,
) -> Call:
    """A message as the resolver would make it. ``behalf``: names of those it is for."""
    chain = tuple(sorted(spiffe(one) for one in behalf))
    sends = direction == "out"
    local, other = (sender, receiver) if sends else (receiver, sender)
    name = name_for(IDS[local].tenant, other) if named is None else named
    foreign = spiffe(other).startswith("spiffe://partner.test/")
    told = None if foreign or method == "GetAgentCard" else {
        "label": "M private", "chain": list(chain), "record": "acme/1", "id": "e1", "trace": "0" * 32}
    usual: dict[str, Json] = {"PushNotification": {"push": "p1", "event": EVENT}}
    sends_message = method.startswith("Send")
    carried: Json = given if given is not None else params(skill) if sends_message else usual.get(method, {})
    args: dict[str, Json] = {"method": method, "peer": spiffe(other), "skill": skill, "params": carried}
    args |= {"hops": len(chain) + 1, "trace": "0" * 32} if sends else {
        "envelope": told if envelope is False else envelope}
    found = AnyId.parse(spiffe(other))
    resource = Resource(type="peer", id=spiffe(other), key=(found.trust_domain, *found.path),
                        action="send" if sends else "receive", argument="peer")
    subject = Process(spiffe_id=IDS[local], launch=LaunchId("l1"), connection=1) if sends else Peer(
        spiffe_id=found, receiver=IDS[local], launch=LaunchId("l1"), connection=1)
    return Call.make(
        id=CallId("c1"), kind="message", subject=subject, session=SessionId("s1"), args=args, resources=(resource,),
        target=Target(name=f"{name}/{skill}" if skill else name, direction=direction),  # pyright: ignore[reportArgumentType]
        acting_for=chain if sends else ())


# direction, sender, receiver, skill, method, on behalf of, the code (empty: it may)
TABLE: list[tuple[str, str, str, str, str, tuple[str, ...], str]] = [
    ("out", "ana", "sam", "quote", "SendMessage", (), ""),
    ("out", "ana", "sam", "pay", "SendStreamingMessage", (), ""),
    ("in", "ana", "sam", "quote", "SendMessage", (), ""),
    ("in", "ana", "sam", "quote", "GetTask", (), ""),
    ("out", "ana", "sam", "tell", "SendMessage", (), "not_granted"),
    ("in", "ana", "sam", "tell", "SendMessage", (), "not_granted"),
    ("out", "ana", "sam", "", "SendMessage", (), "not_granted"),
    ("out", "ana", "sam", "", "ListTasks", (), ""),
    ("out", "ana", "sam", "", "GetAgentCard", (), ""),
    ("in", "ana", "sam", "", "GetAgentCard", (), ""),
    ("in", "ana", "sam", "", "GetExtendedAgentCard", (), ""),
    ("out", "sam", "ana", "quote", "SendMessage", (), "not_granted"),
    ("out", "sam", "ana", "news", "SendMessage", (), ""),
    ("in", "sam", "ana", "news", "SendMessage", (), ""),
    ("out", "ana", "gus", "audit", "SendMessage", (), "not_granted"),
    ("in", "ana", "gus", "audit", "SendMessage", (), "not_granted"),
    ("out", "ana", "gus", "", "GetAgentCard", (), "not_granted"),
    ("out", "sam", "gus", "audit", "SendMessage", (), ""),
    ("in", "sam", "gus", "audit", "SendMessage", (), ""),
    ("out", "gus", "sam", "tell", "SendMessage", (), "not_granted"),  # sam would, gus does not send
    ("in", "gus", "sam", "tell", "SendMessage", (), "not_granted"),
    ("out", "gus", "ana", "", "ListTasks", (), "not_granted"),
    ("out", "ana", "partner", "invoice", "SendMessage", (), ""),
    ("out", "ana", "partner", "other", "SendMessage", (), "not_granted"),
    ("out", "gus", "partner", "invoice", "SendMessage", (), "not_granted"),
    ("in", "partner", "sam", "quote", "SendMessage", (), ""),
    ("in", "partner", "sam", "pay", "SendMessage", (), "not_granted"),
    ("in", "partner", "ana", "news", "SendMessage", (), "not_granted"),
    ("in", "partner", "ana", "", "GetAgentCard", (), "not_granted"),
    ("in", "stranger", "sam", "quote", "SendMessage", (), "not_granted"),  # her name, another role
    # on behalf of others
    ("out", "sam", "partner", "invoice", "SendMessage", ("ana",), ""),  # ana may that herself
    ("out", "sam", "partner", "other", "SendMessage", ("ana",), "beyond_delegation"),
    ("out", "sam", "gus", "audit", "SendMessage", ("ana",), ""),  # relayed
    ("out", "sam", "gus", "audit", "SendMessage", ("partner",), "beyond_delegation"),
    ("out", "sam", "gus", "audit", "SendMessage", ("stranger",), "beyond_delegation"),
    ("out", "sam", "gus", "", "GetAgentCard", ("ana",), ""),
    ("out", "sam", "gus", "", "ListTasks", ("partner",), "beyond_delegation"),
    ("out", "sam", "ana", "news", "SendMessage", ("ana",), "loop"),
    ("out", "sam", "partner", "invoice", "SendMessage", ("ana", "partner"), "loop"),
    ("out", "sam", "partner", "invoice", "SendMessage", ("ana", "gus"), "too_many_hops"),
    ("in", "sam", "gus", "audit", "SendMessage", ("ana",), ""),
    ("in", "sam", "gus", "audit", "SendMessage", ("ana", "partner"), "too_many_hops"),
    ("in", "sam", "ana", "news", "SendMessage", ("ana",), "loop"),
    # what a receiver tells its caller goes by the pair the other way round
    ("out", "sam", "ana", "quote", "PushNotification", ("ana",), ""),
    ("in", "sam", "ana", "quote", "PushNotification", ("ana",), ""),
    ("out", "sam", "ana", "tell", "PushNotification", ("ana",), "not_granted"),
    ("out", "ana", "sam", "quote", "PushNotification", (), "not_granted"),
    ("in", "ana", "sam", "quote", "PushNotification", (), "not_granted"),
    ("out", "gus", "sam", "audit", "PushNotification", ("sam", "ana"), ""),
    ("out", "sam", "partner", "quote", "PushNotification", ("partner",), ""),
    ("out", "sam", "ana", "", "PushNotification", ("ana",), "not_granted"),
]


def tool(name: str, args: dict[str, Json], resource: Resource | None, behalf: tuple[str, ...],
         who: str = "sam") -> Call:
    return Call.make(
        id=CallId("c1"), kind="tool", subject=Process(spiffe_id=IDS[who], launch=LaunchId("l1"), connection=1),
        session=SessionId("s1"), target=Target(name=name), args=args,
        resources=(resource,) if resource is not None else (), acting_for=tuple(sorted(map(spiffe, behalf))))


def reads(path: str, behalf: tuple[str, ...]) -> Call:
    one = Resource(type="path", id=path, key=tuple(path.strip("/").split("/")), action="read", argument="path")
    return tool("docs/read", {"path": path}, one, behalf)


def pays(amount: float, behalf: tuple[str, ...]) -> Call:
    one = Resource(type="iban", id=IBAN, key=(IBAN,), action="pay", argument="to")
    return tool("pay/send", {"to": IBAN, "amount": amount}, one, behalf)


def svid(behalf: tuple[str, ...]) -> Call:
    return Call.make(
        id=CallId("c1"), kind="secret", subject=Process(spiffe_id=IDS["sam"], launch=LaunchId("l1"), connection=1),
        session=SessionId("s1"), target=Target(name="svid/x509"), args={},
        acting_for=tuple(sorted(map(spiffe, behalf))))


# a call of sam's, and the code (empty: it may)
BEHALF: list[tuple[Call, str]] = [
    (reads("/srv/docs/private/a", ()), ""),
    (reads("/srv/docs/public/a", ("ana",)), ""),
    (reads("/srv/docs/private/a", ("ana",)), "beyond_delegation"),  # hers is narrower
    (reads("/srv/docs/private/a", ("partner",)), ""),  # lent
    (reads("/srv/docs/public/a", ("gus",)), "beyond_delegation"),
    (reads("/srv/docs/public/a", ("ana", "stranger")), "beyond_delegation"),
    (pays(20, ("ana",)), ""),  # lent
    (pays(60, ("ana",)), "over_maximum"),
    (pays(20, ("partner",)), "beyond_delegation"),
    (pays(20, ("ana", "partner")), "beyond_delegation"),
    (reads("/srv/docs/public/a", ("kim",)), "beyond_delegation"),  # of another tenant: other servers, other data
    (svid(()), ""),
    (svid(("ana",)), "beyond_delegation"),
]
