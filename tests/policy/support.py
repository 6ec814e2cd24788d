"""What the policy tests share: a manifest, its data, an input document."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringwall.manifest.types import (
    Agent,
    ArgumentRole,
    Grant,
    Manifest,
    Model,
    Operation,
    ProviderTool,
    ReadGrant,
    Role,
    Secret,
    SvidGrant,
    Tenant,
    ToolServer,
)
from ringwall.policy.data import policy_data

CALL = "ringwall/decide/call"
LIST = "ringwall/decide/list"
READ = ReadGrant(secrets=("hook", "minted"))
SECRETS = {"hook": Secret(name="hook"), "other": Secret(name="other"),
           "minted": Secret(name="minted", source="aws")}
SEARCH = {"web_search": ProviderTool(name="web_search", effect="fetch")}


@dataclass(frozen=True)
class FakePattern:
    type: str
    key: tuple[str, ...]
    subtree: bool


def fake_pattern(text: str) -> FakePattern:
    """``path:/a/b/`` without any of the checks of the real one."""
    kind, _, value = text.partition(":")
    return FakePattern(kind, tuple(part for part in value.split("/") if part), value.endswith("/"))


def _model(name: str) -> Model:
    return Model(name=name, wire="openai", url="https://llm.example/v1", provider_tools=SEARCH)


def manifest() -> Manifest:
    path, amount = ArgumentRole(role="selector", kind="path"), ArgumentRole(role="param")
    docs = ToolServer(name="docs", command=("docs",), ops={
        "read": Operation(effect="read", args={"path": path, "limit": amount}),
        "search": Operation(effect="read", args={"query": ArgumentRole(role="query")}),
    })
    bank = ToolServer(name="bank", command=("bank",), ops={
        "pay": Operation(effect="pay", args={"to": ArgumentRole(role="target", kind="id"), "amount": amount}),
    })
    svid = SvidGrant(x509=True, audiences=("billing.example",))
    models = ("main", "second", "second/web_search", "main_x")
    role = Role(name="analyst", models=models, svid=svid, read=READ, tools={
        "docs/read": Grant(tool="docs/read", resources=("path:/srv/team-1/", "path:/srv/one.txt"),
                           max={"limit": 200}),
        "docs/search": Grant(tool="docs/search"),
        "bank/pay": Grant(tool="bank/pay", resources=("id:alice",), approval="always", max={"amount": 50}),
    })
    acme = Tenant(name="acme", roles={"analyst": role, "guest": Role(name="guest")},
                  agents={"ana": Agent(name="ana", role="analyst"),
                          "tom": Agent(name="tom", role="analyst", processes="tree"),
                          "gus": Agent(name="gus", role="guest")})
    other = Tenant(name="other", roles={"analyst": Role(name="analyst")},
                   agents={"ana": Agent(name="ana", role="analyst")})
    return Manifest(version=1, trust_domain="acme.example", path=Path("/nowhere/ringwall.toml"),
                    models={name: _model(name) for name in ("main", "second", "main_x")},
                    secrets=SECRETS, tools={"docs": docs, "bank": bank}, tenants={"acme": acme, "other": other})


def data() -> Any:
    return policy_data(manifest(), fake_pattern)


def subject(agent: str = "ana", *, tenant: str = "acme", role: str = "analyst", number: int = 0) -> Any:
    return {"type": "process", "id": f"spiffe://acme.example/tenant/{tenant}/agent/{agent}/role/{role}",
            "trust_domain": "acme.example", "tenant": tenant, "agent": agent, "role": role, "number": number,
            "launch": "l1"}


def operator() -> Any:
    return {"type": "operator", "id": "operator:root", "tenant": "system", "name": "root", "uid": 0}


def resource(*key: str, type: str = "path", argument: str = "path") -> Any:  # noqa: A002
    return {"type": type, "id": "/" + "/".join(key), "key": list(key), "action": "read", "argument": argument}


def document(**changes: Any) -> Any:
    """An input that the default policy allows, with parts of ``call`` (or ``subject``, ``facts``) replaced."""
    made: Any = {
        "subject": subject(),
        "call": {"kind": "tool", "target": "docs/read", "direction": "out", "definition": "d",
                 "args": {"path": "/srv/team-1/a"}, "session": "s", "digest": "x", "approval": None,
                 "acting_for": [], "resources": [resource("srv", "team-1", "a")]},
        "facts": {"identity": {"attested": True}, "guard": {"blocked": False}, "flow": {"denied": False}},
        "time": {"now": 1.0},
    }
    for name, value in changes.items():
        if name in ("subject", "facts"):
            made[name] = value
        else:
            made["call"][name] = value
    return copy.deepcopy(made)


def codes(decision: Any) -> set[str]:
    return {denial["code"] for denial in decision["deny"]}
