"""A model call from the core through a real sidecar process to an upstream on loopback."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.fakes import NamedSecrets
from tests.models import fake_upstream, provider
from tests.models.fake_upstream import CALL, Upstream, upstream
from tests.tools.office import Sidecar, gather, sidecar

from ringwall.call import Call, CallId, Chunk, Json, Last, LaunchId, Operator, Process, SessionId, Subject, Target
from ringwall.errors import RingwallError
from ringwall.identity.spiffe import SpiffeId
from ringwall.manifest.types import Injection, Manifest, Model, Role, Secret, Tenant
from ringwall.models.effect import ModelEffect
from ringwall.tools.protocol import ModelConfig
from ringwall.tools.sidecar_client import Times
from ringwall.wire import frames
from ringwall.wire.models import wire
from ringwall.wire.models.pieces import parse_piece

KEY = fake_upstream.KEY.encode()
KEYS = NamedSecrets(lambda name: KEY)


def ask(api: str = "chat", **more: Any) -> Json:
    """The arguments of a call, as the resolver makes them."""
    known: Any = api
    return {"api": api, "request": wire(known).parse_request(provider.request(api, **more))}


ASK = ask()


def manifest(
    url: str,
    *,
    secrets: tuple[str, ...] = ("key",),
    models: tuple[str, ...] = ("main", "open", "claude"),
    timeout_s: int = 60,
) -> Manifest:
    role = Role(name="analyst", models=models, secrets=secrets)
    return Manifest(
        version=1,
        trust_domain="acme.example",
        path=Path("/ringwall.toml"),
        models={
            "main": Model(
                name="main", wire="openai", url=url, secret="key", model="real-name", timeout_s=timeout_s
            ),
            "open": Model(name="open", wire="openai", url=url),
            "claude": Model(name="claude", wire="anthropic", url=url, secret="key", model="real-name"),
        },
        secrets={"key": Secret(name="key", inject=Injection(header="Authorization", format="Bearer {}"))},
        tenants={"acme": Tenant(name="acme", roles={"analyst": role})},
    )


def model_call(
    target: str = "main", args: Json = None, *, role: str = "analyst", subject: Subject | None = None
) -> Call:
    who = SpiffeId.make(trust_domain="acme.example", tenant="acme", agent="ana", role=role)
    return Call.make(
        id=CallId("c"),
        kind="model",
        session=SessionId("s"),
        target=Target(name=target),
        subject=subject or Process(spiffe_id=who, launch=LaunchId("l"), connection=1),
        args=ASK if args is None else args,
    )


def call_of(api: str, **more: Any) -> Call:
    return model_call("claude" if api == "messages" else "main", ask(api, **more))


@asynccontextmanager
async def at(server: Upstream, mode: str) -> AsyncGenerator[Sidecar]:
    models = {name: ModelConfig(url=server.url(mode)) for name in ("main", "open")}
    models["claude"] = ModelConfig(url=server.url(mode), wire="anthropic")
    async with sidecar(models=models, times=Times()) as made:
        yield made


def run(
    mode: str, call: Call | None = None, *, told: Manifest | None = None, key: bytes = KEY, timeout_s: int = 60
) -> tuple[list[Json], Last, list[tuple[str, dict[str, str], bytes]]]:
    async def ask(server: Upstream) -> tuple[list[Json], Last]:
        async with at(server, mode) as made:
            known = told or manifest(server.url(mode), timeout_s=timeout_s)
            effect = ModelEffect(known, lambda tenant: made.client, NamedSecrets(lambda name: key))
            return await gather(effect.run(call or model_call(), {}))

    with upstream() as server:
        values, last = asyncio.run(ask(server))
        return values, last, server.seen


def code(last: Last) -> str:
    return last.error["code"] if last.error else ""


def test_a_completion_comes_with_the_tokens_the_upstream_counted() -> None:
    values, last, seen = run("normal")
    assert values[0]["choices"][0]["message"]["content"] == "hello"
    assert (last.end, last.usage.tokens_in, last.usage.tokens_out, last.error) == ("done", 11, 7, None)
    ((_, headers, body),) = seen
    assert json.loads(body) == {**ASK["request"], "model": "real-name"}
    assert [name for name, value in headers.items() if KEY.decode() in value] == ["Authorization"]


def test_an_upstream_without_a_key_gets_none_and_keeps_the_models_name() -> None:
    _, last, seen = run("normal", model_call("open"))
    ((_, headers, body),) = seen
    assert last.end == "done"
    assert json.loads(body)["model"] == "open"
    assert "Authorization" not in headers


@pytest.mark.parametrize("carries", [True, False])
def test_a_key_goes_with_the_requests_that_its_paths_name_and_no_other(carries: bool) -> None:
    with upstream() as server:
        url = server.url("normal")
        place = urlsplit(url).path + ("/chat/" if carries else "/responses")
        where = Injection(header="Authorization", format="Bearer {}", paths=(f"POST {place}",))
        known = dataclasses.replace(manifest(url), secrets={"key": Secret(name="key", inject=where)})

        async def ask_it() -> Last:
            async with at(server, "normal") as made:
                effect = ModelEffect(known, lambda tenant: made.client, KEYS)
                return (await gather(effect.run(model_call(), {})))[1]

        assert asyncio.run(ask_it()).end == "done"
        ((_, headers, _),) = server.seen
    assert ("Authorization" in headers) is carries


def test_tokens_nobody_counted_are_estimated_and_said_to_be() -> None:
    values, last, seen = run("uncounted")
    assert values[0]["usage"]["estimated"] is True
    assert last.usage.tokens_in == -(-len(seen[0][2]) // 4) == values[0]["usage"]["prompt_tokens"]
    assert last.usage.tokens_out > 0


@pytest.mark.parametrize(
    ("mode", "said", "costs"),
    [
        ("failing", "upstream_failed", True),
        ("denied", "upstream_denied", False),
        ("redirect", "upstream_redirect", True),
        ("busy_for_long", "upstream_limited", False),
        ("huge", "result_too_large", True),
        ("echo", "upstream_echoes_secret", True),
        ("truncated", "upstream_broken", True),
        ("html", "bad_answer", True),
    ],
)
def test_a_failing_upstream_gives_no_text_of_its_own_and_no_key(mode: str, said: str, costs: bool) -> None:
    values, last, _ = run(mode)
    assert (values, last.end, code(last)) == ([], "failed", said)
    assert "ignore" not in str(last)
    assert KEY.decode() not in str(last)
    assert (last.usage.tokens_in > 0) is costs


def test_a_slow_upstream_ends_with_the_cores_own_time_out() -> None:
    values, last, _ = run("slow", timeout_s=1)
    assert (values, last.end, code(last)) == ([], "failed", "model_timeout")


def test_the_key_is_in_no_frame_that_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[bytes] = []
    received = frames.Link.data_received

    def listen(self: frames.Link, data: bytes) -> None:
        came.append(data)
        received(self, data)

    monkeypatch.setattr(frames.Link, "data_received", listen)
    for mode in ("normal", "echo", "denied", "truncated"):
        run(mode)
    assert came
    assert KEY not in b"".join(came)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (model_call("nobody"), "model_not_granted"),
        (model_call(role="other"), "model_not_granted"),
        (model_call(subject=Operator(name="root", uid=0, connection=1, tenant="acme")), "model_not_granted"),
        (model_call(args={"messages": []}), "bad_request"),
        (model_call(args={**ASK, "request": {**ASK["request"], "tools": [{"type": "web_search"}]}}), "bad_request"),
        (model_call(args={**ASK, "api": "images"}), "bad_request"),
        (model_call("claude"), "wrong_wire"),
        (model_call(args=ask("messages")), "wrong_wire"),
    ],
)
def test_what_was_not_granted_or_is_no_request_does_not_leave(call: Call, said: str) -> None:
    values, last, seen = run("normal", call)
    assert (values, last.end, code(last), seen) == ([], "failed", said, [])


def test_a_role_without_the_model_or_its_key_gets_neither() -> None:
    told = manifest("http://127.0.0.1:1/v1", secrets=())
    assert code(run("normal", told=told)[1]) == "secret_not_granted"
    told = manifest("http://127.0.0.1:1/v1", models=())
    assert code(run("normal", told=told)[1]) == "model_not_granted"


@pytest.mark.parametrize("key", [b"", b"a\r\nX: y", b"\xff\xfe", b"a\tb"])
def test_a_key_that_is_no_headers_text_is_not_sent(key: bytes) -> None:
    _, last, seen = run("normal", key=key)
    assert (code(last), seen) == ("bad_secret", [])


def test_a_key_that_cannot_be_read_is_refused_without_naming_its_file() -> None:
    def unreadable(_name: str) -> bytes:
        raise RingwallError("cannot open /secret/place", code="secret_unreadable")

    async def ask() -> tuple[list[Json], Last]:
        effect = ModelEffect(manifest("http://127.0.0.1:1/v1"), lambda tenant: None, NamedSecrets(unreadable))
        return await gather(effect.run(model_call(), {}))

    values, last = asyncio.run(ask())
    assert (values, code(last)) == ([], "secret_unreadable")
    assert "place" not in str(last)


def test_without_a_sidecar_nothing_happens() -> None:
    async def ask() -> tuple[list[Json], Last]:
        effect = ModelEffect(manifest("http://127.0.0.1:1/v1"), lambda tenant: None, KEYS)
        return await gather(effect.run(model_call(), {}))

    values, last = asyncio.run(ask())
    assert (values, last.end, code(last)) == ([], "failed", "sidecar_unavailable")


@pytest.mark.parametrize("api", provider.APIS)
def test_each_interface_gives_its_canonical_answer(api: str) -> None:
    values, last, ((path, _, _),) = run("tools", call_of(api, tools=("read",)))
    known: Any = api
    (call,) = wire(known).tool_calls(values[0])
    assert path.endswith(provider.PATHS[api])
    assert (call.id, call.name, json.loads(call.arguments)) == (CALL[0], CALL[1], json.loads(CALL[2]))
    assert (last.end, last.usage.tokens_in, last.usage.tokens_out) == ("done", 11, 7)


@pytest.mark.parametrize("api", provider.APIS)
def test_a_tool_that_was_never_offered_is_called_by_nobody(api: str) -> None:
    for mode, stream in (("unoffered", False), ("s_unoffered", True)):
        values, last, _ = run(mode, call_of(api, tools=("read",), stream=stream))
        assert (last.end, code(last)) == ("failed", "bad_answer")
        assert "rm_rf" not in str(values)


@pytest.mark.parametrize("api", provider.APIS)
def test_a_stream_is_its_pieces_and_the_tokens_counted_at_its_end(api: str) -> None:
    values, last, _ = run("s_tools", call_of(api, stream=True, tools=("read",)))
    assert [next(iter(value.keys() - {"part", "kind"})) for value in values] == ["open", "text", "call", "close"]
    assert all(parse_piece(json.dumps(value).encode()) == value for value in values)
    assert (last.end, last.usage.tokens_in, last.usage.tokens_out) == ("done", 11, 7)


def test_only_texts_of_a_stream_are_parts_of_a_whole() -> None:
    async def asked(server: Upstream) -> list[tuple[bool, bool]]:
        async with at(server, "s_tools") as made:
            effect = ModelEffect(manifest(server.url("s_tools")), lambda tenant: made.client, KEYS)
            items = effect.run(call_of("chat", stream=True, tools=("read",)), {})
            return [(one.whole, "text" in one.value) async for one in items if isinstance(one, Chunk)]

    with upstream() as server:
        assert all(whole is not text for whole, text in asyncio.run(asked(server)))


@pytest.mark.parametrize("api", provider.APIS)
def test_tokens_of_a_stream_that_nobody_counted_are_estimated_and_said_to_be(api: str) -> None:
    values, last, _ = run("s_uncounted", call_of(api, stream=True))
    assert values[-1]["close"]["usage"]["estimated"] is True
    assert last.usage.tokens_out == values[-1]["close"]["usage"]["tokens_out"] == 2  # five characters
    assert last.usage.tokens_in > 10


@pytest.mark.parametrize("mode", ["s_dies", "s_cut", "s_echo"])
def test_a_stream_that_breaks_off_has_failed_and_cost_what_it_said(mode: str) -> None:
    values, last, _ = run(mode, call_of("chat", stream=True))
    assert last.end == "failed" and code(last) in {"upstream_broken", "upstream_echoes_secret"}
    assert last.usage.tokens_in > 0 and last.usage.tokens_out > 0
    assert "open" in values[0] and "close" not in values[-1]


def test_a_stream_that_says_nothing_ends_with_the_cores_own_time_out_or_the_sidecars() -> None:
    _, last, _ = run("s_comments", call_of("chat", stream=True), timeout_s=1)
    assert (last.end, code(last)) == ("failed", "model_timeout")


def test_an_upstream_is_left_when_the_caller_goes_in_the_middle_of_a_stream() -> None:
    async def asked(server: Upstream) -> None:
        async with at(server, "s_more") as made:
            effect = ModelEffect(manifest(server.url("s_more")), lambda tenant: made.client, KEYS)
            async with aclosing(effect.run(call_of("chat", stream=True), {})) as items:
                async for item in items:
                    if isinstance(item, Chunk) and "text" in item.value:
                        break
            assert await asyncio.to_thread(server.left.wait, 20)

    with upstream() as server:
        asyncio.run(asked(server))
