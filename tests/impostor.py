"""An attacker who has stolen more than anybody can: a trust domain's keys, and so any certificate and envelope."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any, Self, cast

from cryptography import x509
from tests.identity.svid.workshop import Signer
from tests.peers import hostile
from tests.stack import Stack

from ringwall.call import Event, LaunchId
from ringwall.clock import SystemClock
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.svid.authority import EmbeddedAuthority
from ringwall.identity.svid.interface import X509Svid
from ringwall.identity.svid.store import KeyStore
from ringwall.interface import Journal
from ringwall.keys.file import FileRootKeys
from ringwall.peers.envelope import Envelopes
from ringwall.peers.interface import answers

DOMAIN = "acme.example"
SKILL = "urn:ringwall:skill"


class _Silent:
    async def note(self, event: Event) -> str:
        return ""

    def count(self, event: Event) -> None:
        return None


class Shifted(SystemClock):
    """A clock that is wrong by so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> float:
        return super().now() + self._seconds


class Impostor:
    """Issues and signs with the keys of a running installation.

    Args:
        stack: whose state folder it reads.

    """

    def __init__(self, stack: Stack) -> None:
        store = KeyStore(stack.state / "identity", FileRootKeys.open(stack.state / "root.key"), DOMAIN)
        self.authority = EmbeddedAuthority(
            trust_domain=DOMAIN, issuer=f"https://{DOMAIN}", store=store, clock=SystemClock(),
            journal=cast("Journal", _Silent()), entitled=lambda *_: None, frozen=lambda _: "", foreign=dict,
        )
        store.save = lambda *_: None  # type: ignore[method-assign]  # nothing of it is the installation's
        asyncio.run(self.authority.start())

    def svid(self, who: str) -> X509Svid:
        return asyncio.run(self.authority.x509_svid(SpiffeId.parse(who), LaunchId("stolen")))

    def signer(self) -> Signer:
        """For certificates that the authority would never make."""
        key = self.authority._active("x509", time.time())
        return Signer(key=key.private, name=x509.load_der_x509_certificate(key.certificate).subject)

    def sealed(self, body: bytes, *, sender: str, receiver: str, label: str = "M public", chain: Sequence[str] = (),
               reply_to: str = "", late: float = 0.0) -> str:
        """An envelope that says what it likes; made ``late`` seconds from now."""
        envelopes = Envelopes(sign=self.authority.sign, bundles=self.authority.bundles, trust_domain=DOMAIN,
                              clock=Shifted(late))
        token, _ = envelopes.seal(
            sender=sender, receiver=receiver, body=body, label=label, chain=chain, record="acme/1", trace="0" * 32,
            reply_to=answers(reply_to) if reply_to else "",
        )
        return token


class Line:
    """A connection to somebody's listener, over TLS as that SPIFFE ID."""

    def __init__(self, port: int, svid: X509Svid) -> None:
        self.sock = hostile.as_svid(port, svid)
        self.sock.settimeout(20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def ask(self, data: bytes) -> Reply:
        """Send bytes; the next answer."""
        try:
            self.sock.sendall(data)
        except OSError:
            pass
        return Reply(self.sock)

    def rest(self) -> bytes:
        """Everything until the other side closes."""
        return drained(self.sock)


class Reply:
    """One HTTP answer that was read; status 0: the other side closed instead."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        data = b""
        self.status, self.headers, self.body = 0, dict[str, str](), b""
        try:
            while b"\r\n\r\n" not in data and (piece := sock.recv(65536)):
                data += piece
            if b"\r\n\r\n" not in data:
                return
            head, _, body = data.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            self.status = int(first.split(" ")[1])
            self.headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
            size = int(self.headers.get("content-length", 0))
            while len(body) < size and (piece := sock.recv(65536)):
                body += piece
            self.body = body
        except (ConnectionError, ssl.SSLError):
            return

    @property
    def code(self) -> str:
        """Our code of a refusal, in whichever binding; empty: there is none."""
        return code_of(json.loads(self.body)) if self.body else ""


def code_of(answer: Any) -> str:
    """Our own code in an A2A error, or in a problem of a door."""
    if "code" in answer and isinstance(answer["code"], str):
        return str(answer["code"])
    error = answer.get("error", {})
    if isinstance(error.get("code"), str):
        return str(error["code"])
    details = error.get("data") or error.get("details") or []
    return next((one["reason"] if "code" not in one.get("metadata", {}) else one["metadata"]["code"]
                 for one in details if one.get("domain") == "ringwall"), "")


def drained(sock: socket.socket) -> bytes:
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except (ConnectionError, ssl.SSLError):
        pass
    return data


def rpc(method: str = "SendMessage", *, skill: str = "quote", message: str = "m-1", parts: Any = None,
        **more: Any) -> bytes:
    """A JSON-RPC request with one message."""
    one = {"messageId": message, "role": "ROLE_USER", "parts": parts or [{"text": "hello"}],
           "metadata": {SKILL: skill}, **more}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": one}}).encode()


def http(body: bytes, envelope: str = "", *, method: str = "POST", path: str = "/", version: str = "1.0",
         more: str = "") -> bytes:
    """A whole request."""
    head = [f"{method} {path} HTTP/1.1", "Host: sam", "Content-Type: application/json",
            f"Content-Length: {len(body)}", f"A2A-Version: {version}"]
    head += [f"Ringwall-Envelope: {envelope}"] if envelope else []
    return "\r\n".join([*head, f"{more}\r\n"]).encode() + body
