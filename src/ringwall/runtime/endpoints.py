"""The processes that ask other trust domains' bundle endpoints, one each, and the one that serves ours."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from ringwall.call import Json
from ringwall.clock import Clock
from ringwall.confine.spec import MAX_NAME, Confinement
from ringwall.errors import RingwallError, Unavailable
from ringwall.identity.endpoint.client import EndpointClient
from ringwall.identity.svid import discovery
from ringwall.identity.svid.authority import EmbeddedAuthority
from ringwall.identity.svid.interface import Bundle, SystemSvid
from ringwall.identity.svid.polling import Polling
from ringwall.manifest.types import Federated, IdentitySettings, Secret
from ringwall.runtime import helper_views, views
from ringwall.runtime.helpers import Helpers
from ringwall.runtime.runs import Tasks
from ringwall.runtime.secrets import FileSecrets
from ringwall.runtime.state import State

SOCKETS: Final = (socket.SOCK_STREAM, socket.SOCK_SEQPACKET)
BACKLOG: Final = 128
LOOK_SECONDS: Final = 30.0  # between two looks at the certificate's files, and after a failure
LISTEN_SECONDS: Final = 2.0  # until the next try to listen: the process of a killed core may still end
MAX_PEM: Final = 64 << 10  # bytes: a leaf and what is between it and the root have five thousand
PART: Final = "bundle"  # our endpoint's ID is spiffe://<trust domain>/ringwall/bundle
PUBLISHER: Final = "publish"
START_S: Final = 10.0  # for the process that publishes to import what it needs, on a busy machine


class Askers:
    """One process for each domain with an endpoint."""

    def __init__(self, federated: Mapping[str, Federated]) -> None:
        self._federated = {name: one for name, one in federated.items() if one.endpoint}
        self.domains = tuple(self._federated)
        self._clients: dict[str, EndpointClient] = {}

    async def fetch(self, domain: str, known: Bundle | None) -> bytes:
        """Ask a domain's endpoint, proved as the manifest says. See ``polling.Fetching``."""
        one, client = self._federated[domain], self._clients.get(domain)
        if client is None:
            raise Unavailable("its endpoint process was not started yet", code="link_closed")
        if one.profile == "https_web":
            ca = _pem(one.ca_file).decode("ascii", "replace") if one.ca_file is not None else ""
            return await client.fetch(one.endpoint, ca=ca)
        if known is None:
            raise Unavailable("nothing is known by which its endpoint could be verified", code="svid_no_authority",
                              remedy=f"mend its first bundle, {one.bundle}")
        return await client.fetch(one.endpoint, spiffe_id=one.spiffe_id, authorities=known.authorities)

    def start(self, helpers: Helpers, state: State, around: views.Surroundings, polling: Polling,
              tasks: Tasks) -> None:
        """Start the processes, and ask from now on."""
        for domain in self._federated:
            up = asyncio.Event()
            client = _client(helpers, f"bundle-{domain}"[:MAX_NAME],
                             _view(state, around, f"bundle-{domain}"[:MAX_NAME], f"bundle/{domain}"), up.set)
            self._clients[domain] = client
            tasks.start(_asking(domain, up, polling))


async def _asking(domain: str, up: asyncio.Event, polling: Polling) -> None:
    await up.wait()
    await polling.run(domain)


