"""What a certificate must be to hold or to sign an X.509-SVID (X509-SVID, sections 2 to 4; RFC 5280, section 4).

Stricter than the reference in what must be critical and how strong a key is: see docs/identity.md.
"""

from __future__ import annotations

import string
from datetime import UTC, datetime
from typing import Final, Literal, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, SignatureAlgorithmOID

from ringwall.errors import BadInput, Refused
from ringwall.identity.spiffe import AnyId
from ringwall.identity.svid import jose

Usages = Literal["both", "any"]
"""Whether an extended key usage that is present must have both server and client, or may be what it likes."""

MAX_CERTIFICATE: Final = 16 << 10  # bytes; an SVID has some 600, with the longest ID and RSA 8192 some 6,000
MAX_SERIAL_BITS: Final = 160  # RFC 5280, section 4.1.2.2: 20 octets
MAX_DNS: Final = 253  # RFC 1035, section 2.3.4, without the root's dot
_SIGNATURES: Final = frozenset({
    SignatureAlgorithmOID.ECDSA_WITH_SHA256, SignatureAlgorithmOID.ECDSA_WITH_SHA384,
    SignatureAlgorithmOID.ECDSA_WITH_SHA512, SignatureAlgorithmOID.RSA_WITH_SHA256,
    SignatureAlgorithmOID.RSA_WITH_SHA384, SignatureAlgorithmOID.RSA_WITH_SHA512, SignatureAlgorithmOID.RSASSA_PSS,
})
_LEAF_CRITICAL: Final = frozenset({
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.BASIC_CONSTRAINTS,
})
_HOST: Final = frozenset(string.ascii_letters + string.digits + "-_.*")
_E = TypeVar("_E", bound=x509.ExtensionType)


def load(der: bytes) -> x509.Certificate:
    """Parse one certificate to its last byte, every extension with it.

    Raises:
        Refused: ``svid_malformed`` or ``svid_too_large``.

    """
    if len(der) > MAX_CERTIFICATE:
        raise Refused(f"a certificate has more than {MAX_CERTIFICATE} bytes", code="svid_too_large")
    try:
        found = x509.load_der_x509_certificate(der)
        serial = found.serial_number
        _ = (found.extensions, found.public_key(), found.subject, found.issuer, found.not_valid_after_utc)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion,
            x509.UnsupportedGeneralNameType, CryptographyDeprecationWarning) as fault:
        raise Refused(f"this is no X.509 certificate: {str(fault)[:120]!a}", code="svid_malformed") from None
    if found.version is not x509.Version.v3 or not 0 < serial < 1 << MAX_SERIAL_BITS:
        raise Refused("a certificate has no version 3 or no serial of 1 to 20 bytes", code="svid_malformed")
    return found


def extension(found: x509.Certificate, kind: type[_E]) -> x509.Extension[_E] | None:
    """The extension of this kind, if there is one."""
    try:
        return found.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def check_leaf(found: x509.Certificate, now: float, usages: Usages = "both") -> AnyId:
    """Judge a leaf by itself; its SPIFFE ID, which nothing has proved yet.

    Raises:
        Refused: ``svid_no_id``, ``svid_many_ids``, ``svid_bad_id``, ``svid_root_id``, ``svid_bad_name``,
            ``svid_is_ca``, ``svid_key_usage``, ``svid_extended_usage``, ``svid_bad_extension``,
            ``svid_weak_key``, ``svid_algorithm``, ``svid_not_yet`` or ``svid_expired``.

    """
    spiffe_id = _leaf_id(found)
    basic = extension(found, x509.BasicConstraints)
    if basic is not None and basic.value.ca:
        raise Refused("the certificate may sign others (cA), so it is no SVID of a workload", code="svid_is_ca")
    _leaf_usage(found, usages)
    for one in found.extensions:
        if one.critical and one.oid not in _LEAF_CRITICAL:
            raise Refused(f"critical extension {one.oid.dotted_string} is not known", code="svid_bad_extension")
    if extension(found, x509.NameConstraints) is not None:
        raise Refused("only a signing certificate has name constraints", code="svid_bad_extension")
    _strong(found)
    check_time(found, now)
    return spiffe_id


