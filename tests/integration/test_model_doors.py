"""Programs written for OpenAI and Anthropic, behind the wall: streams, what stops them, and what stays inside."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.models import provider
from tests.models.fake_upstream import Upstream, upstream
from tests.stack import Stack

pytestmark = pytest.mark.confined

KEY = "sk-end-to-end-key-93adf1c7"
MODES = ("normal", "s_normal", "s_tools", "s_echo", "s_more", "s_dies", "s_unoffered", "judged")
PATHS = {"chat": "/openai/v1/chat/completions", "responses": "/openai/v1/responses",
         "messages": "/anthropic/v1/messages"}
ENDS = {"chat": "data: [DONE]", "responses": "response.completed", "messages": "message_stop"}
TOOLS = ("echo__echo", "closed__echo", "mine", "read")


def manifest(folder: Path, model: Upstream) -> str:
    models = [
        f'[models.{wire}-{mode}]\nwire = "{wire}"\nurl = {json.dumps(model.url(mode))}\nsecret = "{wire}-key"\n'
        for wire in ("openai", "anthropic")
        for mode in MODES
    ]
    bearer = '{ header = "Authorization", format = "Bearer {}" }'
    inject = {"openai": bearer, "anthropic": '{ header = "x-api-key" }'}
    secrets = [
        f'[secrets.{wire}-key]\nfrom = "file"\nfile = {json.dumps(str(folder / "c" / "key"))}\ninject = {how}\n'
        for wire, how in inject.items()
    ]
    names = json.dumps([f"{wire}-{mode}" for wire in inject for mode in MODES])
    return "\n".join([
        'version = 1\ntrust_domain = "acme.example"', *models, *secrets,
        '[tools.echo]\nbuiltin = "echo"', '[tools.closed]\nbuiltin = "echo"',
        f'[tenants.acme.roles.clerk]\nmodels = {names}\nsecrets = ["openai-key", "anthropic-key"]',
        "judge_tool_calls = true",
        '[tenants.acme.roles.clerk.tools]\n"echo/echo" = []',
        '[tenants.acme.agents.ana]\nrole = "clerk"',
    ])


def prepare(folder: Path) -> None:
    (folder / "c" / "key").touch(mode=0o600)
    (folder / "c" / "key").write_text(KEY + "\n")


@pytest.fixture(scope="module")
def model() -> Generator[Upstream]:
    with upstream() as server:
        yield server


@pytest.fixture(scope="module")
def office(model: Upstream) -> Generator[Stack]:
    with Stack(lambda folder: manifest(folder, model), prepare) as running:
        yield running
        assert running.status()["restarts"] == 0, "".join(running.log)


def ask(stack: Stack, api: str, mode: str, *, stream: bool = True, expect: str = "") -> tuple[str, str]:
    """Status line and what came behind it; ``expect``: leave when this has come."""
    wire = "anthropic" if api == "messages" else "openai"
    body = json.dumps({**provider.request(api, stream=stream, tools=TOOLS), "model": f"{wire}-{mode}"})
    head = (f"POST {PATHS[api]}?beta=true HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            "Authorization: Bearer sk-the-agents-own\r\nx-api-key: sk-the-agents-own\r\n"
            "anthropic-version: 2026-10-21\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n")
    with stack.puppet("acme/ana") as agent:
        answer: Any = agent.do("raw", data=head + body, expect=expect)
    return answer["status"], answer["body"]


def outcome(stack: Stack) -> dict[str, Any]:
    """Of the last model call."""
    found = [one.clear for one in stack.records("acme") if one.clear.get("type") == "outcome"]
    return dict(found[-1])


@pytest.mark.parametrize("api", PATHS)
def test_a_stream_comes_in_the_providers_words_with_the_key_of_the_core(
    office: Stack, model: Upstream, api: str
) -> None:
    status, body = ask(office, api, "s_normal")
    assert status.split()[1] == "200", body
    assert ENDS[api] in body and KEY not in body
    path, headers, sent = model.seen[-1]
    assert path.endswith(provider.PATHS[api])
    assert headers["x-api-key" if api == "messages" else "Authorization"].endswith(KEY)
    assert headers.get("anthropic-version") == ("2023-06-01" if api == "messages" else None)
    assert "sk-the-agents-own" not in str(headers) + sent.decode()
    assert outcome(office)["end"] == "done"


@pytest.mark.parametrize("api", PATHS)
def test_an_answer_comes_whole_in_the_providers_words(office: Stack, api: str) -> None:
    status, body = ask(office, api, "normal", stream=False)
    assert status.split()[1] == "200" and "hello" in body


@pytest.mark.parametrize("mode", ["s_echo", "s_dies", "s_unoffered"])
@pytest.mark.parametrize("api", PATHS)
def test_a_stream_that_must_not_go_on_ends_with_an_error(office: Stack, api: str, mode: str) -> None:
    _, body = ask(office, api, mode)
    assert "error" in body and ENDS[api] not in body
    assert KEY not in body and "rm_rf" not in body
    assert outcome(office)["end"] == "failed"


def test_who_leaves_in_the_middle_ends_what_the_upstream_does_and_the_outcome_is_recorded(
    office: Stack, model: Upstream
) -> None:
    model.left.clear()
    ask(office, "chat", "s_more", expect="and")
    assert model.left.wait(20)
    assert (outcome(office)["end"], outcome(office)["code"]) == ("unknown", "caller_left")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", PATHS)
def test_calls_of_tools_that_would_be_refused_are_withheld(office: Stack, api: str, stream: bool) -> None:
    status, body = ask(office, api, "judged", stream=stream)
    assert status.split()[1] == "200"
    assert "closed/echo was withheld: not_granted" in body
    assert '"closed__echo"' not in body and '"echo__echo"' in body and '"mine"' in body


def test_an_agent_sees_its_models(office: Stack) -> None:
    head = "GET /openai/v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with office.puppet("acme/ana") as agent:
        answer: Any = agent.do("raw", data=head)
    assert [one["id"] for one in json.loads(answer["body"])["data"]] == [f"openai-{mode}" for mode in MODES]
