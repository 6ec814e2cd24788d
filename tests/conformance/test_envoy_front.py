"""The real Envoy in front of the core, with the configuration that Ringwall writes: nobody borrows an identity."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography import x509
from tests.envoy.front import SAM, Front, corpus, front, header, manifest
from tests.envoy.harness import Envoy, envoy, free_port
from tests.fakes import run, until

from ringwall.errors import Refused
from ringwall.identity.svid.verifier import X509Verifier
from ringwall.peers.envoy import configuration

B = "spiffe://example.org/tenant/a/agent/b/role/c"
D = "spiffe://example.org/tenant/a/agent/d/role/c"
PARTNER = "spiffe://partner.test/tenant/a/agent/b/role/c"
BODY = b'{"jsonrpc":"2.0"}'


class Bench:
    def __init__(self, made: Front, client: Envoy, port: int, folder: Path) -> None:
        self.front, self.envoy, self.port, self.folder = made, client, port, folder

    async def post(self, context: ssl.SSLContext | None, *fields: bytes) -> tuple[int, bytes]:
        """Status and body; 0 if there was no answer at all."""
        lines = [b"POST / HTTP/1.1", b"Host: sam", b"Content-Length: %d" % len(BODY), b"Connection: close", *fields]
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
        except (OSError, ssl.SSLError):
            return 0, b""
        try:
            writer.write(b"\r\n".join([*lines, b"", BODY]))
            head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).lower()
            size = re.search(rb"content-length: (\d+)", head)
            return int(head.split(b" ")[1]), await reader.readexactly(int(size[1])) if size else b""
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError):
            return 0, b""
        finally:
            writer.transport.abort()

    async def as_(self, chain: list[bytes], *fields: bytes) -> tuple[int, bytes]:
        context = corpus().context(chain, self.folder)
        assert context is not None
        return await self.post(context, *fields)

    async def serials(self) -> list[str]:
        found = await self.envoy.ask("/certs")
        return [one["serial_number"].lstrip("0") for group in found["certificates"] for one in group["cert_chain"]]


@asynccontextmanager
async def bench(folder: Path) -> AsyncGenerator[Bench, None]:
    """Envoy with Ringwall's own configuration, before the core; sam is launched."""
    port = free_port()
    settled = manifest(folder, port=port)
    async with front(folder, settled) as made, envoy(configuration(settled, folder / "peers"), folder) as client:
        await made.launch()
        await client.until("/server_info", lambda found: found["state"] == "LIVE")
        await client.until("/certs", lambda found: found["certificates"])
        ready = Bench(made, client, port, folder)
        async with asyncio.timeout(20):
            while (await ready.as_(corpus().leaf(B)))[0] != 200:  # noqa: ASYNC110 (its listener tells nobody)
                await asyncio.sleep(0.05)
        made.seen.clear()
        yield ready


