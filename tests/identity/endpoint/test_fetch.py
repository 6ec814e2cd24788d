"""Whose answer is taken as a bundle document, and what an endpoint cannot do."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import run
from tests.identity.endpoint.web import (
    ENDPOINT,
    document,
    listening,
    partner_ca,
    saying,
    served,
    spiffe_pem,
    web_ca,
    web_pem,
)
from tests.identity.svid.workshop import Ca

from ringwall.clock import SystemClock
from ringwall.identity.endpoint import serve
from ringwall.identity.endpoint.fetch import MAX_HEAD, EndpointFault, _answer, fetch
from ringwall.identity.endpoint.protocol import Fetch
from ringwall.identity.svid.bundle import MAX_DOCUMENT

CLOCK = SystemClock()
CA = ssl.DER_cert_to_PEM_cert(web_ca().certificate)
HEAD = b"HTTP/1.1 200 OK\r\n"


async def web(url: str, **more: Any) -> bytes:
    return await fetch(Fetch(id=1, url=url, ca=CA), CLOCK, **more)


async def spiffe(url: str, *authorities: bytes, who: str = ENDPOINT) -> bytes:
    return await fetch(Fetch(id=1, url=url, spiffe_id=who, authorities=list(authorities)), CLOCK)


def test_a_document_comes_over_both_profiles() -> None:
    async def scenario() -> None:
        known = partner_ca()
        async with served(web_pem(), {"/b": document(known)}) as url:
            assert await web(url + "/b") == document(known)
        async with served(spiffe_pem(known), {"/": document(known)}) as url:
            assert await spiffe(url, known.certificate) == document(known)

    run(scenario())


@pytest.mark.parametrize("wrong", ["other authority", "other id", "look-alike", "nothing known", "web certificate"])
def test_an_endpoint_that_is_not_exactly_who_it_must_be_is_asked_nothing(wrong: str) -> None:
    async def scenario() -> None:
        known = partner_ca()
        material, authorities = spiffe_pem(known), [known.certificate]
        match wrong:
            case "other authority":
                material = spiffe_pem(Ca(name="evil", id="spiffe://partner.test").by())
            case "other id":
                material = spiffe_pem(known, "spiffe://partner.test/tenant/a/agent/b/role/c")
            case "look-alike":
                material = spiffe_pem(known, ENDPOINT + "x")
            case "nothing known":
                authorities = []
            case _:
                material = web_pem()
        asked = []
        sock = listening()
        server = asyncio.create_task(_hears(sock, material, asked))
        with pytest.raises(EndpointFault) as caught:
            await spiffe(f"https://127.0.0.1:{sock.getsockname()[1]}/", *authorities)
        assert caught.value.code == "endpoint_untrusted", caught.value.cause
        await server
        assert asked == [b""]

    run(scenario())


async def _hears(sock: socket.socket, material: tuple[bytes, bytes], asked: list[bytes]) -> None:
    """What the first client says after the handshake."""
    done = asyncio.Event()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked.append(await reader.read(100))
        except OSError:
            asked.append(b"")
        finally:
            writer.close()
            done.set()

    server = await asyncio.start_server(one, sock=sock, ssl=serve._context(*material))
    await done.wait()
    server.close()


@pytest.mark.parametrize("names", [(x509.DNSName("example.org"),), (x509.DNSName("127.0.0.1"),)])
def test_a_web_certificate_must_be_for_the_host(names: tuple[x509.GeneralName, ...]) -> None:
    async def scenario() -> None:
        async with served(web_pem(*names), {"/": document()}) as url:
            with pytest.raises(EndpointFault) as caught:
                await web(url)
            assert caught.value.code == "endpoint_untrusted"

    run(scenario())


def test_a_web_certificate_that_nobody_known_signed_is_not_believed() -> None:
    async def scenario() -> None:
        async with served(web_pem(), {"/": document()}) as url:
            for ca in ("", ssl.DER_cert_to_PEM_cert(partner_ca().certificate)):
                with pytest.raises(EndpointFault) as caught:
                    await fetch(Fetch(id=1, url=url, ca=ca), CLOCK)
                assert caught.value.code == "endpoint_untrusted"

    run(scenario())


@pytest.mark.parametrize(("pieces", "code"), [
    ([HEAD + b"Content-Length: 10\r\n\r\nabc"], "endpoint_broken"),
    ([HEAD + b"\r\nwithout a length"], "endpoint_broken"),
    ([], "endpoint_broken"),
    ([b"SSH-2.0-x\r\n"], "endpoint_broken"),
    ([b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nx"], "endpoint_broken"),
    ([HEAD + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"], "endpoint_broken"),
    ([b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"], "endpoint_status"),
    ([b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"], "endpoint_status"),
    ([HEAD + b"Content-Length: 9999999\r\n\r\n" + b"x" * (MAX_DOCUMENT + MAX_HEAD + 1)], "endpoint_too_large"),
    ([HEAD + b"X: " + b"y" * 100_000], "endpoint_too_large"),
    ([HEAD, None], "endpoint_slow"),
    ([None], "endpoint_slow"),
])
def test_an_answer_that_is_no_whole_document_is_a_fault_with_its_code(
    pieces: list[bytes | None], code: str
) -> None:
    async def scenario() -> None:
        async with saying(web_pem(), pieces) as url:
            with pytest.raises(EndpointFault) as caught:
                await web(url, seconds=0.5 if code == "endpoint_slow" else 20)
            assert caught.value.code == code, caught.value.cause

    run(scenario())


def test_nobody_there_and_no_tls_are_faults() -> None:
    async def scenario() -> None:
        sock = listening()
        port = sock.getsockname()[1]
        sock.close()
        with pytest.raises(EndpointFault, match=r"onnect") as caught:
            await web(f"https://127.0.0.1:{port}/")
        assert caught.value.code == "endpoint_unreachable"

        async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        with pytest.raises(EndpointFault) as caught:
            await web(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        assert caught.value.code in {"endpoint_broken", "endpoint_unreachable"}
        server.close()

    run(scenario())


def test_chunked_answers_are_put_together() -> None:
    async def scenario() -> None:
        body = HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        async with saying(web_pem(), [body]) as url:
            assert await web(url) == b"abcde"

    run(scenario())


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda tail: HEAD + tail)))
def test_whatever_an_endpoint_answers_is_a_document_or_a_fault(raw: bytes) -> None:
    async def scenario() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(raw)
        reader.feed_eof()
        try:
            assert isinstance(await _answer(reader), bytes)
        except EndpointFault as fault:
            assert fault.code in {"endpoint_broken", "endpoint_status", "endpoint_too_large"}

    run(scenario())
