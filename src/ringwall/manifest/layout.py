"""Which keys ``ringwall.toml`` has: one table a type, read by the loader, the JSON Schema and the reference."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, get_args

from ringwall.call import Effectclass
from ringwall.manifest import layout_identity, layout_peers, layout_tools, layout_vault, spell, spell_tools, types
from ringwall.manifest.details import TYPE
from ringwall.manifest.shapes import Choice, Entry, File, Flag, Layout, ListOf, MapOf, Number, Record, Text, Whole
from ringwall.manifest.texts import NAME, NAME_PATTERN
from ringwall.manifest.texts import OPERATION as _OPERATION

_TENANT = Text(what="a name", read=spell.tenant, pattern=NAME_PATTERN)
_FILLED = Text(what="a text", read=spell.filled, pattern=".")
_FIELD = Text(what='the name of a field, or "*"', read=spell.field_name, pattern=r"^(\*|[A-Za-z0-9._-]{1,64})$")
_RESOURCE = Text(what='a pattern such as "path:/srv/docs/"', read=spell.resource_pattern,
                 pattern=f"^({'|'.join(spell.KINDS)}):")
_RATE = Text(what='a rate such as "60/min burst 10"', read=spell.rate,
             pattern=f"^[0-9]+/({'|'.join(spell.UNIT_SECONDS)})( burst [0-9]+)?$")
_COUNT = Whole(low=1, high=spell.MAX_COUNT)
_MICROS = Whole(low=1, high=spell.MAX_MICROS)
DIRECTIONS: Final = ("prompt", "tool_result", "response", "arguments")

def _verbs(role: types.OperatorRole) -> str:
    given = types.ROLE_VERBS[role]
    return "all" if given.issuperset(types.VERBS) else ", ".join(verb for verb in types.VERBS if verb in given)


_LIMITS = Layout(
    of=types.Limits,
    entries=(
        Entry(key="calls", shape=_RATE,
              doc="Calls of any kind: `\"60/min burst 10\"` (units s, sec, min, hour, day). Without `burst` the "
                  "whole count may come at once."),
        Entry(key="tokens", attr="tokens_per_session",
              doc="Model tokens one session may use: `\"200000/session\"`.",
              shape=Text(what='a number such as "200000/session"', read=spell.tokens, pattern="^[0-9]+/session$")),
        Entry(key="concurrent", shape=Whole(low=1, high=10_000),
              doc="Calls that may run at the same time. Default: 128 for a tenant, 32 for an agent."),
        Entry(key="calls_per_session", shape=_COUNT, doc="Calls in one session."),
        Entry(key="calls_per_day", shape=_COUNT, doc="Calls in one UTC day."),
        Entry(key="tokens_per_day", shape=_COUNT, doc="Model tokens in one UTC day."),
        Entry(key="money_per_session", shape=_MICROS,
              doc="What one session may cost, in micro-units: models by their `price`, tools by their `cost`."),
        Entry(key="money_per_day", shape=_MICROS, doc="What one UTC day may cost, in micro-units."),
        Entry(key="on_store_down", shape=Choice(options=("deny", "local")),
              doc="When the store of `[limits]` does not answer: `deny` (the default), or `local`: go on with a "
                  "tenth of the rate and of `concurrent`, counted in memory. Budgets always deny."),
    ),
)
_GRANT = Layout(
    of=types.Grant, key_attr="tool", short="resources",
    entries=(
        Entry(key="resources", shape=ListOf(item=_RESOURCE),
              doc="What the operation may touch, as `kind:pattern`; all listed ones are allowed. A trailing slash "
                  "of a path is a subtree; there are no globs. Empty exactly when the operation has no argument "
                  "of a kind. A bare list stands for a table with this key only."),
        Entry(key="approval", shape=Choice(options=("never", "always")),
              doc="Whether a human must say yes to each call. Default: never."),
        Entry(key="max", shape=MapOf(name=NAME, value=Number(low=-1e15, high=1e15)),
              doc="Upper bounds of numeric arguments: `{ amount = 200 }`."),
        Entry(key="limits", shape=Record(of=types.Limits),
              doc="How much of this tool each agent in the role may use. No tokens: a tool uses none."),
        Entry(key="resource_limits", shape=Record(of=types.Limits),
              doc="The same for each resource by itself: `{ calls = \"5/hour\" }` is five an hour for each "
                  "recipient."),
    ),
)
_DETAIL = Layout(
    of=types.Detail,
    entries=(
        Entry(key="type", shape=Choice(options=(TYPE,)), required=True, doc="What kind of object it is."),
        Entry(key="identifier", shape=_OPERATION, required=True, doc="The tool: `server/operation`."),
        Entry(key="actions", shape=ListOf(item=Choice(options=get_args(Effectclass))), required=True,
              doc="What it does to the world: exactly the operation's own `effect`."),
        Entry(key="locations", shape=ListOf(item=_RESOURCE),
              doc="What it may touch: as `resources` of a grant. Absent: it touches nothing that has a name."),
        Entry(key="max", shape=MapOf(name=NAME, value=Number(low=-1e15, high=1e15)),
              doc="Upper bounds of numeric arguments."),
        Entry(key="approval", shape=Choice(options=("never", "always")),
              doc="Whether a human must say yes to each call. Default: never."),
    ),
)
_SVID = Layout(
    of=types.SvidGrant,
    entries=(
        Entry(key="x509", shape=Flag(),
              doc="Whether its agents get X.509-SVIDs with their private keys. Default: false."),
        Entry(key="audiences",
              shape=ListOf(item=Text(what="an audience", read=spell.audience, pattern=r"^[!-~]{1,256}$")),
              doc="Audiences of the JWT-SVIDs they may get. Those of vaults, clouds and models are reserved."),
    ),
)
_READ = Layout(
    of=types.ReadGrant, short="secrets",
    entries=(
        Entry(key="secrets", shape=ListOf(item=NAME), doc="Their names in `[secrets]`. A bare list stands for a "
                                                           "table with this key only."),
        Entry(key="calls", shape=_RATE, doc="How often each agent may read. Default: \"10/hour\"."),
    ),
)
_ROLE = Layout(
    of=types.Role, key_attr="name",
    entries=(
        Entry(key="models", doc="Models it may ask, by their names in `[models]`; `MODEL/NAME` for a tool of its "
                                "provider.",
              shape=ListOf(item=Text(what="a model's name", read=spell_tools.granted_model,
                                     pattern="^[A-Za-z0-9._-]{1,64}(/[A-Za-z0-9._-]{1,64})?$"))),
        Entry(key="secrets", shape=ListOf(item=NAME),
              doc="Secrets that may be used for it, never read by it; also those its models and tools need."),
        Entry(key="judge_tool_calls", shape=Flag(),
              doc="Whether tool calls that a model asks for are judged before the agent sees them, and withheld if "
                  "they would be refused. Default: false."),
        Entry(key="limits", shape=Record(of=types.Limits), doc="How much an agent in this role may do."),
        Entry(key="process_limits", shape=Record(of=types.Limits),
              doc="How much each process of such an agent may do, where `processes = \"tree\"`."),
        Entry(key="tools", shape=MapOf(name=_OPERATION, value=Record(of=types.Grant)),
              doc="What it may do: `\"server/operation\" = [resources]`."),
        Entry(key="authorization_details", shape=ListOf(item=Record(of=types.Detail)),
              doc="The same in the long form, the objects of RFC 9396; a tool stands in one of both."),
        Entry(key="svid", shape=Record(of=types.SvidGrant),
              doc="Identities it may hold itself, fetched over the SPIFFE Workload API. Absent: none."),
        Entry(key="read", shape=Record(of=types.ReadGrant),
              doc="Secrets its agents may read themselves; each reading raises an alert. Absent: none."),
    ),
    later={"code": "running code"},
)
_AGENT = Layout(
    of=types.Agent, key_attr="name",
    entries=(
        Entry(key="role", shape=NAME, required=True, doc="What it may do, by the name of a role of its tenant."),
        Entry(key="processes", shape=Choice(options=("one", "tree")),
              doc="Who may call: `one`, only the launched process (the default); `tree`, its descendants too."),
        Entry(key="read_only", shape=ListOf(item=File()), doc="What else its view shows, read-only."),
        Entry(key="attestation", shape=Choice(options=("process", "none")),
              doc="How it is known: `process`, `ringwall run` starts it (the default); `none`, it is a client of "
                  "the user who runs Ringwall that nobody started (`ringwall wrap`), and every record says so."),
        Entry(key="work", shape=File(), doc="A folder of yours as its `/workspace`. Absent: Ringwall keeps one."),
        *layout_peers.AGENT_ENTRIES,
    ),
)
_TENANT_TABLE = Layout(
    of=types.Tenant, key_attr="name",
    entries=(
        Entry(key="limits", shape=Record(of=types.Limits), doc="How much all its agents together may do."),
        Entry(key="roles", shape=MapOf(name=NAME, value=Record(of=types.Role)), doc="What its agents may do."),
        Entry(key="agents", shape=MapOf(name=NAME, value=Record(of=types.Agent)), doc="Its agents."),
    ),
)
_GUARD = Layout(
    of=types.GuardSettings,
    entries=(Entry(key="block_at", shape=MapOf(name=NAME, value=Number(low=0, high=1), only=DIRECTIONS),
                   doc="Score from which a finding of injection blocks, by direction "
                       f"({', '.join(DIRECTIONS)}). Absent: it labels and does not block."),),
)
_FLOW = Layout(
    of=types.FlowSettings,
    entries=(Entry(key="clean_waiver", shape=Flag(),
                   doc="While nothing below integrity M was seen, the trifecta rule is waived. Default: true."),),
)
_AUDIT = Layout(
    of=types.AuditSettings,
    entries=(Entry(key="quota_mib", shape=Whole(low=16, high=1 << 20),
                   doc="How much log one tenant may fill, in MiB. Default: 1024."),),
    later={"anchors": "witnesses", "max_exposure_s": "witnesses"},
)
_LIMITS_SETTINGS = Layout(
    of=types.LimitsSettings,
    entries=(
        Entry(key="store", doc="`memory` (the default), `unix:/run/redis.sock`, `redis://127.0.0.1:6379/0` on this "
                               "machine, or `rediss://host:6380/0` with TLS.",
              shape=Text(what='a store such as "redis://127.0.0.1:6379/0"', read=spell.store,
                         pattern="^(memory$|unix:/|rediss?://)")),
        Entry(key="password_file", shape=File(),
              doc="The file with the store's password: mode 0600, outside what an agent or tool server sees."),
        Entry(key="ca_file", shape=File(),
              doc="Who signs the store's certificate (`rediss://`). Absent: the system's authorities."),
        Entry(key="currency", doc="What money is counted in, for people.",
              shape=Text(what='a name such as "EUR"', read=spell.currency, pattern="^[A-Za-z]{1,8}$")),
    ),
)
_APPROVALS = Layout(
    of=types.ApprovalSettings,
    entries=(
        Entry(key="deadline_s", shape=Whole(low=1, high=7 * 86_400),
              doc="Seconds in which a human may decide on a held call, and then again in which the agent may use "
                  "the decision. After that the call is refused. Default: 600."),
        Entry(key="per_agent", shape=Whole(low=1, high=1000),
              doc="Calls of one agent that may wait at a time; more are refused. Default: 16."),
        Entry(key="per_tenant", shape=Whole(low=1, high=10_000),
              doc="The same for all agents of a tenant together. Default: 64."),
        Entry(key="webhook", doc="Who is told of each held call: `http://` on 127.0.0.1 or [::1], or "
                                 "`unix:/absolute/path`. It gets no arguments. Absent: nobody.",
              shape=Text(what="a loopback URL or unix:/path", read=spell.webhook, pattern="^(http://|unix:/)")),
        Entry(key="webhook_secret", shape=NAME,
              doc="The key that signs what it is told, by the name in `[secrets]`: `whsec_` and Base64 of 24 to "
                  "64 bytes. Required with `webhook`."),
    ),
)
_NAMED_OPERATOR = Layout(
    of=types.NamedOperator, key_attr="name",
    entries=(
        Entry(key="uid", shape=Whole(low=0, high=spell.MAX_UID), required=True,
              doc="The uid of this human's account on this machine. Each has one of their own."),
        Entry(key="roles", required=True,
              shape=ListOf(item=Text(what="a role of operators", read=spell.operator_role,
                                     pattern=f"^({'|'.join(types.ROLE_VERBS)})$")),
              doc="What for: " + "; ".join(f"`{role}` ({_verbs(role)})" for role in types.ROLE_VERBS) + "."),
    ),
)
_OPERATORS = Layout(
    of=types.Operators,
    entries=(
        Entry(key="two_person",
              shape=ListOf(item=Text(what="a verb", read=spell.loosening,
                                     pattern=f"^({'|'.join(types.LOOSENING).replace('.', '[.]')})$")),
              doc="Acts that need a second operator, with another name and uid: "
                  + ", ".join(f"`{verb}`" for verb in types.LOOSENING) + "."),
        Entry(key="socket", shape=File(),
              doc="A second operator socket, for operators who are not the user that runs Ringwall; its folder "
                  "must be there and belong to that user. They name it in `RINGWALL_SOCKET`."),
    ),
    rest=Entry(key="NAME", attr="named", shape=MapOf(name=NAME, value=Record(of=types.NamedOperator)),
               doc="A human who may operate. Whoever is not named here may not."),
)
_POLICY = Layout(
    of=types.PolicySettings,
    entries=(
        Entry(key="bundle", shape=File(),
              doc="A bundle that `ringwall policy build` made. Absent: the policy that ships with Ringwall."),
        Entry(key="keys", shape=ListOf(item=File()),
              doc="Public keys (PEM). With any, the bundle must be signed by one of them."),
        Entry(key="scope", shape=Text(what="a name", read=spell.name, pattern=NAME_PATTERN),
              doc="What the bundle must have been signed for (`ringwall policy build --scope`)."),
        Entry(key="backend", shape=Choice(options=("embedded", "opa")),
              doc="What decides: `embedded`, the core itself (the default); `opa`, an OPA on this machine."),
        Entry(key="opa", doc="Where that OPA listens: `http://127.0.0.1:8181`, or `unix:/run/opa.sock`.",
              shape=Text(what="a URL on this machine, or unix:/path", read=spell.opa,
                         pattern="^(http://|unix:/)")),
        Entry(key="cache", shape=Flag(),
              doc="Whether decisions that allow are remembered for the very same input. Default: false."),
    ),
)
_TELEMETRY = Layout(
    of=types.TelemetrySettings,
    entries=(
        Entry(key="metrics", doc="Where Prometheus asks: `127.0.0.1:9464`. Absent: nowhere.",
              shape=Text(what='an address such as "127.0.0.1:9464"', read=spell_tools.local_address,
                         pattern=":[0-9]{1,5}$")),
        Entry(key="otlp", doc="An OpenTelemetry collector on this machine (OTLP over HTTP): "
                              "`http://127.0.0.1:4318`. It gets no content. Absent: none.",
              shape=Text(what='a URL such as "http://127.0.0.1:4318"', read=spell_tools.collector,
                         pattern="^http://")),
    ),
)
_MANIFEST = Layout(
    of=types.Manifest,
    entries=(
        Entry(key="version", shape=Whole(low=1, high=1), required=True, doc="The version of this format: 1."),
        Entry(key="trust_domain", required=True, doc="The SPIFFE trust domain of all identities here.",
              shape=layout_identity.TRUST_DOMAIN),
        Entry(key="identity", shape=Record(of=types.IdentitySettings),
              doc="What identities say and which others are known: docs/identity.md."),
        Entry(key="guard", shape=Record(of=types.GuardSettings), doc="When findings in texts block."),
        Entry(key="flow", shape=Record(of=types.FlowSettings), doc="How labels are judged."),
        Entry(key="audit", shape=Record(of=types.AuditSettings), doc="How much log is kept."),
        Entry(key="limits", shape=Record(of=types.LimitsSettings), doc="Where limits are counted."),
        Entry(key="approvals", shape=Record(of=types.ApprovalSettings), doc="How calls wait for a human."),
        Entry(key="policy", shape=Record(of=types.PolicySettings), doc="Which policy decides, and where."),
        Entry(key="operators", shape=Record(of=types.Operators),
              doc="Who may operate. Absent: root and the user who runs Ringwall may do everything."),
        Entry(key="a2a", shape=Record(of=types.A2ASettings), doc="How tasks are handed on between agents."),
        Entry(key="telemetry", shape=Record(of=types.TelemetrySettings), doc="What is told beside the log."),
        Entry(key="peers", shape=MapOf(name=NAME, value=Record(of=types.Remote)),
              doc="Agents elsewhere that agents here may talk to."),
        Entry(key="models", shape=MapOf(name=NAME, value=Record(of=types.Model)), doc="Model upstreams."),
        Entry(key="tools", shape=MapOf(name=NAME, value=Record(of=types.ToolServer)), doc="Tool servers."),
        Entry(key="vault", shape=Record(of=types.VaultSettings), doc="How the vault's root key is kept."),
        Entry(key="vaults", shape=MapOf(name=NAME, value=Record(of=types.OutsideVault)), doc="Vaults elsewhere."),
        Entry(key="secrets", shape=MapOf(name=NAME, value=Record(of=types.Secret)), doc="Secrets Ringwall holds."),
        Entry(key="tenants", shape=MapOf(name=_TENANT, value=Record(of=types.Tenant)),
              doc="Tenants, their roles and agents."),
    ),
)
LAYOUTS: Final = MappingProxyType({one.of: one for one in (
    _MANIFEST, _GUARD, _FLOW, _AUDIT, _POLICY, _APPROVALS, _LIMITS_SETTINGS, *layout_identity.LAYOUTS,
    *layout_tools.LAYOUTS, *layout_vault.LAYOUTS, _TELEMETRY, _TENANT_TABLE, _LIMITS, _ROLE, _SVID, _READ,
    _DETAIL, _GRANT, _AGENT, _OPERATORS, _NAMED_OPERATOR, *layout_peers.LAYOUTS)})
