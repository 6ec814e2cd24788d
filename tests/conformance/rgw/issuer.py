"""An OpenID issuer as RGW wants it: discovery and a key set with ``x5c``, under a name without a port.

It is served as a proxy would: whoever sets ``http_proxy`` to it reaches ``http://issuer.ringwall.test`` there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from tests.conformance.rgw.tls import self_signed

from ringwall.identity.svid import jose

HOST: Final = "issuer.ringwall.test"
SUBJECT: Final = "spiffe://acme.example/tenant/acme/agent/sam/role/clerk"


@dataclass(frozen=True, kw_only=True)
class Issuer:
    """Signs JWT-SVIDs with the one key that its key set has."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    proxy: str
    host: str = HOST

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def token(self, audience: str, *, key: ec.EllipticCurvePrivateKey | None = None, seconds: int = 300,
              **claims: Any) -> str:
        """A JWT-SVID as the core issues it.

        Args:
            audience: for whom.
            key: another one than the issuer's: a forger's.
            seconds: until it ends; less than none: it has.
            claims: besides, or instead.

        """
        now = int(time.time())
        body = {"iss": self.url, "sub": SUBJECT, "aud": [audience], "iat": now - 600, "exp": now + seconds,
                "jti": secrets.token_hex(16), "tenant": "acme", "agent": "sam", "arole": "clerk"} | claims
        header = {"alg": "ES256", "kid": "k1", "typ": "JWT"}
        message = ".".join(jose.encode(json.dumps(part).encode()) for part in (header, body))
        return f"{message}.{jose.encode(jose.sign(key or self.key, message.encode()))}"

    def document(self, path: str) -> Mapping[str, Any] | None:
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys", "response_types_supported": ["id_token"],
                    "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"]}
        if path == "/keys":
            numbers = self.key.public_key().public_numbers()
            der = self.certificate.public_bytes(Encoding.DER)
            return {"keys": [{
                "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k1",
                "x": jose.encode(numbers.x.to_bytes(32, "big")), "y": jose.encode(numbers.y.to_bytes(32, "big")),
                "x5c": [base64.b64encode(der).decode()]}]}
        return None


def thumbprint(certificate: x509.Certificate) -> str:
    """As providers are registered with: SHA-1, upper-case hexadecimal."""
    return hashlib.sha1(certificate.public_bytes(Encoding.DER)).hexdigest().upper()  # noqa: S324 (theirs)


@contextmanager
def issuing() -> Generator[Issuer]:
    """Serve an issuer with a fresh key."""
    key = ec.generate_private_key(ec.SECP256R1())
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    issuer = Issuer(key=key, certificate=self_signed(HOST, key), proxy=f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass = type("Handler", (_Handler,), {"issuer": issuer})
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    issuer: Issuer

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        found = self.issuer.document(asked.path) if asked.netloc == self.issuer.host else None
        body = json.dumps(found or {}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (theirs)
        pass
