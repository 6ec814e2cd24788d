"""Certificates of the web and of a partner's trust domain, valid now, and servers on this machine to ask."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.identity.svid.workshop import Ca, Leaf, Signer, ecdsa, uri

from ringwall.identity.endpoint.serve import PageServer, _context
from ringwall.identity.svid import bundle as documents
from ringwall.identity.svid.interface import Bundle

ENDPOINT = "spiffe://partner.test/ringwall/bundle"
LOCAL = (x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1")))


def span() -> dict[str, float]:
    return {"begins": time.time() - 60, "ends": time.time() + 3600}


def web_ca() -> Signer:
    """Who signs certificates of the web here."""
    return Ca(name="web", id="", **span()).by()


def partner_ca(name: str = "partner") -> Signer:
    """The authority of partner.test."""
    return Ca(name=name, id="spiffe://partner.test", **span()).by()


def web_pem(*names: x509.GeneralName) -> tuple[bytes, bytes]:
    return pem(Leaf(names=names or LOCAL, **span()).by(web_ca()))


def spiffe_pem(signer: Signer, who: str = ENDPOINT) -> tuple[bytes, bytes]:
    return pem(Leaf(names=(uri(who),), **span()).by(signer))


def pem(*chain: bytes) -> tuple[bytes, bytes]:
    """Chain and key."""
    key = ecdsa("leaf").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return "".join(map(ssl.DER_cert_to_PEM_cert, chain)).encode(), key


def document(*authorities: Signer, sequence: int | None = 1, hint: int | None = 300) -> bytes:
    found = authorities or (partner_ca(),)
    return documents.document(Bundle(trust_domain="partner.test", sequence=sequence, refresh_hint=hint,
                                     authorities=tuple(one.certificate for one in found)))


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


@asynccontextmanager
async def served(material: tuple[bytes, bytes], pages: Mapping[str, bytes]) -> AsyncGenerator[str, None]:
    """Our own server with these pages; the URL of its root, without the slash."""
    sock = listening()
    server = PageServer(sock)
    await server.show(*material, pages)
    try:
        yield f"https://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.close()
        sock.close()


@asynccontextmanager
async def saying(material: tuple[bytes, bytes], pieces: Sequence[bytes | None]) -> AsyncGenerator[str, None]:
    """A server that answers with these bytes, whatever is asked; None: it waits for ever."""
    over = asyncio.Event()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                if piece is None:
                    await over.wait()
                else:
                    writer.write(piece)
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0, ssl=_context(*material))
    port: Any = server.sockets[0].getsockname()[1]
    try:
        yield f"https://127.0.0.1:{port}/bundle.json"
    finally:
        over.set()
        server.close()
