"""The smallest change of the manifest that answers one refusal, where a change of the manifest is the right answer.

Each proposal names exactly what the call named: this tool, this resource and nothing below it, this amount.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from ringwall.call import Call, Denied, Json, Operator, Peer, Process, Resource, as_array, as_object
from ringwall.capability.resources import canonical, covers, parse_pattern
from ringwall.errors import BadInput
from ringwall.explain.edit import Edit, Path, Text
from ringwall.identity.spiffe import SpiffeId
from ringwall.manifest.peers import find_peer, name_of
from ringwall.manifest.types import Manifest, Operation
from ringwall.vault.interface import READ

_RATE: Final = re.compile(r"([0-9]+)/([a-z]+)(?: burst ([0-9]+))?")  # of our own manifest, already checked
_GUESSES: Final = (("url", "url"), ("email", "target:email"), ("iban", "target:iban"), ("path", "selector:path"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a proposal is made from: the call as this manifest resolves it, and what it was told."""

    manifest: Manifest
    text: Text
    call: Call
    said: Denied

    @property
    def role(self) -> Path | None:
        """Where the role of the calling agent stands, or of the one that a message comes in to."""
        who = self.here
        return None if who is None else ("tenants", who.tenant, "roles", who.role)

    @property
    def here(self) -> SpiffeId | None:
        """The agent of ours whose call it is."""
        match self.call.subject:
            case Process():
                return self.call.subject.spiffe_id
            case Peer():
                return self.call.subject.receiver
            case Operator():
                return None

    @property
    def operation(self) -> Operation | None:
        """The called operation, if the manifest declares it."""
        server, _, op = self.call.target.name.partition("/")
        declared = self.manifest.tools.get(server)
        return declared.ops.get(op) if declared is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Edits that answer the refusal, and what a person should know before making them."""

    edits: tuple[Edit, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instead:
    """No change of the manifest is right; what to do."""

    advice: str


Proposal: TypeAlias = Change | Instead


def propose(case: Case) -> Proposal | None:
    """The change for this code; None: this code has no change of the manifest that would be right."""
    make = _PROPOSALS.get(case.said.code)
    return make(case) if make is not None else None


# -- grants

def _not_granted(case: Case) -> Proposal | None:
    if case.role is None:
        return Instead(advice="An operator's role must give this verb: see [operators] in docs/manifest.md.")
    if case.call.kind == "model":
        return _model(case, case.role)
    if case.call.kind == "secret" and case.call.target.name.startswith(READ):
        return Instead(advice="Which secrets an agent may read itself is its role's `read`: see docs/secrets.md. "
                              "Few need any: what stands in `secrets` is used for an agent that never sees it.")
    if case.call.kind == "secret":
        return Instead(advice="Which SVIDs an agent may hold itself is its role's `svid` table: see "
                              "docs/workload-api.md.")
    if case.call.kind == "message":
        return _message(case)
    if case.call.kind != "tool":
        return Instead(advice=f"Calls of kind {case.call.kind!r} cannot be given in this version.")
    name = case.call.target.name
    if case.operation is None:
        return Instead(
            advice=f"The manifest does not declare {name[:200]!a}. Who knows the tool must write down what "
            "it does and what each argument is for, under [tools], before it can be given."
        )
    patterns = _patterns(case.call.resources)
    if isinstance(patterns, Instead):
        return patterns
    if not patterns and any(role.kind or role.role == "url" for role in case.operation.args.values()):
        return Instead(advice="The call names no resource, so no grant can allow exactly this call.")
    return Change(edits=(Edit(path=(*case.role, "tools", name), value=patterns),))


def _audience_not_granted(case: Case) -> Proposal | None:
    """Who may have a token is written by hand: it is worth something at its audience."""
    return Instead(advice="Add the audience to `svid.audiences` of the agent's role, if its owner is meant to "
                          "believe the agent; a reserved one can be given to nobody (docs/workload-api.md).")


def _model(case: Case, role: Path) -> Proposal:
    model = case.manifest.models.get(case.call.target.name)
    if model is None:
        return Instead(advice="The manifest declares no such model. Declare it under [models] first.")
    edits = [_listed(case, (*role, "models"), model.name)]
    held = as_array(case.text.at((*role, "secrets"))) or ()
    if model.secret and model.secret not in held:
        edits.append(_listed(case, (*role, "secrets"), model.secret))
    return Change(edits=tuple(edits))


def _listed(case: Case, path: Path, value: str) -> Edit:
    return Edit(path=path, value=[value], append=case.text.at(path) is not None)


_LONG_FORM: Final = Instead(advice="This tool is given in the role's `authorization_details`: change its object by "
                                   "hand, or give the tool in `tools` instead.")


def _resource_not_granted(case: Case) -> Proposal | None:
    path = _grant(case)
    if path is None:
        return _LONG_FORM if case.role else None
    given = [parse_pattern(text) for text in as_array(case.text.at(path)) or ()]
    missing = [one for one in case.call.resources if not any(covers(pattern, one) for pattern in given)]
    patterns = _patterns(missing)
    if isinstance(patterns, Instead):
        return patterns
    if not patterns:
        return None
    return Change(edits=(Edit(path=path, value=patterns, append=case.text.at(path) is not None),))


def _grant(case: Case) -> Path | None:
    """Where the patterns of the tool's grant stand: the grant itself where it is a bare list."""
    if case.role is None:
        return None
    path = (*case.role, "tools", case.call.target.name)
    found = case.text.at(path)
    return None if found is None else path if isinstance(found, list) else (*path, "resources")


