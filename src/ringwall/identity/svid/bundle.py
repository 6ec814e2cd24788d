"""Bundles as documents: JWKS in the SPIFFE format (SPIFFE Trust Domain and Bundle, section 4)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final, cast

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ringwall.call import Json, as_array, as_object
from ringwall.errors import BadInput, Refused
from ringwall.identity.spiffe import AnyId
from ringwall.identity.svid import certificates, jose
from ringwall.identity.svid.interface import Bundle, PublicKey
from ringwall.wire import strict

MAX_DOCUMENT: Final = 256 << 10  # bytes; a key takes one or two thousand, and a domain has a handful of them
MAX_KEYS: Final = 64  # entries: each certificate is tried while a path is searched
MAX_KID: Final = 256  # characters of a key's name
MAX_SEQUENCE: Final = 1 << 63
MAX_HINT: Final = 7 * 86_400  # seconds: a bundle nobody looks at for longer revokes nothing


def document(bundle: Bundle) -> bytes:
    """The bundle as a SPIFFE bundle document."""
    keys = [*(_x509_entry(der) for der in bundle.authorities), *_jwt_entries(bundle)]
    made: dict[str, Json] = {"keys": keys}
    if bundle.sequence is not None:
        made["spiffe_sequence"] = bundle.sequence
    if bundle.refresh_hint is not None:
        made["spiffe_refresh_hint"] = bundle.refresh_hint
    return msgspec.json.encode(made)


def jwks(bundle: Bundle) -> bytes:
    """Only the keys of JWT-SVIDs, as the Workload API gives them."""
    return msgspec.json.encode({"keys": _jwt_entries(bundle)})


def parse(trust_domain: str, raw: bytes) -> Bundle:
    """A bundle document of a trust domain that the reader knows from elsewhere: the document does not name it.

    Entries of an unknown kind or use are passed over, as section 4.2 wants it; a known one that is wrong spoils
    the whole document, because half a bundle would refuse or accept whom its owner did not mean.

    Raises:
        BadInput: ``svid_bad_bundle``, or what ``wire.strict`` says of the JSON.

    """
    if AnyId.parse(f"spiffe://{trust_domain}").path:
        raise BadInput(f"{trust_domain[:80]!a} is no trust domain", code="bad_spiffe_id")
    bundle = _read(trust_domain, raw)
    if _named(bundle) - {None, trust_domain}:
        raise _bad("an authority belongs to another trust domain")
    return bundle


def domain_of(raw: bytes) -> str | None:
    """The one trust domain that all X.509 authorities of a document name, if they do. Raises as :func:`parse`."""
    names = _named(_read("", raw))
    return names.pop() if len(names) == 1 else None


def _named(bundle: Bundle) -> set[str | None]:
    return {certificates.own_domain(certificates.load(der)) for der in bundle.authorities}


def _read(trust_domain: str, raw: bytes) -> Bundle:
    found = as_object(strict.parse(raw, max_bytes=MAX_DOCUMENT))
    entries = as_array(found.get("keys")) if found is not None else None
    if found is None or entries is None:
        raise _bad("it is no object with a list of keys")
    if len(entries) > MAX_KEYS:
        raise _bad(f"it has more than {MAX_KEYS} keys")
    authorities: list[bytes] = []
    tokens: dict[str, PublicKey] = {}
    for entry in entries:
        _entry(as_object(entry), authorities, tokens)
    return Bundle(
        trust_domain=trust_domain,
        authorities=tuple(authorities),
        jwt_keys=tokens,
        sequence=_number(found, "spiffe_sequence", MAX_SEQUENCE),
        refresh_hint=_number(found, "spiffe_refresh_hint", MAX_HINT),
    )


def _entry(entry: dict[str, Json] | None, authorities: list[bytes], tokens: dict[str, PublicKey]) -> None:
    if entry is None or not all(type(entry.get(name)) is str for name in ("kty", "use")):
        raise _bad("a key has no kty or no use")
    if entry["kty"] not in {"EC", "RSA"} or entry["use"] not in {"x509-svid", "jwt-svid"}:
        return
    if entry["use"] == "x509-svid":
        authority = _authority(entry)
        if authority not in authorities:
            authorities.append(authority)
        return
    kid = entry.get("kid")
    if type(kid) is not str or not 0 < len(kid) <= MAX_KID:
        raise _bad("a key for JWT-SVIDs has no kid")
    if kid in tokens:
        raise _bad("two keys have the same kid")
    if {"d", "p", "q", "k"} & entry.keys():
        raise _bad("it holds a private key")
    tokens[kid] = jose.from_jwk(entry)


def _authority(entry: Mapping[str, Json]) -> bytes:
    chain = as_array(entry.get("x5c"))
    if chain is None or len(chain) != 1 or type(chain[0]) is not str:
        raise _bad("a key for X.509-SVIDs has exactly one certificate in x5c")
    if "kid" in entry:
        raise _bad("a key for X.509-SVIDs has no kid")
    try:
        der = base64.b64decode(chain[0], validate=True)
    except (binascii.Error, ValueError):
        raise _bad("an x5c is not base64") from None
    try:
        found = certificates.load(der)
        certificates.check_authority(found)
    except Refused as no:
        raise _bad(no.cause) from None
    if {"x", "n"} & entry.keys() and _spki(jose.from_jwk(entry)) != _spki(cast("PublicKey", found.public_key())):
        raise _bad("a certificate has another key than its entry")
    return der


def _spki(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _x509_entry(der: bytes) -> dict[str, Json]:
    key = jose.strong(x509.load_der_x509_certificate(der).public_key())
    if key is None:
        raise _bad("an authority's key is too weak")
    return {"use": "x509-svid", **jose.to_jwk(key), "x5c": [base64.b64encode(der).decode()]}


def _jwt_entries(bundle: Bundle) -> list[Json]:
    return [{"use": "jwt-svid", "kid": kid, **jose.to_jwk(key)} for kid, key in bundle.jwt_keys.items()]


def _number(found: Mapping[str, Json], name: str, most: int) -> int | None:
    value = found.get(name)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < most:
        raise _bad(f"{name} is no number that makes sense")
    return value


def _bad(why: str) -> BadInput:
    return BadInput(f"this is no SPIFFE bundle: {why}", code="svid_bad_bundle",
                    remedy="get the document from its trust domain again")
