"""Model upstreams over real HTTP on loopback: what they answer, and everything they may do instead."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import aclosing
from typing import Any

import pytest
from tests.models import provider
from tests.models.fake_upstream import CALL, KEY, upstream

from ringwall.call import canonical
from ringwall.models.upstream import Upstream, UpstreamFault
from ringwall.tools.protocol import MAX_RESULT, ModelConfig
from ringwall.wire.models import wire

SENT = {"Authorization": f"Bearer {KEY}"}


def body(api: Any, *, stream: bool = False) -> bytes:
    """A request as it leaves the core."""
    asked = wire(api).parse_request(provider.request(api, stream=stream, tools=("read",)))
    return json.dumps(wire(api).outgoing(asked, "real-name")).encode()


def made(url: str, api: str, read_s: float = 20.0, retries: int = 2) -> Upstream:
    spoken: Any = "anthropic" if api == "messages" else "openai"
    return Upstream(ModelConfig(url=url, wire=spoken, read_s=read_s, connect_s=5, retries=retries))


def complete(
    url: str,
    *,
    api: Any = "chat",
    headers: dict[str, str] | None = None,
    read_s: float = 20.0,
    times: int = 1,
    retries: int = 2,
) -> list[bytes]:
    async def run() -> list[bytes]:
        one = made(url, api, read_s, retries)
        try:
            return [await one.complete(api, body(api), SENT if headers is None else headers) for _ in range(times)]
        finally:
            await one.close()

    return asyncio.run(run())


def streamed(
    url: str, api: Any, *, read_s: float = 20.0, times: int = 1
) -> tuple[list[dict[str, Any]], UpstreamFault | None]:
    """The pieces that came, and why no more did."""

    async def run() -> tuple[list[dict[str, Any]], UpstreamFault | None]:
        one = made(url, api, read_s)
        came: list[dict[str, Any]] = []
        try:
            for _ in range(times):
                async for piece in one.stream(api, body(api, stream=True), SENT):
                    came.append(json.loads(piece))  # noqa: PERF401 (what came before a fault counts)
        except UpstreamFault as fault:
            return came, fault
        finally:
            await one.close()
        return came, None

    return asyncio.run(run())


def said(pieces: list[dict[str, Any]]) -> str:
    return "".join(piece["text"] for piece in pieces if "text" in piece)


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
        for path, headers, sent in server.seen:
            assert (path, sent) == ("/normal/v1/chat/completions", body("chat"))
            assert headers["Authorization"] == SENT["Authorization"]
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
        complete(server.url("normal"), headers={"X-Api-Key": KEY})
        _, headers, sent = server.seen[0]
    assert [name for name, value in headers.items() if KEY in value] == ["X-Api-Key"]
    assert KEY.encode() not in sent


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
        ("busy_for_long", "upstream_limited", 429),
        ("refused", "upstream_refused", 400),
        ("redirect", "upstream_redirect", 307),
        ("huge", "result_too_large", 200),
        ("truncated", "upstream_broken", 0),
        ("cut", "bad_answer", 200),
        ("html", "bad_answer", 200),
        ("zipped", "bad_answer", 200),
        ("silent", "upstream_broken", 0),
        ("echo", "upstream_echoes_secret", 200),
        ("echo_in_call", "upstream_echoes_secret", 200),
        ("unoffered", "bad_answer", 200),
    ],
)
@pytest.mark.parametrize("api", provider.APIS)
def test_everything_else_has_its_code_and_is_asked_once(api: str, mode: str, code: str, status: int) -> None:
    with upstream() as server:
        with pytest.raises(UpstreamFault) as caught:
            complete(server.url(mode), api=api)
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


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "Anthropic-Version"])
def test_an_injected_header_cannot_change_the_request_itself(name: str) -> None:
    with upstream() as server:
        with pytest.raises(UpstreamFault) as caught:
            complete(server.url("normal"), headers={name: "1"})
        assert server.seen == []
    assert caught.value.code == "bad_arguments"


@pytest.mark.parametrize("headers", [{"X-Key": "a\r\nY: b"}, {"X Key": "a"}, {"X-Key": "\xe9"},
                                     {"X": "1", "x": "2"}],
                         ids=["line", "name", "bytes", "twice"])
def test_an_injected_header_that_is_not_plain_is_never_sent(headers: dict[str, str]) -> None:
    with upstream() as server:
        with pytest.raises(UpstreamFault) as caught:
            complete(server.url("normal"), headers=headers)
        assert server.seen == []
    assert caught.value.code == "bad_arguments"


@pytest.mark.parametrize("spelt", ["HTTP://127.0.0.1:0", "http://localhost:"])
def test_a_url_is_reached_in_every_spelling_that_the_manifest_takes(spelt: str) -> None:
    with upstream() as server:
        assert complete(server.url("normal").replace("http://127.0.0.1:", spelt))


@pytest.mark.parametrize("api", provider.APIS)
def test_each_interface_has_its_path_its_answer_and_no_header_of_the_agents(api: Any) -> None:
    with upstream() as server:
        (raw,) = complete(server.url("tools"), api=api, headers={"x-api-key": KEY})
        ((path, headers, sent),) = server.seen
    assert (path, sent) == (f"/tools/v1{provider.PATHS[api]}", body(api))
    assert headers["x-api-key"] == KEY
    assert headers.get("anthropic-version") == ("2023-06-01" if api == "messages" else None)
    spoken = wire(api)
    asked = spoken.parse_request(provider.request(api, tools=("read",)))
    value, usage = spoken.parse_answer(raw, asked)  # what the core makes of what the sidecar wrote
    assert value == json.loads(raw)
    assert [(call.id, call.name, json.loads(call.arguments)) for call in spoken.tool_calls(value)] == [
        (CALL[0], CALL[1], json.loads(CALL[2]))
    ]
    assert usage is not None and (usage.tokens_in, usage.tokens_out) == (11, 7)


@pytest.mark.parametrize("mode", ["s_normal", "s_bytes"])
@pytest.mark.parametrize("api", provider.APIS)
def test_a_stream_comes_as_pieces_however_its_bytes_are_cut(api: str, mode: str) -> None:
    with upstream() as server:
        pieces, fault = streamed(server.url(mode), api)
        ((_, headers, _),) = server.seen
    assert fault is None
    assert headers["Accept"] == "text/event-stream"
    assert said(pieces) == "hello wörld \U0001f600"
    assert pieces[0]["open"]["model"] == "real-name"
    usage = pieces[-1]["close"]["usage"]
    assert (usage["tokens_in"], usage["tokens_out"]) == (11, 7)
    assert sum("open" in piece or "close" in piece for piece in pieces) == 2


@pytest.mark.parametrize("api", provider.APIS)
def test_a_tool_call_in_pieces_is_one_piece(api: str) -> None:
    with upstream() as server:
        pieces, fault = streamed(server.url("s_tools"), api)
    assert fault is None
    (call,) = [piece["call"] for piece in pieces if "call" in piece]
    assert (call["id"], call["name"], json.loads(call["arguments"])) == (CALL[0], CALL[1], json.loads(CALL[2]))


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("s_unoffered", "bad_answer"),
        ("s_echo", "upstream_echoes_secret"),
        ("s_echo_in_call", "upstream_echoes_secret"),
        ("s_dies", "upstream_broken"),
        ("s_cut", "upstream_broken"),
        ("s_huge", "result_too_large"),
        ("s_line", "result_too_large"),
        ("s_json", "bad_answer"),
        ("s_comments", "upstream_slow"),
        ("failing", "upstream_failed"),
        ("denied", "upstream_denied"),
        ("slow", "upstream_slow"),
    ],
)
@pytest.mark.parametrize("api", provider.APIS)
def test_a_stream_that_is_none_has_its_code_and_gives_back_no_secret(api: str, mode: str, code: str) -> None:
    with upstream() as server:
        pieces, fault = streamed(server.url(mode), api, read_s=0.3 if code == "upstream_slow" else 20)
        assert len(server.seen) == 1
    assert fault is not None and fault.code == code
    assert KEY not in str(pieces) and KEY not in said(pieces)
    assert not any(KEY[:end] in said(pieces) for end in range(4, len(KEY)))


def test_no_answer_is_longer_than_the_core_takes_of_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take whoever says more for a sidecar that was taken over, and end all that runs there."""
    with upstream() as server:
        pieces, fault = streamed(server.url("s_wide"), "chat")
        assert fault is not None and fault.code == "result_too_large"
        assert sum(len(canonical(piece)) for piece in pieces) <= MAX_RESULT
        monkeypatch.setattr("ringwall.models.upstream.MAX_STREAM_PIECES", 2)
        pieces, fault = streamed(server.url("s_normal"), "chat")
        assert fault is not None and (fault.code, len(pieces)) == ("result_too_large", 2)
        monkeypatch.setattr("ringwall.models.upstream.MAX_RESULT", 100)
        with pytest.raises(UpstreamFault) as caught:
            complete(server.url("normal"))
        assert caught.value.code == "result_too_large"