def test_who_may_send_gets_through_and_who_may_not_is_refused_by_envoy(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            assert await made.as_(corpus().leaf(B)) == (200, B.encode())
            assert await made.as_(corpus().leaf(PARTNER, corpus().partner)) == (200, PARTNER.encode())
            assert (await made.as_(corpus().leaf(D)))[0] == 403
            assert (await made.as_(corpus().leaf(B, corpus().partner)))[0] == 0  # the partner's CA for our name
            assert len(made.front.seen) == 2
            assert made.front.codes() == []  # the core was not even asked

    run(scenario())


def test_a_client_without_a_certificate_or_below_tls_1_3_gets_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
            assert (await made.post(bare))[0] == 0
            assert (await made.post(None))[0] == 0
            old = corpus().context(corpus().leaf(B), tmp_path)
            assert old is not None
            old.maximum_version = ssl.TLSVersion.TLSv1_2
            assert (await made.post(old))[0] == 0
            assert not made.front.seen

    run(scenario())


def test_a_smuggled_certificate_header_is_replaced(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            forged = b"x-forwarded-client-cert: " + header(corpus().leaf(PARTNER, corpus().partner))
            assert await made.as_(corpus().leaf(B), forged, forged.upper()) == (200, B.encode())
            assert [who for who, _ in made.front.seen] == [B]
            names = {name for name, _ in made.front.seen[0][1]}
            assert b"x-forwarded-client-cert" not in names
            for smuggled in (b"Transfer-Encoding: chunked", b"Content-Length: 5",
                             b"Connection: upgrade\r\nUpgrade: websocket"):
                status, _ = await made.as_(corpus().leaf(B), smuggled)
                assert status in {0, 400, 403}, smuggled
            assert len(made.front.seen) == 1

    run(scenario())


def test_of_all_certificates_of_the_corpus_none_gets_an_identity_that_it_does_not_prove(tmp_path: Path) -> None:
    """Whatever a TLS library is willing to present goes through Envoy; what reaches the core is what it proves."""

    async def scenario() -> None:
        async with bench(tmp_path) as made:
            judge = X509Verifier(lambda: made.front.trusted, made.front.clock)
            presented = passed = 0
            for case in corpus().cases:
                context = corpus().context(case.chain, tmp_path)
                if context is None:
                    continue
                presented += 1
                made.front.seen.clear()
                status, said = await made.post(context)
                try:
                    proved = str(judge.verify(case.chain).spiffe_id)
                except Refused:
                    proved = ""
                assert [who for who, _ in made.front.seen] in ([], [proved]), str(case)
                if status == 200:
                    passed += 1
                    assert said.decode() == proved, str(case)
                    assert proved in {B, PARTNER}
                    assert not case.code or case.family == "time", str(case)
            assert presented >= 100, presented
            assert passed >= 15, passed
            print(f"presented {presented}, passed {passed}, refused by the core {made.front.codes()}")

    run(scenario())


def test_envoy_rotates_and_believes_a_withdrawn_root_no_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            first = await made.serials()
            made.front.clock.ahead = 451
            made.front.authority.changed()
            await made.envoy.until("/certs", lambda found: str(found).find(first[0]) < 0)
            made.front.clock.ahead = 0
            assert (await made.as_(corpus().leaf(PARTNER, corpus().partner)))[0] == 200
            del made.front.trusted["partner.test"]
            made.front.authority.changed()
            async with asyncio.timeout(20):
                while (await made.as_(corpus().leaf(PARTNER, corpus().partner)))[0]:  # noqa: ASYNC110 (as above)
                    await asyncio.sleep(0.05)
            assert (await made.as_(corpus().leaf(B)))[0] == 200

    run(scenario())


def test_when_the_agent_ends_nothing_answers_for_it_and_its_next_launch_has_another_certificate(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            first = await made.serials()
            place = made.front.registry.entitled(SAM, _launch()) or _launch()
            assert place == _launch()
            await made.front.fronting.close(_launch())
            made.front.registry.withdraw(_launch())
            assert (await made.as_(corpus().leaf(B)))[0] == 503
            await made.front.launch()
            await made.envoy.until("/certs", lambda found: found["certificates"] and first[0] not in str(found))
            assert (await made.as_(corpus().leaf(B)))[0] == 200
            await until(lambda: not made.front.callers.count(_launch()))

    run(scenario())


def _launch() -> str:
    return "l-sam"


def test_the_certificate_that_envoy_serves_is_the_receivers(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            context = corpus().context(corpus().leaf(B), tmp_path)
            _, writer = await asyncio.open_connection("127.0.0.1", made.port, ssl=context)
            found = writer.get_extra_info("ssl_object")
            leaf = x509.load_der_x509_certificate(found.getpeercert(binary_form=True))
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(SAM)]
            assert found.version() == "TLSv1.3"
            assert found.selected_alpn_protocol() in {None, "http/1.1"}
            writer.transport.abort()

    run(scenario())
