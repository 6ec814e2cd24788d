"""What ``ringwall.toml`` says, as frozen values. The reference and the JSON Schema are made from these types.

Everything absent is refused; nothing here has a permissive default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Clearance = Literal["public", "private", "secret"]
Integrity = Literal["P", "T", "C", "M", "U"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentRole:
    """What an argument is for, and of which kind its value is: ``selector:path``, ``target:email``, ``payload``."""

    role: Literal["target", "payload", "selector", "param", "query", "url", "secret", "ident"]
    kind: str = ""  # path, url, email, iban, id, ...; empty where the role has none


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLabel:
    """The labels of one output field, for instance ``U private``."""

    integrity: Integrity = "U"
    confidentiality: Clearance = "private"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of a tool server: what it does, what its arguments are, how its output is labelled."""

    effect: str  # call.Effectclass
    args: Mapping[str, ArgumentRole]
    returns: Mapping[str, OutputLabel] = field(default_factory=dict[str, OutputLabel])  # "*": all other fields


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolServer:
    """A tool server: exactly one of ``command``, ``python`` and ``builtin``."""

    name: str
    command: tuple[str, ...] = ()
    python: str = ""
    builtin: str = ""
    read_only: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    clearance: Clearance = "public"
    system_of_record: bool = False
    ops: Mapping[str, Operation] = field(default_factory=dict[str, Operation])


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """Where a secret goes: one header of requests to one upstream."""

    header: str
    format: str = "{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret Ringwall holds. ``file``: an absolute path, mode 0600, outside every view."""

    name: str
    source: Literal["file"] = "file"
    file: Path = Path()
    inject: Injection = field(default_factory=lambda: Injection(header="Authorization", format="Bearer {}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model upstream."""

    name: str
    wire: Literal["openai"]
    url: str  # base URL including /v1
    secret: str = ""  # name in [secrets]; empty: the upstream wants none
    model: str = ""  # what the upstream calls it; empty: the name itself
    clearance: Clearance = "public"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """``60/min burst 10``: ``count`` per ``seconds``, at once at most ``burst``."""

    count: int
    seconds: float
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a tenant or role. None: not limited here."""

    calls: Rate | None = None
    tokens_per_session: int | None = None
    concurrent: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A tool given to a role. ``resources``: typed patterns, all of which are allowed; ``any_resource``: the
    tool touches none. ``max``: numeric upper bounds by argument."""

    tool: str  # "server/operation"
    resources: tuple[str, ...] = ()  # "path:/srv/docs/public/": trailing slash = subtree
    approval: Literal["never", "always"] = "never"
    max: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What agents in this role may do."""

    name: str
    models: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    tools: Mapping[str, Grant] = field(default_factory=dict[str, Grant])


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent: a role, how many processes may call, what else its view shows."""

    name: str
    role: str
    processes: Literal["one", "tree"] = "one"
    read_only: tuple[Path, ...] = ()
    work: Path | None = None  # a folder of yours as /workspace; None: Ringwall keeps one


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A tenant: its roles, agents, limits."""

    name: str
    limits: Limits = field(default_factory=Limits)
    roles: Mapping[str, Role] = field(default_factory=dict[str, Role])
    agents: Mapping[str, Agent] = field(default_factory=dict[str, Agent])


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSettings:
    """Scores from which a finding of injection blocks, by direction; absent: never blocks, only labels."""

    block_at: Mapping[str, float] = field(
        default_factory=dict[str, float]
    )  # prompt, tool_result, response, arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSettings:
    """``clean_waiver``: while nothing below M was seen, the trifecta rule is waived."""

    clean_waiver: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """How much log one tenant may fill, in bytes; the reserve is kept for outcomes and refusals."""

    quota_mib: int = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The whole of ``ringwall.toml``."""

    version: int
    trust_domain: str
    path: Path
    guard: GuardSettings = field(default_factory=GuardSettings)
    flow: FlowSettings = field(default_factory=FlowSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    models: Mapping[str, Model] = field(default_factory=dict[str, Model])
    tools: Mapping[str, ToolServer] = field(default_factory=dict[str, ToolServer])
    secrets: Mapping[str, Secret] = field(default_factory=dict[str, Secret])
    tenants: Mapping[str, Tenant] = field(default_factory=dict[str, Tenant])
    revision: str = ""  # sha256 of the file's bytes
