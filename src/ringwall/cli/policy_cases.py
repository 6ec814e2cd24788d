"""Tables of calls against a compiled policy: rows become the very input that the core would make of such a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ringwall.call import (
    Approval,
    Call,
    CallId,
    Facts,
    Json,
    Kind,
    LaunchId,
    Operator,
    Process,
    Subject,
    Target,
    policy_input,
)
from ringwall.capability.resolve import resolve_arguments
from ringwall.capability.resources import parse_pattern
from ringwall.errors import BadInput, ManifestError, PolicyError
from ringwall.identity.spiffe import SpiffeId
from ringwall.manifest.load import load
from ringwall.manifest.types import Manifest
from ringwall.policy.build import ENTRY_POINTS
from ringwall.policy.bundle.reading import Bundle
from ringwall.policy.bundle.tables import CallRow, ListRow, Table, judge, judge_list, merged, read_table
from ringwall.policy.data import policy_data


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One row. ``difference`` is empty where the decision is as wanted."""

    table: str
    name: str
    difference: str


def run_table(path: Path, bundle: Bundle) -> Iterator[Outcome]:
    """Every row of a table. Raises PolicyError ``bad_table`` for a table or manifest that cannot be used."""
    table = read_table(path)
    try:
        manifest = load(path.parent / table.manifest, check_pattern=parse_pattern)
    except ManifestError as error:
        raise PolicyError(f"{path}: its manifest: {error.problems[0]}", code="bad_table") from error
    policy = bundle.policy(policy_data(manifest, parse_pattern))
    calls, lists = ENTRY_POINTS
    for row in table.call:
        asked = _input(path, row.name, lambda row=row: _call(manifest, table, row))
        yield Outcome(table=path.name, name=row.name,
                      difference=judge(row, lambda asked=asked: policy.evaluate(calls, asked)))
    for row in table.list:
        asked = _input(path, row.name, lambda row=row: _listing(manifest, table, row))
        yield Outcome(table=path.name, name=row.name,
                      difference=judge_list(row, lambda asked=asked: policy.evaluate(lists, asked)))


def _input(path: Path, name: str, make: Callable[[], Json]) -> Json:
    try:
        return make()
    except BadInput as error:
        raise PolicyError(f"{path}: {name}: {error.cause}", code="bad_table", remedy=error.remedy) from error


def _call(manifest: Manifest, table: Table, row: CallRow) -> Json:
    kind, target = _target(row)
    args, resources = row.args, ()
    if kind == "tool":
        server, _, name = row.tool.partition("/")
        declared = manifest.tools.get(server)
        operation = declared.ops.get(name) if declared is not None else None
        if operation is not None:
            args, resources = resolve_arguments(operation, row.args)
    call = Call.make(id=CallId("test"), kind=kind, subject=_subject(manifest, row), session=None, args=args,
                     target=Target(name=target), resources=resources,
                     approval=Approval(record="system/1") if row.approved else None)
    facts: Facts = {
        "identity": {"attested": True, "confined": True}, "guard": {"blocked": False}, "flow": {"denied": False},
        "policy": {"approved": row.approved},
    }
    found = policy_input(call, merged(merged(facts, table.facts), row.facts), (row.at or table.at).timestamp())
    return merged(found, row.input)


def _listing(manifest: Manifest, table: Table, row: ListRow) -> Json:
    every = sorted(f"{server}/{name}" for server, one in manifest.tools.items() for name in one.ops)
    asker = Call.make(id=CallId("test"), kind="tool", subject=_process(manifest, row.agent, row.number),
                      session=None, target=Target(name="ringwall/list"), args={})
    return {"subject": policy_input(asker, {}, 0.0)["subject"], "targets": every,
            "time": {"now": (row.at or table.at).timestamp()}}


def _target(row: CallRow) -> tuple[Kind, str]:
    if row.tool:
        return "tool", row.tool
    return ("model", row.model) if row.model else ("operate", row.verb)


def _subject(manifest: Manifest, row: CallRow) -> Subject:
    if row.operator:
        return Operator(name=row.operator, uid=row.uid, connection=0)
    return _process(manifest, row.agent, row.number)


def _process(manifest: Manifest, agent: str, number: int) -> Process:
    """An agent by ``tenant/agent``, in the role that the manifest gives it. Raises BadInput."""
    tenant, _, name = agent.partition("/")
    known = manifest.tenants.get(tenant)
    declared = known.agents.get(name) if known is not None else None
    if declared is None:
        raise BadInput(f"the manifest has no agent {agent[:80]!a}", code="unknown_agent",
                       remedy='write: agent = "tenant/agent"')
    spiffe = SpiffeId.make(trust_domain=manifest.trust_domain, tenant=tenant, agent=name, role=declared.role)
    return Process(spiffe_id=spiffe, launch=LaunchId("test"), connection=0, number=number)
