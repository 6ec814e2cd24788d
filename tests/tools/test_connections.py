"""Connections to strangers: how many, for how long, and that a request is written once."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from tests.tools.strangers import Answer, Resolver, Stranger, certificate, raw, says, stranger

from ringwall.tools import connections
from ringwall.tools.authorities import machine
from ringwall.tools.outside import Outside, OutsideFault

NOTHING = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def made(server_timeout: float = 5.0, most: int = 64) -> Outside:
    return Outside(literal=["127.0.0.1"], timeout_s=server_timeout, max_bytes=1 << 22, connections=most)


async def code(client: Outside, server: Stranger, method: str = "GET") -> str:
    try:
        await client.send(method, server.url(), {})
    except OutsideFault as fault:
        return fault.code
    return ""


def test_a_connection_is_used_again_and_one_with_bytes_behind_its_answer_is_not() -> None:
    async def run(answer: Answer) -> int:
        async with stranger(answer) as server:
            client = made()
            for _ in range(3):
                assert await code(client, server) == ""
            await client.close()
            return server.connections

    assert asyncio.run(run(says())) == 1
    for behind in (b"x", b"\r\n", NOTHING):
        assert asyncio.run(run(raw(NOTHING + behind))) == 3
    assert asyncio.run(run(raw(NOTHING.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")))) == 3


def test_a_kept_connection_that_was_closed_meanwhile_is_replaced_before_a_byte_is_written() -> None:
    async def run() -> None:
        async with stranger(raw(NOTHING, end=True)) as server:
            client = made()
            assert await code(client, server, "POST") == ""
            while client._pool._idle and client._pool._idle[0].quiet:  # noqa: ASYNC110 (the kernel knows first)
                await asyncio.sleep(0)
            assert await code(client, server, "POST") == ""
            await client.close()
            assert (server.connections, len(server.seen)) == (2, 2)

    asyncio.run(run())


def test_a_request_whose_connection_dies_is_not_sent_again() -> None:
    async def run() -> None:
        turns = iter([says(), raw(b"", end=True)])

        async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
            await next(turns)(request, writer)

        async with stranger(answer) as server:
            client = made()
            assert [await code(client, server) for _ in range(2)] == ["", "upstream_broken"]
            await client.close()
            assert (server.connections, len(server.seen)) == (1, 2)

    asyncio.run(run())


def test_an_idle_connection_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "KEEP_S", 0.02)

    async def run() -> None:
        async with stranger(says()) as server:
            client = made()
            assert await code(client, server) == ""
            (kept,) = client._pool._idle
            async with asyncio.timeout(10):
                await kept.ended.wait()
            assert client._pool._idle == [] and client._pool._all == set()
            assert await code(client, server) == ""
            await client.close()
            assert server.connections == 2

    asyncio.run(run())


def test_no_more_connections_than_allowed_and_who_waits_too_long_has_sent_nothing() -> None:
    async def run() -> None:
        async with stranger(raw(b"HTTP/1.1 200 OK\r\n\r\n")) as server:
            client = made(0.4, most=1)
            async with client.stream("GET", server.url(), {}):
                assert await code(client, server) == "upstream_unreachable"
            assert (server.connections, len(server.seen)) == (1, 1)
            await client.close()

    asyncio.run(run())


def test_who_waits_gets_the_connection_that_is_given_back() -> None:
    async def run() -> None:
        async with stranger(says()) as server:
            client = made(most=2)
            assert set(await asyncio.gather(*(code(client, server) for _ in range(9)))) == {""}
            assert (server.connections, len(server.seen)) == (2, 9)
            await client.close()

    asyncio.run(run())


def test_an_idle_connection_makes_room_for_another_server() -> None:
    async def run() -> None:
        async with stranger(says()) as one, stranger(says()) as other:
            client = made(most=1)
            for server in (one, other, one):
                assert await code(client, server) == ""
                assert len(client._pool._idle) == 1
            assert (one.connections, other.connections) == (2, 1)
            await client.close()

    asyncio.run(run())


def test_who_gives_up_closes_the_connection_and_leaves_no_trace() -> None:
    async def run() -> None:
        gone = asyncio.Event()

        async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n")
            asked.set()
            try:
                await writer.wait_closed()
            except ConnectionError:
                pass
            finally:
                gone.set()

        asked = asyncio.Event()
        async with stranger(answer) as server:
            client = made()
            task = asyncio.create_task(code(client, server))
            await asked.wait()
            (connection,) = client._pool._all
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await connection.ended.wait()
            assert client._pool._active == 0 and client._pool._all == set()
            await client.close()

    asyncio.run(run())


def test_closing_ends_what_is_under_way_and_nothing_is_sent_any_more() -> None:
    async def run() -> None:
        async with stranger(raw(b"HTTP/1.1 200 OK\r\n\r\nab")) as server:
            client = made()
            with pytest.raises(OutsideFault) as caught:
                async with client.stream("GET", server.url(), {}) as answer:
                    assert await anext(answer.pieces) == b"ab"
                    await client.close()
                    await anext(answer.pieces)  # it has no length: its end would be the connection's
            assert caught.value.code == "upstream_broken"
            assert await code(client, server) == "upstream_unreachable"
            assert server.connections == 1

    asyncio.run(run())


def test_a_server_waits_for_who_reads_slowly() -> None:
    whole = b"x" * (8 << 20)

    async def run() -> None:
        async with stranger(says(whole)) as server:
            client = made()
            length = 0
            async with client.stream("GET", server.url(), {}) as answer:
                (connection,) = client._pool._all
                while not connection._paused:  # noqa: ASYNC110 (nothing else tells)
                    await asyncio.sleep(0)
                reader = connection._reader
                assert reader is not None and reader.waiting < len(whole) / 4
                async for piece in answer.pieces:
                    length += len(piece)
            assert length == len(whole)
            assert await code(client, server) == "result_too_large"
            async with client.stream("GET", server.url(), {}):
                pass
            await client.close()

    asyncio.run(run())


@pytest.mark.parametrize("end", [True, False])
def test_tls_carries_the_same(tmp_path: Path, end: bool) -> None:
    async def run() -> None:
        server_tls, client_tls = certificate(tmp_path, "inside.example")
        answer = raw(b"HTTP/1.1 200 OK\r\n\r\nhere", end=True) if end else says(b"here")
        async with stranger(answer, server_tls) as server:
            client = Outside(private=["127.0.0.0/8"], timeout_s=5, max_bytes=100, tls=client_tls,
                             resolve=Resolver(inside_example=[["127.0.0.1"]]))
            url = server.url(host="inside.example", scheme="https")
            assert [(await client.send("GET", url, {})).body for _ in range(2)] == [b"here"] * 2
            await client.close()
            assert server.connections == (2 if end else 1)

    asyncio.run(run())


def test_the_machines_authorities_are_not_the_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate(tmp_path, "inside.example")
    before = machine().cert_store_stats()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    context = machine()
    assert context.cert_store_stats() == before
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
