"""A tool server's way out: what its proxy carries, what it refuses, what it tells."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.tools import outlet
from ringwall.tools.outlet import MAX_HEAD, MAX_TUNNELS, Proxy, target


class Far:
    """A server somewhere that gives back what it gets, in capitals, until the end of it."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.stay = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while data := await reader.read(1 << 16):
                writer.write(data.upper())
                await writer.drain()
            writer.write(b"!")
            writer.write_eof()
        except ConnectionError:
            pass
        finally:
            await end(writer)


@asynccontextmanager
async def far() -> AsyncGenerator[Far]:
    made = Far()
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        made.port = server.sockets[0].getsockname()[1]
        yield made


@asynccontextmanager
async def proxy(allowed: Sequence[str], names: dict[str, list[str]] | None = None, **more: Any,
                ) -> AsyncGenerator[tuple[int, list[tuple[str, int]]]]:
    """Its port, and what it told."""
    asked: list[str] = []

    async def resolve(host: str) -> list[str]:
        asked.append(host)
        if host not in (names or {}):
            raise OSError
        return (names or {})[host]

    said: list[tuple[str, int]] = []
    made = Proxy(allowed=allowed, private=more.get("private", ()), resolve=resolve,
                 tell=lambda code, count: said.append((code, count)))
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    port = listener.getsockname()[1]
    made.serve(listener)
    try:
        yield port, said
    finally:
        made.close()
        await made.over()
        assert len(asked) == len(set(asked)) or more.get("again"), "a name was resolved twice"


