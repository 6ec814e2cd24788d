"""The core's side of an Envoy in front: real sockets, attestation, verifier; a corpus of now; an app that tells."""

from __future__ import annotations

import hashlib
import importlib
import os
import ssl
import sys
import time
import urllib.parse
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from tests.fakes import FakeJournal
from tests.identity.workload.bench import MovableClock

from ringwall.call import LaunchId, SessionId
from ringwall.doors.protocol import CONNECTION
from ringwall.identity.probe import probe
from ringwall.identity.registry import Launch, Registry
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.svid import bundle as documents
from ringwall.identity.svid.authority import EmbeddedAuthority
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.store import KeyStore
from ringwall.keys.file import FileRootKeys
from ringwall.manifest.load import parse
from ringwall.manifest.types import Manifest
from ringwall.peers.interface import PeerConnection
from ringwall.runtime.callers import Callers, Place
from ringwall.runtime.fronting import Fronting

SAM = SpiffeId.parse("spiffe://example.org/tenant/a/agent/sam/role/c")
_MODULES = ("tests.identity.svid.workshop", "tests.identity.svid.corpus")


class CorpusOfNow:
    """The certificate corpus, valid now, with the private keys of its leaves."""

    def __init__(self) -> None:
        self.keys: dict[bytes, Any] = {}
        before = {name: sys.modules.pop(name, None) for name in _MODULES}
        with patch.dict(os.environ, {"RINGWALL_CORPUS_NOW": str(int(time.time()))}):
            self.workshop, corpus = [importlib.import_module(name) for name in _MODULES]
        for name, module in before.items():
            if module is not None:
                sys.modules[name] = module
        with patch.object(ec, "generate_private_key", self._kept(ec.generate_private_key)), \
                patch.object(rsa, "generate_private_key", self._kept(rsa.generate_private_key)), \
                patch.object(ed25519.Ed25519PrivateKey, "generate", self._kept(ed25519.Ed25519PrivateKey.generate)):
            self.cases = corpus.cases()
            self.bundles: dict[str, Bundle] = corpus.bundles()
        self.root, self.partner = corpus.root(), corpus.partner()

    def _kept(self, make: Any) -> Any:
        def made(*args: Any) -> Any:
            key = make(*args)
            public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            self.keys[public] = key
            return key

        return made

    def leaf(self, spiffe_id: str, signer: Any = None) -> list[bytes]:
        """A chain that is right in every way but perhaps its signer, from now on: the corpus may be old by now."""
        name, now = x509.UniformResourceIdentifier(spiffe_id), int(time.time())
        made = self.workshop.Leaf(names=(name,), key=self.key(), begins=now - 30, ends=now + 600)
        return [made.by(signer or self.root)]

    @cache  # noqa: B019 (one corpus in a run)
    def key(self) -> Any:
        key = ec.generate_private_key(ec.SECP256R1())
        self.keys[key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)] = key
        return key

    def context(self, chain: Sequence[bytes], folder: Path) -> ssl.SSLContext | None:
        """A client that presents this chain; None: no TLS library would (no such key, or no certificate)."""
        key = next((key for public, key in self.keys.items() if chain and public in chain[0]), None)
        if key is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        try:
            file = folder / "client.pem"
            pem = "".join(map(ssl.DER_cert_to_PEM_cert, chain)).encode()
            file.write_bytes(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            context.load_cert_chain(file)
        except (ValueError, ssl.SSLError):
            return None
        return context


@cache
def corpus() -> CorpusOfNow:
    return CorpusOfNow()


def header(chain: Sequence[bytes], receiver: str = str(SAM)) -> bytes:
    """As Envoy 1.40 writes it."""
    pem = "".join(map(_pem, chain))
    return (f'By={receiver};Hash={hashlib.sha256(chain[0] if chain else b"").hexdigest()};'
            f'Chain="{urllib.parse.quote(pem, safe="")}"').encode()


def _pem(der: bytes) -> str:
    return ssl.DER_cert_to_PEM_cert(der)


class Front:
    """``seen``: whom the app was told each request is from, with its headers."""

    def __init__(self, folder: Path, manifest: Manifest, trusted: Mapping[str, Bundle]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.clock = MovableClock()
        self.journal = FakeJournal()
        self.registry = Registry(probe())
        self.trusted = dict(trusted)
        self.authority = _Trusting(self, folder, self.clock, self.journal)
        self.callers = Callers(registry=self.registry, authority=self.authority, journal=self.journal,
                               clock=self.clock)
        self.fronting = Fronting(
            settings=manifest.a2a, folder=folder / "peers", probe=self.registry.probe, authority=self.authority,
            callers=self.callers, journal=self.journal, clock=self.clock, app=lambda: self._app)
        self.seen: list[tuple[str, list[tuple[bytes, bytes]]]] = []

    async def launch(self, who: SpiffeId = SAM) -> Place:
        """An agent of this name is launched, as our own process."""
        place = Place(receiver=who, launch=LaunchId(f"l-{who.agent}"), session=SessionId("s1"))
        pidfd = os.pidfd_open(os.getpid())
        try:
            self.registry.register(Launch(id=place.launch, spiffe_id=who, pidfd=pidfd, pidns_fd=None,
                                          processes="one", session=place.session, confined=True, strength="full"))
        finally:
            os.close(pidfd)
        await self.fronting.open(place)
        return place

    def codes(self) -> list[str]:
        return [event.body["code"] for event in self.journal.of("count") if event.type == "peer_refused"]

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        connection = scope["extensions"][CONNECTION]
        assert isinstance(connection, PeerConnection)
        self.seen.append((str(connection.sender), scope["headers"]))
        body = str(connection.sender).encode()
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body})


