"""Making certificates and tokens from a key: no state, no clock, no decision whether anybody may have them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ringwall.call import Json
from ringwall.errors import BadInput
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.identity.svid import jose

BACKDATE_SECONDS: Final = 30  # a verifier's clock may be behind ours by so much
MAX_CSR: Final = 8 << 10  # bytes
MAX_AUDIENCES: Final = 4  # one is right; each more is somebody who can replay the token to the others
MAX_AUDIENCE: Final = 512  # characters: URLs of clouds are long
_ORGANISATION: Final = "Ringwall"
_SERIAL_BITS: Final = 159  # positive, and at most 20 octets


def new_key() -> ec.EllipticCurvePrivateKey:
    """A new P-256 key. (Envoy's TLS takes no Ed25519 certificates.)"""
    return ec.generate_private_key(ec.SECP256R1())


def pkcs8(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The form in which the Workload API hands out keys."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def key_of_csr(csr: bytes) -> ec.EllipticCurvePublicKey:
    """The key of a CSR whose sender has proved to have it. All else in it is ignored.

    Raises:
        BadInput: ``svid_bad_csr``.

    """
    try:
        if len(csr) > MAX_CSR:
            raise ValueError("it is too large")
        found = x509.load_der_x509_csr(csr)
        key = found.public_key()
        if not found.is_signature_valid:
            raise ValueError("its signature is wrong")
    except (ValueError, TypeError, UnsupportedAlgorithm) as fault:
        raise _bad_csr(str(fault)[:120]) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _bad_csr("its key is not on P-256")
    return key


def authority(
    key: ec.EllipticCurvePrivateKey, *, trust_domain: str, name: str, begins: float, ends: float
) -> bytes:
    """The self-signed certificate of a signing key (X509-SVID, section 4: its ID has no path), DER."""
    subject = _name(name)
    made = _certificate(subject, subject, key.public_key(), begins, ends)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    made = made.add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    made = made.add_extension(_id(f"spiffe://{trust_domain}"), critical=False)
    return made.sign(key, SHA256()).public_bytes(Encoding.DER)


def leaf(
    signer: ec.EllipticCurvePrivateKey, issuer: bytes, *, spiffe_id: SpiffeId | AnyId,
    key: ec.EllipticCurvePublicKey, begins: float, ends: float,
) -> tuple[bytes, str]:
    """An X.509-SVID: the certificate (DER) and its serial (lower-case hex).

    Args:
        signer: the authority's key.
        issuer: the authority's certificate, DER.
        spiffe_id: whose.
        key: which.
        begins: seconds since the epoch.
        ends: the same.

    """
    above = x509.load_der_x509_certificate(issuer)
    made = _certificate(_name(""), above.subject, key, begins, ends)
    made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    made = made.add_extension(_usage(digital_signature=True), critical=True)
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    made = made.add_extension(x509.ExtendedKeyUsage(both), critical=False)
    made = made.add_extension(_id(str(spiffe_id)), critical=False)
    above_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    signed = made.add_extension(above_key, critical=False).sign(signer, SHA256())
    return signed.public_bytes(Encoding.DER), f"{signed.serial_number:x}"


def token(
    signer: ec.EllipticCurvePrivateKey, *, kid: str, issuer: str, spiffe_id: SpiffeId | AnyId,
    audience: Sequence[str], begins: float, ends: float, details: Sequence[Json] = (),
) -> tuple[str, str]:
    """A JWT-SVID and its ``jti``.

    The claims ``tenant``, ``agent`` and ``arole`` are the parts of an agent's ID one by one: vaults put claims into
    paths and refuse one with a slash, and have their own meaning for ``role``.

    Args:
        signer: the authority's key.
        kid: its name.
        issuer: ``iss``.
        spiffe_id: whose: an agent's, or a part's of the runtime itself.
        audience: ``aud``.
        begins: seconds since the epoch.
        ends: the same.
        details: ``authorization_details`` (RFC 9396, section 9.1): what it is asked with for; empty: no such claim.

    """
    number = secrets.token_hex(16)
    claims: dict[str, Json] = {
        "iss": issuer, "sub": str(spiffe_id), "aud": list(audience), "iat": int(begins), "exp": int(ends),
        "jti": number,
    }
    if isinstance(spiffe_id, SpiffeId):
        claims |= {"tenant": spiffe_id.tenant, "agent": spiffe_id.agent, "arole": spiffe_id.role}
    if details:
        claims["authorization_details"] = list(details)
    header = {"alg": "ES256", "kid": kid, "typ": "JWT"}
    message = ".".join(jose.encode(msgspec.json.encode(part)) for part in (header, claims))
    return f"{message}.{jose.encode(jose.sign(signer, message.encode()))}", number


def check_audience(audience: Sequence[str]) -> None:
    """Raises BadInput (``svid_bad_audience``)."""
    for one in audience:
        if not 0 < len(one) <= MAX_AUDIENCE or not one.isascii() or not one.isprintable() or " " in one:
            raise BadInput(f"{one[:80]!a} is no audience", code="svid_bad_audience",
                           remedy=f"printable ASCII without spaces, at most {MAX_AUDIENCE} characters")
    if not 0 < len(set(audience)) == len(audience) <= MAX_AUDIENCES:
        raise BadInput(f"a token has 1 to {MAX_AUDIENCES} audiences, each once", code="svid_bad_audience")


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: float, ends: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(secrets.randbits(_SERIAL_BITS) or 1)
        .not_valid_before(datetime.fromtimestamp(int(begins), UTC))
        .not_valid_after(datetime.fromtimestamp(int(ends), UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common: str) -> x509.Name:
    """Authorities are told apart by their names, so that a path is found at once while two of them are trusted."""
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANISATION)]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else parts)


def _id(text: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(text)])


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature, key_cert_sign=key_cert_sign, crl_sign=crl_sign,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )


def _bad_csr(why: str) -> BadInput:
    return BadInput(f"this is no certificate request of ours: {why}", code="svid_bad_csr",
                    remedy="PKCS #10, DER, a P-256 key, signed with it")
