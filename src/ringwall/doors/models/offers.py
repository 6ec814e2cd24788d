"""What an agent's role has of models, for the doors of model providers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

from ringwall.call import Process
from ringwall.interface import Origin
from ringwall.manifest.types import Manifest, Role

Provider: TypeAlias = Literal["openai", "anthropic"]


class Offers(Protocol):
    """Of the agent behind a request."""

    def models(self, origin: Origin, provider: Provider) -> Sequence[str]:
        """The models of its role that speak this provider's interfaces."""
        ...

    def judged(self, origin: Origin, name: str) -> str:
        """The tool, ``server/operation``, that a function of this name in a completion is, if what the model asks
        of tools is judged before this agent sees it; empty: it is not, or there is no such tool."""
        ...


class ManifestOffers:
    """Implements ``Offers`` by the manifest."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def models(self, origin: Origin, provider: Provider) -> Sequence[str]:
        role, known = self._role(origin), self._manifest.models
        given = () if role is None else role.models
        return [name for name in given if name in known and known[name].wire == provider]

    def judged(self, origin: Origin, name: str) -> str:
        role = self._role(origin)
        if role is None or not role.judge_tool_calls:
            return ""
        server, _, operation = name.partition("/" if "/" in name else "__")
        found = self._manifest.tools.get(server)
        return f"{server}/{operation}" if found is not None and operation in found.ops else ""

    def _role(self, origin: Origin) -> Role | None:
        if not isinstance(origin.subject, Process):
            return None
        who = origin.subject.spiffe_id
        tenant = self._manifest.tenants.get(who.tenant)
        return tenant.roles.get(who.role) if tenant is not None else None