class _Trusting(EmbeddedAuthority):
    """A real authority that trusts the test's bundles beside its own keys."""

    def __init__(self, front: Front, folder: Path, clock: MovableClock, journal: FakeJournal) -> None:
        super().__init__(
            trust_domain="example.org", issuer="https://example.org",
            store=KeyStore(folder / "identity", FileRootKeys.open_or_create(folder / "root.key"), "example.org"),
            clock=clock, journal=journal, entitled=front.registry.entitled, frozen=lambda who: "",
            foreign=lambda: front.trusted)
        front.registry.on_withdraw = self.revoke
        self._front = front

    def bundles(self) -> Mapping[str, Bundle]:
        return {**super().bundles(), **self._front.trusted}


@asynccontextmanager
async def front(
    folder: Path, manifest: Manifest, trusted: Mapping[str, Bundle] | None = None
) -> AsyncGenerator[Front, None]:
    made = Front(folder, manifest, corpus().bundles if trusted is None else trusted)
    await made.authority.start()
    await made.fronting.start()
    try:
        yield made
    finally:
        await made.fronting.stop()


def manifest(folder: Path, *, port: int = 7443, settings: str = "") -> Manifest:
    """``b`` and the partner may send to ``sam``; ``d`` may not."""
    (folder / "partner.json").write_bytes(documents.document(corpus().bundles["partner.test"]))
    return parse(f"""
version = 1
trust_domain = "example.org"
[identity.federation."partner.test"]
bundle = "{folder}/partner.json"
[a2a]
terminator = "envoy"
{settings}
[peers.partner]
spiffe_id = "spiffe://partner.test/tenant/a/agent/b/role/c"
url = "https://partner.test/"
[tenants.a.roles.c]
[tenants.a.agents.b]
role = "c"
send = {{ sam = ["quote"] }}
[tenants.a.agents.d]
role = "c"
[tenants.a.agents.sam]
role = "c"
listen = "127.0.0.1:{port}"
serve = 9000
receive = {{ b = ["quote"], partner = ["quote"] }}
skills = {{ quote = {{}} }}
""", folder / "ringwall.toml")
