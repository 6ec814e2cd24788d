"""Spans on their way out: bounded, counted whatever becomes of them, by the real SDK to a collector of ours."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import run, until
from tests.telemetry.collector import attributes, collector

from ringwall.errors import BadInput
from ringwall.telemetry import protocol
from ringwall.telemetry.otel import Exporter
from ringwall.telemetry.outbox import MAX_FLIGHT, MAX_WAITING, Outbox
from ringwall.telemetry.protocol import MAX_BATCH, Done, Hello, Span, Spans
from ringwall.telemetry.service import Service
from ringwall.wire.frames import Link

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


def span(name: str = "execute_tool a/b", *, failed: bool = False, link: str = CALLER) -> Span:
    return Span(name=name, kind="client", trace_id="ab" * 16, span_id="cd" * 8, link=link, start=1_000, end=2_500,
                failed=failed, attributes={"ringwall.record": "acme/1", "gen_ai.usage.input_tokens": 7})


def hello(url: str = "http://127.0.0.1:1") -> Hello:
    return Hello(url, "0.1.0", "acme.example")


class Box:
    """An outbox with what it counted, and how often it asked for the process's end."""

    def __init__(self, url: str = "http://127.0.0.1:1") -> None:
        self.counted = {"sent": 0, "failed": 0, "dropped": 0}
        self.ended = 0
        self.outbox = Outbox(hello(url), self._count, self._end)

    def _count(self, result: str, number: int) -> None:
        self.counted[result] += number

    def _end(self) -> None:
        self.ended += 1


@asynccontextmanager
async def far(box: Box) -> AsyncGenerator[tuple[Link, list[bytes]]]:
    """The other end of an outbox's link, played by the test."""
    ours, theirs = socket.socketpair()
    frames: list[bytes] = []
    link = await Link.open(theirs, frames.append, lambda: None)
    await box.outbox.attach(ours)
    try:
        yield link, frames
    finally:
        box.outbox.detach()
        link.close()
        await asyncio.sleep(0)


def test_a_span_arrives_at_the_collector_as_it_was_made() -> None:
    with collector() as found:
        assert Exporter(hello(found.url)).export([span(), span("chat main", failed=True, link="")])
        first, second = found.spans
        assert found.requests[0][0] == "/v1/traces"
        assert {"service.name": "ringwall", "service.version": "0.1.0",
                "service.namespace": "acme.example"}.items() <= found.resource().items()
    assert (first.name, first.kind) == ("execute_tool a/b", 3)  # CLIENT
    assert (first.trace_id.hex(), first.span_id.hex(), first.parent_span_id) == ("ab" * 16, "cd" * 8, b"")
    assert (first.start_time_unix_nano, first.end_time_unix_nano) == (1_000, 2_500)
    assert attributes(first) == {"ringwall.record": "acme/1", "gen_ai.usage.input_tokens": 7}
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in first.links] == [tuple(CALLER.split("-")[1:3])]
    assert (first.status.code, second.status.code) == (0, 2)
    assert not second.links


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 500])
def test_a_collector_that_refuses_or_redirects_is_followed_nowhere(status: int) -> None:
    with collector() as found:
        found.status = status
        taken = Exporter(hello(found.url)).export([span()])
        assert found.asked == ["POST /v1/traces"]
    assert taken is (status < 400)  # the SDK takes a redirect for an answer


def test_from_the_outbox_through_the_service_to_the_collector_and_back() -> None:
    async def scenario(url: str) -> Box:
        box, (ours, theirs) = Box(url), socket.socketpair()
        service = asyncio.create_task(Service().run(theirs))
        await box.outbox.attach(ours)
        for _ in range(MAX_BATCH + 3):
            box.outbox.put(span())
        await until(lambda: box.counted["sent"] == MAX_BATCH + 3)
        box.outbox.detach()
        assert await service == 0
        return box

    with collector() as found:
        box = run(scenario(found.url))
        assert len(found.spans) == MAX_BATCH + 3
    assert box.counted == {"sent": MAX_BATCH + 3, "failed": 0, "dropped": 0}


@pytest.mark.parametrize("first", [b"nonsense", protocol.encode(Spans([]))])
def test_the_service_ends_when_it_does_not_understand_the_core(
    first: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> int:
        ours, theirs = socket.socketpair()
        service = asyncio.create_task(Service().run(theirs))
        link = await Link.open(ours, lambda _: None, lambda: None)
        link.send(first)
        try:
            return await service
        finally:
            link.close()
            await asyncio.sleep(0)

    assert run(scenario()) == 1
    assert "ringwall telemetry: bad_frame" in capsys.readouterr().err


def test_without_a_process_spans_wait_in_bounded_number_and_the_rest_is_dropped() -> None:
    async def scenario() -> None:
        box = Box()
        for _ in range(MAX_WAITING + 5):
            box.outbox.put(span())
        assert box.counted == {"sent": 0, "failed": 0, "dropped": 5}
        async with far(box) as (_, frames):
            await until(lambda: len(frames) == 1 + MAX_FLIGHT)  # hello, and no more than it can be done with
            assert isinstance(protocol.to_exporter(frames[0]), Hello)
        assert box.counted["dropped"] == 5 + MAX_FLIGHT * MAX_BATCH  # what was under way is lost with the process

    run(scenario())


def test_what_is_done_makes_room_for_the_next() -> None:
    async def scenario() -> None:
        box = Box()
        for _ in range(MAX_BATCH * (MAX_FLIGHT + 1)):
            box.outbox.put(span())
        async with far(box) as (link, frames):
            await until(lambda: len(frames) == 1 + MAX_FLIGHT)
            link.send(protocol.encode(Done(sent=MAX_BATCH - 1, failed=1)))
            await until(lambda: len(frames) == 2 + MAX_FLIGHT)
            assert box.counted == {"sent": MAX_BATCH - 1, "failed": 1, "dropped": 0}

    run(scenario())


@pytest.mark.parametrize("lie", [b"", b"x", protocol.encode(Done(sent=2, failed=0)), protocol.encode(hello())])
def test_an_exporter_that_lies_is_ended_and_what_it_had_is_lost(lie: bytes) -> None:
    async def scenario() -> None:
        box = Box()
        box.outbox.put(span())
        async with far(box) as (link, frames):
            await until(lambda: len(frames) == 2)
            link.send(lie)
            await until(lambda: box.ended)
        assert box.counted == {"sent": 0, "failed": 0, "dropped": 1}
        assert box.ended == 1

    run(scenario())


@settings(max_examples=200)
@given(st.binary(max_size=64))
def test_no_bytes_of_the_exporter_raise_anything_but_bad_input(raw: bytes) -> None:
    try:
        found = protocol.from_exporter(raw)
    except BadInput as fault:
        assert fault.code == "bad_frame"
    else:
        assert msgspec.msgpack.decode(raw)[0] == "done"
        assert 0 <= found.sent <= MAX_BATCH
