"""An installation whose models and tools are elsewhere, and everything that can be wrong there."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults.elsewhere import TOOLS, Elsewhere, elsewhere
from tests.models import provider
from tests.models.fake_upstream import Upstream, upstream
from tests.stack import Puppet, Stack, kill, wait_for

from ringwall.audit.records import Record

KEY = "sk-of-the-operator-93adf1c7"
MODES = ("s_gate", "s_normal", "s_more", "s_dies", "s_huge", "s_flood", "s_echo", "s_bytes", "s_tools",
         "s_unoffered", "s_json", "s_zipped", "s_line", "normal", "huge", "html", "zipped", "truncated", "redirect",
         "silent", "echo", "unoffered")
SLOW = ("slow", "s_comments", "s_gate")  # those that hang are waited for one second only
MODELS = [*(f"{wire}-{mode}" for wire in ("openai", "anthropic") for mode in MODES),
          *(f"openai-{mode}-1" for mode in SLOW)]
SECRETS = {"openai-key": '{ header = "Authorization", format = "Bearer {}" }',
           "anthropic-key": '{ header = "x-api-key" }', "client-key": '{ header = "X-Client" }'}
MCP = {"new": 30, "old": 30, "slow": 1, "fickle": 30, "late": 2}  # and how many seconds a call may take
WEB = ("fine", "gate", "die", "half", "huge", "redirect", "zipped")
TOKENS = ("down", "none", "huge", "flood", "brief", "html")
GUARD_CODES = {"guard_unreachable", "guard_timeout", "guard_not_ready", "guard_unavailable", "ring_failed"}
PATHS = {"chat": "/openai/v1/chat/completions", "responses": "/openai/v1/responses",
         "messages": "/anthropic/v1/messages"}


class House:
    """What runs, and what it says of itself."""

    def __init__(self, stack: Stack, model: Upstream, world: Elsewhere, late: Elsewhere) -> None:
        self.stack, self.model, self.world, self.late = stack, model, world, late

    def reset(self) -> None:
        """Nothing was asked yet."""
        self.world.reset()
        for one in (self.model.begun, self.model.go, self.model.left):
            one.clear()
        self.model.seen.clear()

    def newest(self) -> int:
        """The number of the last record."""
        return max((one.number for one in self.stack.records("acme")), default=0)

    def since(self, number: int, *types: str) -> list[Record]:
        """The records behind it."""
        return [one for one in self.stack.records("acme", *types) if one.number > number]

    def ends(self, number: int) -> list[tuple[str, str, str]]:
        """Target, end and code of each call that was let in since; each has an outcome."""
        found = [one for one in self.since(number, "intent") if one.clear["target"] != "ringwall/list"]
        outcomes = [wait_for("the outcome", lambda one=one: self.stack.outcome(f"acme/{one.number}"))
                    for one in found]
        return [(one.clear["target"], its.clear["end"], its.clear["code"])
                for one, its in zip(found, outcomes, strict=True)]

    def kill(self, name: str) -> None:
        """With SIGKILL; returns when its successor is there, for the core also when it is ready."""
        said = sum(line.startswith("ringwall: ready") for line in self.stack.log)
        old = self.stack.pid(name)
        kill(old)
        if name == "core":
            self.stack.wait_ready(said + 1)
        wait_for(f"a new {name}", lambda: self.stack.running(name) not in {None, old})

    def works(self, agent: Puppet) -> None:
        """Calls of each kind work, at the latest after a restart."""
        for tool in ("new/fine", "old/fine", "web/fine"):
            wait_for(f"{tool} to work", lambda tool=tool: "result" in agent.call(tool))
        wait_for("completions to work", lambda: good(ask(agent, "s_normal")[1]))


def post(path: str, body: bytes, *more: str, length: int | None = None) -> str:
    """A request for a puppet's ``raw``: each character is one byte."""
    head = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", "Connection: close",
            f"Content-Length: {len(body) if length is None else length}", *more]
    return "\r\n".join([*head, "", body.decode("latin-1")])


def completion(mode: str, api: str = "chat", *, stream: bool = True) -> str:
    """A model request."""
    wire = "anthropic" if api == "messages" else "openai"
    asked = {**provider.request(api, stream=stream, tools=("read",)), "model": f"{wire}-{mode}"}
    return post(PATHS[api], json.dumps(asked).encode())


def ask(agent: Puppet, mode: str, api: str = "chat", *, stream: bool = True, expect: str = "") -> tuple[int, str]:
    """Ask a model; status, 0 if there is none, and what came."""
    return status(agent.do("raw", data=completion(mode, api, stream=stream), expect=expect))


def status(answer: Any) -> tuple[int, str]:
    """Of a puppet's ``raw``."""
    words = answer["status"].split()
    return int(words[1]) if words else 0, answer["body"]


def good(body: str) -> bool:
    """Whether a streamed chat completion came to its end."""
    return "data: [DONE]" in body


