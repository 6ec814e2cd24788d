"""Model upstreams over real HTTP on loopback: what they answer, and everything they may do instead."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from tests.models.fake_upstream import upstream

from ringwall.models.upstream import Upstream, UpstreamFault
from ringwall.tools.protocol import ModelConfig

KEY = {"Authorization": "Bearer sk-secret-4711"}
BODY = b'{"messages":[{"role":"user","content":"hi"}],"model":"real-name"}'


def complete(
    url: str, *, headers: dict[str, str] | None = None, read_s: float = 20.0, times: int = 1
) -> list[bytes]:
    async def run() -> list[bytes]:
        made = Upstream(ModelConfig(url=url, read_s=read_s, connect_s=5))
        try:
            return [await made.complete(BODY, KEY if headers is None else headers) for _ in range(times)]
        finally:
            await made.close()

    return asyncio.run(run())


def test_a_completion_comes_back_written_anew() -> None:
    with upstream() as server:
        value = json.loads(complete(server.url("normal"))[0])
    assert value["choices"][0]["message"]["content"] == "hello"
    assert "service_tier" not in value
    assert value["usage"] == {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def test_the_request_has_our_body_and_only_the_headers_it_must_have() -> None:
    with upstream() as server:
        complete(server.url("normal"), times=2)
        assert len(server.seen) == 2
        for path, headers, body in server.seen:
            assert (path, body) == ("/normal/v1/chat/completions", BODY)
            assert headers["Authorization"] == KEY["Authorization"]
            assert {name.lower() for name in headers} == {
                "host",
                "content-type",
                "content-length",
                "accept",
                "accept-encoding",
                "user-agent",
                "connection",
                "authorization",
            }  # no cookie in the second, though the first answer set one


def test_the_key_goes_into_the_declared_header_only() -> None:
    with upstream() as server:
        complete(server.url("normal"), headers={"X-Api-Key": "sk-secret-4711"})
        _, headers, body = server.seen[0]
    assert [name for name, value in headers.items() if "sk-secret-4711" in value] == ["X-Api-Key"]
    assert b"sk-secret-4711" not in body


def test_tool_calls_keep_their_arguments_as_text() -> None:
    with upstream() as server:
        value = json.loads(complete(server.url("tools"))[0])
    assert value["choices"][0]["message"]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "read", "arguments": '{"path": "/a"}'}}
    ]


@pytest.mark.parametrize(
    ("mode", "code", "status"),
    [
        ("failing", "upstream_failed", 500),
        ("denied", "upstream_denied", 401),
        ("limited", "upstream_limited", 429),
        ("refused", "upstream_refused", 400),
        ("redirect", "upstream_redirect", 307),
        ("huge", "result_too_large", 200),
        ("truncated", "upstream_broken", 0),
        ("cut", "bad_answer", 200),
        ("html", "bad_answer", 200),
        ("zipped", "bad_answer", 200),
        ("silent", "upstream_broken", 0),
        ("echo", "upstream_echoes_secret", 200),
    ],
)
def test_everything_else_has_its_code_and_is_asked_once(mode: str, code: str, status: int) -> None:
    with upstream() as server:
        with pytest.raises(UpstreamFault) as caught:
            complete(server.url(mode))
        assert len(server.seen) == 1
    assert (caught.value.code, caught.value.status) == (code, status)
    assert "sk-secret" not in str(caught.value)


def test_a_slow_upstream_is_given_up() -> None:
    with upstream() as server, pytest.raises(UpstreamFault) as caught:
        complete(server.url("slow"), read_s=0.1)
    assert caught.value.code == "upstream_slow"


def test_an_upstream_that_is_not_there_was_sent_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(UpstreamFault) as caught:
        complete(f"http://127.0.0.1:{port}/v1")
    assert caught.value.code == "upstream_unreachable"


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with upstream() as server:
        assert len(complete(server.url("normal"))) == 1


def test_https_is_verified() -> None:
    """A server that speaks no TLS, or with a certificate nobody vouches for, gets nothing."""
    with upstream() as server:
        with pytest.raises(UpstreamFault) as caught:
            complete(server.url("normal").replace("http:", "https:"))
        assert server.seen == []
    assert caught.value.code == "upstream_unreachable"


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "Content-Type"])
def test_an_injected_header_cannot_change_the_request_itself(name: str) -> None:
    with upstream() as server:
        with pytest.raises(UpstreamFault) as caught:
            complete(server.url("normal"), headers={name: "1"})
        assert server.seen == []
    assert caught.value.code == "bad_arguments"
