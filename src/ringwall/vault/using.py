"""Secrets for those parts of the core that use them: kept ones, fetched ones and minted ones alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from ringwall.call import Call, LaunchId, Process
from ringwall.errors import BadInput, Refused, Unavailable
from ringwall.identity.spiffe import SpiffeId
from ringwall.manifest.audiences import audience_of
from ringwall.manifest.details import Detail
from ringwall.manifest.types import Manifest, Secret
from ringwall.vault.interface import Credential, Owner, Wanted
from ringwall.vault.kept import KeptSecrets
from ringwall.vault.leases import Leases
from ringwall.vault.orders import Tokens

_NOBODY: Final = LaunchId("")  # Ringwall itself asks


class Fetcher(Protocol):
    """A tenant's broker process, as far as it reads vaults elsewhere."""

    async def fetch(self, vault: str, token: str, path: str, key: str) -> bytes:
        """One value of a KV version 2 secret. Raises Refused or Unavailable."""
        ...


class UsingSecrets:
    """Implements ``vault.interface.Secrets``.

    Args:
        manifest: of the vaults elsewhere, and the trust domain.
        kept: what lies in files and in the embedded vault, and who was given what.
        brokers: a tenant's broker process; None: it is not there.
        tokens: who says for whom something is fetched.
        scopes: what a call and its grant both name. Raises Refused (``scope_empty``).
        leases: of what is minted.

    """

    def __init__(self, manifest: Manifest, kept: KeptSecrets, brokers: Callable[[str], Fetcher | None],
                 tokens: Tokens, scopes: Callable[[Call], tuple[Detail, ...]], leases: Leases) -> None:
        self._manifest = manifest
        self._kept = kept
        self._brokers = brokers
        self._tokens = tokens
        self._scopes = scopes
        self._leases = leases

    async def value(self, who: SpiffeId, launch: LaunchId, name: str) -> bytes:
        """The bytes to inject, for an attested agent whose role has the secret.

        Raises:
            BadInput: ``unknown_secret``, ``secret_not_granted``, ``secret_not_injectable``, what reading it raised.
            RingwallError: what fetching or minting it raised.

        """
        return await self._value(who, launch, self._kept.granted(self._owner(who), name), own=False)

    async def own(self, tenant: str, name: str) -> bytes:
        """The same for what no agent causes, as for the tenant's first agent that has it. Raises RingwallError."""
        owner = self._kept.first(tenant, name)
        who = SpiffeId.make(trust_domain=self._manifest.trust_domain, tenant=owner.tenant, agent=owner.agent,
                            role=owner.role)
        return await self._value(who, _NOBODY, self._kept.declared(name), own=True)

    async def credential(self, call: Call, name: str) -> Credential:
        """A credential for exactly what this call and its grant name: the same for the same within its life.

        Raises:
            BadInput: ``unknown_secret``, ``secret_not_granted``, ``secret_not_minted``.
            Refused: ``scope_empty``, and what ``Leases.obtain`` refuses.
            RingwallError: what minting it raised.

        """
        if not isinstance(call.subject, Process):
            raise BadInput("only an agent's own process is given credentials", code="secret_not_granted")
        who = call.subject.spiffe_id
        secret = self._kept.granted(self._owner(who), name)
        if not secret.minted:
            raise BadInput(f"secret {name} is kept, and not made for a call", code="secret_not_minted",
                           remedy="name it as `secret` of a server that it is injected for")
        wanted = Wanted(who=who, launch=call.subject.launch, secret=name, details=self._scopes(call))
        return await self._leases.obtain(wanted, secret.seconds)

    def known(self, owners: Iterable[Owner]) -> tuple[bytes, ...]:
        """Values that can be in use for these owners now, without waiting: to recognise them in output."""
        everybody = tuple(owners)
        tenants = {owner.tenant for owner in everybody}
        minted = self._leases.values((*everybody, *map(Owner.broker, sorted(tenants))))
        return *self._kept.known(everybody), *minted

    def _owner(self, who: SpiffeId) -> Owner:
        """Raises BadInput (``secret_not_granted``): an owner is known by the rest of its name."""
        if who.trust_domain != self._manifest.trust_domain:
            raise BadInput("agents of other trust domains have no secrets here", code="secret_not_granted")
        return Owner.of(who)

    async def _value(self, who: SpiffeId, launch: LaunchId, secret: Secret, *, own: bool) -> bytes:
        if secret.source in {"file", "vault"}:
            return self._kept.value(Owner.of(who), secret)
        if secret.source == "oauth":
            wanted = Wanted(who=who, launch=launch, secret=secret.name, details=())
            minted = await self._leases.obtain(wanted, secret.seconds, own=own)
            token = minted.values.get("access_token", "")
            if not token:
                raise Refused("the provider's answer holds no token", code="provider_garbage")
            return token.encode()
        if secret.source == "openbao" and not secret.database:
            return await self._fetched(who, launch, secret)
        raise BadInput(f"secret {secret.name} is a credential of several values, for servers that take it as one",
                       code="secret_not_injectable", remedy="use it with a builtin s3 or postgres server")

    async def _fetched(self, who: SpiffeId, launch: LaunchId, secret: Secret) -> bytes:
        vault = self._manifest.vaults.get(secret.vault)
        if vault is None:
            raise BadInput(f"there is no vault {secret.vault} in [vaults]", code="unknown_secret")
        broker = self._brokers(who.tenant)
        if broker is None:
            raise Unavailable("this tenant's broker process is not running", code="broker_unavailable",
                              remedy="`ringwall doctor`")
        token = await self._tokens.token(who, launch, audience_of(secret, self._manifest.vaults), ())
        place = vault.path
        for part, text in (("{tenant}", who.tenant), ("{agent}", who.agent), ("{role}", who.role)):
            place = place.replace(part, text)
        return await broker.fetch(vault.name, token, f"{place}/{secret.name}", secret.key)
