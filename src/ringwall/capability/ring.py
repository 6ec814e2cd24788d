"""The second ring: was this agent given this tool, with these arguments, on these resources?"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from ringwall.call import (
    Allowed,
    Call,
    Denied,
    Facts,
    Json,
    NeedsApproval,
    Operator,
    Process,
    RingName,
    Subject,
    Verdict,
    subject_name,
)
from ringwall.capability.catalogue import Catalogues, Tool
from ringwall.capability.grants import Given, covering, read_grants
from ringwall.capability.peers import Peers
from ringwall.capability.resolve import LIST
from ringwall.capability.roles import resource_type, role_text
from ringwall.errors import BadInput
from ringwall.identity.workload.interface import JWT, X509, reserved
from ringwall.interface import Targets, Through
from ringwall.manifest.audiences import audiences
from ringwall.manifest.types import VERBS, Manifest, Role
from ringwall.models.interface import asked
from ringwall.vault.interface import READ
from ringwall.wire.mcp.methods import ANSWERS


def no_approvals(call: Call) -> bool:
    """Nothing is approved: what a request claims is not evidence, and nobody verifies it yet."""
    return False


def nothing(call: Call) -> str:
    """No call is frozen."""
    return ""


def no_tool(name: str) -> str:
    """No tool is frozen."""
    return ""


class CapabilityRing:
    """Judges by the manifest's grants and the catalogue's definitions. Implements ``interface.Ring``."""

    name: RingName = "capability"

    def __init__(self, manifest: Manifest, catalogues: Catalogues,
                 approved: Callable[[Call], bool] = no_approvals, frozen: Callable[[Call], str] = nothing,
                 frozen_tool: Callable[[str], str] = no_tool) -> None:
        """Read every grant.

        Args:
            manifest: who was given what.
            catalogues: the registered tools, by tenant.
            approved: whether this call's approval was verified to be for exactly this call.
            frozen: why a call is frozen: its tool or its agent; empty if it is not.
            frozen_tool: why a tool is frozen, by its name.

        Raises:
            ManifestError: a grant's pattern cannot be read.

        """
        self._manifest = manifest
        self._catalogues = catalogues
        self._approved = approved
        self._frozen = frozen
        self._frozen_tool = frozen_tool
        self._given = read_grants(manifest)
        self._peers = Peers(manifest, self._given)

    async def enter(self, call: Call, facts: Facts) -> Through:
        """Judge one call; facts are written whatever the verdict."""
        found: dict[str, Json] = {"granted": False, "definition": call.target.definition, "resources": [],
                                  "effect": "", "args": {}}
        verdict = self._judge(call, found)
        if not isinstance(verdict, Denied) and (why := self._frozen(call)):  # what was not given stays unknown
            verdict = Denied(code="frozen", reason="this is frozen", remedy="ask the operator", detail={"why": why})
        found["granted"] = not isinstance(verdict, Denied)
        facts[self.name] = found
        return Through(verdict)

    async def lists(self, subject: Subject, targets: Targets) -> Targets:
        """Only what was given: tools with their closed definition, and models."""
        role = self._role(subject)
        if role is None or not isinstance(subject, Process):
            return Targets(definitions={})
        shown: dict[str, Json] = {}
        for name, definition in targets.definitions.items():
            tool = self._catalogues.of(subject.tenant).tool(name)
            if self._frozen_tool(name):
                continue
            if (subject.tenant, role.name, name) in self._given and tool is not None and not tool.changed:
                shown[name] = tool.public
            elif name in role.models and name in self._manifest.models:
                shown[name] = definition
        return Targets(definitions=shown)

    def _role(self, subject: Subject) -> Role | None:
        """The role of a registered agent; None for anybody else."""
        if not isinstance(subject, Process):
            return None
        who = subject.spiffe_id
        tenant = self._manifest.tenants.get(who.tenant)
        if tenant is None or who.trust_domain != self._manifest.trust_domain:
            return None
        agent = tenant.agents.get(who.agent)
        return tenant.roles.get(agent.role) if agent is not None and agent.role == who.role else None

    def _judge(self, call: Call, found: dict[str, Json]) -> Verdict:
        if call.kind == "operate":
            return self._operate(call)
        if call.kind == "message":
            return self._peers.message(call, found)
        role = self._role(call.subject)
        if role is None:
            return Denied(code="unknown_agent", reason="this is no registered agent in this role",
                          detail={"remedy": f"declare it under tenants.{call.tenant}.agents"})
        if call.kind == "model":
            return self._model(call, role, found)
        if call.kind == "secret":
            found["effect"] = "credential"
            reads = call.target.name.startswith(READ)
            return self._peers.secret(call) or (self._read(call, role) if reads else self._svid(call, role))
        if call.kind != "tool":
            return Denied(code="not_granted", reason=f"calls of kind {call.kind!r} are not given to this agent")
        if call.target.name == LIST:
            found["effect"] = "read"
            return Allowed() if call.args == {} else _invalid(("/: a listing takes no arguments",))
        return self._tool(call, role, found)

    def _operate(self, call: Call) -> Verdict:
        """A verb that there is, and that one of this operator's roles has."""
        who = call.subject
        if not isinstance(who, Operator):
            return Denied(code="operator_only", reason="only an operator may ask for this")
        if call.target.name not in VERBS:
            return Denied(code="unknown_verb", reason=f"there is no verb {call.target.name[:80]!a}",
                          remedy=f"one of {', '.join(VERBS)}")
        if call.target.name not in self._manifest.operators.verbs(who.name, who.uid):
            return Denied(code="not_granted", reason=f"your roles do not have {call.target.name!a}",
                          remedy=f"see operators.{who.name}.roles in ringwall.toml")
        return Allowed()

    def _model(self, call: Call, role: Role, found: dict[str, Json]) -> Verdict:
        found["effect"] = "model"
        name = call.target.name
        path = f"tenants.{call.tenant}.roles.{role.name}.models"
        model = self._manifest.models.get(name)
        if model is None or name not in role.models:
            return _not_granted(name, {"remedy": f"add it to {path}", "exists": model is not None})
        try:
            tools = asked(call.args).provider_tools
        except BadInput as fault:
            return Denied(code=fault.code, reason=fault.cause)
        found["provider_tools"] = list(tools)
        for tool in tools:
            if f"{name}/{tool}" not in role.models or tool not in model.provider_tools:
                return Denied(code="provider_tool_not_granted",
                              reason=f"{tool} would run at the provider of {name}, past the wall, and is not given "
                                     "to this agent",
                              remedy="leave it out",
                              detail={"remedy": f"add {name}/{tool} to {path}, and {tool} to "
                                                f"models.{name}.provider_tools"})
        return Allowed()

    def _read(self, call: Call, role: Role) -> Verdict:
        """A secret that its role may read, not only use. What is made for a call is read by nobody."""
        name = call.target.name.removeprefix(READ)
        secret = self._manifest.secrets.get(name)
        if role.read is None or name not in role.read.secrets or secret is None or secret.minted:
            path = f"tenants.{call.tenant}.roles.{role.name}.read.secrets"
            return _not_granted(call.target.name, {"remedy": f"see {path}", "exists": secret is not None})
        if call.args != {} or call.resources:
            return _invalid(("/: reading a secret takes no arguments",))
        return Allowed()

    def _svid(self, call: Call, role: Role) -> Verdict:
        """An SVID of its own, of a kind and for audiences that its role has; reserved ones never."""
        given, name = role.svid, call.target.name
        path = f"tenants.{call.tenant}.roles.{role.name}.svid"
        if given is None or (name == X509 and not given.x509) or name not in {X509, JWT}:
            return _not_granted(name, {"remedy": f"set {path}"})
        if name == X509:
            return Allowed() if call.args == {} else _invalid(("/: an X.509-SVID takes no arguments",))
        if call.args.get("spiffe_id", subject_name(call.subject)) != subject_name(call.subject):
            return _not_granted("the SVID of another agent", {})
        models = [model.url for model in self._manifest.models.values()]
        own = audiences(self._manifest)
        for audience in call.args["audience"]:
            why = reserved(audience, models, own)
            if audience not in given.audiences or why:
                return Denied(code="audience_not_granted",
                              reason=f"a token for {audience[:200]!a} is not given to this agent",
                              detail={"remedy": f"see {path}.audiences", "granted": list(given.audiences),
                                      "reserved": why})
        return Allowed()

    def _tool(self, call: Call, holder: Role, found: dict[str, Json]) -> Verdict:
        name = call.target.name
        given = self._given.get((call.tenant, holder.name, name))
        if given is None:
            return _not_granted(name, self._why_not(call, holder))
        tool = self._catalogues.of(call.tenant).tool(name)
        if tool is None:
            return Denied(code="tool_unavailable", reason=f"{name} is not available now",
                          detail={"problems": self._problems(call),
                                  "remedy": f"see tools.{name.partition('/')[0]} and the server's own output"})
        if call.inputs is not None and not any(
            (call.tenant, holder.name, f"{tool.server}/{verb}") in self._given for verb in ANSWERS.values()
        ):
            return _not_granted(f"an answer to what {tool.server} asks", {"remedy": f"grant {tool.server}/"
                                + f" or {tool.server}/".join(ANSWERS.values())})
        found["effect"] = tool.effect
        found["args"] = {arg: role_text(role) for arg, role in tool.operation.args.items() if arg in call.args}
        if tool.changed or call.target.definition != tool.definition:
            return Denied(code="definition_changed",
                          reason=f"the definition of {name} changed and was not reviewed",
                          detail={"pinned": tool.pinned, "listed": tool.definition,
                                  "remedy": f"compare both: ringwall pins show {call.tenant} {tool.name}"})
        if errors := tool.schema.errors(call.args):
            return _invalid(errors)
        return self._resources(call, given, tool, found)

    def _resources(self, call: Call, given: Given, tool: Tool, found: dict[str, Json]) -> Verdict:
        covered = [(resource, covering(given.patterns, resource)) for resource in call.resources]
        found["resources"] = [{"id": resource.id, "covered_by": pattern} for resource, pattern in covered]
        typed = [arg for arg, role in tool.operation.args.items() if resource_type(role)]
        if typed and not covered:
            return Denied(code="no_resource", reason=f"{tool.name} must name what it is to touch",
                          detail={"typed": typed})
        if _named(typed, call.args) != [(resource.argument, resource.id) for resource in call.resources]:
            return Denied(code="unresolved_argument", reason="an argument and the resource it names differ")
        for resource, pattern in covered:
            if pattern is None:
                return Denied(code="resource_not_granted",
                              reason=f"argument {resource.argument!r}: {resource.type} {resource.id[:200]!a} "
                                     "is outside what this agent was given",
                              detail={"remedy": f"add {resource.type}:{resource.id[:200]} to {given.path}",
                                      "granted": [one.text for one in given.patterns]})
        if argument := given.bounds(call.args):
            return Denied(code="over_maximum", reason=f"argument {argument!r} must be a number within its limit",
                          detail={"max": given.grant.max[argument], "remedy": f"see {given.path}.max"})
        if beyond := self._peers.tool(call):
            return beyond
        asks = given.grant.approval == "always" or self._peers.asks(call)
        if asks and not self._approved(call):
            return NeedsApproval(code="approval_required", question=f"May {call.tenant}'s agent use {tool.name}?",
                                 remedy=f"{given.path}.approval = \"always\"")
        return Allowed()

    def _problems(self, call: Call) -> list[str]:
        return list(self._catalogues.of(call.tenant).problems(call.target.name.partition("/")[0]))

    def _why_not(self, call: Call, role: Role) -> dict[str, Json]:
        """For operators only: whether the tool exists, and what was perhaps meant."""
        name = call.target.name
        given = [tool for tenant, of_role, tool in self._given if (tenant, of_role) == (call.tenant, role.name)]
        return {"exists": self._catalogues.of(call.tenant).tool(name) is not None,
                "nearest": difflib.get_close_matches(name, given, n=1),
                "remedy": f'add "{name}" to tenants.{call.tenant}.roles.{role.name}.tools'}


def _named(typed: Sequence[str], args: Json) -> list[tuple[str, str]]:
    """What the arguments name, read anew: no argument may slip past without a resource that was judged."""
    found: list[tuple[str, str]] = []
    for argument in typed:
        value = args.get(argument)
        if isinstance(value, list):
            found += [(f"{argument}/{i}", str(item)) for i, item in enumerate(cast("list[Json]", value))]
        elif value is not None:
            found.append((argument, str(value)))
    return found


def _not_granted(name: str, detail: Mapping[str, Json]) -> Denied:
    """The same words whether or not it exists: what there is besides is not the agent's business."""
    return Denied(code="not_granted", reason=f"{name[:200]} is not given to this agent", detail=detail)


def _invalid(errors: tuple[str, ...]) -> Denied:
    return Denied(code="invalid_arguments",
                  reason="the arguments do not fit the tool's schema: " + "; ".join(errors),
                  detail={"errors": list(errors)})
