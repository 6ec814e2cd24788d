"""What ``ringwall.toml`` says, as frozen values. The reference and the JSON Schema are made from these types.

Everything absent is refused; nothing here has a permissive default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

# isort: off (one block; everybody imports these from here)
from ringwall.manifest.details import (
    Detail as Detail,
)
from ringwall.manifest.types_tools import (
    ANSWER_BYTES as ANSWER_BYTES,
)
from ringwall.manifest.types_tools import (
    HTTP_METHODS as HTTP_METHODS,
)
from ringwall.manifest.types_tools import (
    ArgumentRole as ArgumentRole,
)
from ringwall.manifest.types_tools import (
    Clearance as Clearance,
)
from ringwall.manifest.types_tools import (
    Integrity as Integrity,
)
from ringwall.manifest.types_tools import (
    Model as Model,
)
from ringwall.manifest.types_tools import (
    OAuth as OAuth,
)
from ringwall.manifest.types_tools import (
    Operation as Operation,
)
from ringwall.manifest.types_tools import (
    OutputLabel as OutputLabel,
)
from ringwall.manifest.types_tools import (
    Price as Price,
)
from ringwall.manifest.types_tools import (
    ProviderTool as ProviderTool,
)
from ringwall.manifest.types_tools import (
    ToolServer as ToolServer,
)
from ringwall.manifest.types_vault import (
    MAX_SECONDS as MAX_SECONDS,
)
from ringwall.manifest.types_vault import (
    Injection as Injection,
)
from ringwall.manifest.types_vault import (
    OutsideVault as OutsideVault,
)
from ringwall.manifest.types_vault import (
    Secret as Secret,
)
from ringwall.manifest.types_vault import (
    VaultSettings as VaultSettings,
)

# isort: on


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """``60/min burst 10``: ``count`` per ``seconds``, at once at most ``burst``."""

    count: int
    seconds: float
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much: a rate, calls at once, and budgets. Absent: not limited here, but for `concurrent`, which is 128
    for a tenant and 32 for an agent. A day is a UTC day. Money is in micro-units of `[limits] currency`."""

    calls: Rate | None = None
    tokens_per_session: int | None = None
    concurrent: int | None = None
    calls_per_session: int | None = None
    calls_per_day: int | None = None
    tokens_per_day: int | None = None
    money_per_session: int | None = None
    money_per_day: int | None = None
    on_store_down: Literal["deny", "local"] = "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A tool given to a role. ``resources``: typed patterns, all of which are allowed; ``any_resource``: the
    tool touches none. ``max``: numeric upper bounds by argument."""

    tool: str  # "server/operation"
    resources: tuple[str, ...] = ()  # "path:/srv/docs/public/": trailing slash = subtree
    approval: Literal["never", "always"] = "never"
    max: Mapping[str, float] = field(default_factory=dict[str, float])
    limits: Limits = field(default_factory=Limits)  # of each agent's calls of this tool
    resource_limits: Limits = field(default_factory=Limits)  # of each agent's calls of it, for each resource


@dataclass(frozen=True, slots=True, kw_only=True)
class SvidGrant:
    """Which SVIDs a role's agents may fetch over the Workload API. Absent: none, and there is no such socket."""

    x509: bool = False
    audiences: tuple[str, ...] = ()  # of JWT-SVIDs


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadGrant:
    """Which secrets a role's agents may read themselves, and how often. Absent: none."""

    secrets: tuple[str, ...] = ()
    calls: Rate = field(default_factory=lambda: Rate(count=10, seconds=3600.0, burst=10))


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What agents in this role may do."""

    name: str
    models: tuple[str, ...] = ()  # "main", or "main/web_search" for a tool of its provider
    secrets: tuple[str, ...] = ()
    judge_tool_calls: bool = False  # of completions, before the agent sees them
    limits: Limits = field(default_factory=Limits)
    process_limits: Limits = field(default_factory=Limits)  # of each process of an agent
    tools: Mapping[str, Grant] = field(default_factory=dict[str, Grant])  # also those of authorization_details
    authorization_details: tuple[Detail, ...] = ()  # grants as they are written in the long form
    svid: SvidGrant | None = None
    read: ReadGrant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """A skill that an agent offers over A2A: media types in and out, and where files by URL may lie."""

    name: str
    input: tuple[str, ...] = ("text/plain", "application/json")
    output: tuple[str, ...] = ("text/plain", "application/json")
    uris: tuple[str, ...] = ()  # prefixes of URLs of file parts, both ways; empty: no file by URL
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendGrant:
    """To which peer an agent may send messages, for which of its skills, and what that peer may be shown.

    ``peer``: an agent of the same tenant, ``tenant/agent``, or a name in ``[peers]``.
    """

    peer: str
    skills: tuple[str, ...] = ()
    clearance: Clearance | None = None  # None: private within the tenant, else public, or what [peers] says


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveGrant:
    """From which peer an agent takes messages, for which of its skills, and what it may do for that peer that the
    peer itself may not: ``lends`` names tools, ``relays`` names ``peer/skill``."""

    peer: str
    skills: tuple[str, ...] = ()
    lends: tuple[str, ...] = ()
    relays: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent: a role, how many processes may call, what else its view shows, with whom it talks.

    Ports are of 127.0.0.1 inside its own network namespace.
    """

    name: str
    role: str
    processes: Literal["one", "tree"] = "one"
    read_only: tuple[Path, ...] = ()
    work: Path | None = None  # a folder of yours as /workspace; None: Ringwall keeps one
    send: Mapping[str, SendGrant] = field(default_factory=dict[str, SendGrant])
    receive: Mapping[str, ReceiveGrant] = field(default_factory=dict[str, ReceiveGrant])
    skills: Mapping[str, Skill] = field(default_factory=dict[str, Skill])
    listen: str = ""  # host:port of this machine where its messages arrive, over mutual TLS
    serve: int | None = None  # the port its own A2A server listens on
    push: int | None = None  # the port it takes push notifications on
    door: int | None = None  # the port of its door over TCP, for programs that know no Unix sockets
    attestation: Literal["process", "none"] = "process"  # "none": a client of this user that nobody launched


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """An agent elsewhere that agents here may talk to over A2A."""

    name: str
    spiffe_id: str
    url: str  # https, of its JSON-RPC interface
    clearance: Clearance = "public"
    skills: Mapping[str, Skill] = field(default_factory=dict[str, Skill])