def check_authority(found: x509.Certificate) -> None:
    """Judge a signing certificate by itself: a bundle's, or one between it and a leaf.

    Raises:
        Refused: ``svid_bad_issuer``, ``svid_weak_key`` or ``svid_algorithm``.

    """
    basic = extension(found, x509.BasicConstraints)
    if basic is None or not basic.value.ca:
        raise _issuer("it is no authority (no cA)")
    usage = extension(found, x509.KeyUsage)
    if usage is None or not usage.value.key_cert_sign:
        raise _issuer("its key usage does not let it sign certificates")
    own_domain(found)
    _strong(found)


def own_domain(found: x509.Certificate) -> str | None:
    """The trust domain that a signing certificate names as its own, if it does. Raises Refused."""
    uris = _uris(found)
    if not uris:
        return None
    try:
        spiffe_id = AnyId.parse(uris[0])
    except BadInput:
        raise _issuer("its URI is no SPIFFE ID") from None
    if len(uris) > 1 or spiffe_id.path:
        raise _issuer("it names a workload, or more than one ID")
    return spiffe_id.trust_domain


def check_time(found: x509.Certificate, now: float) -> None:
    """Raises Refused: ``svid_not_yet`` or ``svid_expired``. Both ends belong to the validity."""
    if now < found.not_valid_before_utc.timestamp():
        raise Refused(f"a certificate is valid only from {_shown(found.not_valid_before_utc)} on",
                      code="svid_not_yet", remedy="compare this machine's clock with its issuer's")
    if now > found.not_valid_after_utc.timestamp():
        raise Refused(f"a certificate expired at {_shown(found.not_valid_after_utc)}", code="svid_expired",
                      remedy="the workload must renew it at half of its life; compare the clocks")


def _leaf_id(found: x509.Certificate) -> AnyId:
    uris = _uris(found)
    if not uris:
        raise Refused("the certificate has no URI among its names, so no SPIFFE ID", code="svid_no_id")
    if len(uris) > 1:
        raise Refused(f"the certificate has {len(uris)} URIs; an SVID has exactly one", code="svid_many_ids")
    names = extension(found, x509.SubjectAlternativeName)
    if names is not None and not names.critical and not found.subject.rdns:
        raise Refused("without a subject the names must be critical", code="svid_bad_name")
    for host in names.value.get_values_for_type(x509.DNSName) if names is not None else ():
        if not host or len(host) > MAX_DNS or not set(host) <= _HOST:
            raise Refused(f"the DNS name {host[:80]!a} is none", code="svid_bad_name")
    try:
        spiffe_id = AnyId.parse(uris[0])
    except BadInput as fault:
        raise Refused(fault.cause, code="svid_bad_id") from None
    if not spiffe_id.path:
        raise Refused("the ID names the trust domain, not a workload", code="svid_root_id")
    return spiffe_id


def _uris(found: x509.Certificate) -> list[str]:
    names = extension(found, x509.SubjectAlternativeName)
    return [] if names is None else names.value.get_values_for_type(x509.UniformResourceIdentifier)


def _leaf_usage(found: x509.Certificate, usages: Usages) -> None:
    usage = extension(found, x509.KeyUsage)
    if usage is None or not usage.critical or not usage.value.digital_signature:
        raise Refused("key usage is not there, not critical, or without digitalSignature", code="svid_key_usage")
    if usage.value.key_cert_sign or usage.value.crl_sign:
        raise Refused("the key may sign certificates or revocation lists", code="svid_key_usage")
    extended = extension(found, x509.ExtendedKeyUsage)
    if extended is None or usages == "any":
        return
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= set(extended.value):
        raise Refused("the extended key usage is not for both sides of TLS", code="svid_extended_usage")


def _strong(found: x509.Certificate) -> None:
    if jose.strong(found.public_key()) is None:
        raise Refused(f"a key is neither on P-256, P-384 or P-521 nor RSA of {jose.MIN_RSA_BITS} bits or more",
                      code="svid_weak_key")
    if found.signature_algorithm_oid not in _SIGNATURES:
        raise Refused("a certificate is signed with a weak or unknown algorithm", code="svid_algorithm")


def _issuer(why: str) -> Refused:
    return Refused(f"a certificate above the leaf may not sign it: {why}", code="svid_bad_issuer")


def _shown(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
