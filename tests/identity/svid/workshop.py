"""Certificates of every kind, right and wrong, made by hand: not with the authority's own code."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

NOW = float(os.environ.get("RINGWALL_CORPUS_NOW", "1800000000"))  # tests/envoy: Envoy has no clock of ours
SAN = x509.ObjectIdentifier("2.5.29.17")
UNKNOWN = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")


@cache
def ecdsa(name: str, curve: str = "p256") -> ec.EllipticCurvePrivateKey:
    """The same key for the same name, in one run."""
    curves: dict[str, ec.EllipticCurve] = {
        "p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1(), "p224": ec.SECP224R1(),
        "k256": ec.SECP256K1(),
    }
    return ec.generate_private_key(curves[curve])


@cache
def rsa_key(name: str, bits: int = 2048, exponent: int = 65537) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(exponent, bits)


@cache
def ed(name: str) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def usage(*names: str) -> x509.KeyUsage:
    every = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: name in names for name in every})


def uri(text: str) -> x509.UniformResourceIdentifier:
    """Whatever the text is: the parser of the library is not asked."""
    return x509.UniformResourceIdentifier._init_without_validation(text)


def der(tag: int, *parts: bytes) -> bytes:
    """One value: its tag, its length in the shortest form, what it holds."""
    body = b"".join(parts)
    size = len(body)
    if size < 128:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 128 | len(length)]) + length + body


def raw_san(*names: tuple[int, bytes]) -> x509.UnrecognizedExtension:
    """A subjectAltName of raw bytes: (6, …) is a URI, (2, …) a DNS name."""
    return x509.UnrecognizedExtension(SAN, der(0x30, *(der(0x80 | tag, body) for tag, body in names)))


@dataclass(frozen=True, kw_only=True)
class Signer:
    """A key with the name, and if there is one the certificate, under which it signs."""

    key: Any
    name: x509.Name
    certificate: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Ext:
    value: x509.ExtensionType
    critical: bool = False


def subject(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A valid leaf; each field can be made wrong."""

    names: Sequence[x509.GeneralName] = (
        x509.UniformResourceIdentifier("spiffe://example.org/tenant/a/agent/b/role/c"),
    )
    san: x509.ExtensionType | None = None  # instead of names
    san_critical: bool = False
    subject: str = "leaf"
    key: Any = None
    basic: Ext | None = Ext(value=x509.BasicConstraints(ca=False, path_length=None), critical=True)
    key_usage: Ext | None = field(default_factory=lambda: Ext(value=usage("digital_signature"), critical=True))
    extended: Ext | None = None
    more: Sequence[Ext] = ()
    begins: float = NOW - 30
    ends: float = NOW + 600
    hash: Any = field(default_factory=hashes.SHA256)
    padding: Any = None
    serial: int = 7

    def by(self, signer: Signer) -> bytes:
        """Signed, DER."""
        key = self.key or ecdsa("leaf")
        made = _base(subject(self.subject), signer.name, key, self.begins, self.ends, self.serial)
        for one in (self.basic, self.key_usage, self.extended, *self.more):
            if one is not None:
                made = made.add_extension(one.value, one.critical)
        if self.san is not None:
            made = made.add_extension(self.san, self.san_critical)
        elif self.names:
            made = made.add_extension(x509.SubjectAlternativeName(list(self.names)), self.san_critical)
        above_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
        made = made.add_extension(above_key, False)
        return _signed(made, signer.key, self.hash, self.padding)


@dataclass(frozen=True, kw_only=True)
class Ca:
    """A valid signing certificate; each field can be made wrong."""

    name: str
    key: Any = None
    id: str = "spiffe://example.org"
    ca: bool = True
    basic: bool = True
    pathlen: int | None = None
    usage: Sequence[str] | None = ("key_cert_sign", "crl_sign")
    more: Sequence[Ext] = ()
    begins: float = NOW - 86_400
    ends: float = NOW + 86_400
    hash: Any = field(default_factory=hashes.SHA256)
    padding: Any = None

    def by(self, signer: Signer | None = None) -> Signer:
        """Signed by another, or by itself."""
        key = self.key or ecdsa(self.name)
        above = signer or Signer(key=key, name=subject(self.name))
        made = _base(subject(self.name), above.name, key, self.begins, self.ends, 9)
        if self.basic:
            made = made.add_extension(x509.BasicConstraints(ca=self.ca, path_length=self.pathlen), True)
        if self.usage is not None:
            made = made.add_extension(usage(*self.usage), True)
        if self.id:
            made = made.add_extension(x509.SubjectAlternativeName([uri(self.id)]), False)
        if signer is not None:
            above_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
            made = made.add_extension(above_key, False)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        for one in self.more:
            made = made.add_extension(one.value, one.critical)
        certificate = _signed(made, above.key, self.hash, self.padding)
        return Signer(key=key, name=subject(self.name), certificate=certificate)


def _base(
    who: x509.Name, issuer: x509.Name, key: Any, begins: float, ends: float, serial: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder().subject_name(who).issuer_name(issuer).public_key(key.public_key())
        .serial_number(serial).not_valid_before(datetime.fromtimestamp(begins, UTC))
        .not_valid_after(datetime.fromtimestamp(ends, UTC))
    )


def _signed(made: x509.CertificateBuilder, key: Any, digest: Any, pad: Any) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return made.sign(key, None).public_bytes(Encoding.DER)
    if pad is not None:
        return made.sign(key, digest, rsa_padding=pad).public_bytes(Encoding.DER)
    return made.sign(key, digest).public_bytes(Encoding.DER)


def pss() -> padding.PSS:
    return padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


def edited(certificate: bytes, key: Any, edit: Callable[[bytes], bytes]) -> bytes:
    """The certificate with its signed part changed (to the same length), and signed again."""
    found = x509.load_der_x509_certificate(certificate)
    before = found.tbs_certificate_bytes
    after = edit(before)
    assert after != before, "the edit changed nothing"
    assert len(after) == len(before)
    rest = certificate[certificate.index(before) + len(before):]
    algorithm = rest[: 2 + rest[1]]
    return der(0x30, after, algorithm, der(0x03, b"\0" + key.sign(after, ec.ECDSA(hashes.SHA256()))))
