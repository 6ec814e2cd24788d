"""The processes that make credentials, one a tenant that needs one, and what the core tells them about whom it asks
for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ringwall.call import Json, LaunchId
from ringwall.clock import Clock
from ringwall.errors import RingwallError, Unavailable
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.spire.authority import SpireAuthority
from ringwall.identity.svid.authority import EmbeddedAuthority
from ringwall.manifest.details import Detail, spell
from ringwall.manifest.types import Manifest
from ringwall.runtime import helper_views
from ringwall.runtime.hello import used
from ringwall.runtime.helpers import Helpers
from ringwall.runtime.state import State
from ringwall.runtime.views import Surroundings
from ringwall.vault.broker_client import BrokerClient, hello
from ringwall.vault.brokers.protocol import Hello

SYSTEM: Final = "system"  # its process asks for the vault's own root key; no tenant is called so
START_S: Final = 20.0  # for a process to import what it needs, on a busy machine
MAX_PEM: Final = 64 << 10  # bytes of a file of certificates


class Brokering:
    """The broker processes of one core.

    Args:
        manifest: which secrets are made, and for whom.
        state: gives each process its own uid when the core is root.
        clock: for what they answer.

    """

    def __init__(self, manifest: Manifest, state: State, clock: Clock) -> None:
        self._manifest = manifest
        self._state = state
        self._clock = clock
        self._clients: dict[str, BrokerClient] = {}

    def get(self, tenant: str) -> BrokerClient | None:
        """The one of a tenant; None: its roles need none."""
        return self._clients.get(tenant)

    def start(self, helpers: Helpers, around: Surroundings) -> None:
        """Start them, and keep them running from now on. Raises RingwallError (``ca_unreadable``)."""
        for tenant in self._manifest.tenants:
            told = hello_of(self._manifest, tenant)
            if told.providers or told.vaults:
                self._start(tenant, told, helpers, around)
        if self._manifest.vault.root == "transit":
            outside = self._manifest.vaults[self._manifest.vault.transit]
            self._start(SYSTEM, hello((), [outside], _pem), helpers, around)

    async def ready(self, helpers: Helpers, tenant: str) -> None:
        """Return when the process of a tenant can be asked. Raises Unavailable (``broker_unavailable``)."""
        name = f"broker-{tenant}"
        service = next(one for one in helpers.services if one.name == name)
        try:
            async with asyncio.timeout(START_S):
                await service.ready.wait()
        except TimeoutError as late:
            raise Unavailable(f"{name} does not start: {service.fault}", code="broker_unavailable",
                              remedy="`ringwall status`") from late

    def _start(self, tenant: str, told: Hello, helpers: Helpers, around: Surroundings) -> None:
        name = f"broker-{tenant}"
        client = BrokerClient(told, self._clock, lambda: helpers.kill(name))
        self._clients[tenant] = client

        async def connect(sockets: Sequence[socket.socket]) -> None:
            await client.attach(sockets[0])

        uid = self._state.uid(f"{tenant}/broker")
        helpers.service(
            name, lambda: helper_views.broker_view(tenant=tenant, uid=uid, around=around), [socket.SOCK_STREAM],
            connect,
        )  # fmt: skip


class CoreTokens:
    """JWT-SVIDs by which providers know for whom they are asked. Implements ``vault.orders.Tokens``."""

    def __init__(self, authority: EmbeddedAuthority | SpireAuthority) -> None:
        self._authority = authority

    async def token(
        self, who: SpiffeId, launch: LaunchId, audience: str, details: tuple[Detail, ...]
    ) -> str:
        """A token of an attested agent, saying what it is asked for; without a launch, of Ringwall itself.

        Raises as ``Authority.jwt_svid`` and ``system_token``.
        """
        if not launch:
            return await self.own(f"broker/{who.tenant}", audience)
        said: list[Json] = [spell(one) for one in details]
        return (await self._authority.jwt_svid(who, launch, [audience], said)).token

    async def own(self, part: str, audience: str) -> str:
        """A token of a part of the runtime itself. Raises as ``system_token``."""
        return await self._authority.system_token(part, audience)


class CoreTransit:
    """The transit engine of a vault elsewhere, as root keys want it: called in a thread, works in the core's loop.

    Implements ``keys.interface.Transit``.
    """

    def __init__(self, manifest: Manifest, brokering: Brokering, tokens: CoreTokens) -> None:
        self._settings = manifest.vault
        self._vault = manifest.vaults[manifest.vault.transit]
        self._brokering = brokering
        self._tokens = tokens
        self._loop = asyncio.get_running_loop()

    def encrypt(self, plain: bytes) -> str:
        """See ``keys.interface.Transit``."""
        return asyncio.run_coroutine_threadsafe(self._encrypt(plain), self._loop).result()

    def decrypt(self, blob: str) -> bytes:
        """See ``keys.interface.Transit``."""
        return asyncio.run_coroutine_threadsafe(self._decrypt(blob), self._loop).result()

    async def _encrypt(self, plain: bytes) -> str:
        client, token = await self._asked()
        return await client.encrypt(self._vault.name, token, self._settings.key, plain)

    async def _decrypt(self, blob: str) -> bytes:
        client, token = await self._asked()
        return await client.decrypt(self._vault.name, token, self._settings.key, blob)

    async def _asked(self) -> tuple[BrokerClient, str]:
        client = self._brokering.get(SYSTEM)
        if client is None:
            raise Unavailable("the process that asks for the root key is not there", code="broker_unavailable")
        return client, await self._tokens.own("vault", self._vault.audience)


def hello_of(manifest: Manifest, tenant: str) -> Hello:
    """All that the broker process of a tenant will be asked about."""
    names = _needed(manifest, tenant)
    secrets = [manifest.secrets[name] for name in sorted(names)]
    vaults = {secret.vault for secret in secrets if secret.source == "openbao"}
    return hello(secrets, [manifest.vaults[name] for name in sorted(vaults)], _pem)


def _needed(manifest: Manifest, tenant: str) -> set[str]:
    """The secrets that are used for a tenant's agents, and are not just kept here."""
    roles = manifest.tenants[tenant].roles.values()
    names = {name for role in roles for name in (*role.secrets, *(role.read.secrets if role.read else ()))}
    for server in manifest.tools.values():
        if server.secret and used(manifest, tenant, server.name):
            names.add(server.secret)
    found = {name for name in names if name in manifest.secrets}
    for name in list(found):  # what is needed to ask for another
        one = manifest.secrets[name]
        found |= {other for other in (one.admin, one.client_secret) if other in manifest.secrets}
    return {name for name in found if manifest.secrets[name].minted or manifest.secrets[name].source == "openbao"}


def _pem(path: Path) -> str:
    """A file of certificates, as text. Raises RingwallError (``ca_unreadable``)."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_PEM + 1)
    except OSError as fault:
        raise RingwallError(f"the certificates in {path} cannot be read: {fault.strerror}", code="ca_unreadable",
                            remedy="put the authority's certificate (PEM) there") from fault
    if not 0 < len(raw) <= MAX_PEM or b"-----BEGIN CERTIFICATE-----" not in raw or not raw.isascii():
        raise RingwallError(f"{path} holds no certificates", code="ca_unreadable",
                            remedy="put the authority's certificate (PEM) there")
    return raw.decode("ascii")

