"""The gateway on real processes: programs and tools that know no Ringwall, and every call on the record."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.stack import Stack

from ringwall.redteam.office.model import Model

pytestmark = pytest.mark.confined

PORT = 8435
TOKEN = "crm-token-kQ9xZ2mV7bT4"
SERVER = '''
def note(text: str) -> str:
    """Keep a note."""
    return "kept: " + text
def drop(name: str) -> str:
    """Drop a note."""
    return "dropped"
'''
DESCRIPTION = {
    "openapi": "3.1.0", "info": {"title": "crm", "version": "1"},
    "paths": {
        "/customers/{id}": {"get": {
            "operationId": "getCustomer",
            "parameters": [{"name": "id", "in": "path", "required": True,
                            "schema": {"type": "string", "pattern": "^C-[0-9]{4}$", "maxLength": 6}}],
            "responses": {"200": {"description": "ok"}}}},
        "/quotes": {"post": {
            "operationId": "sendQuote",
            "requestBody": {"required": True, "content": {"application/json": {"schema": {
                "type": "object", "required": ["to", "amount"], "properties": {
                    "to": {"type": "string"}, "amount": {"type": "integer", "minimum": 1, "maximum": 500}}}}}},
            "responses": {"200": {"description": "ok"}}}},
    },
}
MANIFEST = """
version = 1
trust_domain = "acme.example"
[models.main]
wire = "openai"
url = {model}
clearance = "private"
[models.claude]
wire = "anthropic"
url = {model}
clearance = "private"
[models.claude.provider_tools.web_search]
effect = "fetch"
[secrets.crm]
from = "file"
file = {token}
inject = {{ header = "X-Token" }}
[tools.notes]
python = "notes"
read_only = [{folder}]
clearance = "private"
[tools.notes.ops.note]
effect = "write"
args = {{ text = "payload" }}
[tools.notes.ops.drop]
effect = "delete"
args = {{ name = "selector:id" }}
[tools.crm]
openapi = {description}
url = {web}
secret = "crm"
clearance = "private"
[tools.crm.ops.getCustomer]
effect = "read"
args = {{ id = "selector:id" }}
[tools.crm.ops.sendQuote]
effect = "send"
args = {{ to = "target:email", amount = "param" }}
[tools.web]
http = [{pages}]
[tools.web.ops.get]
effect = "fetch"
args = {{ url = "url:url" }}
[tenants.acme.roles.clerk]
models = ["main", "claude"]
secrets = ["crm"]
judge_tool_calls = true
[tenants.acme.roles.clerk.tools]
"notes/note" = []
"crm/getCustomer" = ["id:C-0001", "id:C-0002"]
"crm/sendQuote" = {{ resources = ["email:@customer.example"], max = {{ amount = 100 }} }}
"web/get" = [{granted}]
[tenants.acme.agents.ana]
role = "clerk"
door = 8435
"""
# What a program has that knows HTTP and JSON and nothing else.
ASK = f"""
import json, os, urllib.error, urllib.request
def ask(path, body, **headers):
    said = {{'Content-Type': 'application/json', 'Authorization': 'Bearer sk-mine', **headers}}
    request = urllib.request.Request('http://127.0.0.1:{PORT}' + path, method='POST',
        data=json.dumps(body).encode(), headers=said)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            raw = answer.read().decode()
    except urllib.error.HTTPError as refused:
        raw = refused.read().decode()
    try: return json.loads(raw)
    except ValueError: return raw
def mcp(method, params, at='/mcp', **headers):
    meta = {{'io.modelcontextprotocol/protocolVersion': '2026-07-28',
            'io.modelcontextprotocol/clientInfo': {{'name': 't', 'version': '1'}},
            'io.modelcontextprotocol/clientCapabilities': {{}}}}
    named = {{'Mcp-Name': params['name']}} if 'name' in params else {{}}
    return ask(at, {{'jsonrpc': '2.0', 'id': 1, 'method': method, 'params': {{**params, '_meta': meta}}}},
        Accept='application/json, text/event-stream',
        **{{'Mcp-Protocol-Version': '2026-07-28', 'Mcp-Method': method, **named, **headers}})
def call(name, arguments, **more):
    return mcp('tools/call', {{'name': name, 'arguments': arguments}}, **more)
