"""The tools that the manifest gives, with their patterns read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ringwall.call import Call, Json, Resource
from ringwall.capability.resources import Pattern, covers, parse_pattern
from ringwall.errors import BadInput, ManifestError
from ringwall.manifest.types import Grant, Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One grant, with its patterns read."""

    grant: Grant
    patterns: tuple[Pattern, ...]
    path: str  # the key in the manifest

    def bounds(self, args: Json) -> str:
        """The first argument that is no number within the grant's maximum; empty: there is none."""
        for argument, most in self.grant.max.items():
            value = args.get(argument)
            if not isinstance(value, int | float) or isinstance(value, bool) or not value <= most:
                return argument
        return ""

    def gives(self, call: Call) -> bool:
        """Whether this grant alone would cover what the call touches, within its maxima."""
        return not self.bounds(call.args) and all(covering(self.patterns, one) for one in call.resources)


Grants = Mapping[tuple[str, str, str], Given]
"""By tenant, role and tool."""


def read_grants(manifest: Manifest) -> Grants:
    """Every grant of a tool. Raises ManifestError: a pattern cannot be read."""
    given: dict[tuple[str, str, str], Given] = {}
    problems: list[str] = []
    for tenant in manifest.tenants.values():
        for role in tenant.roles.values():
            for name, grant in role.tools.items():
                path = f'tenants.{tenant.name}.roles.{role.name}.tools."{name}"'
                try:
                    patterns = tuple(parse_pattern(text) for text in grant.resources)
                except BadInput as error:
                    problems.append(f"{path}: {error.cause}")
                    continue
                given[tenant.name, role.name, name] = Given(grant=grant, patterns=patterns, path=path)
    if problems:
        raise ManifestError(tuple(problems))
    return given


def covering(patterns: Sequence[Pattern], resource: Resource) -> str | None:
    """The pattern that covers a resource, as it is written; None: none does."""
    return next((pattern.text for pattern in patterns if covers(pattern, resource)), None)
