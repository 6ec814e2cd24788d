"""A model call from the core through a real sidecar process to an upstream on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.models.fake_upstream import Upstream, upstream
from tests.tools.office import Sidecar, gather, sidecar

from ringwall.call import Call, CallId, Json, Last, LaunchId, Operator, Process, SessionId, Subject, Target
from ringwall.errors import RingwallError
from ringwall.identity.spiffe import SpiffeId
from ringwall.manifest.types import Injection, Manifest, Model, Role, Secret, Tenant
from ringwall.models.effect import ModelEffect
from ringwall.tools.protocol import ModelConfig
from ringwall.tools.sidecar_client import Times
from ringwall.wire import frames

KEY = b"sk-secret-4711"
ASK = {"messages": [{"role": "user", "content": "hi"}], "model": "ours"}


def manifest(
    url: str, *, secrets: tuple[str, ...] = ("key",), models: tuple[str, ...] = ("main", "open")
) -> Manifest:
    role = Role(name="analyst", models=models, secrets=secrets)
    return Manifest(
        version=1,
        trust_domain="acme.example",
        path=Path("/ringwall.toml"),
        models={
            "main": Model(name="main", wire="openai", url=url, secret="key", model="real-name"),
            "open": Model(name="open", wire="openai", url=url),
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


@asynccontextmanager
async def at(server: Upstream, mode: str, **times: float) -> AsyncGenerator[Sidecar]:
    models = {name: ModelConfig(url=server.url(mode)) for name in ("main", "open")}
    async with sidecar(models=models, times=Times(**times)) as made:
        yield made


def run(
    mode: str, call: Call | None = None, *, told: Manifest | None = None, key: bytes = KEY, **times: float
) -> tuple[list[Json], Last, list[tuple[str, dict[str, str], bytes]]]:
    async def ask(server: Upstream) -> tuple[list[Json], Last]:
        async with at(server, mode, **times) as made:
            effect = ModelEffect(told or manifest(server.url(mode)), lambda tenant: made.client, lambda name: key)
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
    assert json.loads(body) == {**ASK, "model": "real-name"}
    assert [name for name, value in headers.items() if KEY.decode() in value] == ["Authorization"]


def test_an_upstream_without_a_key_gets_none_and_keeps_the_models_name() -> None:
    _, last, seen = run("normal", model_call("open"))
    ((_, headers, body),) = seen
    assert last.end == "done"
    assert json.loads(body)["model"] == "open"
    assert "Authorization" not in headers


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
        ("limited", "upstream_limited", False),
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
    values, last, _ = run("slow", model_s=0.3)
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
        (model_call(args={**ASK, "tools": [{"type": "web_search"}]}), "bad_request"),
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
        effect = ModelEffect(manifest("http://127.0.0.1:1/v1"), lambda tenant: None, unreadable)
        return await gather(effect.run(model_call(), {}))

    values, last = asyncio.run(ask())
    assert (values, code(last)) == ([], "secret_unreadable")
    assert "place" not in str(last)


def test_without_a_sidecar_nothing_happens() -> None:
    async def ask() -> tuple[list[Json], Last]:
        effect = ModelEffect(manifest("http://127.0.0.1:1/v1"), lambda tenant: None, lambda name: KEY)
        return await gather(effect.run(model_call(), {}))

    values, last = asyncio.run(ask())
    assert (values, last.end, code(last)) == ([], "failed", "sidecar_unavailable")
