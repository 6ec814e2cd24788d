"""What the vault's parts, its brokers and those who use secrets share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from ringwall.call import Call, LaunchId
from ringwall.errors import BadInput, Limited, Refused, RingwallError, Unavailable
from ringwall.identity.spiffe import SpiffeId
from ringwall.manifest.details import Detail

READ: Final = "read/"  # and a secret's name: the target of a call of kind "secret" by which an agent reads it
BROKER: Final = "@broker"
"""In the place of an agent and its role: what only Ringwall itself uses to make credentials. No name in a manifest
can be spelled so."""

_SAID: Final = {
    "vault_sealed": "the vault is sealed",
    "vault_absent": "there is no vault",
    "no_such_secret": "nobody has stored a value of this secret for this agent",
    "secret_deleted": "this secret was deleted",
    "secret_destroyed": "this secret was destroyed",
    "secret_not_granted": "this agent's role was not granted this secret",
    "provider_denied": "the provider refuses to give a credential for this",
    "provider_wider": "the provider gives more than was asked for",
    "provider_unreachable": "the provider cannot be reached",
    "provider_slow": "the provider does not answer in time",
    "provider_sealed": "the provider is sealed",
    "scope_empty": "this call names nothing that a credential could be for",
    "scope_inexpressible": "the provider cannot limit a credential to what this call names",
    "scope_too_large": "this call names more than the provider can limit a credential to",
    "broker_unavailable": "the process that makes credentials is not there",
    "lease_revoked": "the credential was revoked",
    "too_many_leases": "this agent has as many credentials as it may have",
    "frozen": "this agent is frozen",
}
"""What an agent is told of a failure: no name of a file, a host or a provider."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Owner:
    """To whom a secret belongs: taken from an attested subject, never from what a request names."""

    tenant: str
    agent: str
    role: str

    @classmethod
    def of(cls, who: SpiffeId) -> Owner:
        """The owner that an attested agent is."""
        return cls(tenant=who.tenant, agent=who.agent, role=who.role)

    @classmethod
    def broker(cls, tenant: str) -> Owner:
        """Ringwall itself, for one tenant."""
        return cls(tenant=tenant, agent=BROKER, role=BROKER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A credential for one call of one attested process."""

    who: SpiffeId
    launch: LaunchId
    secret: str  # name in [secrets]
    details: tuple[Detail, ...]  # what both the grant and the call name: all that it may be good for


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a provider gave: good for what its lease is for, until ``expires_at`` (seconds since the epoch)."""

    lease: str
    secret: str
    expires_at: float
    values: Mapping[str, str] = field(repr=False)  # "access_key_id", "password", "access_token", ...


class Secrets(Protocol):
    """A secret's value for who asks, wherever it is kept. The core's parts use values, agents do not see them."""

    async def value(self, who: SpiffeId, launch: LaunchId, name: str) -> bytes:
        """The bytes to inject: a kept value, or a token that is minted for this agent.

        Raises:
            RingwallError: ``unknown_secret``, ``vault_sealed``, ``no_such_secret``, what reading it raised. The
                cause may name files, and is not for agents.

        """
        ...

    async def own(self, tenant: str, name: str) -> bytes:
        """The same for what no agent causes, such as listing a server's tools: as for the first agent of the
        tenant, by name, whose role has it; a minted token says that it is for Ringwall itself. Raises
        RingwallError."""
        ...

    async def credential(self, call: Call, name: str) -> Credential:
        """A credential for exactly what this call and its grant name. Raises RingwallError."""
        ...


def for_agent(fault: RingwallError, name: str) -> RingwallError:
    """The same failure in words that an agent may read: its code, and a cause without files, hosts or providers.

    Args:
        fault: as ``Secrets`` raises it, for operators.
        name: of the secret, in the manifest.

    """
    said = _SAID.get(fault.code, "it cannot be used now")
    text = f"secret {name}: {said}"
    if isinstance(fault, Limited):
        return Limited(text, code=fault.code, retry_after=fault.retry_after)
    for kind in (Refused, Unavailable, BadInput):
        if isinstance(fault, kind):
            return kind(text, code=fault.code)
    return RingwallError(text, code=fault.code)