@dataclass(frozen=True, slots=True, kw_only=True)
class A2ASettings:
    """How far a task may be handed on: ``max_hops`` agents one after the other. Who ends the TLS of those who
    come: the tenants' sidecars, or an Envoy of uid ``envoy_uid`` whose sockets are in ``envoy_folder``."""

    max_hops: int = 4
    terminator: Literal["sidecar", "envoy"] = "sidecar"
    envoy_uid: int | None = None  # None: the user who runs Ringwall
    envoy_folder: Path | None = None  # None: peers/ in the state folder, which only that user can enter


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


OperatorRole = Literal["admin", "launcher", "approver", "responder", "auditor"]
VERBS: Final = (
    "run", "stop", "status", "freeze", "thaw",
    "approvals.list", "approvals.show", "approvals.approve", "approvals.deny", "approvals.watch",
    "endorsements.list", "endorsements.add", "endorsements.revoke",
    "policy.reload", "policy.shadow", "limits.show",
    "audit.forget", "pins.list", "pins.accept",
    "vault.init", "vault.status", "vault.seal", "vault.unseal", "vault.put", "vault.list", "vault.versions",
    "vault.delete", "vault.undelete", "vault.destroy", "vault.rotate", "vault.import", "vault.backup",
    "vault.restore", "leases.list", "leases.renew", "leases.revoke",
)
"""What operators may ask for, all of it."""
LOOSENING: Final = ("thaw", "approvals.approve", "endorsements.add", "policy.reload", "pins.accept", "audit.forget",
                    "vault.unseal", "vault.undelete", "vault.destroy", "vault.restore")
"""The verbs that can let more happen than before, or destroy something; two people may be asked for them."""
ROLE_VERBS: Final[Mapping[OperatorRole, frozenset[str]]] = MappingProxyType({
    "admin": frozenset(VERBS),
    "launcher": frozenset({"run", "stop", "status"}),
    "approver": frozenset(verb for verb in VERBS if verb.startswith(("approvals.", "endorsements.", "status"))),
    "responder": frozenset({"freeze", "thaw", "status", "vault.seal", "leases.list", "leases.revoke"}),
    "auditor": frozenset({"status", "policy.shadow", "limits.show", "approvals.list", "approvals.show",
                          "endorsements.list", "vault.status", "vault.list", "leases.list"}),
})


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedOperator:
    """A human who may operate, by the uid of his account on this machine, and what for."""

    name: str
    uid: int
    roles: tuple[OperatorRole, ...]

    @property
    def verbs(self) -> frozenset[str]:
        """All that its roles give."""
        return frozenset[str]().union(*(ROLE_VERBS[role] for role in self.roles))


