"""The header in which Envoy forwards the certificates that a peer presented, read without I/O.

Only one form is taken: the one that Envoy 1.40 writes with ``SANITIZE_SET`` and ``chain: true`` for a listener
whose own certificate names one URI. Nothing of it is believed but the certificates; those the caller judges.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

from ringwall.errors import BadInput
from ringwall.identity.svid.verifier import MAX_CHAIN

HEADER: Final = b"x-forwarded-client-cert"
MAX_FORWARDED: Final = 16 << 10  # bytes; a P-256 leaf takes some 1,100, and the door reads no longer header
_BEGIN, _END = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"
_LINE: Final = 64  # characters of Base64 (RFC 7468, section 2)
_ESCAPES: Final = {"%0A": "\n", "%20": " ", "%2B": "+", "%2F": "/", "%3D": "="}  # Envoy's, and no others
_HEX: Final = frozenset("0123456789abcdef")


def read(raw: bytes, *, receiver: str) -> tuple[bytes, ...]:
    """The certificates, leaf first, DER each.

    Args:
        raw: the value of the one header.
        receiver: the SPIFFE ID that the listener's own certificate must name.

    Raises:
        BadInput: ``bad_forwarded``: any other form, another listener's, a hash that is not the leaf's, none or too
            many certificates.

    """
    if len(raw) > MAX_FORWARDED or not raw.isascii():
        raise _bad("it is too long, or no ASCII")
    head, mark, rest = raw.decode("ascii").partition(';Chain="')
    if not mark or not rest.endswith('"'):
        raise _bad("there is no chain in it")
    prefix = f"By={receiver};Hash="
    digest = head.removeprefix(prefix)
    if not head.startswith(prefix) or len(digest) != hashlib.sha256().digest_size * 2 or not set(digest) <= _HEX:
        raise _bad("it does not begin with this listener's name and a hash")
    chain = _blocks(_unescaped(rest[:-1]))
    if hashlib.sha256(chain[0]).hexdigest() != digest:
        raise _bad("the hash is not that of the first certificate")
    return chain


def _unescaped(text: str) -> str:
    if any(plain in text for plain in _ESCAPES.values()):
        raise _bad("something is not escaped")
    for escape, plain in _ESCAPES.items():
        text = text.replace(escape, plain)
    if "%" in text:
        raise _bad("something is escaped that need not be")
    return text


def _blocks(text: str) -> tuple[bytes, ...]:
    """PEM, and nothing before, between or after."""
    found: list[bytes] = []
    while text:
        body, end, text = text.removeprefix(_BEGIN).partition(_END) if text.startswith(_BEGIN) else ("", "", text)
        lines = body.split("\n")
        if not end or lines.pop() or not lines or any(len(line) != _LINE for line in lines[:-1]):
            raise _bad("the chain is no PEM")
        try:
            found.append(base64.b64decode("".join(lines), validate=True))
        except (ValueError, binascii.Error):
            raise _bad("a certificate is no Base64") from None
        if not found[-1] or len(found) > MAX_CHAIN:
            raise _bad(f"there is an empty certificate, or more than {MAX_CHAIN}")
    if not found:
        raise _bad("there is no certificate in it")
    return tuple(found)


def _bad(why: str) -> BadInput:
    return BadInput(f"the forwarded certificate is not as Envoy writes it: {why}", code="bad_forwarded",
                    remedy="use the configuration that `ringwall peers envoy-config` writes")
