"""What installations that hold secrets work with, for end-to-end tests: providers that count, a manifest."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.models.fake_upstream import Upstream, upstream
from tests.stack import RINGWALL, Puppet, Ran, Stack

from ringwall.clock import SystemClock
from ringwall.errors import RingwallError
from ringwall.identity.svid import bundle
from ringwall.identity.svid.tokens import TokenValidator
from ringwall.redteam.office.archive import CLIENT, Archive
from ringwall.redteam.office.archive import serving as archive_serving
from ringwall.redteam.office.cloud import REGION, ROLE, Cloud, certificate
from ringwall.redteam.office.cloud import serving as cloud_serving

DOMAIN = "office.example"  # whose identities the office's cloud believes
DESCRIPTION = {
    "openapi": "3.1.0", "info": {"title": "crm", "version": "1"},
    "paths": {
        "/customers/{id}": {"get": {
            "operationId": "get", "responses": {"200": {"description": "ok"}},
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]}},
        "/quotes": {"post": {
            "operationId": "send", "responses": {"200": {"description": "ok"}},
            "requestBody": {"required": True, "content": {"application/json": {"schema": {
                "type": "object", "required": ["to", "text"],
                "properties": {"to": {"type": "string"}, "text": {"type": "string"}}}}}}}},
    },
}  # fmt: skip
HEAD = """
version = 1
trust_domain = "office.example"
[vault]
root = "{root}"

[models.main]
wire = "openai"
url = "{model}"
secret = "model-key"
clearance = "private"

[secrets.model-key]
from = "vault"
inject = {{ header = "Authorization", format = "Bearer {{}}" }}
[secrets.crm]
from = "vault"
inject = {{ header = "X-Token" }}
[secrets.hook]
from = "vault"

[tools.echo]
builtin = "echo"
clearance = "private"
[tools.crm]
openapi = "{folder}/crm.json"
url = "{web}"
secret = "crm"
clearance = "private"
[tools.crm.ops.get]
effect = "read"
args = {{ id = "selector:id" }}
[tools.crm.ops.send]
effect = "send"
args = {{ to = "target:email", text = "payload" }}
"""
MINTED = """
[secrets.cloud]
from = "aws"
role_arn = "{role}"
region = "{region}"
sts = "{store}"
ca_file = "{ca}"
[secrets.archive-client]
from = "vault"
[secrets.archive]
from = "oauth"
token_url = "{archive}/token"
revoke_url = "{archive}/revoke"
client_id = "ringwall"
client_secret = "archive-client"
audience = "archive"

[tools.store]
builtin = "s3"
url = "{store}"
region = "{region}"
ca_file = "{ca}"
secret = "cloud"
clearance = "private"
[tools.archive]
http = ["{archive}/"]
secret = "archive"
clearance = "private"
[tools.archive.ops.get]
effect = "read"
args = {{ url = "url:url" }}
returns = {{ "*" = "M private" }}
"""


class CountingCloud(Cloud):
    """The office's object store; every credential that it made, oldest first."""

    def __init__(self, journal: Path, state: Path) -> None:
        super().__init__(journal, lambda token, audience: vouched(state, token, audience))
        self.made: list[tuple[str, str, str]] = []  # key, secret key, session token
        self.policies: list[Any] = []

    def assume(self, form: Mapping[str, str]) -> str:
        before = set(self._sessions)
        answer = super().assume(form)
        [key] = set(self._sessions) - before
        session = self._sessions[key]
        self.made.append((key, session.secret, session.token))
        self.policies.append(session.policy)
        return answer


class CountingArchive(Archive):
    """The office's archive; every token that it made or was told to revoke."""

    def __init__(self, journal: Path, state: Path) -> None:
        super().__init__(journal, lambda token, audience: vouched(state, token, audience))
        self.made: list[str] = []
        self.revoked: list[str] = []
        self.subjects: list[str] = []
        self.begun, self.hold = threading.Event(), threading.Event()  # of an exchange that takes long
        self.hold.set()

    def exchange(self, form: Mapping[str, str]) -> dict[str, Any]:
        self.begun.set()
        self.hold.wait(60)
        answer = super().exchange(form)
        self.made.append(answer["access_token"])
        self.subjects.append(form["subject_token"])
        return answer

    def revoke(self, form: Mapping[str, str]) -> None:
        super().revoke(form)
        self.revoked.append(form["token"])


