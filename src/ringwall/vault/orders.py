"""What a broker is asked for a lease: with the token that says for whom, and the login that it needs itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ringwall.call import LaunchId
from ringwall.errors import BadInput
from ringwall.identity.spiffe import SpiffeId
from ringwall.manifest.audiences import audience_of
from ringwall.manifest.details import Detail
from ringwall.manifest.types import OutsideVault, Secret
from ringwall.vault.brokers.interface import MAX_SESSION, Order
from ringwall.vault.interface import BROKER, Owner, Wanted
from ringwall.vault.kept import KeptSecrets


class Tokens(Protocol):
    """Issues JWT-SVIDs of agents for providers. No agent ever sees one."""

    async def token(self, who: SpiffeId, launch: LaunchId, audience: str, details: tuple[Detail, ...]) -> str:
        """A JWT-SVID for one audience.

        Args:
            who: the agent it is about.
            launch: its process; empty: Ringwall itself asks, and the token says so.
            audience: who shall accept it.
            details: its ``authorization_details``.

        Raises:
            RingwallError: nothing is issued: the agent is gone or frozen, the authority is not there.

        """
        ...


class AgentOrders:
    """Implements ``lease_ends.Orders`` from the manifest.

    Args:
        kept: secrets, and the logins among them.
        vaults: of the manifest.
        tokens: who says for whom an order is.
        trust_domain: of the manifest.

    """

    def __init__(self, kept: KeptSecrets, vaults: Mapping[str, OutsideVault], tokens: Tokens,
                 trust_domain: str) -> None:
        self._kept = kept
        self._vaults = vaults
        self._tokens = tokens
        self._trust_domain = trust_domain

    async def minting(self, wanted: Wanted, lease: str, seconds: int) -> Order:
        """For a new credential. Raises RingwallError: without its token or its login nothing is asked."""
        who = wanted.who
        if who.trust_domain != self._trust_domain:  # an owner is known by the rest of its name
            raise BadInput("agents of other trust domains have no secrets here", code="secret_not_granted")
        secret = self._kept.declared(wanted.secret)
        login = self._kept.login(who.tenant, login_of(secret))
        audience = audience_of(secret, self._vaults)
        token = await self._tokens.token(who, wanted.launch, audience, wanted.details) if audience else ""
        return Order(lease=lease, seconds=seconds, details=wanted.details, token=token, login=login,
                     session=session_of(who.tenant, who.agent if wanted.launch else "ringwall", lease))

    async def later(self, owner: Owner, secret: str, lease: str, seconds: int) -> Order:
        """For one that exists, without a token: of an agent that is frozen or gone there is none any more, and what
        its provider must be shown is the login, or lies in the handle. Raises RingwallError."""
        login = self._kept.login(owner.tenant, login_of(self._kept.declared(secret)))
        agent = "ringwall" if owner.agent == BROKER else owner.agent
        return Order(lease=lease, seconds=seconds, login=login, session=session_of(owner.tenant, agent, lease))


def login_of(secret: Secret) -> str:
    """The secret that its broker needs itself, by name; empty: none."""
    return {"postgres": secret.admin, "oauth": secret.client_secret}.get(secret.source, "")


def session_of(tenant: str, agent: str, lease: str) -> str:
    """What the provider's own log says of an order: the lease in full, and as much of the names as fits."""
    return f"{tenant}-{agent}"[:MAX_SESSION - len(lease) - 1] + f"-{lease}"
