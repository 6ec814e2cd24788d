"""Somebody in the network with an authority of his own: ``python -m ringwall.redteam.outsider HOW PORT FOLDER``.

The office trusts that authority for its own trust domain, ``partner.example``, and for nothing else. With it he
asks the office's cashier for the price list. Prints what he was answered.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from ringwall.call import Json
from ringwall.identity.spiffe import AnyId
from ringwall.identity.svid import bundle, issue
from ringwall.identity.svid.interface import Bundle

DOMAIN: Final = "partner.example"
CLERK: Final = "spiffe://office.example/tenant/office/agent/clerk/role/clerk"
SAME_PATH: Final = f"spiffe://{DOMAIN}/tenant/office/agent/clerk/role/clerk"
SECONDS: Final = 3600.0
ANSWER_SECONDS: Final = 10.0
_KEY, _AUTHORITY = "authority.key", "authority.der"


def prepare(folder: Path) -> bytes:
    """Make the authority in a folder of his; its bundle document, as the office is given it."""
    key = issue.new_key()
    now = time.time()
    der = issue.authority(key, trust_domain=DOMAIN, name="Partner", begins=now - SECONDS, ends=now + 24 * SECONDS)
    folder.mkdir()
    (folder / _KEY).write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    (folder / _AUTHORITY).write_bytes(der)
    return bundle.document(Bundle(trust_domain=DOMAIN, authorities=(der,), sequence=1))


def authority(folder: Path) -> bytes:
    """Its certificate, DER."""
    return (folder / _AUTHORITY).read_bytes()


def context(folder: Path, names: Sequence[str], *, server: bool = False) -> ssl.SSLContext:
    """TLS with a fresh certificate of this authority that names all of these, and belief in whoever answers."""
    found = serialization.load_pem_private_key((folder / _KEY).read_bytes(), None)
    assert isinstance(found, ec.EllipticCurvePrivateKey)
    own, now = issue.new_key(), time.time()
    der, _ = issue.leaf(
        found, authority(folder), spiffe_id=AnyId.parse(SAME_PATH), key=own.public_key(),
        begins=now - 60, ends=now + SECONDS,
    )
    mine = _renamed(x509.load_der_x509_certificate(der), names, found)
    file = folder / f"{uuid.uuid4().hex}.pem"
    file.write_bytes(
        mine.public_bytes(serialization.Encoding.PEM)
        + own.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.load_cert_chain(file)
    file.unlink()
    return made


def _renamed(
    found: x509.Certificate, names: Sequence[str], signer: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """The same certificate with other names in it, signed anew."""
    made = (
        x509.CertificateBuilder()
        .subject_name(found.subject)
        .issuer_name(found.issuer)
        .public_key(found.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(found.not_valid_before_utc)
        .not_valid_after(found.not_valid_after_utc)
    )
    for each in found.extensions:
        wanted = each.value
        if isinstance(wanted, x509.SubjectAlternativeName):
            wanted = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name) for name in names])
        made = made.add_extension(wanted, critical=each.critical)
    return made.sign(signer, SHA256())


def _ask(port: int, tls: ssl.SSLContext) -> str:
    """The answer of the cashier to somebody with this certificate; empty: it gave none."""
    text = "call docs/read with " + json.dumps({"path": sys.argv[4]})
    message: Json = {
        "messageId": uuid.uuid4().hex, "role": "ROLE_USER", "parts": [{"text": text}],
        "metadata": {"urn:ringwall:skill": "quote"},
    }
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}).encode()
    head = (
        "POST / HTTP/1.1\r\nHost: office\r\nA2A-Version: 1.0\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    raw = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
    with raw, tls.wrap_socket(raw, server_hostname="office") as out:
        out.sendall(head.encode() + body)
        answer = b""
        while piece := out.recv(65536):
            answer += piece
    return answer.decode(errors="replace")


def forged() -> list[Sequence[str]]:
    """The clerk's own name, one that reads like it, and the clerk's beside his own."""
    return [[CLERK], [f"{CLERK}/"], [SAME_PATH, CLERK]]


def look_alike() -> list[Sequence[str]]:
    """The clerk's name, but for the trust domain: his own, where he may sign it."""
    return [[SAME_PATH]]


WAYS: Final[Mapping[str, Callable[[], list[Sequence[str]]]]] = {"forged": forged, "look-alike": look_alike}


def main() -> int:
    """Try each certificate of one way."""
    for names in WAYS[sys.argv[1]]():
        try:
            print(_ask(int(sys.argv[2]), context(Path(sys.argv[3]), names)))
        except OSError as fault:
            print(f"turned away: {fault}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
