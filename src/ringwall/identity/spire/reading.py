"""What a SPIRE agent says, read strictly: chains, bundles, keys; believed no further than its signatures go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

from ringwall.call import as_array, as_object
from ringwall.clock import Clock
from ringwall.errors import BadInput, Refused
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.identity.svid import bundle as documents
from ringwall.identity.svid import certificates, jose
from ringwall.identity.svid.interface import Bundle, PublicKey, X509Svid
from ringwall.identity.svid.verifier import X509Verifier
from ringwall.wire import strict

MAX_CERTIFICATES: Final = 64  # in one chain or bundle
MAX_DOMAINS: Final = 256  # federated ones
_SEQUENCE: Final = 0x30  # DER's tag (X.690, section 8.9)
_LONG: Final = 0x80


def certificates_of(raw: bytes) -> tuple[bytes, ...]:
    """DER certificates one behind the other, as the Workload API has them. Raises BadInput."""
    found: list[bytes] = []
    while raw:
        if len(raw) < 2 or raw[0] != _SEQUENCE or len(found) >= MAX_CERTIFICATES:
            raise _bad("these are no certificates one behind the other")
        head, size = 2, raw[1]
        if size >= _LONG:
            head += size - _LONG
            size = int.from_bytes(raw[2:head], "big")
        if head > 6 or size == 0 or head + size > len(raw):
            raise _bad("a certificate is cut short")
        found.append(raw[: head + size])
        raw = raw[head + size :]
    return tuple(found)


def bundles(authorities: Mapping[str, bytes], keys: Mapping[str, bytes]) -> dict[str, Bundle]:
    """Bundles by trust domain, from the answers of FetchX509Bundles and FetchJWTBundles. Raises BadInput."""
    if len(authorities.keys() | keys.keys()) > MAX_DOMAINS:
        raise _bad("there are too many trust domains")
    found: dict[str, Bundle] = {}
    for name in sorted(authorities.keys() | keys.keys()):
        spiffe_id = AnyId.parse(name)
        if spiffe_id.path:
            raise _bad("a bundle is named after a workload")
        domain = spiffe_id.trust_domain
        ders = certificates_of(authorities.get(name, b""))
        for der in ders:
            _check(der, domain)
        found[domain] = Bundle(trust_domain=domain, authorities=ders,
                               jwt_keys=_keys(keys[name]) if name in keys else {})
    return found


def _check(der: bytes, domain: str) -> None:
    """What would not be taken from a partner is not taken from here either. Raises BadInput."""
    try:
        found = certificates.load(der)
        certificates.check_authority(found)
        if certificates.own_domain(found) not in {None, domain}:
            raise _bad("an authority belongs to another trust domain")
    except Refused as no:
        raise _bad(no.cause) from None


def _keys(raw: bytes) -> dict[str, PublicKey]:
    """A JWKS of keys that verify JWT-SVIDs. SPIRE leaves their ``use`` out; another one is not for us."""
    found = as_object(strict.parse(raw, max_bytes=documents.MAX_DOCUMENT))
    entries = as_array(found.get("keys")) if found is not None else None
    if entries is None or len(entries) > documents.MAX_KEYS:
        raise _bad("a JWKS has no list of keys, or too many")
    keys: dict[str, PublicKey] = {}
    for entry in entries:
        one = as_object(entry)
        if one is None or one.get("kty") not in {"EC", "RSA"} or one.get("use") not in {None, "sig", "jwt-svid"}:
            continue
        kid = one.get("kid")
        if type(kid) is not str or not 0 < len(kid) <= documents.MAX_KID or kid in keys:
            raise _bad("a key has no kid of its own")
        keys[kid] = jose.from_jwk(one)
    return keys


def svid(one: Mapping[str, Any], spiffe_id: SpiffeId, known: Mapping[str, Bundle], clock: Clock) -> X509Svid:
    """An X509SVID message as an SVID of ours: verified like a peer's, its key that of its certificate.

    Raises:
        Refused: as ``X509Verifier.verify``. BadInput: ``spire_bad_answer``.

    """
    chain, key = certificates_of(one.get("x509_svid", b"")), one.get("x509_svid_key", b"")
    seen = X509Verifier(lambda: known, clock).verify(chain, expected=str(spiffe_id))
    try:
        private = load_der_private_key(key, None)
    except (ValueError, TypeError) as fault:
        raise _bad(f"a key is none: {str(fault)[:80]}") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise _bad("a key is of no kind that an SVID has")
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    public = certificates.load(chain[0]).public_key()
    if private.public_key().public_bytes(*form) != public.public_bytes(*form):
        raise _bad("a key is not its certificate's")
    return X509Svid(spiffe_id=spiffe_id, chain=chain, key=key,
                    authorities=known[spiffe_id.trust_domain].authorities, issued_at=clock.now(),
                    expires_at=seen.expires_at)


def named(answers: list[Mapping[str, Any]], spiffe_id: SpiffeId) -> Mapping[str, Any]:
    """The one of an answer that is exactly this identity's. Raises Refused (``spire_not_registered``)."""
    for one in answers:
        if one.get("spiffe_id") == str(spiffe_id):
            return one
    other = ", ".join(sorted(str(one.get("spiffe_id"))[:100] for one in answers))
    raise Refused(f"SPIRE has registered this caller as {other or 'nobody'}, not as {spiffe_id}",
                  code="spire_not_registered", remedy="spire-server entry create -spiffeID " + str(spiffe_id))


def _bad(why: str) -> BadInput:
    return BadInput(f"the SPIRE agent's answer is wrong: {why}", code="spire_bad_answer",
                    remedy="look at its log; restart it")