class Publisher:
    """Our bundle, OIDC discovery and keys, for others. Nothing happens where ``publish`` names no address.

    Args:
        settings: where, with which certificate.
        issuer: the ``iss`` of our tokens.
        authority: what is published, and the certificate where no other is given.
        clock: when that is renewed.

    """

    def __init__(self, settings: IdentitySettings, *, issuer: str, authority: EmbeddedAuthority,
                 clock: Clock) -> None:
        self._settings = settings
        self._issuer = issuer
        self._authority = authority
        self._clock = clock
        self._svid: SystemSvid | None = None
        self._certificate: bytes | None = None  # of the web, as it was read last
        self._told: tuple[bytes, bytes, dict[str, bytes]] | None = None
        self._news = asyncio.Event()
        self._served = asyncio.Event()
        self.fault = "not served yet"

    def start(self, helpers: Helpers, state: State, around: views.Surroundings, tasks: Tasks) -> None:
        """Serve from now on, and again whenever something changed."""
        if not self._settings.publish:
            return
        self._authority.on_change(self._news.set)
        tasks.start(self._run(helpers, _view(state, around, PUBLISHER, PUBLISHER)))

    async def served(self) -> None:
        """Return when something has been served, or could not for ``START_S``. At once where nothing is to be."""
        with suppress(TimeoutError):
            async with asyncio.timeout(START_S if self._settings.publish else 0.0):
                await self._served.wait()

    def status(self) -> Json:
        """For ``ringwall status`` and ``doctor``; None: nothing is published."""
        if not self._settings.publish:
            return None
        web = self._settings.publish_cert is not None
        unread = web and self._certificate is None  # then ``fault`` says why
        misfits = [] if unread else discovery.misfits(self._issuer, self._settings.publish, self._certificate)
        return {
            "address": self._settings.publish, "issuer": self._issuer, "fault": self.fault,
            "profile": "https_web" if web else "https_spiffe", "misfits": list[Json](misfits),
        }

    def _up(self) -> None:
        self._told = None
        self._news.set()

    async def _run(self, helpers: Helpers, view: Callable[[], Confinement]) -> None:
        with await self._listen() as listening:
            client = _client(helpers, PUBLISHER, view, self._up, listening)
            while True:
                self._news.clear()
                await self._look(client)
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._news.wait()
                except TimeoutError:
                    continue

    async def _look(self, client: EndpointClient) -> None:
        try:
            await self._publish(client)
            self.fault = ""
        except RingwallError as fault:
            self.fault = str(fault)

    async def _listen(self) -> socket.socket:
        """Our own for ever; each process that serves gets a copy."""
        while True:
            try:
                return _listening(self._settings.publish)
            except Unavailable as fault:
                self.fault = str(fault)
            await asyncio.sleep(LISTEN_SECONDS)

    async def _publish(self, client: EndpointClient) -> None:
        """Tell the process what is to be served, if it does not know. Raises RingwallError."""
        chain, key = await self._material()
        wanted = (chain, key, discovery.pages(self._authority.bundle(), self._issuer))
        if wanted != self._told:
            await client.publish(*wanted)
            self._told = wanted
            self._served.set()

    async def _material(self) -> tuple[bytes, bytes]:
        """Certificate and key (PEM), as they are now. Raises RingwallError."""
        certificate, private = self._settings.publish_cert, self._settings.publish_key
        if certificate is not None and private is not None:
            key = FileSecrets({PUBLISHER: Secret(name=PUBLISHER, file=private)}).value(PUBLISHER)
            self._certificate = _pem(certificate)
            return self._certificate, key
        svid = self._svid
        if svid is None or self._clock.now() >= (svid.issued_at + svid.expires_at) / 2:
            svid = self._svid = await self._authority.system_svid(PART)
        chain = "".join(ssl.DER_cert_to_PEM_cert(one) for one in svid.chain).encode()
        return chain, load_der_private_key(svid.key, None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _client(helpers: Helpers, name: str, view: Callable[[], Confinement], up: Callable[[], None],
            listening: socket.socket | None = None) -> EndpointClient:
    """Keep an endpoint process running; our side of it."""
    client = EndpointClient(on_up=up, on_fault=lambda: helpers.kill(name))

    async def connect(sockets: Sequence[socket.socket]) -> None:
        await client.attach(sockets[0], sockets[1], listening)

    helpers.service(name, view, SOCKETS, connect)
    return client


def _view(state: State, around: views.Surroundings, name: str, owner: str) -> Callable[[], Confinement]:
    return lambda: helper_views.endpoint_view(name=name, uid=state.uid(owner), around=around)


def _listening(address: str) -> socket.socket:
    """Raises Unavailable (``publish_address``)."""
    host, _, port = address.rpartition(":")
    bare = host.strip("[]")
    try:
        return socket.create_server((bare, int(port)), backlog=BACKLOG,
                                    family=socket.AF_INET6 if ":" in bare else socket.AF_INET)
    except OSError as fault:
        raise Unavailable(f"[identity] publish: {address} cannot be listened at: {fault.strerror}",
                          code="publish_address", remedy="choose a free address of this machine") from None


def _pem(path: Path) -> bytes:
    """Raises Unavailable (``pem_unreadable``)."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_PEM + 1)
    except OSError as fault:
        raise Unavailable(f"{path} cannot be read: {fault.strerror}", code="pem_unreadable") from None
    if len(raw) > MAX_PEM or b"-----BEGIN CERTIFICATE-----" not in raw:
        raise Unavailable(f"{path} holds no certificate in PEM", code="pem_unreadable")
    return raw
