"""The page for Prometheus: what is on it, who gets it, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.fakes import FakeClock, run
from tests.telemetry.pages import nonzero, page, samples

from ringwall.doors.listener import SocketServer
from ringwall.telemetry.calls import Calls
from ringwall.telemetry.metrics import Metrics, Now
from ringwall.telemetry.page import AGE_SECONDS, MetricsPage

DOCS = Path(__file__).resolve().parent.parent.parent / "docs" / "observability.md"


class Anybody:
    def open(self, sock: object) -> bool:
        return True

    def close(self, connection: object) -> None:
        return None


async def nothing() -> Now:
    return Now(held=2, restarts={"guard": 3, "sidecar-acme": 0}, up={"guard"}, logs={"acme": 4096}, quota=1 << 30)


async def ask(request: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer to what was sent to a page's own server."""
    listening = socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()
    server = SocketServer(MetricsPage(Metrics("1.2"), nothing, FakeClock()), max_body=0)
    await server.serve("metrics", listening, Anybody())
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(request)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return head, body
    finally:
        writer.close()
        await writer.wait_closed()
        await server.close()


def request(line: str = "GET /metrics", host: str = "127.0.0.1:9464", more: str = "") -> bytes:
    return f"{line} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n".encode()


def test_the_page_is_what_prometheus_reads() -> None:
    head, body = run(ask(request()))
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-type: text/plain; version=0.0.4; charset=utf-8" in head
    found = samples(body)
    assert found["ringwall_held_calls"] == 2
    assert nonzero(found, "ringwall_process_restarts_total", "ringwall_process_up", "ringwall_log_bytes") == {
        "ringwall_process_restarts_total{process=guard}": 3, "ringwall_process_up{process=guard}": 1,
        "ringwall_log_bytes{log=acme}": 4096}
    assert found["ringwall_calls_total{end=done,kind=tool}"] == 0
    assert any(key.startswith("ringwall_build_info{") and ",version=1.2" in key for key in found)
    assert "process_start_time_seconds" in found
    assert "_created" not in body.decode()


@pytest.mark.parametrize(("asked", "status"), [
    (request("GET /"), 404), (request("GET /metrics/"), 404), (request("GET //metrics"), 404),
    (request("POST /metrics"), 405), (request("HEAD /metrics"), 405), (request("DELETE /metrics"), 405),
    (request(host="evil.example"), 421), (request(host="127.0.0.1.evil.example:9464"), 421),
    (request(more="Host: 127.0.0.1\r\n"), 421), (b"GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n", 421),
    (request("POST /metrics", more="Content-Length: 5\r\n") + b"hello", 413),
    (b"\x16\x03\x01 nonsense\r\n\r\n", 400),
    (request(more="X-Long: " + "a" * 20_000 + "\r\n"), 431),
])
def test_all_else_is_refused(asked: bytes, status: int) -> None:
    head, body = run(ask(asked))
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), head
    assert b"ringwall_" not in body


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:1", "localhost:9464", "LOCALHOST", "[::1]:9464", "[::1]"])
def test_this_machine_goes_by_its_own_names(host: str) -> None:
    assert run(ask(request(host=host)))[0].startswith(b"HTTP/1.1 200 ")


def test_a_page_is_made_at_most_once_a_second_and_calls_go_on_meanwhile() -> None:
    async def scenario() -> None:
        clock, metrics, asked, steps = FakeClock(), Metrics("1"), 0, 0

        async def now() -> Now:
            nonlocal asked
            asked += 1
            return Now(held=asked)

        shown = MetricsPage(metrics, now, clock)
        making = asyncio.create_task(shown.page())
        while not making.done():
            steps += 1
            await asyncio.sleep(0)
        assert steps > 15  # one a metric at least
        pages = await asyncio.gather(*(shown.page() for _ in range(50)))
        assert {samples(one)["ringwall_held_calls"] for one in pages} == {1}
        clock.seconds += AGE_SECONDS
        assert samples(await shown.page())["ringwall_held_calls"] == 2

    run(scenario())


def test_a_refusal_appears_under_its_own_name_only_once_it_happened() -> None:
    metrics = Metrics("1")
    assert nonzero(page(metrics), "ringwall_refusals_total") == {}
    metrics.refused("guard", "injection")
    metrics.refused("guard", "injection")
    metrics.refused("no such ring", "injection")
    assert nonzero(page(metrics), "ringwall_refusals_total") == {
        "ringwall_refusals_total{code=injection,ring=guard}": 2,
        "ringwall_refusals_total{code=injection,ring=other}": 1}


def test_a_ring_is_measured_from_the_first_judgement() -> None:
    metrics = Metrics("1")
    Calls(metrics, FakeClock()).judged("policy", 0.0004)
    found = page(metrics)
    assert found["ringwall_ring_seconds_bucket{le=0.0005,ring=policy}"] == 1
    assert found["ringwall_ring_seconds_bucket{le=0.00025,ring=policy}"] == 0


def test_the_manual_names_every_metric_and_none_that_there_is_not() -> None:
    listed = set(re.findall(r"^\| `(ringwall_[a-z_]+)`", DOCS.read_text(), re.MULTILINE))
    assert listed == {name for name in Metrics("1").names() if name.startswith("ringwall_")}


def test_every_metric_says_what_it_is() -> None:
    text = b"".join(Metrics("1").pages(Now())).decode()
    for family in text_string_to_metric_families(text):
        assert family.documentation.endswith("."), family.name
        assert family.type != "unknown", family.name
