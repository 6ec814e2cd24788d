"""What strangers get from our own endpoint."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import run
from tests.identity.endpoint.web import listening, pem, served, web_ca, web_pem

from ringwall.errors import BadInput
from ringwall.identity.endpoint import serve
from ringwall.identity.endpoint.serve import MAX_REQUEST, PageServer, answer

PAGES = {"/keys": b'{"keys":[]}'}


async def asked(url: str, raw: bytes) -> bytes:
    context = ssl.create_default_context(cadata=ssl.DER_cert_to_PEM_cert(web_ca().certificate))
    host, port = url.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    try:
        writer.write(raw)
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(("raw", "status"), [
    (b"GET /keys HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    (b"GET /keys?x=1 HTTP/1.0\r\n\r\n", 200),
    (b"HEAD /keys HTTP/1.1\r\n\r\n", 200),
    (b"GET /keys/ HTTP/1.1\r\n\r\n", 404),
    (b"GET /../keys HTTP/1.1\r\n\r\n", 404),
    (b"GET http://x/keys HTTP/1.1\r\n\r\n", 404),
    (b"POST /keys HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405),
    (b"nonsense\r\n\r\n", 400),
    (b"GET /keys HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 400),
    (b"CONNECT /keys HTTP/1.1\r\n\r\n", 400),
    (b"GET /keys HTTP/1.1\r\nX: " + b"y" * MAX_REQUEST + b"\r\n\r\n", 400),
])
def test_pages_are_there_by_their_exact_path_and_nothing_else(raw: bytes, status: int) -> None:
    async def scenario() -> None:
        async with served(web_pem(), PAGES) as url:
            found = await asked(url, raw)
            assert found.startswith(b"HTTP/1.1 %d " % status), found
            assert (b'{"keys":[]}' in found) == (status == 200 and raw.startswith(b"GET"))
            assert b"Connection: close" in found

    run(scenario())


def test_new_pages_and_a_new_certificate_are_served_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        sock = listening()
        server = PageServer(sock)
        url = f"https://127.0.0.1:{sock.getsockname()[1]}"
        await server.show(*web_pem(), PAGES)
        await server.show(*web_pem(), {"/keys": b"new"})
        assert b"new" in await asked(url, b"GET /keys HTTP/1.1\r\n\r\n")
        with pytest.raises(BadInput, match="publish_unusable"):
            await server.show(web_pem()[0], b"no key", {"/keys": b"worse"})
        assert b"new" in await asked(url, b"GET /keys HTTP/1.1\r\n\r\n")
        monkeypatch.setattr(serve, "MAX_CONNECTIONS", 0)
        assert await asked(url, b"GET /keys HTTP/1.1\r\n\r\n") == b""
        server.close()
        sock.close()

    run(scenario())


@pytest.mark.parametrize("bad", ["no pem", "another key", "a passphrase"])
def test_a_certificate_that_cannot_be_used_is_refused_without_asking_a_terminal(bad: str) -> None:
    async def scenario() -> None:
        chain, key = web_pem()
        match bad:
            case "no pem":
                chain = b"x"
            case "another key":
                chain = pem(web_ca().certificate)[0]
            case _:
                key = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMFQwPgYJKoZIhvcNAQUNMDEwHAYJKoZIhvcNAQUMMA8ECDA=\n"
                       b"-----END ENCRYPTED PRIVATE KEY-----\n")
        sock = listening()
        with pytest.raises(BadInput, match="publish_unusable"):
            await PageServer(sock).show(chain, key, PAGES)
        sock.close()

    run(scenario())


@settings(max_examples=100, deadline=None)
@given(st.tuples(st.text(max_size=9), st.text(max_size=20)))
def test_an_answer_is_always_one_of_four(request: tuple[str, str]) -> None:
    assert answer(request, PAGES).split(b" ", 2)[1] in {b"200", b"400", b"404", b"405"}
