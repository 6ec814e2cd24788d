"""A strict authorization server of our own: RFC 8693, 8707, 9396, 7009 and 7662, as far as Ringwall uses them.

It stands in for a real one: none of the package registries both takes tokens of a foreign issuer and knows
``authorization_details``. It shares no code with Ringwall; what checks a JWT is PyJWT.
"""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import jwt

ONCE = {"grant_type", "subject_token", "subject_token_type", "requested_token_type", "scope", "resource",
        "authorization_details", "client_id", "token", "token_type_hint"}
MEMBERS = {"type", "identifier", "actions", "locations", "max", "approval"}


class Denied(Exception):
    """An error of RFC 6749 section 5.2."""

    def __init__(self, error: str, status: int = 400) -> None:
        super().__init__(error)
        self.error = error
        self.status = status


@dataclass
class Token:
    """What was issued."""

    claims: dict[str, Any]
    expires: float
    revoked: bool = False


@dataclass
class AuthorizationServer:
    """``tamper``: changes an answer before it is sent, to be a server that is wrong."""

    jwks: Mapping[str, Any]
    audience: str
    clients: Mapping[str, str]  # secrets by name; empty: a public one
    resources: frozenset[str] = frozenset({"https://api.example"})
    scopes: frozenset[str] = frozenset({"read", "write"})
    places: Mapping[str, Sequence[str]] = field(default_factory=dict)  # by subject: what its details may name
    life: int = 300
    tamper: Callable[[dict[str, Any]], tuple[int, Mapping[str, str], bytes] | dict[str, Any]] | None = None
    url: str = ""
    tokens: dict[str, Token] = field(default_factory=dict)
    forms: list[dict[str, str]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)  # jti

    # --- endpoints

    def token(self, form: dict[str, str], client: str) -> dict[str, Any]:
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange":
            raise Denied("unsupported_grant_type")
        if form.get("subject_token_type") != "urn:ietf:params:oauth:token-type:jwt":
            raise Denied("invalid_request")
        if form.get("requested_token_type") != "urn:ietf:params:oauth:token-type:access_token":
            raise Denied("invalid_request")
        who = self.subject(form.get("subject_token", ""))
        if form.get("resource") not in self.resources:
            raise Denied("invalid_target")
        scope = set(form.get("scope", "").split())
        if not scope <= self.scopes:
            raise Denied("invalid_scope")
        details = self.details(form["authorization_details"], who) if "authorization_details" in form else None
        claims = {"sub": who, "client_id": client, "aud": form["resource"], "scope": " ".join(sorted(scope))}
        given: dict[str, Any] = {"token_type": "Bearer", "expires_in": self.life, "scope": claims["scope"],
                                 "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}
        if details is not None:
            claims["authorization_details"] = given["authorization_details"] = details
        given["access_token"] = secrets.token_urlsafe(32)
        self.tokens[given["access_token"]] = Token(claims, time.time() + self.life)
        return given

    def subject(self, token: str) -> str:
        """Who a JWT says it is, if it may: signature, audience, times, and used for the first time."""
        try:
            header = jwt.get_unverified_header(token)
            key = next(jwt.PyJWK(one) for one in self.jwks["keys"] if one["kid"] == header.get("kid"))
            claims = jwt.decode(token, key, algorithms=["ES256"], audience=self.audience,
                                options={"require": ["exp", "iat", "sub", "aud", "jti"]})
        except (jwt.PyJWTError, StopIteration):
            raise Denied("invalid_grant") from None
        if claims["jti"] in self.seen or claims["exp"] - claims["iat"] > 3600:
            raise Denied("invalid_grant")
        self.seen.add(claims["jti"])
        return claims["sub"]

    def details(self, text: str, who: str) -> list[dict[str, Any]]:
        """RFC 9396 section 5: an unknown type or member is refused, and so is what this subject may not have."""
        try:
            asked = json.loads(text)
        except ValueError:
            raise Denied("invalid_authorization_details") from None
        for one in asked if isinstance(asked, list) and asked else [None]:
            if not isinstance(one, dict) or one.get("type") != "urn:ringwall:tool" or set(one) - MEMBERS:
                raise Denied("invalid_authorization_details")
            if not set(one.get("locations", ())) <= set(self.places.get(who, ())):
                raise Denied("invalid_authorization_details")
        return asked

    def revoke(self, form: dict[str, str], client: str) -> dict[str, Any]:
        found = self.tokens.get(form.get("token", ""))
        if found is not None and found.claims["client_id"] == client:
            found.revoked = True
        return {}

    def introspect(self, token: str) -> dict[str, Any]:
        """RFC 7662, for a resource on this machine: what the token is good for, now."""
        found = self.tokens.get(token)
        if found is None or found.revoked or found.expires <= time.time():
            return {"active": False}
        return {"active": True, **found.claims}

    @property
    def alive(self) -> list[str]:
        return [token for token in self.tokens if self.introspect(token)["active"]]

    # --- HTTP

    def client(self, header: str, form: Mapping[str, str]) -> str:
        """RFC 6749 section 2.3.1."""
        name, secret = form.get("client_id", ""), ""
        if header:
            kind, _, rest = header.partition(" ")
            name, _, secret = base64.b64decode(rest, validate=True).decode().partition(":")
            name, secret = unquote_plus(name), unquote_plus(secret)
            if kind != "Basic" or "client_id" in form:
                raise Denied("invalid_request")
        known = self.clients.get(name)
        if known is None or not secrets.compare_digest(known.encode(), secret.encode()):
            raise Denied("invalid_client", 401)
        return name

    def answer(self, path: str, kind: str, header: str, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        plain = {"Content-Type": "application/json;charset=UTF-8", "Cache-Control": "no-store"}
        try:
            pairs = parse_qsl(body.decode("ascii"), strict_parsing=True, keep_blank_values=True)
            form = dict(pairs)
            if kind != "application/x-www-form-urlencoded" or len(form) != len(pairs) or set(form) - ONCE:
                raise Denied("invalid_request")
            self.forms.append(form)
            endpoint = {"/token": self.token, "/revoke": self.revoke}[path]
            given = endpoint(form, self.client(header, form))
            if self.tamper is not None and path == "/token":
                changed = self.tamper(given)
                if isinstance(changed, tuple):
                    return changed
                given = changed
            return 200, plain, json.dumps(given).encode()
        except Denied as fault:
            return fault.status, plain, json.dumps({"error": fault.error}).encode()


@contextmanager
def serving(server: AuthorizationServer, chain: Path, key: Path) -> Iterator[AuthorizationServer]:
    """Over TLS, on this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, given = server.answer(
                self.path, self.headers.get("Content-Type", ""), self.headers.get("Authorization", ""), body)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(given))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(given)

        def log_message(self, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that trusts another authority ends the handshake

        def finish_request(self, request: Any, client_address: Any) -> None:
            request.settimeout(10)
            with context.wrap_socket(request, server_side=True) as secure:
                super().finish_request(secure, client_address)  # type: ignore[arg-type]

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    http = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    server.url = f"https://localhost:{http.server_address[1]}"
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
