"""TLS contexts of the sidecar: version 1.3 only, both sides with a certificate, nothing to resume.

OpenSSL merges all trust domains into one store and knows nothing of SPIFFE: its verdict is a pre-filter, and proof
that the peer has the leaf's key. Who it is, the strict verifier says: in the sidecar for the peers it calls, in the
core for those that call.
"""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from ringwall.errors import BadInput

ALPN: Final = ["http/1.1"]
LAST_S: Final = 1.0  # the second that a certificate names as its end still belongs to it (RFC 5280, 4.1.2.5)
_WIDTH: Final = 64  # RFC 7468, section 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Contexts:
    """Of one launch, for one key and one set of bundles; after a rotation there are others."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def contexts(chain: Sequence[bytes], key: bytes, authorities: Iterable[bytes]) -> Contexts:
    """Make both.

    Args:
        chain: leaf first, DER.
        key: PKCS #8, DER.
        authorities: of every trust domain, DER; one that OpenSSL cannot read is trusted by nobody.

    Raises:
        BadInput: ``svid_malformed``: the key is none, or not the leaf's.

    """
    anchors = list(authorities)
    made = [_context(protocol, anchors) for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)]
    pem = b"".join([*(_pem(b"CERTIFICATE", der) for der in chain), _pem(b"PRIVATE KEY", key)])
    # OpenSSL through Python reads keys from files only; this one has no name and is in memory.
    try:
        number = os.memfd_create("svid", os.MFD_CLOEXEC)
    except OSError:
        raise BadInput("an SVID cannot be used for TLS: no descriptor is free", code="svid_malformed") from None
    try:
        with os.fdopen(os.dup(number), "wb") as file:
            file.write(pem)
        for context in made:
            context.load_cert_chain(f"/proc/self/fd/{number}")
    except (ssl.SSLError, OSError) as fault:
        raise BadInput(f"an SVID cannot be used for TLS: {type(fault).__name__}", code="svid_malformed") from None
    finally:
        os.close(number)
    return Contexts(server=made[0], client=made[1])


def presented(ssl_object: object) -> list[bytes]:
    """The chain that the peer presented, leaf first, DER; empty if it presented none."""
    inner: Any = ssl_object
    if not hasattr(inner, "get_unverified_chain"):  # public from Python 3.13 on
        inner = inner._sslobj  # noqa: SLF001 (the same, before)
    chain = inner.get_unverified_chain()
    return [_der(one) for one in chain or ()]


def anchor(ssl_object: object) -> bytes:
    """The authority that OpenSSL took for a peer's, DER: whoever cannot sign with its key has another."""
    inner: Any = ssl_object
    if not hasattr(inner, "get_verified_chain"):  # as above
        inner = inner._sslobj  # noqa: SLF001
    return _der((inner.get_verified_chain() or (b"",))[-1])


def _der(one: Any) -> bytes:
    # 3.13 gives bytes; before, a certificate object whose encoding 2 is DER (_ssl.ENCODING_DER).
    return one if isinstance(one, bytes) else cast("bytes", one.public_bytes(2))


def _context(protocol: int, anchors: Sequence[bytes]) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # a SPIFFE ID is no host; it is compared after the handshake
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.verify_flags |= ssl.VerifyFlags(_PARTIAL_CHAIN)
    context.set_alpn_protocols(ALPN)
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # a session that is resumed would outlive what was revoked
    for der in anchors:
        try:
            context.load_verify_locations(cadata=der)
        except ssl.SSLError:
            pass  # who trusts less refuses more
    return context


_PARTIAL_CHAIN: Final = 0x80000  # X509_V_FLAG_PARTIAL_CHAIN: a bundle's authority need not be signed by itself


def _pem(label: bytes, der: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = b"\n".join(text[at:at + _WIDTH] for at in range(0, len(text), _WIDTH))
    return b"-----BEGIN " + label + b"-----\n" + lines + b"\n-----END " + label + b"-----\n"
