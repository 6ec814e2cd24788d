"""What the writers write, read by the providers' own SDKs; and what those send, read by the wires."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.wire.models.support import Provider, serving

PYTHON = os.environ.get("RINGWALL_SDK_PYTHON", "")
needs_sdk = pytest.mark.skipif(not PYTHON, reason="RINGWALL_SDK_PYTHON names no Python with the providers' SDKs")
TIMEOUT = 120  # seconds, on a busy machine: importing openai-agents alone takes some


def run(*scenarios: str) -> tuple[dict[str, str], Provider]:
    provider = Provider()
    with serving(provider) as url:
        environment = {
            "PATH": os.environ["PATH"],
            "OPENAI_BASE_URL": f"{url}/v1",
            "OPENAI_API_KEY": "ringwall",
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": "ringwall",
            "OPENAI_AGENTS_DISABLE_TRACING": "1",
        }
        done = subprocess.run(
            [PYTHON, str(Path(__file__).with_name("sdk_client.py")), *scenarios],
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    assert done.returncode == 0, f"{done.stderr[-3000:]}\n{provider.refused}"
    return json.loads(done.stdout), provider


@needs_sdk
@pytest.mark.parametrize(
    "scenarios",
    [
        ["chat_create", "chat_stream"],
        ["responses_create", "responses_stream"],
        ["messages_create", "messages_stream"],
        ["agents_responses"],
        ["agents_responses_stream"],
        ["agents_chat"],
        ["agents_chat_stream"],
    ],
    ids=lambda names: names[0],
)
def test_ordinary_programs_run_their_tool_loop(scenarios: list[str]) -> None:
    told, provider = run(*scenarios)
    assert told == dict.fromkeys(scenarios, "It is sunny in Bönn.")
    assert provider.refused == []
    assert len(provider.requests) == 2 * len(scenarios)


@needs_sdk
def test_a_program_that_begins_with_a_thread_sends_its_whole_conversation() -> None:
    told, provider = run("messages_runner")
    assert told == {"messages_runner": "It is sunny in Bönn."}
    assert [line.partition(":")[0] for line in provider.refused] == ["thread_unsupported_request"]
    assert [len(request["messages"]) for _, request in provider.requests] == [1, 3]


@needs_sdk
def test_a_refusal_is_an_error_of_the_sdk() -> None:
    told, provider = run("stored")
    assert "kept at the provider" in told["stored"]
    assert provider.requests == []
