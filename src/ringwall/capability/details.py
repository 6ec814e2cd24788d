"""What one call's credential may be good for: both what was granted and what the call names.

Read anew from the manifest, whatever a ring said of the call: this is the barrier behind them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ringwall.call import Call, Process, Resource
from ringwall.capability.resources import Pattern, covers
from ringwall.capability.roles import resource_type
from ringwall.errors import BadInput, Refused
from ringwall.manifest.details import Detail, granted
from ringwall.manifest.types import Grant, Manifest, Operation

_STORES: Final = frozenset({"s3", "gcs", "arn"})  # where a name that ends in a slash may be one object
_PREFIX: Final = "prefix"  # the argument that means all below it


class Scopes:
    """The scope of each call.

    Args:
        manifest: who was given what.
        parse_pattern: reads a location; raises BadInput (``resources.parse_pattern``).

    """

    def __init__(self, manifest: Manifest, parse_pattern: Callable[[str], Pattern]) -> None:
        self._manifest = manifest
        self._parse_pattern = parse_pattern

    def of(self, call: Call) -> tuple[Detail, ...]:
        """The one object of the call's own tool, with the locations of this call.

        They are the resources that the call names, as far as its grant covers them. Where it covers none of them,
        they are the grant's own: a credential never holds more, and the provider refuses the rest.

        Raises:
            Refused: ``scope_empty``: the tool was not given, or nothing that it could touch.
                ``scope_inexpressible``: what the call names means more as a location.

        """
        found = self._granted(call)
        if found is None:
            raise Refused("this tool was not given to this agent, so there is no credential for it",
                          code="scope_empty")
        operation, grant = found
        locations = self._locations(call, grant)
        if not locations and any(resource_type(role) for role in operation.args.values()):
            raise Refused("nothing was given that this tool could touch, so there is no credential for it",
                          code="scope_empty", remedy="give the role a resource in ringwall.toml")
        return (granted(grant, operation.effect, locations),)

    def _granted(self, call: Call) -> tuple[Operation, Grant] | None:
        who = call.subject
        if call.kind != "tool" or not isinstance(who, Process):
            return None
        if who.spiffe_id.trust_domain != self._manifest.trust_domain:
            return None
        tenant = self._manifest.tenants.get(who.spiffe_id.tenant)
        agent = tenant.agents.get(who.spiffe_id.agent) if tenant is not None else None
        if tenant is None or agent is None or agent.role != who.spiffe_id.role:
            return None
        role = tenant.roles.get(agent.role)
        grant = role.tools.get(call.target.name) if role is not None else None
        operation = _operation(self._manifest, call.target.name)
        return None if grant is None or operation is None else (operation, grant)

    def _locations(self, call: Call, grant: Grant) -> tuple[str, ...]:
        patterns = [self._parse_pattern(text) for text in grant.resources]
        named = [one for one in call.resources if any(covers(pattern, one) for pattern in patterns)]
        return tuple(dict.fromkeys(self._location(one) for one in named)) or grant.resources

    def _location(self, resource: Resource) -> str:
        """A resource in the words of a grant, which must mean just it. Raises Refused."""
        text = f"{resource.type}:{resource.id}"
        try:
            pattern = self._parse_pattern(text)
        except BadInput as fault:
            raise _inexpressible(resource) from fault
        below = resource.argument.partition("/")[0] == _PREFIX
        if pattern.key != resource.key or (pattern.subtree and resource.type in _STORES and not below):
            raise _inexpressible(resource)
        return text


def _operation(manifest: Manifest, tool: str) -> Operation | None:
    server, _, name = tool.partition("/")
    found = manifest.tools.get(server)
    return found.ops.get(name) if found is not None else None


def _inexpressible(resource: Resource) -> Refused:
    what = f"argument {resource.argument!r}: a credential for just this {resource.type} cannot be asked for"
    return Refused(what, code="scope_inexpressible", remedy="name something else")