def _patterns(resources: tuple[Resource, ...] | list[Resource]) -> list[str] | Instead:
    """One pattern for each resource that covers it and nothing else."""
    found: dict[str, None] = {}
    for one in resources:
        text = f"{one.type}:{one.id}"
        try:
            pattern = parse_pattern(text)
        except BadInput as fault:
            return Instead(advice=f"No pattern can name exactly {text[:200]!a}: {fault.cause}.")
        if pattern.subtree or pattern.key != one.key:
            return Instead(
                advice=f"No pattern can name exactly {text[:200]!a}: written so, it would allow all below it as "
                "well. If that is meant, add it by hand."
            )
        found[text] = None
    return list(found)


# -- messages: both ends must agree, so both are written down

def _message(case: Case) -> Proposal:
    """Add the skill where the sender may send it and where the receiver takes it."""
    args, here = as_object(case.call.args) or {}, case.here
    skill, there = args.get("skill"), str(args.get("peer", ""))
    if here is None or not isinstance(skill, str) or not skill:
        return Instead(advice="No skill was named and none is given. Give the two one that they share: `send` of "
                              "the one and `receive` of the other (docs/manifest.md).")
    if args.get("method") == "PushNotification":
        return Instead(advice="A push goes to whoever may send that skill: look at what the agent that asked for "
                              "it may send.")
    known = name_of(case.manifest, here.tenant, there)
    peer = find_peer(case.manifest, here.tenant, known) if known else None
    if peer is None:
        return Instead(advice="The manifest does not know this peer. Who it is must be written down first, under "
                              "[peers] or as an agent of a tenant.")
    out = case.call.target.direction == "out"
    edits = [_skilled(case, (here.tenant, here.agent, "send" if out else "receive", known), skill)]
    if peer.own is not None:
        back = name_of(case.manifest, peer.own.tenant, str(here))
        edits.append(_skilled(case, (peer.own.tenant, peer.own.agent, "receive" if out else "send", back), skill))
    found = tuple(edit for edit in edits if edit is not None)
    if not found:
        return Instead(advice="Both ends agree on this skill in the manifest as it is now.")
    return Change(edits=found, note="Every message for this skill then comes in, whatever it says.")


def _skilled(case: Case, place: tuple[str, str, str, str], skill: str) -> Edit | None:
    """The skill in one agent's list for one peer; None: it is there."""
    tenant, agent, key, peer = place
    path: Path = ("tenants", tenant, "agents", agent, key, peer)
    found = case.text.at(path)
    if found is not None and not isinstance(found, list):
        path = (*path, "skills")
        found = case.text.at(path)
    listed = as_array(found)
    return None if skill in (listed or ()) else Edit(path=path, value=[skill], append=listed is not None)


# -- arguments

def _undeclared(case: Case) -> Proposal | None:
    """Declare what was sent and is not declared. The values tell a likely role; a person must confirm it."""
    operation = case.operation
    args = as_object(case.call.args)
    if operation is None or args is None:
        return None
    server, _, op = case.call.target.name.partition("/")
    if case.manifest.tools[server].builtin:
        return None
    added = {name: _guess(value) for name, value in args.items() if name not in operation.args}
    if not added:
        return None
    roles = ", ".join(f"{name} = {role}" for name, role in added.items())
    return Change(
        edits=tuple(
            Edit(path=("tools", server, "ops", op, "args", name), value=role) for name, role in added.items()
        ),
        note=f"The role is a guess from this call's value ({roles}). It decides how every later value is judged: "
        "check what the tool does with it.",
    )


def _guess(value: Json) -> str:
    """The strictest role that fits every text of a value."""
    texts = as_array(value) if isinstance(value, list) else [value]
    for kind, role in _GUESSES:
        if texts and all(isinstance(text, str) and _is(kind, text) for text in texts):
            return role
    return "param" if isinstance(value, bool | int | float) else "payload"


def _is(kind: str, text: str) -> bool:
    try:
        canonical(kind, text)
    except BadInput:
        return False
    return True


