"""What stands in front of Ringwall's published keys for Ceph 16: it wants ``x5c`` beside each key, and knows only
issuers without a port.

RGW reaches it as its proxy for https. Discovery is what Ringwall publishes, byte by byte; each key of ``/keys``
gets a certificate. Ceph believes those whose thumbprints its provider has, so whoever runs such a front registers a
new one when a key comes.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from tests.conformance.rgw.tls import Authority, certified

from ringwall.identity.svid import jose

HOST: Final = "id.ringwall.test"
ISSUER: Final = f"https://{HOST}"


@dataclass(kw_only=True)
class Front:
    """A proxy for one name. ``certificate`` and ``key`` (PEM files) are of that name: Ringwall publishes with them,
    too."""

    folder: Path
    authority: Authority
    proxy: str = ""
    upstream: int = 0  # the port of this machine where Ringwall publishes
    asked: list[str] = field(default_factory=list[str])
    _known: dict[str, x509.Certificate] = field(default_factory=dict[str, x509.Certificate])

    @property
    def certificate(self) -> Path:
        return self.folder / "id.pem"

    @property
    def key(self) -> Path:
        return self.folder / "id.key"

    def certificates(self) -> list[x509.Certificate]:
        """Of the keys that are published now."""
        return [self._certified(one) for one in json.loads(self.fetched("/keys"))["keys"]]

    def page(self, path: str) -> bytes:
        """What RGW is given."""
        self.asked.append(path)
        raw = self.fetched(path)
        if path != "/keys":
            return raw
        keys = json.loads(raw)["keys"]
        for one in keys:
            der = self._certified(one).public_bytes(Encoding.DER)
            one["x5c"] = [base64.b64encode(der).decode()]
        return json.dumps({"keys": keys}).encode()

    def fetched(self, path: str) -> bytes:
        """A page of Ringwall's, over TLS with the name of its issuer."""
        trust = ssl.create_default_context(cadata=self.authority.pem.decode())
        with socket.create_connection(("127.0.0.1", self.upstream), timeout=20) as raw, \
                trust.wrap_socket(raw, server_hostname=HOST) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while piece := sock.recv(65536):
                answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0], head
        return body

    def _certified(self, jwk: dict[str, Any]) -> x509.Certificate:
        if jwk["kid"] not in self._known:
            public = jose.from_jwk(jwk)
            assert isinstance(public, ec.EllipticCurvePublicKey)
            self._known[jwk["kid"]] = certified(self.authority, HOST, public)
        return self._known[jwk["kid"]]


@contextmanager
def fronting(folder: Path) -> Generator[Front]:
    """Serve one from ``folder``."""
    front = Front(folder=folder, authority=Authority.make("front test CA"))
    chain, key = front.authority.server(HOST)
    front.certificate.write_bytes(chain)
    front.key.touch(mode=0o600)
    front.key.write_bytes(key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(front.certificate, front.key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"front": front, "tls": tls}))
    front.proxy = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield front
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    front: Front
    tls: ssl.SSLContext

    def do_CONNECT(self) -> None:
        if self.path != f"{HOST}:443":
            self.send_error(403)
            return
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        with suppress(OSError), self.tls.wrap_socket(self.connection, server_side=True) as sock:
            asked = b""
            while b"\r\n\r\n" not in asked:
                piece = sock.recv(65536)
                if not piece:
                    return
                asked += piece
            body = self.front.page(asked.split()[1].decode())
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                         b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (theirs)
        pass