async def says(port: int, request: bytes) -> bytes:
    """Send this, and the whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(20):
            found = await reader.read()
    except ConnectionError:
        found = b"reset"
    await end(writer)
    return found


async def end(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            pass


def connect(place: str, after: bytes = b"", version: str = "1.1") -> bytes:
    return f"CONNECT {place} HTTP/{version}\r\nHost: {place}\r\n\r\n".encode() + after


def test_bytes_go_both_ways_and_each_end_is_passed_on() -> None:
    async def run() -> None:
        async with far() as there, proxy([f"files.test:{there.port}"], {"files.test": ["127.0.0.1"]},
                                         private=["127.0.0.1/32"]) as (port, said):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(connect(f"Files.TEST:{there.port}", b"early "))
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 OK\r\n\r\n"
            big = b"x" * (1 << 20)
            reading = asyncio.create_task(reader.read())
            writer.write(big)
            await writer.drain()
            writer.write_eof()
            async with asyncio.timeout(20):
                assert await reading == b"EARLY " + big.upper() + b"!"
            await end(writer)
            assert said == []

    asyncio.run(run())


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "::1", "10.0.0.1",
                                     "64:ff9b::7f00:1", "2002:7f00:1::", "0.0.0.1", "100.100.100.200"])
def test_a_listed_name_that_leads_inside_is_refused(address: str) -> None:
    async def run() -> None:
        async with far() as there, proxy([f"files.test:{there.port}"], {"files.test": [address]}) as (port, said):
            answer = await says(port, connect(f"files.test:{there.port}"))
            assert answer.startswith(b"HTTP/1.1 403 ")
            assert said == [("address_refused", 1)]
            assert there.connections == 0

    asyncio.run(run())


def test_of_several_addresses_only_the_judged_ones_are_tried() -> None:
    async def run() -> None:
        async with far() as there, proxy([f"files.test:{there.port}"], {"files.test": ["127.0.0.2", "127.0.0.1"]},
                                         private=["127.0.0.1/32"]) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(connect(f"files.test:{there.port}"))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            await end(writer)

    asyncio.run(run())


@pytest.mark.parametrize(("place", "status"), [
    ("files.test:444", b"403"), ("other.test:443", b"403"), ("files.test.:443", b"403"),
    ("xfiles.test:443", b"403"), ("127.0.0.1:443", b"403"), ("files.test:0443", b"502"),
    ("user@files.test:443", b"400"), ("files.test", b"400"),
    ("files.test:", b"400"), ("[::1]:443", b"400"), ("files.test:443/", b"400"), ("files.test:443 x", b"400"),
    (":443", b"400"), ("files.test:99999999", b"400"), ("f\u00fcles.test:443", b"400"),
])
def test_only_the_listed_host_and_port_is_connected_to(place: str, status: bytes) -> None:
    async def run() -> None:
        async with proxy(["files.test:443"]) as (port, said):
            assert (await says(port, connect(place)))[9:12] == status
            assert len(said) == 1

    asyncio.run(run())


@pytest.mark.parametrize("request_", [
    b"GET http://files.test/ HTTP/1.1\r\nHost: files.test\r\n\r\n", b"POST HTTP://files.test/ HTTP/1.1\r\n\r\n",
])
def test_plain_http_is_refused_with_the_way_to_go(request_: bytes) -> None:
    async def run() -> None:
        async with proxy(["files.test:80"]) as (port, said):
            answer = await says(port, request_)
            assert answer.startswith(b"HTTP/1.1 403 ")
            assert b"use https" in answer
            assert said == [("bad_request", 1)]

    asyncio.run(run())


@pytest.mark.parametrize("request_", [
    b"CONNECT files.test:443 HTTP/2\r\n\r\n", b"CONNECT  files.test:443 HTTP/1.1\r\n\r\n",
    b"connect files.test:443 HTTP/1.1\r\n\r\n", b"CONNECT files.test:443 HTTP/1.1\r\n x: y\r\n\r\n",
    b"CONNECT files.test:443 HTTP/1.1\r\nHost\r\n\r\n", b"CONNECT files.test:443 HTTP/1.1\r\nA: \x00\r\n\r\n",
    b"CONNECT files.test:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", b"CONNECT files.test:443\r\n\r\n",
    b"CONNECT files.test:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"\r\n\r\n",
    b"CONNECT files.test:443 HTTP/1.1\r\nA: " + b"x" * MAX_HEAD + b"\r\n\r\n",
    b"CONNECT files.test:443 HTTP/1.1\r\nA: " + b"x" * 200_000 + b"\r\n\r\n",
    b"CONNECT files.test:443 HTTP/1.1\nHost: files.test\n\r\n\r\n",
])
def test_a_request_with_more_than_one_reading_is_refused(request_: bytes) -> None:
    async def run() -> None:
        async with proxy(["files.test:443"], {"files.test": ["127.0.0.1"]}) as (port, said):
            answer = await says(port, request_)
            assert answer.startswith((b"HTTP/1.1 400 ", b"reset"))  # it was still being sent when the answer came
            assert said == [("bad_request", 1)]

    asyncio.run(run())


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_are_a_place_in_one_spelling_or_refused(noise: bytes) -> None:
    lines = (noise, b"CONNECT " + noise + b":1 HTTP/1.1", b"CONNECT a.b:1 HTTP/1.1\r\n" + noise)
    for head in (noise, *(line + b"\r\n\r\n" for line in lines)):
        try:
            place = target(head)
        except outlet._Refused as no:
            assert no.code == "bad_request"
        else:
            assert re.fullmatch(r"[a-z0-9.-]{1,253}:[0-9]{1,5}", place)


def test_a_flood_of_refusals_is_told_in_few_words_and_none_is_lost() -> None:
    async def run() -> None:
        async with proxy(["files.test:443"]) as (port, said):
            for _ in range(20):
                await says(port, connect("other.test:443"))
            assert said == [("not_listed", 1)]
        assert said == [("not_listed", 1), ("not_listed", 19)]

    asyncio.run(run())


def test_one_server_has_so_many_tunnels_and_no_more() -> None:
    async def run() -> None:
        async with far() as there, proxy([f"127.0.0.1:{there.port}"]) as (port, said):
            held: list[asyncio.StreamWriter] = []
            for _ in range(MAX_TUNNELS):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(connect(f"127.0.0.1:{there.port}"))
                await reader.readuntil(b"\r\n\r\n")
                held.append(writer)
            assert (await says(port, connect(f"127.0.0.1:{there.port}"))).startswith(b"HTTP/1.1 503 ")
            assert said == [("too_many", 1)]
            await end(*held)

    asyncio.run(run())


def test_closing_it_ends_its_tunnels() -> None:
    async def run() -> None:
        async with far() as there:
            async with proxy([f"127.0.0.1:{there.port}"]) as (port, _):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(connect(f"127.0.0.1:{there.port}"))
                await reader.readuntil(b"\r\n\r\n")
            async with asyncio.timeout(20):
                with pytest.raises(ConnectionError):
                    if not await reader.read():
                        raise ConnectionResetError
            await end(writer)

    asyncio.run(run())


def test_nobody_there_is_said_so() -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            nobody = gone.getsockname()[1]
        async with proxy([f"127.0.0.1:{nobody}", "none.test:1"]) as (port, said):
            assert (await says(port, connect(f"127.0.0.1:{nobody}"))).startswith(b"HTTP/1.1 502 ")
            assert (await says(port, connect("none.test:1"))).startswith(b"HTTP/1.1 502 ")
        assert said == [("unreachable", 1), ("unreachable", 1)]

    asyncio.run(run())