def mcp(method: str, params: Any, *more: str, at: str = "/mcp/old", number: int = 1) -> str:
    """A request of an MCP client, in 2026-07-28 unless it names its session."""
    session = any(line.startswith("Mcp-Session-Id") for line in more) or method == "initialize"
    if session:
        lines = [*more, *(["Mcp-Protocol-Version: 2025-11-25"] if method != "initialize" else [])]
    else:
        kept = "io.modelcontextprotocol/"
        params = {**params, "_meta": {f"{kept}protocolVersion": "2026-07-28", f"{kept}clientCapabilities": {},
                                      f"{kept}clientInfo": {"name": "t", "version": "1"}}}
        named = [f"Mcp-Name: {params['name']}"] if "name" in params else []
        given = {line.partition(":")[0] for line in more}
        ours = ["Mcp-Protocol-Version: 2026-07-28", f"Mcp-Method: {method}", *named]
        lines = [*more, *(line for line in ours if line.partition(":")[0] not in given)]
    body = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()
    return post(at, body, "Accept: application/json, text/event-stream", *lines)


def manifest(folder: Path, model: Upstream, world: Elsewhere, late: Elsewhere) -> str:
    """Every model, every server, and one role that may use them all."""
    key = _quoted(folder / "c" / "key")
    secrets = [f'[secrets.{name}]\nfrom = "file"\nfile = {key}\ninject = {how}\n' for name, how in SECRETS.items()]
    granted = [*(f"{name}/{tool}" for name in MCP for tool in TOOLS), "old/elicitation.create",
               *(f"web/{name}" for name in WEB), *(f"tok-{name}/fine" for name in TOKENS)]
    return "\n".join([
        'version = 1\ntrust_domain = "acme.example"',
        *(_model(name, model) for name in MODELS), *secrets,
        *(_mcp(name, seconds, late if name == "late" else world) for name, seconds in MCP.items()),
        *_web(folder, world),
        f"[tenants.acme.roles.clerk]\nmodels = {json.dumps(MODELS)}\nsecrets = {json.dumps(list(SECRETS))}",
        "[tenants.acme.roles.clerk.tools]", *(f'"{one}" = []' for one in granted),
        '[tenants.acme.agents.ana]\nrole = "clerk"\n[tenants.acme.agents.ben]\nrole = "clerk"',
    ])


def _quoted(value: object) -> str:
    return json.dumps(str(value))


def _model(name: str, model: Upstream) -> str:
    wire, mode, *hurry = name.split("-")
    lines = [f"[models.{name}]", f'wire = "{wire}"', f"url = {_quoted(model.url(mode))}", f'secret = "{wire}-key"',
             'clearance = "private"', *(["timeout_s = 1"] if hurry else [])]
    return "\n".join([*lines, ""])


def _operations(server: str, names: Sequence[str]) -> str:
    return "".join(f'[tools.{server}.ops.{name}]\neffect = "read"\nargs = {{}}\n' for name in names)


def _mcp(name: str, seconds: int, at: Elsewhere) -> str:
    head = f'[tools.{name}]\nmcp = {_quoted(at.url(f"mcp/{name}"))}\ntimeout_s = {seconds}\nclearance = "private"\n'
    asks = ('[tools.old.ops."elicitation.create"]\neffect = "read"\n'
            'args = { number = "param", answer = "param" }\n' if name == "old" else "")
    return head + _operations(name, TOOLS) + asks


def _web(folder: Path, world: Elsewhere) -> Iterator[str]:
    """A web API, and the same once more behind each token server."""
    api = f'openapi = {_quoted(folder / "web.json")}\nurl = {_quoted(world.url("web"))}\nclearance = "private"\n'
    yield f"[tools.web]\n{api}{_operations('web', WEB)}"
    for name in TOKENS:
        token = "http://127.0.0.1:1/token" if name == "down" else world.url(f"token/{name}")
        oauth = f'oauth = {{ token_url = {_quoted(token)}, client_id = "us", secret = "client-key" }}\n'
        yield f"[tools.tok-{name}]\n{api}{oauth}{_operations(f'tok-{name}', ['fine'])}"


def prepare(folder: Path) -> None:
    (folder / "c" / "key").touch(mode=0o600)
    (folder / "c" / "key").write_text(KEY + "\n")
    good = {"200": {"description": "ok"}}
    paths = {f"/{name}": {"get": {"operationId": name, "responses": good}} for name in WEB}
    (folder / "web.json").write_text(json.dumps(
        {"openapi": "3.1.0", "info": {"title": "web", "version": "1"}, "paths": paths}))


@contextmanager
def gatehouse() -> Generator[House]:
    """All of it, running."""
    with (upstream() as model, elsewhere() as world, elsewhere(opened=False) as late,
          Stack(lambda folder: manifest(folder, model, world, late), prepare) as stack):
        yield House(stack, model, world, late)