@dataclass(frozen=True, slots=True, kw_only=True)
class Operators:
    """Who may operate, by name. Without any: root and the user who runs Ringwall, with every verb."""

    named: Mapping[str, NamedOperator] = field(default_factory=dict[str, NamedOperator])
    two_person: tuple[str, ...] = ()
    socket: Path | None = None  # a second operator socket, for users who cannot enter the state folder

    def verbs(self, name: str, uid: int) -> frozenset[str]:
        """What an attested operator may ask for."""
        if not self.named:
            return frozenset(VERBS)
        one = self.named.get(name)
        return one.verbs if one is not None and one.uid == uid else frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSettings:
    """Where counters live: in the core's memory, or in a Redis or Valkey that several cores may share."""

    store: str = "memory"
    password_file: Path | None = None
    ca_file: Path | None = None
    currency: str = ""  # a name for people; nothing is converted


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalSettings:
    """How long a call waits for a human, how many may wait, and who is told of it."""

    deadline_s: int = 600  # to decide, and then again to use the decision
    per_agent: int = 16
    per_tenant: int = 64
    webhook: str = ""  # http on a loopback address, or unix:/absolute/path; empty: nobody is told
    webhook_secret: str = ""  # name in [secrets] of the key that signs


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """Which policy decides, and where. Absent: the policy that ships with Ringwall, in the core. With `keys`, a
    bundle must carry a signature by one of them."""

    bundle: Path | None = None
    keys: tuple[Path, ...] = ()
    scope: str = ""  # what the signature must be for: one key may serve several installations
    backend: Literal["embedded", "opa"] = "embedded"
    opa: str = ""  # http on a loopback address, or unix:/absolute/path
    cache: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Federated:
    """Another trust domain whose SVIDs are verified here. ``bundle``: its document, or where there is an endpoint,
    the first one."""

    trust_domain: str
    bundle: Path | None = None
    endpoint: str = ""  # https URL of its bundle endpoint; empty: only the file
    profile: Literal["", "https_web", "https_spiffe"] = ""
    spiffe_id: str = ""  # of the endpoint's certificate; https_spiffe only
    ca_file: Path | None = None  # who signs it; https_web only; None: the system's authorities


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySettings:
    """What SVIDs say about their issuer, which other trust domains are known, and where ours is published."""

    issuer: str = ""
    federation: Mapping[str, Federated] = field(default_factory=dict[str, Federated])
    publish: str = ""  # host:port where others fetch our bundle and keys; empty: nowhere
    publish_cert: Path | None = None  # with publish_key: https_web; without: https_spiffe
    publish_key: Path | None = None
    spire: Path | None = None  # the Workload API of a SPIRE agent; None: our own authority issues


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """What is told of calls beside the log, never on the way of a decision and never with content."""

    metrics: str = ""  # host:port of this machine where Prometheus asks; empty: nowhere
    otlp: str = ""  # http URL on this machine of an OpenTelemetry collector (OTLP over HTTP); empty: none


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The whole of ``ringwall.toml``."""

    version: int
    trust_domain: str
    path: Path
    guard: GuardSettings = field(default_factory=GuardSettings)
    flow: FlowSettings = field(default_factory=FlowSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    limits: LimitsSettings = field(default_factory=LimitsSettings)
    operators: Operators = field(default_factory=Operators)
    approvals: ApprovalSettings = field(default_factory=ApprovalSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    a2a: A2ASettings = field(default_factory=A2ASettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    vault: VaultSettings = field(default_factory=VaultSettings)
    vaults: Mapping[str, OutsideVault] = field(default_factory=dict[str, OutsideVault])
    peers: Mapping[str, Remote] = field(default_factory=dict[str, Remote])
    models: Mapping[str, Model] = field(default_factory=dict[str, Model])
    tools: Mapping[str, ToolServer] = field(default_factory=dict[str, ToolServer])
    secrets: Mapping[str, Secret] = field(default_factory=dict[str, Secret])
    tenants: Mapping[str, Tenant] = field(default_factory=dict[str, Tenant])
    revision: str = ""  # sha256 of the file's bytes
