"""A confined tool server reaches what its manifest names, through its tenant's sidecar, and nothing else."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import ssl
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.stack import Puppet, Stack, wait_for

pytestmark = pytest.mark.confined

MANIFEST = """
version = 1
trust_domain = "acme.example"
[tools.courier]
command = [{python}, {code}]
read_only = [{folder}]
network = ["127.0.0.1:{port}", "localhost:{port}"]
clearance = "private"
[tools.courier.ops.fetch]
effect = "read"
args = {{ url = "param" }}
[tools.courier.ops.direct]
effect = "read"
args = {{ host = "param", port = "param" }}
[tools.courier.ops.variables]
effect = "read"
args = {{}}
[tools.plain]
command = [{python}, {code}]
read_only = [{folder}]
clearance = "private"
[tools.plain.ops.fetch]
effect = "read"
args = {{ url = "param" }}
[tools.plain.ops.variables]
effect = "read"
args = {{}}
[tenants.acme.roles.clerk.tools]
"courier/fetch" = []
"courier/direct" = []
"courier/variables" = []
"plain/fetch" = []
"plain/variables" = []
[tenants.acme.agents.ana]
role = "clerk"
"""


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello from outside")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def certificate(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                          serialization.NoEncryption()) + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pem")
    return context


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Generator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    server.socket = certificate(tmp_path_factory.mktemp("tls")).wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def inside(outside: int) -> Generator[Stack]:
    def manifest(folder: Path) -> str:
        quoted = {"python": sys.executable, "code": folder / "p" / "outlet_server.py", "folder": folder / "p"}
        return MANIFEST.format(port=outside, **{name: json.dumps(str(value)) for name, value in quoted.items()})

    with Stack(manifest) as running:
        yield running


@pytest.fixture(scope="module")
def agent(inside: Stack) -> Generator[Puppet]:
    with inside.puppet("acme/ana") as puppet:
        yield puppet


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_it_fetches_through_the_proxy_from_what_is_listed(agent: Puppet, outside: int, host: str) -> None:
    assert agent.call("courier/fetch", url=f"https://{host}:{outside}/")["result"] == "hello from outside"


@pytest.mark.parametrize("url", [
    "https://127.0.0.1:1/", "https://169.254.169.254/", "https://example.com/", "https://[::1]:{port}/",
    "https://127.1:{port}/", "https://[::ffff:127.0.0.1]:{port}/",
])
def test_anything_else_is_refused_and_the_refusal_is_written_down(inside: Stack, agent: Puppet, outside: int,
                                                                  url: str) -> None:
    said = agent.call("courier/fetch", url=url.format(port=outside))["result"]
    assert "hello" not in said
    assert "403" in said or "400" in said, said

    def written() -> bool:
        bodies = [record.clear["event"] for record in inside.records("acme", "outlet_refused")]
        return any(body["server"] == "courier" and body["code"] == "not_listed" for body in bodies)

    wait_for("the record of the refusal", written)


def test_plain_http_is_told_to_use_https(agent: Puppet, outside: int) -> None:
    said = agent.call("courier/fetch", url=f"http://127.0.0.1:{outside}/")["result"]
    assert said.startswith("403 ")
    assert "use https" in said


def test_around_the_proxy_there_is_nothing(agent: Puppet, outside: int) -> None:
    for host, port in (("127.0.0.1", outside), ("127.0.0.1", 22), ("10.0.0.1", 443)):
        assert agent.call("courier/direct", host=host, port=port)["result"] != "connected"
    assert agent.call("courier/direct", host="127.0.0.1", port=3128)["result"] == "connected"


def test_a_server_without_a_network_has_no_proxy(agent: Puppet, outside: int) -> None:
    assert agent.call("plain/variables")["result"] == {}
    assert "hello" not in agent.call("plain/fetch", url=f"https://127.0.0.1:{outside}/")["result"]
    told = agent.call("courier/variables")["result"]
    assert set(told.values()) == {"http://127.0.0.1:3128"}
    assert {"HTTPS_PROXY", "https_proxy"} <= set(told)
