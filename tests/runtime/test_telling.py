"""Telemetry in the core: it listens where it was told, says when it cannot, measures and changes nothing."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import FakeClock, run
from tests.telemetry.pages import page

from ringwall.call import Denied
from ringwall.errors import Unavailable
from ringwall.guard.interface import Findings
from ringwall.runtime import telling
from ringwall.telemetry.metrics import Metrics


def test_an_address_that_is_taken_is_tried_for_a_while_and_then_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "TRY_SECONDS", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match="cannot be listened at") as refused:
            run(telling._listening(f"127.0.0.1:{port}"))
    assert refused.value.code == "metrics_address"
    run(telling._listening(f"127.0.0.1:{port}")).close()


def test_an_address_that_becomes_free_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "TRY_SECONDS", 0.0)

    async def scenario() -> None:
        taken = socket.create_server(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        trying = asyncio.create_task(telling._listening(f"127.0.0.1:{port}"))
        await asyncio.sleep(0)
        taken.close()
        (await trying).close()

    run(scenario())


def test_an_ipv6_address_is_one_too() -> None:
    run(telling._listening("[::1]:0")).close()


@pytest.mark.parametrize("missing", ["opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"])
def test_without_the_sdk_the_error_names_the_extra(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    telling._installed()
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    with pytest.raises(Unavailable, match="not installed") as refused:
        telling._installed()
    assert refused.value.code == "otel_missing"
    assert "ringwall[otel]" in refused.value.remedy


def test_only_so_many_ask_at_a_time() -> None:
    few: Any = telling._Few()
    for _ in range(telling.MAX_CONNECTIONS):
        assert few.open(None) is True
    refused = few.open(None)
    assert isinstance(refused, Denied)
    assert refused.retry_after == 1.0
    few.close(True)
    assert few.open(None) is True


def test_syncs_and_questions_are_measured_and_go_through_unchanged(tmp_path: Path) -> None:
    clock, metrics = FakeClock(), Metrics("1")
    forgotten: list[str] = []

    class Guard:
        async def scan(self, *args: Any, **more: Any) -> Findings:
            clock.seconds += 0.02
            return Findings(found=(), rules=repr((args, more)))

        def forget(self, stream: str) -> None:
            forgotten.append(stream)

    guard = telling._TimedGuard(Guard(), metrics, clock)
    found = run(guard.scan("c/a", "arguments", ["x"], True, keys=[0]))
    assert found.rules == repr((("c/a", "arguments", ["x"], True), {"keys": [0]}))
    guard.forget("c/a")
    assert forgotten == ["c/a"]
    file = os.open(tmp_path / "f", os.O_CREAT | os.O_RDWR)
    try:
        telling._TimedDisk(metrics, clock).sync(file)
    finally:
        os.close(file)
    shown = page(metrics)
    assert shown["ringwall_guard_seconds_sum{direction=arguments}"] == pytest.approx(0.02)
    assert shown["ringwall_log_sync_seconds_count"] == 1


def test_a_log_that_is_not_there_yet_fills_nothing(tmp_path: Path) -> None:
    assert telling._filled(tmp_path / "none") == 0
