"""Servers and clients that speak TLS as they like, in blocking calls: with any certificate, any answer."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.identity.svid import corpus, workshop
from tests.peers.support import pkcs8

from ringwall.identity.svid.interface import X509Svid
from ringwall.peers import tls


def load(context: ssl.SSLContext, chain: Sequence[bytes], key: bytes) -> None:
    """Use this chain and key. Raises ssl.SSLError: OpenSSL itself will not present it."""
    with tempfile.NamedTemporaryFile() as file:
        for der in chain:
            file.write(tls._pem(b"CERTIFICATE", der))
        file.write(tls._pem(b"PRIVATE KEY", key))
        file.flush()
        context.load_cert_chain(file.name)


def careless(protocol: int) -> ssl.SSLContext:
    """Believes anybody; asks for a certificate."""
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT@SECLEVEL=0")  # weak keys are presented, too
    return context


@contextmanager
def server(
    chain: Sequence[bytes], key: bytes, act: Callable[[ssl.SSLSocket], None], *, trusts: Sequence[bytes] = ()
) -> Generator[tuple[int, list[object]]]:
    """A TLS server in a thread: each connection that shook hands is ``act``'s. Its port, and what went wrong."""
    context = careless(ssl.PROTOCOL_TLS_SERVER)
    load(context, chain, key)
    if trusts:
        context.verify_mode = ssl.CERT_REQUIRED
        for der in trusts:
            context.load_verify_locations(cadata=der)
    faults: list[object] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def one(sock: socket.socket) -> None:
        sock.settimeout(10)
        try:
            with context.wrap_socket(sock, server_side=True) as wrapped:
                act(wrapped)
        except OSError as fault:
            faults.append(fault)

    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                thread = threading.Thread(target=one, args=(sock,))
                thread.start()
                threads.append(thread)

    threads: list[threading.Thread] = []
    main = threading.Thread(target=run)
    main.start()
    try:
        yield listener.getsockname()[1], faults
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (main, *threads):
            thread.join(20)


def client(port: int, chain: Sequence[bytes], key: bytes) -> ssl.SSLSocket:
    """A TLS connection to a gate. Raises OSError."""
    context = careless(ssl.PROTOCOL_TLS_CLIENT)
    load(context, chain, key)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10))


def as_svid(port: int, svid: X509Svid) -> ssl.SSLSocket:
    """The same with an honest SVID."""
    return client(port, svid.chain, svid.key)


@cache
def keys() -> dict[bytes, Any]:
    """Every private key of the corpus, by its public key: those that its source names."""
    source = Path(corpus.__file__).read_text()
    found: list[Any] = [workshop.ecdsa("leaf")]
    named = {"ecdsa": workshop.ecdsa, "rsa_key": workshop.rsa_key, "ed": workshop.ed}
    for name, arguments in set(re.findall(r"\b(ecdsa|rsa_key|ed)\(((?:[^()f]|(?<!\bf)f)*?)\)", source)):
        found.append(eval(f"make({arguments})", {"make": named[name]}))  # noqa: S307 (our own source)
    found += [workshop.ecdsa(name) for name in set(re.findall(r'name="([^"]+)"', source))]
    return {_spki(key.public_key()): key for key in found}


def key_of(leaf: bytes) -> bytes | None:
    """The private key of a certificate of the corpus, PKCS #8; None: it holds no key of ours."""
    try:
        key = keys().get(_spki(x509.load_der_x509_certificate(leaf).public_key()))
    except Exception:  # noqa: BLE001 (whatever the parser says of a certificate that is none)
        return None
    return pkcs8(key) if key is not None else None


def _spki(key: Any) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
