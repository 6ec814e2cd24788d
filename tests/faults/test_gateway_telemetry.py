"""A collector that is away or never answers, and a port of metrics that somebody else has: calls go on, and what
cannot start says why."""

from __future__ import annotations

import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.conftest import manifest as office
from tests.faults.conftest import prepare
from tests.stack import RINGWALL, Stack, kill, wait_for
from tests.telemetry.pages import nonzero, samples

pytestmark = pytest.mark.confined

SPANS = "ringwall_spans_total"


def watched(**telemetry: str) -> Callable[[Path], str]:
    lines = "".join(f'{name} = "{value}"\n' for name, value in telemetry.items())

    def manifest(folder: Path) -> str:
        head = 'trust_domain = "acme.example"\n'
        return office(folder).replace(head, f"{head}[telemetry]\n{lines}", 1)

    return manifest


def address(sock: socket.socket) -> str:
    return f"127.0.0.1:{sock.getsockname()[1]}"


@pytest.mark.parametrize("listens", [False, True])
def test_a_collector_that_is_away_or_never_answers_costs_calls_nothing(listens: bool) -> None:
    with socket.socket() as collector, socket.create_server(("127.0.0.1", 0)) as free:
        collector.bind(("127.0.0.1", 0))
        if listens:
            collector.listen()
        metrics = address(free)
        free.close()
        otlp = f"http://{address(collector)}"
        with Stack(watched(metrics=metrics, otlp=otlp), prepare) as stack, stack.puppet("ana") as agent:
            if listens:
                kill(stack.pid("telemetry"))  # nor does it cost them anything if its own process dies
            for number in range(20):
                assert agent.call("echo/echo", text=str(number)) == {"result": {"text": str(number)}}
            assert stack.status()["restarts"] == 0
            assert spans(metrics, "sent") == 0
            wait_for("every outcome", lambda: len(stack.records("acme", "outcome")) == 20)
            assert stack.verify().ok
            assert stack.stop() == 0


def spans(metrics: str, result: str) -> float:
    """How many spans became of that, by the page of metrics."""
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=30) as answer:
        return nonzero(samples(answer.read()), SPANS).get(f"{SPANS}{{result={result}}}", 0)


def test_a_port_of_metrics_that_is_taken_is_said_and_nothing_runs_without_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        stack = Stack(watched(metrics=address(taken)), prepare)
        try:
            ran = subprocess.run([*RINGWALL, "up", "--state", str(stack.state), "--manifest", str(stack.manifest)],
                                 capture_output=True, text=True, check=False, timeout=60)
        finally:
            shutil.rmtree(stack.folder)
    said = ran.stdout + ran.stderr
    assert ran.returncode != 0
    assert "metrics_address" in said, said
    assert "ringwall: ready" not in said