def _over_maximum(case: Case) -> Proposal | None:
    args = as_object(case.call.args)
    if case.role is None or args is None:
        return None
    path = (*case.role, "tools", case.call.target.name, "max")
    if case.text.at(path) is None:
        return _LONG_FORM
    edits: list[Edit] = []
    for argument, most in (as_object(case.text.at(path)) or {}).items():
        value = args.get(argument)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return Instead(
                advice=f"The argument {argument!r} has a limit, so every call must send a number. Mend the call."
            )
        if value > most:
            edits.append(Edit(path=(*path, argument), value=value))
    return Change(edits=tuple(edits)) if edits else None


# -- agents

def _not_main_process(case: Case) -> Proposal | None:
    if not isinstance(case.call.subject, Process):
        return None
    who = case.call.subject.spiffe_id
    if case.text.at(("tenants", who.tenant, "agents", who.agent)) is None:
        return None
    return Change(
        edits=(Edit(path=("tenants", who.tenant, "agents", who.agent, "processes"), value="tree"),),
        note="Every process that this agent starts may then call.",
    )


def _unknown_agent(case: Case) -> Proposal | None:
    who = case.here
    if who is None:
        return None
    tenant = case.manifest.tenants.get(who.tenant)
    if who.trust_domain != case.manifest.trust_domain or tenant is None or who.role not in tenant.roles:
        return Instead(advice="The manifest has no such trust domain, tenant or role. Launch the agent again.")
    path = ("tenants", who.tenant, "agents", who.agent)
    if who.agent in tenant.agents:
        return Instead(
            advice=f"The agent's role is {tenant.agents[who.agent].role!r} now, and this process was launched as "
            f"{who.role!r}. Launch it again."
        )
    return Change(edits=(Edit(path=path, value={"role": who.role}),))


# -- limits: one more of what was used up, and no more

def _limits(case: Case) -> Path | None:
    """Where the limits of the refusing scope stand."""
    if case.role is None:
        return None
    grant = (*case.role, "tools", case.call.target.name)
    scopes: Mapping[str, Path] = {
        "tenant": (*case.role[:2], "limits"),
        "agent": (*case.role, "limits"),
        "process": (*case.role, "process_limits"),
        "tool": (*grant, "limits"),
        "resource": (*grant, "resource_limits"),
        "read": (*case.role, "read"),
    }
    return scopes.get(str(case.said.detail.get("scope")))


_PART: Final = Instead(advice="Each peer has an equal part of what the receiver's role may use, so that none uses "
                              "up another's. Raise `calls` or `concurrent` in the role's limits, or wait.")


def _rate_limited(case: Case) -> Proposal | None:
    if case.said.detail.get("scope") == "peer":
        return _PART
    path = _limits(case)
    spelled = None if path is None else _RATE.fullmatch(str(case.text.at((*path, "calls"))))
    if path is None or spelled is None:
        return None
    burst = int(spelled[3] or spelled[1]) + 1
    return Change(
        edits=(Edit(path=(*path, "calls"), value=f"{spelled[1]}/{spelled[2]} burst {burst}"),),
        note="One call more at once: enough for this one. Or wait: later the same call needs no change.",
    )


def _too_many_at_once(case: Case) -> Proposal | None:
    if case.said.detail.get("scope") == "peer":
        return _PART
    path, most = _limits(case), case.said.detail.get("concurrent")
    if path is None or not isinstance(most, int):
        return None
    return Change(
        edits=(Edit(path=(*path, "concurrent"), value=most + 1),),
        note="Or let one call end before the next begins.",
    )


def _budget_exhausted(case: Case) -> Proposal | None:
    path, detail = _limits(case), case.said.detail
    budget, wanted, left = detail.get("budget"), detail.get("wanted"), detail.get("remaining")
    if path is None or not isinstance(budget, int) or not isinstance(wanted, int) or not isinstance(left, int):
        return None
    name, needed = str(detail.get("name")), budget + wanted - left
    note = "Or begin a new session." if name.endswith("_session") else "Or wait for the next day."
    if name == "tokens_per_session":  # the one that the manifest spells in its own way
        return Change(edits=(Edit(path=(*path, "tokens"), value=f"{needed}/session"),), note=note)
    if case.text.at((*path, name)) is None:
        return None
    return Change(edits=(Edit(path=(*path, name), value=needed),), note=note)


_PROPOSALS: Final[Mapping[str, Callable[[Case], Proposal | None]]] = MappingProxyType({
    "not_granted": _not_granted,
    "audience_not_granted": _audience_not_granted,
    "resource_not_granted": _resource_not_granted,
    "undeclared_argument": _undeclared,
    "invalid_arguments": _undeclared,
    "over_maximum": _over_maximum,
    "not_main_process": _not_main_process,
    "unknown_agent": _unknown_agent,
    "rate_limited": _rate_limited,
    "too_many_at_once": _too_many_at_once,
    "budget_exhausted": _budget_exhausted,
})
