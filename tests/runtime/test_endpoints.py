"""Publishing with an operator's certificate, and asking as the manifest says: real processes, unconfined."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from tests.fakes import run
from tests.identity.endpoint.test_service import started
from tests.identity.endpoint.web import LOCAL, document, listening, served, web_ca, web_pem
from tests.identity.svid.world import World

from ringwall.clock import SystemClock
from ringwall.errors import Unavailable
from ringwall.identity.endpoint.fetch import EndpointFault, fetch
from ringwall.identity.endpoint.protocol import Fetch
from ringwall.identity.svid.interface import Bundle
from ringwall.manifest.types import Federated, IdentitySettings
from ringwall.runtime import endpoints
from ringwall.runtime.endpoints import Askers, Publisher
from ringwall.runtime.runs import Tasks

CA = ssl.DER_cert_to_PEM_cert(web_ca().certificate)


class FakeHelpers:
    """Starts each process once, as the supervisor would, without confinement."""

    def __init__(self) -> None:
        self.processes: list[Any] = []
        self.tasks: list[asyncio.Task[None]] = []

    def service(self, name: str, view: object, sockets: Sequence[socket.SocketKind],
                connect: Callable[[Sequence[socket.socket]], Awaitable[None]]) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, kind) for kind in sockets]
        self.processes.append(started(*(theirs for _, theirs in pairs)))
        self.tasks.append(asyncio.ensure_future(self._connect(connect, [ours for ours, _ in pairs])))

    async def _connect(self, connect: Callable[[Sequence[socket.socket]], Awaitable[None]],
                       ours: list[socket.socket]) -> None:
        await connect(ours)

    def kill(self, name: str) -> None:
        for process in self.processes:
            process.kill()


@asynccontextmanager
async def around(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[tuple[Any, Tasks], None]:
    monkeypatch.setattr(endpoints, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(endpoints, "LISTEN_SECONDS", 0.05)
    helpers, before = FakeHelpers(), asyncio.all_tasks()
    faults: list[BaseException] = []
    try:
        yield helpers, Tasks(faults.append)
    finally:
        ours = asyncio.all_tasks() - before - {asyncio.current_task()}
        for task in ours:
            task.cancel()
        await asyncio.gather(*ours, return_exceptions=True)
        for process in helpers.processes:
            process.kill()
            await asyncio.to_thread(process.communicate)
        assert not faults


async def becomes(what: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not what():  # noqa: ASYNC110 (what is waited for has no event of its own)
            await asyncio.sleep(0.01)


def test_an_operators_certificate_is_served_read_again_and_refused_where_its_key_is_exposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        world = World(tmp_path)
        await world.authority.start()
        chain, key = tmp_path / "c.pem", tmp_path / "k.pem"

        def put(material: tuple[bytes, bytes], mode: int = 0o600) -> None:
            for path, content in zip((chain, key), material, strict=True):
                path.write_bytes(content)
                path.chmod(mode)

        put(web_pem(), 0o644)
        taken = listening()
        port = taken.getsockname()[1]
        settings = IdentitySettings(publish=f"127.0.0.1:{port}", publish_cert=chain, publish_key=key)
        publisher = Publisher(settings, issuer=f"https://127.0.0.1:{port}", authority=world.authority,
                              clock=world.clock)
        async with around(monkeypatch) as (helpers, tasks):
            publisher.start(helpers, None, None, tasks)  # type: ignore[arg-type]
            await becomes(lambda: "publish_address" in publisher.fault)
            taken.close()
            await becomes(lambda: "secret_unsafe" in publisher.fault)
            put(web_pem())
            await becomes(lambda: not publisher.fault)
            asked = Fetch(id=1, url=f"https://127.0.0.1:{port}/keys", ca=CA)
            assert b"ES256" in await fetch(asked, SystemClock())
            status: Any = publisher.status()
            assert (status["profile"], status["misfits"]) == ("https_web", [])
            put(web_pem(x509.DNSName("elsewhere.example")))
            await becomes(lambda: publisher.status()["misfits"])  # type: ignore[index,call-overload]
            async with asyncio.timeout(20):
                with pytest.raises(EndpointFault, match="mismatch"):
                    while True:
                        await fetch(asked, SystemClock())
            chain.unlink()
            await becomes(lambda: "pem_unreadable" in publisher.fault)

    run(scenario())


def test_each_profile_is_asked_with_what_the_manifest_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        ca = tmp_path / "ca.pem"
        ca.write_text(CA)
        theirs = document()
        async with around(monkeypatch) as (helpers, tasks), served(web_pem(*LOCAL), {"/b": theirs}) as url:
            askers = Askers({
                "partner.test": Federated(trust_domain="partner.test", endpoint=url + "/b", profile="https_web",
                                          ca_file=ca),
                "other.test": Federated(trust_domain="other.test", endpoint=url + "/b", profile="https_spiffe",
                                        spiffe_id="spiffe://other.test/x", bundle=tmp_path / "none.json"),
                "file.test": Federated(trust_domain="file.test", bundle=tmp_path / "none.json"),
            })
            assert askers.domains == ("partner.test", "other.test")
            with pytest.raises(Unavailable, match="link_closed"):
                await askers.fetch("partner.test", None)

            class Idle:
                async def run(self, domain: str) -> None:
                    return None

            askers.start(helpers, None, None, Idle(), tasks)  # type: ignore[arg-type]
            await asyncio.gather(*helpers.tasks)
            assert await askers.fetch("partner.test", None) == theirs
            with pytest.raises(Unavailable, match="svid_no_authority"):
                await askers.fetch("other.test", None)
            with pytest.raises(Unavailable, match="endpoint_untrusted"):
                await askers.fetch("other.test", Bundle(trust_domain="other.test"))
            ca.unlink()
            with pytest.raises(Unavailable, match="pem_unreadable"):
                await askers.fetch("partner.test", None)

    run(scenario())


def test_who_waits_for_our_keys_gets_them_or_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        world = World(tmp_path)
        await world.authority.start()
        nowhere = Publisher(IdentitySettings(), issuer="https://t.test", authority=world.authority,
                            clock=world.clock)
        await nowhere.served()
        chain, key = tmp_path / "c.pem", tmp_path / "k.pem"
        with listening() as free:
            port = free.getsockname()[1]
        settings = IdentitySettings(publish=f"127.0.0.1:{port}", publish_cert=chain, publish_key=key)
        publisher = Publisher(settings, issuer=f"https://127.0.0.1:{port}", authority=world.authority,
                              clock=world.clock)
        async with around(monkeypatch) as (helpers, tasks):
            publisher.start(helpers, None, None, tasks)  # type: ignore[arg-type]
            monkeypatch.setattr(endpoints, "START_S", 0.05)
            await publisher.served()  # there is no certificate: it is not waited for for ever
            assert publisher.fault
            for path, content in zip((chain, key), web_pem(), strict=True):
                path.touch(mode=0o600)
                path.write_bytes(content)
            monkeypatch.setattr(endpoints, "START_S", 20.0)
            await publisher.served()
            asked = Fetch(id=1, url=f"https://127.0.0.1:{port}/keys", ca=CA)
            assert b"ES256" in await fetch(asked, SystemClock())

    run(scenario())