@pytest.mark.parametrize(("mode", "whole"), [("busy", True), ("s_busy", False)])
@pytest.mark.parametrize("api", provider.APIS)
def test_an_upstream_that_has_not_begun_is_asked_again(api: str, mode: str, whole: bool) -> None:
    with upstream() as server:
        if whole:
            assert b"hello" in complete(server.url(mode), api=api)[0]
        else:
            pieces, fault = streamed(server.url(mode), api)
            assert fault is None and said(pieces).startswith("hello")
        assert len(server.seen) == 3


def test_it_is_asked_again_as_often_as_the_manifest_says() -> None:
    with upstream() as server:
        with pytest.raises(UpstreamFault) as caught:
            complete(server.url("busy"), retries=1)
        assert len(server.seen) == 2
    assert caught.value.code == "upstream_limited"


def test_the_connection_of_a_stream_is_used_again_unless_its_response_does_not_end() -> None:
    with upstream() as server:
        threads = threading.active_count()
        pieces, fault = streamed(server.url("s_normal"), "chat", times=3)
        assert fault is None and sum("close" in piece for piece in pieces) == 3
        assert threading.active_count() <= threads + 1  # the server has one for each connection
        pieces, fault = streamed(server.url("s_tail"), "chat")
        assert fault is None and said(pieces) == "hello"


def test_an_upstream_is_left_when_nobody_listens_any_more() -> None:
    async def run(url: str) -> None:
        one = made(url, "chat")
        async with aclosing(one.stream("chat", body("chat", stream=True), SENT)) as pieces:
            async for piece in pieces:
                if b"and on" in piece:
                    break
        await one.close()

    with upstream() as server:
        asyncio.run(run(server.url("s_more")))
        assert server.left.wait(20)
