"""What others fetch from us: our bundle, and for verifiers that know OIDC but not SPIFFE, discovery and keys.

(SPIFFE Federation, section 5; OpenID Connect Discovery 1.0, section 3; RFC 7517.)
"""

from __future__ import annotations

import urllib.parse
from typing import Final

import msgspec
from cryptography import x509

from ringwall.call import Json
from ringwall.identity.svid import bundle as documents
from ringwall.identity.svid import jose
from ringwall.identity.svid.interface import Bundle

BUNDLE: Final = "/bundle.json"
DISCOVERY: Final = "/.well-known/openid-configuration"
KEYS: Final = "/keys"
HTTPS: Final = 443


def pages(bundle: Bundle, issuer: str) -> dict[str, bytes]:
    """By path, as they are served. Discovery and keys lie below the issuer's own path, if it has one."""
    below = urllib.parse.urlsplit(issuer).path.rstrip("/")
    found: dict[str, Json] = {
        "issuer": issuer,
        "jwks_uri": issuer + KEYS,
        # Nobody logs in here; these are what the standard wants to see where tokens are only verified.
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "claims_supported": ["sub", "aud", "exp", "iat", "iss", "jti", "tenant", "agent", "arole"],
    }
    keys: list[Json] = [{"use": "sig", "alg": "ES256", "kid": kid, **jose.to_jwk(key)}
                        for kid, key in bundle.jwt_keys.items()]
    return {
        BUNDLE: documents.document(bundle),
        below + DISCOVERY: msgspec.json.encode(found),
        below + KEYS: msgspec.json.encode({"keys": keys}),
    }


def misfits(issuer: str, address: str, certificate: bytes | None) -> list[str]:
    """Why verifiers that start from the issuer may not get to these pages, or not believe them.

    Args:
        issuer: the ``iss`` of our tokens.
        address: ``host:port`` where we serve.
        certificate: PEM, the leaf first; None: an X.509-SVID.

    """
    url = urllib.parse.urlsplit(issuer)
    host, port = url.hostname or "", url.port or HTTPS
    found: list[str] = []
    serves = int(address.rpartition(":")[2])
    if port != serves:
        found.append(f"verifiers of tokens ask {host} at port {port}, and this is port {serves}: forward it")
    if certificate is None:
        found.append("verifiers of tokens that know no SPIFFE do not believe an X.509-SVID: give publish_cert")
    elif not _covers(certificate, host):
        found.append(f"the certificate is not for {host}, which [identity] issuer names")
    return found


def _covers(certificate: bytes, host: str) -> bool:
    """Whether a PEM's first certificate names this host (RFC 6125, section 6.4; a wildcard is one whole label)."""
    try:
        names = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(
            x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    addresses = {str(one) for one in names.get_values_for_type(x509.IPAddress)}
    hosts = {one.lower().rstrip(".") for one in names.get_values_for_type(x509.DNSName)}
    return host in addresses or host in hosts or "*." + host.partition(".")[2] in hosts