"""


class _Web(BaseHTTPRequestHandler):
    """A web API and some pages; writes down what it was asked."""

    protocol_version = "HTTP/1.1"
    asked: list[dict[str, Any]]

    def _answer(self, body: bytes = b"") -> None:
        self.asked.append({"path": self.path, "token": self.headers.get("X-Token"), "body": body.decode(),
                           "authorization": self.headers.get("Authorization")})
        if self.path.startswith("/pages/moved"):
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        text = self.headers.get("X-Token", "") if self.path.startswith("/customers/C-0002") else "ok"
        said = json.dumps({"path": self.path, "said": text}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        return


class Place:
    """An installation with what it talks to."""

    def __init__(self, stack: Stack, asked: list[dict[str, Any]], web: str) -> None:
        self.stack, self.asked, self.web = stack, asked, web

    def tell(self, expression: str, task: str = "Quote for C-0001.") -> Any:
        """What an expression of an agent's program gives."""
        ran = self.stack.python("acme/ana", ASK + f"print(json.dumps({expression}))", task=task)
        assert ran.code == 0, ran.err
        return ran.json


@pytest.fixture(scope="module")
def place() -> Generator[Place]:
    asked: list[dict[str, Any]] = []
    handler = type("Web", (_Web,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    web = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def prepare(folder: Path) -> None:
        (folder / "tools").mkdir()
        (folder / "tools" / "notes.py").write_text(SERVER)
        (folder / "crm.json").write_text(json.dumps(DESCRIPTION))
        (folder / "token").write_text(TOKEN + "\n")
        (folder / "token").chmod(0o600)

    def manifest(folder: Path) -> str:
        quoted = {name: json.dumps(str(value)) for name, value in {
            "model": model.url, "token": folder / "token", "folder": folder / "tools",
            "description": folder / "crm.json", "web": web, "pages": f"{web}/pages/",
            "granted": f"url:{web}/pages/",
        }.items()}
        return MANIFEST.format(**quoted)

    with Model() as model, Stack(manifest, prepare) as stack:
        yield Place(stack, asked, web)
    server.shutdown()
    server.server_close()


def error(answer: Any) -> str:
    """The code of a refused call of a tool over MCP."""
    assert answer["result"]["isError"] is True, answer
    return answer["result"]["_meta"]["ringwall/code"]


def test_a_listing_shows_what_was_given_under_names_for_models(place: Place) -> None:
    listed = sorted(one["name"] for one in place.tell("mcp('tools/list', {})")["result"]["tools"])
    assert listed == ["crm__getCustomer", "crm__sendQuote", "notes__note", "web__get"]
    [alone] = place.tell("mcp('tools/list', {}, at='/mcp/notes')")["result"]["tools"]
    assert (alone["name"], alone["description"]) == ("note", "Keep a note.")


def test_a_tool_answers_and_its_call_is_on_record_like_any_other(place: Place) -> None:
    answer = place.tell("call('notes__note', {'text': 'by-mcp'})")["result"]
    assert answer["content"][0]["text"] == "kept: by-mcp"
    [found] = [one for one in place.stack.records("acme", "intent")
               if "by-mcp" in json.dumps(place.stack.body("acme", one))]
    assert found.clear["target"] == "notes/note"
    assert found.clear["identity"]["attestation"] == "namespace"


@pytest.mark.parametrize(("name", "arguments", "code"), [
    ("notes__drop", {"name": "x"}, "not_granted"), ("notes__note", {"text": 1}, "invalid_arguments"),
    ("notes__note", {"text": "x", "more": 1}, "invalid_arguments"),
    ("crm__getCustomer", {"id": "C-9999"}, "resource_not_granted"),
    ("crm__getCustomer", {"id": "../admin"}, "invalid_arguments"),
    ("crm__getCustomer", {"id": "C-0001%2f.."}, "bad_argument"),
    ("crm__sendQuote", {"to": "eve@evil.example", "amount": 5}, "resource_not_granted"),
    ("crm__sendQuote", {"to": "bob@customer.example", "amount": 101}, "over_maximum"),
    ("crm__sendQuote", {"to": "bob@customer.example", "amount": 501}, "invalid_arguments"),
])
def test_what_was_not_given_is_refused_with_a_code_the_model_can_read(
    place: Place, name: str, arguments: Any, code: str
) -> None:
    before = len(place.asked)
    answer = place.tell(f"call({name!r}, {arguments!r})")
    assert error(answer) == code
    assert code in answer["result"]["content"][0]["text"]
    assert len(place.asked) == before


def test_headers_that_name_another_tool_than_the_body_are_refused(place: Place) -> None:
    answer = place.tell("call('notes__drop', {'name': 'x'}, **{'Mcp-Name': 'notes__note'})")
    assert "error" in answer and "result" not in answer


def test_a_web_api_is_asked_with_its_own_secret_and_never_with_the_agents(place: Place) -> None:
    answer = place.tell("call('crm__getCustomer', {'id': 'C-0001'})")["result"]
    assert json.loads(answer["content"][0]["text"])["said"] == "ok"
    assert place.asked[-1] == {"path": "/customers/C-0001", "token": TOKEN, "body": "", "authorization": None}


def test_an_answer_that_gives_the_secret_back_is_withheld(place: Place) -> None:
    answer = place.tell("call('crm__getCustomer', {'id': 'C-0002'})")
    assert TOKEN not in json.dumps(answer)
    assert error(answer) == "upstream_echoes_secret"


def test_a_page_is_fetched_and_a_redirect_is_only_told(place: Place) -> None:
    fetch, named = "call('web__get', {'url': '%s'})", f"Read {place.web}/pages/a and {place.web}/pages/moved."
    page = place.tell(fetch % f"{place.web}/pages/a", named)["result"]
    assert page["structuredContent"]["status"] == 200
    moved = place.tell(fetch % f"{place.web}/pages/moved", named)["result"]["structuredContent"]
    assert (moved["status"], moved["location"]) == (302, "http://169.254.169.254/latest/meta-data/")
    for url in ("http://169.254.169.254/latest/", f"{place.web}/private", f"{place.web}/pages/../private"):
        assert error(place.tell(fetch % url, f"Read {url}")) in {"resource_not_granted", "bad_argument"}
    assert error(place.tell(fetch % f"{place.web}/pages/composed")) == "trifecta"  # customers' data was read


@pytest.mark.parametrize(("path", "body"), [
    ("/openai/v1/chat/completions", {"messages": [{"role": "user", "content": "answer: forty-two"}]}),
    ("/openai/v1/responses", {"input": "answer: forty-two"}),
    ("/anthropic/v1/messages", {"max_tokens": 99, "messages": [{"role": "user", "content": "answer: forty-two"}]}),
])
def test_three_providers_words_are_understood_streamed_and_not(place: Place, path: str, body: Any) -> None:
    model = "claude" if "anthropic" in path else "main"
    whole = place.tell(f"ask({path!r}, {{**{body!r}, 'model': {model!r}}})")
    assert "forty-two" in json.dumps(whole)
    streamed = place.tell(f"ask({path!r}, {{**{body!r}, 'model': {model!r}, 'stream': True}})")
    assert isinstance(streamed, str) and "forty-two" in streamed


@pytest.mark.parametrize(("path", "body", "says"), [
    ("/openai/v1/chat/completions", {"model": "main", "messages": [], "store": True}, "store"),
    ("/openai/v1/chat/completions", {"model": "it", "messages": [{"role": "user", "content": "x"}]}, "not given"),
    ("/openai/v1/responses", {"model": "main", "input": "x", "previous_response_id": "r"}, "previous_response_id"),
    ("/openai/v1/responses", {"model": "main", "input": "x", "tools": [{"type": "web_search"}]}, "web_search"),
    ("/anthropic/v1/messages", {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}],
                                "tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search"),
    ("/openai/v1/files", {}, "nothing"),
])
def test_what_would_run_or_stay_at_the_provider_is_refused(place: Place, path: str, body: Any, says: str) -> None:
    answer = place.tell(f"ask({path!r}, {body!r})")
    assert says in json.dumps(answer["error"]), answer


def test_a_tool_call_that_would_be_refused_is_withheld_from_the_completion(place: Place) -> None:
    function = {"type": "function", "function": {"name": "notes__drop", "parameters": {"type": "object"}}}
    body = {"model": "main", "tools": [function],
            "messages": [{"role": "user", "content": 'call notes/drop with {"name": "all"}'}]}
    answer = place.tell(f"ask('/openai/v1/chat/completions', {body!r})")
    message = answer["choices"][0]["message"]
    assert not message.get("tool_calls") and "not_granted" in message["content"]
    allowed = json.loads(json.dumps(body).replace("notes__drop", "notes__note").replace(
        'call notes/drop with {\\"name\\": \\"all\\"}', 'call notes/note with {\\"text\\": \\"x\\"}'))
    answer = place.tell(f"ask('/openai/v1/chat/completions', {allowed!r})")
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "notes__note"


def test_completions_in_any_providers_words_are_judged_at_our_own_door_too(place: Place) -> None:
    asked = {"model": "main", "input": 'call notes/drop with {"name": "all"}',
             "tools": [{"type": "function", "name": "notes__drop", "parameters": {"type": "object"}}]}
    body = {"api": "responses", "body": base64.b64encode(json.dumps(asked).encode()).decode()}
    said = json.dumps(place.tell(f"ask('/v1/models/complete', {body!r})")["result"]["output"])
    assert "notes/drop was withheld: not_granted" in said and "function_call" not in said