def vouched(state: Path, token: str, audience: str) -> str:
    """Whose token this is, by the keys that an installation publishes. Raises ValueError."""
    try:
        keys = bundle.parse(DOMAIN, (state / "identity" / "bundle.json").read_bytes())
        found = TokenValidator(lambda: {DOMAIN: keys}, SystemClock()).validate(token, [audience])
    except (OSError, RingwallError) as fault:
        raise ValueError(str(fault)) from fault
    return str(found.spiffe_id)


class _Web(BaseHTTPRequestHandler):
    """A web API; writes down with which token it was asked for what."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append((self.path, str(self.headers.get("X-Token", ""))))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "13")
        self.end_headers()
        self.wfile.write(b'{"said":"ok"}')

    do_POST = do_GET  # noqa: N815 (the base class finds it by this name)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        return


@contextmanager
def web_api() -> Generator[tuple[str, list[tuple[str, str]]]]:
    """Its URL, and what it was asked."""
    asked: list[tuple[str, str]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Web", (_Web,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Place:
    """One installation with what it talks to. ``minting``: with a cloud and an archive too."""

    def __init__(
        self, roles: str, *, root: str = "file", minting: bool = False, up: tuple[str, ...] = (), more: str = ""
    ) -> None:
        self._roles, self._root, self._minting, self._more = roles, root, minting, more
        self.stack = Stack(self._manifest, self._prepare)
        if up:
            self.stack.up = up
        self._exit = ExitStack()

    def _prepare(self, folder: Path) -> None:
        for name in ("done", "x"):
            (folder / name).mkdir()
        (folder / "crm.json").write_text(json.dumps(DESCRIPTION))
        self.ca = certificate(folder / "x")
        self.journals = folder / "done"

    def _manifest(self, folder: Path) -> str:
        return ""  # written when it is known where the others listen

    def __enter__(self) -> Self:
        with self._exit as stack:
            folder = self.stack.folder
            self.model: Upstream = stack.enter_context(upstream())
            self.web, self.asked = stack.enter_context(web_api())
            self.cloud = CountingCloud(self.journals / "cloud.jsonl", self.stack.state)
            self.archive = CountingArchive(self.journals / "archive.jsonl", self.stack.state)
            self.cloud.objects = {("reports", "q3.txt"): b"sales were fine", ("payroll", "all.txt"): b"ana 81000"}
            self.store = self.site = ""
            if self._minting:
                self.store = f"https://127.0.0.1:{stack.enter_context(cloud_serving(self.cloud, self.ca))}"
                self.site = f"http://127.0.0.1:{stack.enter_context(archive_serving(self.archive))}"
            text = HEAD + self._more + (MINTED if self._minting else "") + self._roles
            self.stack.manifest.write_text(text.format(
                root=self._root, model=self.model.url("normal"), folder=folder, web=self.web, role=ROLE,
                region=REGION, store=self.store, archive=self.site, ca=self.ca, python=sys.executable,
            ))  # fmt: skip
            stack.enter_context(self.stack)
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def cli(self, *words: str, stdin: bytes = b"", code: int | None = 0) -> Ran:
        """``ringwall WORDS``, which must end with this code; None: with any."""
        done = subprocess.run([*RINGWALL, *words, "--state", str(self.stack.state)], input=stdin,
                              capture_output=True, timeout=60, check=False)
        assert code in {None, done.returncode}, (words, done)
        return Ran(code=done.returncode, out=done.stdout, err=done.stderr.decode())

    def put(self, whom: str, name: str, value: str, *options: str) -> None:
        """Keep a value, given as a user would."""
        self.cli("vault", "put", whom, name, *options, stdin=value.encode() + b"\n")

    def open(self, *values: tuple[str, str, str]) -> None:
        """Make the vault, and put these: whose, name, value. Whose without an agent: Ringwall's own."""
        self.cli("vault", "init")
        for whom, name, value in values:
            self.put(whom, name, value, *(() if "/" in whom else ("--broker",)))
        if self._minting:
            self.put("office", "archive-client", CLIENT[1], "--broker")

    def leases(self) -> list[Any]:
        """As ``ringwall leases --json``, without a process."""
        return self.stack.client.operate("leases.list", {})["leases"]


def customer(agent: Puppet, name: str = "C-1") -> Any:
    """A call that takes the secret of the web API."""
    return agent.call("crm/get", id=name)


def completed(agent: Puppet) -> Any:
    """A call that takes the model's key."""
    return agent.do("complete", model="main", messages=[{"role": "user", "content": "hello"}])
