"""A whole core behind the real Envoy: the same conversation as through sidecars, and the same refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.envoy.harness import binary
from tests.integration.test_messages import manifest, messages, said, serving, told
from tests.stack import Stack, wait_for

pytestmark = pytest.mark.confined


@contextmanager
def envoy(stack: Stack, folder: Path) -> Generator[None]:
    """The real one, with what ``ringwall peers envoy-config`` writes."""
    file = folder / "envoy.json"
    verb = [sys.executable, "-m", "ringwall.cli.main", "peers", "envoy-config", str(stack.manifest)]
    subprocess.run([*verb, "--out", str(file), "--state", str(stack.state)], check=True, capture_output=True,
                   timeout=30)
    with (folder / "envoy.log").open("wb") as log, subprocess.Popen(
        [binary(), "-c", str(file), "--concurrency", "1", "--disable-hot-restart"], stdout=log, stderr=log,
    ) as process:
        try:
            yield
        finally:
            process.kill()


def test_agents_talk_through_envoy_as_through_sidecars(tmp_path: Path) -> None:
    binary()
    with Stack(lambda folder: '[a2a]\nterminator = "envoy"\n'.join(_halves(manifest(folder)))) as stack, \
            envoy(stack, tmp_path), serving(stack, "acme/sam"), stack.puppet("acme/ana") as ana, \
            stack.puppet("globex/gus") as gus, stack.puppet("acme/eve") as eve:
        def answered() -> Any | None:
            answer = said(stack, ana, "sam", "hello")
            return answer if "result" in answer else None

        assert told(wait_for("an answer through Envoy", answered)) == "you said hello"
        assert told(said(stack, gus, "acme/sam", "hello")) == "you said hello"
        assert "result" not in said(stack, eve, "sam", "hello")
        came = [one for one in messages(stack, "acme", "intent") if one["direction"] == "in"]
        assert {one["sender"].rpartition("/agent/")[2] for one in came} == {"ana/role/asker", "gus/role/guest"}
        assert "hello" not in json.dumps([record.clear for record in stack.records("acme")])
        assert stack.verify().ok


def _halves(text: str) -> tuple[str, str]:
    before, mark, after = text.partition("[tools.echo]")
    return before, mark + after
