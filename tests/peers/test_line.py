"""Messages through two sidecars: what arrives, who is let in, and what an end means."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.peers.support import (
    ANA,
    BOTH,
    SAM,
    A,
    Authority,
    B,
    Talk,
    ask,
    code,
    gathered,
    go,
    json_answer,
    sides,
    until,
)

from ringwall.errors import BadInput, Refused, Unavailable
from ringwall.peers.interface import Answer
from ringwall.peers.line import MAX_CARD

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n" % len(data) + data + b"\r\n"


def test_a_message_and_its_answer_cross_both_sidecars_with_their_envelopes() -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            heads: list[bytes] = []
            plain = sam.handler

            async def noting(head: bytes, body: bytes, writer: Talk) -> bool:
                heads.append(head)
                return await plain(head, body, writer)

            sam.handler = noting
            answers, last = await ask(ana, sam.url, SAM, b'{"a":1}', envelope="x.y.z")
            assert (answers, code(last)) == ([Answer(body=b'{"a":1}', envelope="ab.cd.ef")], ("done", ""))
            assert sam.seen == [ANA]
            port = sam.listener.getsockname()[1]
            assert heads == [
                (f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
                 "Accept: application/json\r\nAccept-Encoding: identity\r\nA2A-Version: 1.0\r\n"
                 "Content-Length: 7\r\nRingwall-Envelope: x.y.z\r\n\r\n").encode()
            ]

    go(run())


def test_events_of_a_streamed_answer_arrive_one_by_one_also_when_cut_inside_a_character() -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            more = asyncio.Event()

            async def streaming(head: bytes, body: bytes, writer: Talk) -> bool:
                assert b"Accept: text/event-stream, application/json\r\n" in head
                writer.write(EVENTS)
                first = 'ringwall: a.b.c\ndata: {"t":"é😀"}\n\n'.encode()
                for at in range(len(first)):
                    writer.write(b"1\r\n" + first[at:at + 1] + b"\r\n")
                    await writer.drain()
                await more.wait()
                writer.write(chunk(b": still here\n\ndata: 2\n\n") + b"0\r\n\r\n")
                return True

            sam.handler = streaming
            sent = ana.line.send(launch="l1", peer=SAM, url=sam.url, body=b"{}", envelope="", stream=True, call="")
            assert await anext(sent) == Answer(body='{"t":"é😀"}'.encode(), envelope="a.b.c")
            more.set()
            answers, last = await gathered(sent)
            assert (answers, code(last)) == ([Answer(body=b"2")], ("done", ""))

    go(run())


def test_two_hundred_requests_at_once_are_all_answered_to_who_asked() -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            bodies = [b'{"n":%d}' % number for number in range(200)]
            got = await asyncio.gather(*(ask(ana, sam.url, SAM, body) for body in bodies))
            assert [answers[0].body for answers, _ in got] == bodies
            assert {code(last) for _, last in got} == {("done", "")}
            assert 1 <= len(sam.seen) <= 64
            again = await asyncio.gather(*(ask(ana, sam.url, SAM, body) for body in bodies))
            assert [answers[0].body for answers, _ in again] == bodies
            assert len(sam.seen) <= 64  # connections are used again

    go(run())


def test_a_megabyte_goes_both_ways() -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            body = b'"' + b"x" * (4 << 20) + b'"'
            answers, last = await ask(ana, sam.url, SAM, body)
            assert (answers[0].body == body, code(last)) == (True, ("done", ""))

    go(run())


def test_who_is_not_let_in_by_the_core_is_told_so_and_nothing_reaches_it() -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            sam.allowed = lambda _: False
            answers, last = await ask(ana, sam.url, SAM)
            assert (answers, code(last)) == ([], ("failed", "peer_refused"))
            assert (sam.seen, len(sam.tasks)) == ([ANA], 1)

    go(run())


def test_a_peer_whose_authority_we_do_not_know_is_not_sent_anything() -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            await ana.line.trust({"a.test": A.bundle})
            assert code((await ask(ana, sam.url, SAM))[1]) == ("failed", "peer_untrusted")
            await ana.line.trust(BOTH)
            assert code((await ask(ana, sam.url, SAM))[1]) == ("done", "")
            await ana.line.trust({"a.test": A.bundle, "b.test": Authority.of("b.test", "other").bundle})
            assert code((await ask(ana, sam.url, SAM))[1]) == ("failed", "peer_untrusted")  # nor over a kept one

    go(run())


def test_a_sender_whose_authority_the_receiver_does_not_know_never_gets_to_the_core() -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            sam.bundles = {"b.test": B.bundle}
            await sam.line.trust(sam.bundles)
            # asyncio closes a failed handshake without the alert that would say that nothing was read.
            assert code((await ask(ana, sam.url, SAM))[1]) == ("unknown", "peer_broken")
            assert sam.seen == []

    go(run())


@pytest.mark.parametrize("wrong", [
    SAM.replace("sam", "tom"), SAM + "x", SAM.upper(), SAM.replace("b.test", "a.test"), ANA, "spiffe://b.test", "x",
])
def test_a_peer_that_is_somebody_else_gets_not_one_byte_of_the_request(wrong: str) -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            got: list[bytes] = []

            async def noting(head: bytes, body: bytes, writer: Talk) -> bool:
                got.append(head)
                return False

            sam.handler = noting
            answers, last = await ask(ana, sam.url, wrong, b'{"secret":1}')
            assert (answers, code(last)) == ([], ("failed", "peer_untrusted"))
            assert got == []

    go(run())


@pytest.mark.parametrize("url", [
    "http://127.0.0.1:1/", "https://a@127.0.0.1:1/", "https://127.0.0.1:1/?q", "https://127.0.0.1:1/#f", "https://",
    "https://127.0.0.1:99999/", "https://127.0.0.1:1/\r\nX: y", "https://h h/", "https://é.test/", "x", "https://[::1/",
    "https://127.0.0.1:1/ä", f"https://{'a' * 64}.test/", "https://a..test/",
])
def test_an_address_that_is_none_is_refused_before_anything_is_sent(url: str) -> None:
    async def run() -> None:
        async with sides() as (ana, _):
            assert code((await ask(ana, url, SAM))[1]) == ("failed", "bad_arguments")

    go(run())


def test_an_envelope_cannot_break_out_of_its_header() -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            for envelope in ("a\r\nX: y", "a b", "é"):
                assert code((await ask(ana, sam.url, SAM, envelope=envelope))[1]) == ("failed", "bad_arguments")

    go(run())


def test_a_peer_that_is_not_there_is_unreachable() -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            assert code((await ask(ana, sam.url, SAM))[1]) == ("done", "")
            sam.listener.close()
            await sam.line.dismiss("l1")
            hands = sam.sidecar._hands
            await until(lambda: hands is not None and not hands._launches and not hands._closing)
            for url in (sam.url, "https://nowhere.invalid/"):
                assert code((await ask(ana, url, SAM))[1]) == ("failed", "peer_unreachable")
            assert code((await ask(ana, sam.url, SAM, launch="l2"))[1]) == ("failed", "peer_unreachable")

    go(run())


def test_keys_are_rotated_under_load_without_a_lost_request() -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            stop = asyncio.Event()
            ends: list[tuple[str, str]] = []

            async def load() -> None:
                while not stop.is_set():
                    ends.append(code((await ask(ana, sam.url, SAM))[1]))

            loads = [asyncio.ensure_future(load()) for _ in range(8)]
            for number in range(10):
                await ana.line.identity(A.svid(ANA, key=f"ana-{number}"), "l1")
                await sam.line.identity(B.svid(SAM, key=f"sam-{number}"), "l1")
                await ana.line.trust(BOTH)
                await sam.line.trust(BOTH)
                want = len(ends) + 20
                while len(ends) < want:  # noqa: ASYNC110 (nothing tells)
                    await asyncio.sleep(0.001)
            stop.set()
            await asyncio.gather(*loads)
            assert set(ends) == {("done", "")}

    go(run())


def test_no_connection_outlives_the_certificates_it_was_opened_with() -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            began = asyncio.Event()

            async def hanging(head: bytes, body: bytes, writer: Talk) -> bool:
                began.set()
                await writer.gone()
                return False

            sam.handler = hanging
            await ana.line.identity(A.svid(ANA, key="short", seconds=2), "l1")
            asked = asyncio.ensure_future(ask(ana, sam.url, SAM))
            await asyncio.wait({asked, asyncio.ensure_future(began.wait())}, return_when="FIRST_COMPLETED")
            assert began.is_set(), "its two seconds were over before it was asked"
            assert code((await asked)[1]) == ("unknown", "peer_broken")
            assert code((await ask(ana, sam.url, SAM))[1]) == ("failed", "peer_unreachable")  # no key any more

    go(run())


def test_a_dismissed_launch_has_no_key_no_gate_and_no_connections() -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            began = asyncio.Event()

            async def hanging(head: bytes, body: bytes, writer: Talk) -> bool:
                began.set()
                await writer.gone()
                return False

            sam.handler = hanging
            asked = asyncio.ensure_future(ask(ana, sam.url, SAM))
            await began.wait()
            await sam.line.dismiss("l1")
            assert code((await asked)[1]) == ("unknown", "peer_broken")
            sam.listener.close()
            assert code((await ask(ana, sam.url, SAM))[1]) == ("failed", "peer_unreachable")
            await ana.line.dismiss("l1")
            await ana.line.gate("l1", ana.listener)  # a descriptor that was still on its way
            assert code((await ask(ana, sam.url, SAM))[1]) == ("failed", "peer_unreachable")
            assert ana.sidecar._hands._launches == {}

    go(run())


def test_who_gives_up_is_not_answered_and_the_peer_sees_the_connection_end() -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            began, ended = asyncio.Event(), asyncio.Event()

            async def watching(head: bytes, body: bytes, writer: Talk) -> bool:
                began.set()
                await writer.gone()
                ended.set()
                return False

            sam.handler = watching
            asked = asyncio.ensure_future(ask(ana, sam.url, SAM))
            await began.wait()
            asked.cancel()
            await asyncio.wait_for(ended.wait(), 20)
            began.clear()
            ended.clear()
            assert code((await ask(ana, sam.url, SAM, seconds=0.05))[1]) == ("unknown", "peer_slow")
            await asyncio.wait_for(ended.wait(), 20)
            assert len(ana.client.link.calls) == 0

    go(run())


def test_a_card_is_fetched_from_below_the_peers_address_and_proved_first() -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            heads: list[bytes] = []

            async def card(head: bytes, body: bytes, writer: Talk) -> bool:
                heads.append(head.splitlines()[0])
                writer.write(json_answer(b'{"name":"sam"}'))
                return True

            sam.handler = card
            assert await ana.line.card(launch="l1", peer=SAM, url=sam.url) == b'{"name":"sam"}'
            assert heads == [b"GET /.well-known/agent-card.json HTTP/1.1"]
            with pytest.raises(Refused, match="peer_untrusted"):
                await ana.line.card(launch="l1", peer=ANA, url=sam.url)
            with pytest.raises(Unavailable, match="bad_arguments"):
                await ana.line.card(launch="l1", peer=SAM, url="http://x")

            async def large(head: bytes, body: bytes, writer: Talk) -> bool:
                writer.write(json_answer(bytes(MAX_CARD + 1)))
                return True

            sam.handler = large
            with pytest.raises(Unavailable, match="peer_bad_answer"):
                await ana.line.card(launch="l1", peer=SAM, url=sam.url)

    go(run())


def test_a_fresh_sidecar_is_told_everything_again_and_calls_of_the_lost_one_are_unknown() -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            began, ups = asyncio.Event(), list[int]()
            ana.line.on_up = lambda: ups.append(1)

            async def hanging(head: bytes, body: bytes, writer: Talk) -> bool:
                began.set()
                await writer.gone()
                return False

            plain, sam.handler = sam.handler, hanging
            asked = asyncio.ensure_future(ask(ana, sam.url, SAM))
            await began.wait()
            ana.client.close()
            assert code((await asked)[1]) == ("unknown", "sidecar_lost")
            assert code((await ask(ana, sam.url, SAM))[1]) == ("failed", "sidecar_unavailable")
            with pytest.raises(Unavailable, match="sidecar_unavailable"):
                await ana.line.identity(A.svid(ANA), "l1")
            await ana.line.dismiss("l1")
            before = ana.passed
            await ana.start()
            before.close()
            assert ups == [1]
            sam.handler = plain
            assert code((await ask(ana, sam.url, SAM))[1]) == ("failed", "peer_unreachable")
            await ana.equip(A.svid(ANA))
            assert code((await ask(ana, sam.url, SAM))[1]) == ("done", "")

    go(run())


@pytest.mark.parametrize("wrong", [
    {"peer": "x" * 2049}, {"peer": ""}, {"url": "https://h/" + "x" * 2048}, {"envelope": "x" * (17 << 10)},
    {"body": bytes((8 << 20) + 1)}, {"launch": "x" * 129}, {"peer": "\ud800"},
])
def test_what_does_not_fit_into_a_frame_fails_alone_and_the_sidecar_lives(wrong: dict[str, Any]) -> None:
    async def run() -> None:
        async with sides() as (ana, sam):
            arguments = {"launch": "l1", "peer": SAM, "url": sam.url, "body": b"{}", "envelope": ""} | wrong
            answers = ana.line.send(**arguments, stream=False, call="")
            assert code((await gathered(answers))[1]) == ("failed", "bad_arguments")
            assert code((await ask(ana, sam.url, SAM))[1]) == ("done", "")
            with pytest.raises(BadInput, match="bad_arguments"):
                await ana.line.trust({"a" * 300: A.bundle})
            with pytest.raises(BadInput, match="bad_arguments"):
                await ana.line.inside("l1", [])

    go(run())
