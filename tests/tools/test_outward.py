"""Web APIs and plain HTTP from the core through a real sidecar process to servers on loopback."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from tests.fakes import NamedSecrets
from tests.tools.office import Sidecar, gather, sidecar
from tests.tools.strangers import Answer, Stranger, raw, says, stranger
from tests.tools.webapi.descriptions import TEXT, single

from ringwall.call import Call, CallId, Form, Json, Last, LaunchId, Operator, Process, SessionId, Subject, Target
from ringwall.errors import BadInput, RingwallError, Unavailable
from ringwall.identity.spiffe import SpiffeId
from ringwall.manifest.types import (
    ArgumentRole,
    Injection,
    Manifest,
    OAuth,
    Operation,
    Role,
    Secret,
    Tenant,
    ToolServer,
)
from ringwall.tools.answer import HttpRequest
from ringwall.tools.credentials import Credentials, Injected
from ringwall.tools.outward import Outward, with_pointers
from ringwall.tools.protocol import ServerConfig

KEY = "sk-very-secret-4711"
METHODS = ("get", "head", "post", "put", "patch", "delete")
WHO = SpiffeId.make(trust_domain="acme.example", tenant="acme", agent="ana", role="analyst")
SPEC = single(
    {"name": "id", "in": "path", "schema": {"type": "string"}},
    path="/items/{id}",
    body={"type": "object", "required": ["token"], "properties": {"note": TEXT, "token": TEXT}},
)


@dataclass
class Time:
    """A clock that a test moves."""

    at: float = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


@dataclass
class World:
    """Everything a test needs of one tenant, its server and the stranger behind it."""

    server: ToolServer
    manifest: Manifest
    outward: Outward
    sidecar: Sidecar
    stranger: Stranger
    clock: Time = field(default_factory=Time)

    async def call(
        self,
        op: str,
        args: Json,
        form: Form = "value",
        subject: Subject | None = None,
    ) -> tuple[list[Json], Last]:
        subject = subject or Process(spiffe_id=WHO, launch=LaunchId("l"), connection=1)
        call = Call.make(
            id=CallId("c"),
            kind="tool",
            subject=subject,
            session=SessionId("s"),
            form=form,
            target=Target(name=f"{self.server.name}/{op}"),
            args=args,
        )
        return await gather(self.outward.run(call, self.server, self.sidecar.client))


def act(
    use: Callable[[World], Awaitable[None]],
    answer: Answer,
    *,
    folder: Path | None = None,
    inject: Injection | None = None,
    granted: bool = True,
    oauth: bool = False,
    secret: str = KEY,
    spec: Any = SPEC,
    timeout_s: int = 20,
    roots: tuple[str, ...] = ("/",),
) -> list[bytes]:
    """Run ``use`` in a world whose stranger answers so; what the stranger saw."""

    async def run() -> list[bytes]:
        async with stranger(answer) as there:
            made = ToolServer(
                name="out",
                secret="" if oauth or inject is None else "key",
                timeout_s=timeout_s,
                max_bytes=4096,
                oauth=OAuth(token_url=there.url("/token"), client_id="me:1", secret="key", scopes=("a", "b"))
                if oauth
                else None,
            )
            names = ("op",) if folder else METHODS
            made = replace(
                made, ops={name: Operation(effect="read", args={"url": ArgumentRole(role="url")}) for name in names}
            )
            if folder:
                (folder / "api.json").write_text(json.dumps(spec))
                made = replace(made, openapi=folder / "api.json", url=there.url("/v1"))
            else:
                made = replace(made, http=tuple(there.url(root) for root in roots))
            prefixes = (
                *made.http,
                *((made.url + "/",) if made.url else ()),
                *((there.url("/token"),) if oauth else ()),
            )
            config = ServerConfig(kind="http", prefixes=prefixes, max_bytes=4096, timeout_s=float(timeout_s))
            role = Role(name="analyst", tools=("out/*",), secrets=("key",) if granted else ())
            manifest = Manifest(
                version=1,
                trust_domain="acme.example",
                path=Path("/ringwall.toml"),
                tools={"out": made},
                secrets={"key": Secret(name="key", inject=inject or Injection(header="X-Key"))},
                tenants={"acme": Tenant(name="acme", roles={"analyst": role})},
            )
            clock = Time()
            outward = Outward(manifest, Credentials(manifest, NamedSecrets(lambda _: secret.encode()), clock))
            async with sidecar(configs={"out": config}) as hands:
                await use(World(made, manifest, outward, hands, there, clock))
                assert hands.downs == []
            return there.seen

    return asyncio.run(run())


def test_a_plain_request_gives_status_type_and_text() -> None:
    async def use(world: World) -> None:
        values, end = await world.call("get", {"url": world.stranger.url("/a?b=c")})
        assert values == [{"status": 404, "type": "text/plain", "text": "hé"}]
        assert end.end == "done"
        values, _ = await world.call(
            "post",
            {"url": world.stranger.url("/a"), "body": "x=1", "content_type": "application/x-www-form-urlencoded"},
        )
        assert [one["status"] for one in values] == [404]

    seen = act(use, says("hé".encode(), status="404 x", kind="text/plain"))
    assert seen[1].startswith(b"POST /a HTTP/1.1\r\n")
    assert b"Content-Type: application/x-www-form-urlencoded" in seen[1]
    assert seen[1].endswith(b"\r\n\r\nx=1")


def test_a_redirect_to_a_metadata_service_is_a_result_and_where_it_leads_is_not_asked() -> None:
    async def use(world: World) -> None:
        values, _ = await world.call("get", {"url": world.stranger.url("/a")})
        assert values == [
            {"status": 302, "type": "application/json", "location": "http://169.254.169.254/", "text": ""}
        ]
        values, end = await world.call("get", {"url": values[0]["location"]})
        assert (values, end.end, end.error) == (
            [],
            "failed",
            {"code": "host_refused", "reason": "this server may not be asked under that URL; nothing was sent"},
        )

    assert len(act(use, says(b"", status="302 x", headers=["Location: http://169.254.169.254/"]))) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/other/",
        "/docs",
        "/docsx/",
        "/docs/../other",
        "/docs/%2e%2e/other",
        "/docs/..%2fother",
        "/docs/%252e%252e/x",
        "/docs/..;/x",
        "/token",
    ],
)
def test_only_what_is_below_the_prefixes_is_asked_and_the_sidecar_holds_that_too(path: str) -> None:
    async def use(world: World) -> None:
        _, end = await world.call("get", {"url": world.stranger.url(path)})
        assert end.error and end.error["code"] == "host_refused"
        _, end = await world.sidecar.client.run_http("out", HttpRequest(method="GET", url=world.stranger.url(path)))
        assert end.error and end.error["code"] == "host_refused"

    assert act(use, says(), roots=("/docs/",)) == []


def test_the_lists_of_what_is_wrong_with_a_request_never_cost_the_sidecar() -> None:
    async def use(world: World) -> None:
        url = world.stranger.url("/a")
        for bad in (
            HttpRequest(method="GET", url=url + "x" * 20_000),
            HttpRequest(method="GET", url=url, headers={"A": "x" * 9000}),
            HttpRequest(method="GET", url=url, headers={f"A{n}": "x" for n in range(17)}),
            HttpRequest(method="POST", url=url, body=b"x" * (9 << 20)),
        ):
            answer, end = await world.sidecar.client.run_http("out", bad)
            assert answer is None
            assert end.error and end.error["code"] == "bad_arguments"
        _, end = await world.sidecar.client.run_http("none", HttpRequest(method="GET", url=url))
        assert end.error and end.error["code"] == "no_such_server"

    assert act(use, says()) == []


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + b"x" * 9999), "result_too_large"),
        (raw(b"nonsense\r\n\r\n"), "upstream_broken"),
        (raw(b""), "upstream_slow"),
        (says(headers=["Content-Encoding: gzip"]), "bad_answer"),
        (says(f'"you sent {KEY}"'.encode()), "upstream_echoes_secret"),
        (says(b"{}", headers=[f"Location: /?k={KEY}"]), "upstream_echoes_secret"),
    ],
)
def test_an_answer_that_cannot_be_given_leaves_the_end_unknown(answer: Answer, code: str) -> None:
    async def use(world: World) -> None:
        values, end = await world.call("post", {"url": world.stranger.url("/a"), "body": "{}"})
        assert (values, end.end) == ([], "unknown")
        assert end.error and end.error["code"] == code

    act(use, answer, inject=Injection(header="X-Key"), timeout_s=1 if code == "upstream_slow" else 20)


def test_a_secret_goes_into_its_header_on_its_paths_only() -> None:
    async def use(world: World) -> None:
        for path in ("/v1/a", "/v2/a"):
            await world.call("get", {"url": world.stranger.url(path)})
            await world.call("head", {"url": world.stranger.url(path)})

    seen = act(use, says(), inject=Injection(header="X-Key", format="Token {}", paths=("GET /v1/",)))
    assert [KEY.encode() in request for request in seen] == [True, False, False, False]
    assert f"X-Key: Token {KEY}\r\n".encode() in seen[0]


def test_an_agent_whose_role_lacks_the_secret_asks_nobody() -> None:
    async def use(world: World) -> None:
        for subject in (None, Operator(name="op", uid=0, connection=1)):
            _, end = await world.call("get", {"url": world.stranger.url("/a")}, subject=subject)
            assert end.error and end.error["code"] == "secret_not_granted"

    assert act(use, says(), inject=Injection(header="X-Key"), granted=False) == []


@pytest.mark.parametrize("secret", ["two\nlines", "é", "", "x" * 9000])
def test_a_secret_that_is_no_plain_line_is_not_used(secret: str) -> None:
    async def use(world: World) -> None:
        _, end = await world.call("get", {"url": world.stranger.url("/a")})
        assert end.error and end.error["code"] == "bad_secret"

    assert act(use, says(), inject=Injection(header="X-Key"), secret=secret) == []


def test_a_web_api_is_asked_as_described_and_its_json_is_the_value(tmp_path: Path) -> None:
    async def use(world: World) -> None:
        definitions, problems = world.outward.definitions("out")
        assert problems == ()
        assert set(definitions[0]["inputSchema"]["properties"]) == {"id", "note"}  # the token is ours
        values, end = await world.call("op", {"id": "a/b", "note": "hi"})
        assert (values, end.end) == ([{"a": 1}], "done")
        values, _ = await world.call("op", {"id": "x"}, form="mcp")
        assert values == [
            {
                "result": {
                    "content": [{"type": "text", "text": '{"a": 1}'}],
                    "isError": False,
                    "structuredContent": {"a": 1},
                }
            }
        ]

    seen = act(use, says(b'{"a":1}'), folder=tmp_path, inject=Injection(pointer="/token"))
    assert seen[0].startswith(b"POST /v1/items/a%2Fb HTTP/1.1\r\n")
    assert json.loads(seen[0].partition(b"\r\n\r\n")[2]) == {"note": "hi", "token": KEY}


@pytest.mark.parametrize("text", ["<secret key>", "{key}", "{{key}}", "${key}", "$key", "%key%", "{}",
                                  "{secret:key}", "RINGWALL_SECRET_key", "__key__"])
def test_no_text_of_an_agents_stands_for_a_secret_so_none_can_be_posted_and_read_back(
    tmp_path: Path, text: str
) -> None:
    async def use(world: World) -> None:
        await world.call("op", {"id": text, "note": text})

    (seen,) = act(use, says(b"{}"), folder=tmp_path, inject=Injection(pointer="/token"))
    head, _, body = seen.partition(b"\r\n\r\n")
    assert json.loads(body) == {"note": text, "token": KEY}
    assert KEY.encode() not in head


def test_an_agent_cannot_fill_the_secrets_place(tmp_path: Path) -> None:
    async def use(world: World) -> None:
        _, end = await world.call("op", {"id": "a", "token": "mine"})
        assert end.error and end.error["code"] == "bad_arguments"

    assert act(use, says(), folder=tmp_path, inject=Injection(pointer="/token")) == []


@pytest.mark.parametrize(("body", "pointer"), [
    ({"token": "mine"}, "/token"), ({"TOKEN": "mine"}, "/token"), ({"to\u212aen": "mine"}, "/token"),
    ({"Auth": {"token": "mine"}}, "/auth/token"), ({"auth": {"Token": "mine"}}, "/auth/token"),
    ({"auth": 1}, "/auth/token"),
])
def test_the_place_in_a_body_is_taken_in_any_spelling_that_a_server_may_read(body: Any, pointer: str) -> None:
    request = HttpRequest(method="POST", url="https://x.example/", body=json.dumps(body).encode())
    with pytest.raises(BadInput, match="bad_injection"):
        with_pointers(request, Injected(pointers={pointer: KEY}))


def test_a_secret_in_a_body_must_not_come_back(tmp_path: Path) -> None:
    async def use(world: World) -> None:
        _, end = await world.call("op", {"id": "a"})
        assert end.error and end.error["code"] == "upstream_echoes_secret"

    act(
        use,
        says(json.dumps({"seen": base64.b64encode(KEY.encode()).decode()}).encode()),
        folder=tmp_path,
        inject=Injection(pointer="/auth/token"),
    )


def test_a_secret_goes_into_its_parameter_of_the_query_on_its_hosts_only() -> None:
    async def use(world: World) -> None:
        await world.call("get", {"url": world.stranger.url("/a?b=c")})
        await world.call("get", {"url": world.stranger.url("/a")})

    inject = Injection(query="api key", format="k:{}", hosts=("127.0.0.1",))
    seen = act(use, says(), inject=inject, secret="sk/very&secret=4711")
    assert [request.split(b" ")[1] for request in seen] == [
        b"/a?b=c&api%20key=k%3Ask%2Fvery%26secret%3D4711",
        b"/a?api%20key=k%3Ask%2Fvery%26secret%3D4711",
    ]
    elsewhere = act(use, says(), inject=replace(inject, hosts=("elsewhere",)))
    assert [request.split(b" ")[1] for request in elsewhere] == [b"/a?b=c", b"/a"]


@pytest.mark.parametrize(
    "query", ["key=mine", "a=b&KEY=mine", "a;k%65y=x", "key", "k%2565y=x", "key[]=x", "key%5B0%5D=x"]
)
def test_an_agent_cannot_fill_the_secrets_parameter(query: str) -> None:
    async def use(world: World) -> None:
        _, end = await world.call("get", {"url": world.stranger.url(f"/a?{query}")})
        assert end.error and end.error["code"] == "bad_injection"

    assert act(use, says(), inject=Injection(query="key")) == []


def test_a_secret_in_a_query_must_not_come_back() -> None:
    async def use(world: World) -> None:
        _, end = await world.call("get", {"url": world.stranger.url("/a")})
        assert end.error and end.error["code"] == "upstream_echoes_secret"

    secret = "sk/very&secret=4711"
    for echo in (b"sk%2Fvery%26secret%3D4711", secret.encode()):
        act(use, says(echo, kind="text/plain"), inject=Injection(query="key"), secret=secret)


def test_a_url_that_gets_too_long_with_its_secret_is_not_sent() -> None:
    async def use(world: World) -> None:
        url = world.stranger.url("/")
        _, end = await world.call("get", {"url": url + "a" * (16_384 - len(url))})
        assert end.error and end.error["code"] == "bad_injection"

    assert act(use, says(), inject=Injection(query="key")) == []


def test_a_parameter_of_the_query_that_ringwall_fills_is_no_argument(tmp_path: Path) -> None:
    key = {"name": "Key", "in": "query", "required": True, "schema": {"type": "string"}}

    async def use(world: World) -> None:
        ((definition,), problems) = world.outward.definitions("out")
        assert (list(definition["inputSchema"]["properties"]), problems) == ([], ())
        _, end = await world.call("op", {})
        assert end.end == "done"

    seen = act(use, says(b"{}"), folder=tmp_path, spec=single(key, method="get"), inject=Injection(query="Key"))
    assert f"?Key={KEY} HTTP/1.1".encode() in seen[0]


def test_a_secret_for_a_body_goes_into_no_request_without_one(tmp_path: Path) -> None:
    async def use(world: World) -> None:
        _, end = await world.call("op", {})
        assert end.error and end.error["code"] == "bad_injection"

    assert act(use, says(), folder=tmp_path, spec=single(method="get"), inject=Injection(pointer="/token")) == []


def test_plain_http_has_no_body_of_ours_for_a_secret() -> None:
    async def use(world: World) -> None:
        assert world.outward.definitions("out")[0] == []
        assert "those of plain HTTP are the agent's" in world.outward.definitions("out")[1][0]
        _, end = await world.call("post", {"url": world.stranger.url("/a"), "body": "{}"})
        assert end.error and end.error["code"] == "no_such_server"

    assert act(use, says(), inject=Injection(pointer="/token")) == []


@pytest.mark.parametrize("form", ["value", "mcp"])
def test_a_status_that_is_no_success_is_the_tools_error(tmp_path: Path, form: Form) -> None:
    async def use(world: World) -> None:
        values, end = await world.call("op", {"id": "a"}, form=form)
        text = "HTTP status 500: oops"
        assert values == [
            {"error": text}
            if form == "value"
            else {"result": {"content": [{"type": "text", "text": text}], "isError": True}}
        ]
        assert end.end == "failed"
        assert end.error and end.error["code"] == "tool_error"

    act(use, says(b"oops", status="500 x"), folder=tmp_path)


def test_json_that_is_none_leaves_the_end_unknown(tmp_path: Path) -> None:
    async def use(world: World) -> None:
        values, end = await world.call("op", {"id": "a"})
        assert (values, end.end) == ([], "unknown")
        assert end.error and end.error["code"] == "bad_answer"

    act(use, says(b'{"a":1,"a":2}'), folder=tmp_path)


def test_a_description_that_cannot_be_read_is_a_problem_of_its_server_alone(tmp_path: Path) -> None:
    async def use(world: World) -> None:
        definitions, problems = world.outward.definitions("out")
        assert definitions == []
        assert "2.0" in problems[0]

    act(use, says(), folder=tmp_path, spec={"swagger": "2.0"})


# OAuth


class Tokens:
    """A token endpoint and an API at one address."""

    def __init__(self, **answer: Any) -> None:
        self.answer = {"access_token": "tok-1", "token_type": "Bearer", "expires_in": 600} | answer
        self.status = "200 OK"
        self.denied = False
        self.given = 0

    async def __call__(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        if request.startswith(b"POST /token "):
            self.given += 1
            await says(json.dumps(self.answer).encode(), status=self.status)(request, writer)
        else:
            await says(b"{}", status="401 x" if self.denied else "200 OK")(request, writer)


def test_client_credentials_are_traded_for_a_token_that_is_kept_until_shortly_before_its_end() -> None:
    tokens = Tokens()

    async def use(world: World) -> None:
        url = world.stranger.url("/a")
        await asyncio.gather(*(world.call("get", {"url": url}) for _ in range(5)))
        assert tokens.given == 1
        world.clock.at += 539
        await world.call("get", {"url": url})
        assert tokens.given == 1
        world.clock.at += 2
        tokens.answer["access_token"] = "tok-2"
        await world.call("get", {"url": url})
        assert tokens.given == 2

    seen = act(use, tokens, oauth=True)
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert b"Authorization: Basic " + base64.b64encode(f"me%3A1:{KEY}".encode()) in head
    assert {name: value[0] for name, value in parse_qs(body.decode()).items()} == {
        "grant_type": "client_credentials",
        "scope": "a b",
        "resource": seen[1].split(b"Host: ")[1].split(b"\r\n")[0].decode().join(["http://", "/"]),
    }
    assert b"Authorization: Bearer tok-1\r\n" in seen[1]
    assert b"Authorization: Bearer tok-2\r\n" in seen[-1]
    assert not any(KEY.encode() in request for request in seen[1:])


def test_calls_that_wait_for_the_same_token_share_one_attempt_also_where_it_fails() -> None:
    tokens = Tokens()
    tokens.status = "400 x"

    async def use(world: World) -> None:
        url = world.stranger.url("/a")
        answers = await asyncio.gather(*(world.call("get", {"url": url}) for _ in range(5)))
        assert [end.error and end.error["code"] for _, end in answers] == ["token_refused"] * 5
        assert tokens.given == 1
        tokens.status = "200 OK"
        _, end = await world.call("get", {"url": url})
        assert (end.end, tokens.given) == ("done", 2)

    act(use, tokens, oauth=True)


def test_a_token_is_used_only_while_the_secret_that_it_was_traded_for_can_be() -> None:
    tokens = Tokens()
    held: list[bytes] = [b"first-secret"]

    def read(_: str) -> bytes:
        if not held:
            raise Unavailable("sealed", code="vault_sealed")
        return held[0]

    async def use(world: World) -> None:
        world.outward = Outward(world.manifest, Credentials(world.manifest, NamedSecrets(read), world.clock))
        url = world.stranger.url("/a")
        for _ in range(2):
            await world.call("get", {"url": url})
        assert tokens.given == 1
        held.clear()
        _, end = await world.call("get", {"url": url})
        assert end.error and end.error["code"] == "vault_sealed"
        held.append(b"second-secret")
        await world.call("get", {"url": url})
        assert tokens.given == 2

    seen = act(use, tokens, oauth=True)
    assert [request.split(b" ")[1] for request in seen] == [b"/token", b"/a", b"/a", b"/token", b"/a"]


def test_a_token_that_is_not_taken_is_asked_for_anew() -> None:
    tokens = Tokens()
    tokens.denied = True

    async def use(world: World) -> None:
        for _ in range(2):
            await world.call("get", {"url": world.stranger.url("/a")})
        assert tokens.given == 2

    act(use, tokens, oauth=True)


@pytest.mark.parametrize(
    "answer",
    [
        {"access_token": ""},
        {"access_token": "a b"},
        {"access_token": "a\r\nX: y"},
        {"access_token": 7},
        {"access_token": "x" * 9000},
        {"token_type": "mac"},
        {"token_type": None},
        {"expires_in": -1},
        {"expires_in": "soon"},
        {"expires_in": True},
    ],
)
def test_a_token_that_is_none_is_not_used(answer: dict[str, Any]) -> None:
    async def use(world: World) -> None:
        _, end = await world.call("get", {"url": world.stranger.url("/a")})
        assert end.error and end.error["code"] in {"token_refused", "result_too_large"}

    assert all(b"/token" in request for request in act(use, Tokens(**answer), oauth=True))


def test_a_token_server_that_refuses_or_is_down_costs_the_call_and_nothing_of_its_answer_is_shown() -> None:
    tokens = Tokens(error="nonsense-of-theirs")
    tokens.status = "400 x"

    async def use(world: World) -> None:
        _, end = await world.call("get", {"url": world.stranger.url("/a")})
        assert end.error == {"code": "token_refused", "reason": "the token server refused (HTTP status 400)"}
        tokens.status = "garbage"
        _, end = await world.call("get", {"url": world.stranger.url("/a")})
        assert end.error and end.error["code"] == "upstream_broken"

    act(use, tokens, oauth=True)


def test_an_agent_cannot_ask_the_token_endpoint_itself() -> None:
    async def use(world: World) -> None:
        _, end = await world.call("post", {"url": world.stranger.url("/token"), "body": ""})
        assert end.error and end.error["code"] == "host_refused"

    assert act(use, Tokens(), oauth=True, roots=("/docs/",)) == []


def test_a_secret_that_cannot_be_read_is_not_named_by_its_file() -> None:
    async def use(world: World) -> None:
        def unreadable(_: str) -> bytes:
            raise RingwallError("cannot open /etc/secret", code="secret_unreadable")

        world.outward = Outward(world.manifest, Credentials(world.manifest, NamedSecrets(unreadable), world.clock))
        _, end = await world.call("get", {"url": world.stranger.url("/a")})
        assert end.error == {"code": "secret_unreadable", "reason": "secret key cannot be used now"}

    assert act(use, says(), inject=Injection(header="X-Key")) == []
