"""To an agent's own server, over a few sockets that are used again and again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.peers.support import ANA, A, Handler, Side, Talk, code, gathered, go, json_answer, serve, until

from ringwall.errors import Unavailable
from ringwall.peers.interface import Answer

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Agent:
    """An A2A server, more or less, and the side whose agent it is."""

    def __init__(self, side: Side, port: int) -> None:
        self.side = side
        self.port = port
        self.handler: Handler = _plain
        self.peers: list[tuple[str, int]] = []

    async def deliver(self, body: bytes = b"{}", *, stream: bool = False, seconds: float | None = None,
                      path: str = "/") -> tuple[list[bytes], tuple[str, str]]:
        answers, last = await gathered(self.side.line.deliver(
            launch="l1", port=self.port, body=body, stream=stream, call="", seconds=seconds, path=path))
        assert all(isinstance(answer, Answer) and answer.envelope == "" for answer in answers)
        return [answer.body for answer in answers], code(last)


async def _plain(head: bytes, body: bytes, talk: Talk) -> bool:
    talk.write(json_answer(body, envelope="forged.by.me"))
    return True


@asynccontextmanager
async def agent(sockets: int = 3) -> AsyncGenerator[Agent]:
    side = Side()

    async def handle(head: bytes, body: bytes, talk: Talk) -> bool:
        return await made.handler(head, body, talk)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.peers.append(writer.get_extra_info("peername"))
        await serve(reader, writer, handle)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    made = Agent(side, server.sockets[0].getsockname()[1])
    inside = [socket.socket() for _ in range(sockets)]
    try:
        await side.start()
        await side.equip(A.svid(ANA))
        if inside:
            await side.line.inside("l1", [sock.fileno() for sock in inside])
        hands = side.sidecar
        await until(lambda: hands._hands is not None and len(hands._hands._launch("l1").inside._all) == sockets)
        yield made
    finally:
        for sock in inside:
            sock.close()
        server.close()
        await side.stop()
        await server.wait_closed()


def test_a_message_reaches_the_agents_own_server_as_from_its_own_machine_and_no_envelope_comes_back() -> None:
    async def run() -> None:
        async with agent() as made:
            heads: list[bytes] = []

            async def noting(head: bytes, body: bytes, talk: Talk) -> bool:
                heads.append(head)
                return await _plain(head, body, talk)

            made.handler = noting
            assert await made.deliver(b'{"a":1}') == ([b'{"a":1}'], ("done", ""))
            assert heads == [
                (f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{made.port}\r\nContent-Type: application/json\r\n"
                 "Accept: application/json\r\nAccept-Encoding: identity\r\nA2A-Version: 1.0\r\n"
                 "Content-Length: 7\r\n\r\n").encode()
            ]
            assert made.peers[0][0] == "127.0.0.1"

    go(run())


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_many_deliveries_share_few_sockets() -> None:
    async def run() -> None:
        async with agent(3) as made:
            bodies = [b"%d" % number for number in range(60)]
            before = open_files()
            got = await asyncio.gather(*map(made.deliver, bodies))
            assert got == [([body], ("done", "")) for body in bodies]
            assert len(made.side.sidecar._hands._launches["l1"].inside._all) == 3
            await asyncio.gather(*map(made.deliver, bodies))
            await until(lambda: open_files() <= before)  # servers close their side in their own time

    go(run())


def test_a_stream_of_an_agents_server_arrives_event_by_event() -> None:
    async def run() -> None:
        async with agent() as made:
            async def streaming(head: bytes, body: bytes, talk: Talk) -> bool:
                talk.write(EVENTS)
                for event in (b"ringwall: a.b.c\ndata: 1\n\n", b"event: message\ndata: 2\n\n"):
                    talk.write(b"%x\r\n" % len(event) + event + b"\r\n")
                talk.write(b"0\r\n\r\n")
                return True

            made.handler = streaming
            assert await made.deliver(stream=True) == ([b"1", b"2"], ("done", ""))

    go(run())


@pytest.mark.parametrize(("said", "expected"), [
    (b"", ("unknown", "agent_broken")),
    (b"nonsense", ("unknown", "agent_bad_answer")),
    (b"HTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\n", ("failed", "agent_bad_answer")),
    (b"HTTP/1.1 503 N\r\nContent-Length: 0\r\n\r\n", ("unknown", "agent_broken")),
    (json_answer(b"1") + json_answer(b"2"), ("unknown", "agent_bad_answer")),
])
def test_a_server_that_answers_wrongly_spoils_its_own_answer_only(said: bytes, expected: tuple[str, str]) -> None:
    async def run() -> None:
        async with agent(1) as made:
            async def wrong(head: bytes, body: bytes, talk: Talk) -> bool:
                talk.write(said)
                return False

            for _ in range(3):
                made.handler = wrong
                assert await made.deliver() == ([], expected)
                made.handler = _plain
                assert await made.deliver(b"1") == ([b"1"], ("done", ""))

    go(run())


def test_a_server_that_is_not_there_is_unreachable_and_found_again_when_it_is() -> None:
    async def run() -> None:
        async with agent(1) as made:
            here, made.port = made.port, 1
            assert await made.deliver() == ([], ("failed", "agent_unreachable"))
            made.port = here
            assert await made.deliver(b"1") == ([b"1"], ("done", ""))
            assert await made.deliver(path="/ x") == ([], ("failed", "bad_arguments"))
            assert await made.deliver(path="/push/abc") == ([b"{}"], ("done", ""))

    go(run())


def test_without_inside_sockets_nothing_is_delivered() -> None:
    async def run() -> None:
        async with agent(0) as made:
            assert await made.deliver() == ([], ("failed", "agent_unreachable"))

    go(run())


def test_a_server_that_does_not_answer_is_left_and_its_socket_used_again() -> None:
    async def run() -> None:
        async with agent(1) as made:
            gone = asyncio.Event()

            async def silent(head: bytes, body: bytes, talk: Talk) -> bool:
                await talk.gone()
                gone.set()
                return False

            made.handler = silent
            assert await made.deliver(seconds=0.05) == ([], ("unknown", "agent_slow"))
            await asyncio.wait_for(gone.wait(), 20)
            made.handler = _plain
            assert await made.deliver(b"1") == ([b"1"], ("done", ""))

    go(run())


def test_sockets_that_an_earlier_sidecar_left_connected_are_used_again() -> None:
    async def run() -> None:
        async with agent(0) as made:
            with socket.socket() as old:
                old.connect(("127.0.0.1", made.port))
                old.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n9")
                await until(lambda: made.peers)
                await made.side.line.inside("l1", [old.fileno()])
                await until(lambda: made.side.sidecar._hands._launches["l1"].inside._all)
                assert await made.deliver(b"1") == ([b"1"], ("done", ""))

    go(run())


def test_the_agents_own_card_is_fetched() -> None:
    async def run() -> None:
        async with agent() as made:
            heads: list[bytes] = []

            async def card(head: bytes, body: bytes, talk: Talk) -> bool:
                heads.append(head.splitlines()[0])
                talk.write(json_answer(b'{"name":"ana"}'))
                return True

            made.handler = card
            assert await made.side.line.own_card(launch="l1", port=made.port) == b'{"name":"ana"}'
            assert heads == [b"GET /.well-known/agent-card.json HTTP/1.1"]
            with pytest.raises(Unavailable, match="agent_unreachable"):
                await made.side.line.own_card(launch="l1", port=1)

    go(run())


def test_a_dismissed_launch_has_no_sockets_left() -> None:
    async def run() -> None:
        async with agent() as made:
            began = asyncio.Event()

            async def silent(head: bytes, body: bytes, talk: Talk) -> bool:
                began.set()
                await talk.gone()
                return False

            made.handler = silent
            asked = asyncio.ensure_future(made.deliver())
            await began.wait()
            await made.side.line.dismiss("l1")
            assert await asked == ([], ("unknown", "agent_broken"))
            assert await made.deliver() == ([], ("failed", "agent_unreachable"))

    go(run())


@pytest.mark.parametrize(("said", "expected"), [
    (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok", ("done", "")),
    (b"HTTP/1.1 202 A\r\nContent-Length: 0\r\n\r\n", ("done", "")),
    (b"HTTP/1.1 204 N\r\n\r\n", ("done", "")),
    (b"HTTP/1.1 302 F\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", ("unknown", "agent_bad_answer")),
    (b"HTTP/1.1 401 U\r\nContent-Length: 0\r\n\r\n", ("failed", "agent_bad_answer")),
    (b"HTTP/1.1 500 U\r\nContent-Length: 0\r\n\r\n", ("unknown", "agent_broken")),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", ("unknown", "agent_broken")),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\noops", ("unknown", "agent_bad_answer")),
    (b"nonsense", ("unknown", "agent_bad_answer")),
])
def test_a_push_notification_is_delivered_when_the_agent_says_so_in_whatever_words(
    said: bytes, expected: tuple[str, str]
) -> None:
    async def run() -> None:
        async with agent(1) as made:
            heads: list[bytes] = []

            async def hook(head: bytes, body: bytes, talk: Talk) -> bool:
                heads.append(head)
                talk.write(said)
                return False

            made.handler = hook
            told = await made.side.line.notify(launch="l1", port=made.port, path="/hook", body=b"{}", token="t k")
            assert code(told) == expected
            assert heads == [
                (f"POST /hook HTTP/1.1\r\nHost: 127.0.0.1:{made.port}\r\nContent-Type: application/json\r\n"
                 "A2A-Version: 1.0\r\nContent-Length: 2\r\nX-A2A-Notification-Token: t k\r\n\r\n").encode()
            ]

    go(run())


def test_the_token_of_a_push_notification_cannot_break_out_of_its_header() -> None:
    async def run() -> None:
        async with agent(1) as made:
            for token in ("a\r\nX: y", " a", "é", "x" * (17 << 10)):
                told = await made.side.line.notify(launch="l1", port=made.port, path="/", body=b"", token=token)
                assert code(told) == ("failed", "bad_arguments")
            assert made.peers == []

    go(run())
