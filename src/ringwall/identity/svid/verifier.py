"""The strict verifier of X.509-SVIDs: the rules of a leaf, and a path to the bundle of its own trust domain.

One store a trust domain, never a shared one: an authority of a partner must not vouch for our own names.
There are no revocation lists: SVIDs are short, and what our own authority withdrew is asked for (``revoked``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from ringwall.clock import Clock
from ringwall.errors import Refused
from ringwall.identity.spiffe import AnyId
from ringwall.identity.svid import certificates
from ringwall.identity.svid.certificates import Usages
from ringwall.identity.svid.interface import Bundle

MAX_CHAIN: Final = 6  # certificates a peer may present: bounds the search for a path
MAX_BETWEEN: Final = 3  # authorities between a leaf and its bundle: nested SPIRE has one or two

Revoked = Callable[[str, str], str]
"""SPIFFE ID and serial (lower-case hex) -> why it no longer counts, or empty."""


def never(spiffe_id: str, number: str) -> str:
    """Nothing is revoked: for those who have no authority to ask."""
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A proved identity. ``number`` is the serial in lower-case hex; ``expires_at``: in seconds since the epoch, of
    whatever it stands on that ends first."""

    spiffe_id: AnyId
    number: str
    expires_at: float


class X509Verifier:
    """Judges chains of certificates. Used from one thread.

    Args:
        bundles: what is trusted now, by trust domain.
        clock: what time it is.
        usages: see ``certificates.Usages``.
        revoked: asked last.

    """

    def __init__(
        self, bundles: Callable[[], Mapping[str, Bundle]], clock: Clock, *, usages: Usages = "both",
        revoked: Revoked = never,
    ) -> None:
        self._bundles = bundles
        self._clock = clock
        self._usages: Usages = usages
        self._revoked = revoked
        self._policies = _policies()
        self._stores: dict[str, tuple[tuple[bytes, ...], Store]] = {}

    def verify(self, chain: Sequence[bytes], *, expected: str = "") -> Verified:
        """Judge a chain, leaf first, DER each.

        Args:
            chain: as the peer presented it; what it says about roots is not believed.
            expected: the one SPIFFE ID it must be; empty: whoever it is, the caller judges.

        Raises:
            Refused: a code of ``certificates.check_leaf``, or ``svid_chain_too_long``, ``svid_malformed``,
                ``svid_too_large``, ``svid_unknown_domain``, ``svid_no_authority``, ``svid_bad_issuer``,
                ``svid_untrusted``, ``svid_wrong_id`` or ``svid_revoked``.

        """
        if not 0 < len(chain) <= MAX_CHAIN:
            raise Refused(f"there are {len(chain)} certificates, not 1 to {MAX_CHAIN}", code="svid_chain_too_long")
        leaf, *between = [certificates.load(der) for der in chain]
        now = self._clock.now()
        spiffe_id = certificates.check_leaf(leaf, now, self._usages)
        path = self._path(leaf, between, spiffe_id, now)
        if expected and str(spiffe_id) != expected:
            raise Refused(f"it belongs to {spiffe_id}, not to {expected}", code="svid_wrong_id")
        number = f"{leaf.serial_number:x}"
        why = self._revoked(str(spiffe_id), number)
        if why:
            raise Refused(f"it was revoked: {why}", code="svid_revoked")
        ends = min(one.not_valid_after_utc.timestamp() for one in path)
        return Verified(spiffe_id=spiffe_id, number=number, expires_at=ends)

    def _path(
        self, leaf: x509.Certificate, between: list[x509.Certificate], spiffe_id: AnyId, now: float
    ) -> list[x509.Certificate]:
        """From the leaf to an authority of the bundle. Raises Refused."""
        domain = spiffe_id.trust_domain
        ca, ee = self._policies
        builder = PolicyBuilder().store(self._store(domain)).time(datetime.fromtimestamp(now, UTC))
        builder = builder.max_chain_depth(MAX_BETWEEN).extension_policies(ca_policy=ca, ee_policy=ee)
        try:
            path = builder.build_client_verifier().verify(leaf, between).chain
        except (VerificationError, ValueError) as fault:
            _diagnose(between, now)
            raise Refused(
                f"no path leads from it to the bundle of {domain}: {str(fault)[:160]!a}", code="svid_untrusted",
                remedy="the bundle may be old, or an authority between is not presented",
            ) from None
        if len(path) < 2:
            raise Refused("the leaf itself stands in the bundle", code="svid_bad_issuer")
        for one in path[1:]:
            certificates.check_authority(one)
            if certificates.own_domain(one) not in {None, domain}:
                raise Refused("an authority of another trust domain signed it", code="svid_bad_issuer")
        return path

    def _store(self, domain: str) -> Store:
        """The store of one trust domain's bundle, made again when that changes."""
        bundle = self._bundles().get(domain)
        if bundle is None:
            self._stores.pop(domain, None)
            raise Refused(f"the trust domain {domain} is not known here", code="svid_unknown_domain",
                          remedy="[identity.federation] in the manifest, if it should be")
        if not bundle.authorities:
            raise Refused(f"the bundle of {domain} trusts nobody", code="svid_no_authority")
        held = self._stores.get(domain)
        if held is None or held[0] != bundle.authorities:
            held = (bundle.authorities, Store([certificates.load(der) for der in bundle.authorities]))
            self._stores[domain] = held
        return held[1]


def _diagnose(between: Sequence[x509.Certificate], now: float) -> None:
    """If a presented issuer is at fault, say so rather than that there is no path. Raises Refused."""
    for one in between:
        certificates.check_authority(one)
        certificates.check_time(one, now)


def _policies() -> tuple[ExtensionPolicy, ExtensionPolicy]:
    """For authorities and for leaves. A leaf's own rules are ``certificates.check_leaf``; here they only must not
    be refused for what web servers need. Unknown critical extensions are refused by the library itself."""
    anyhow = Criticality.AGNOSTIC
    leaf = (
        ExtensionPolicy.webpki_defaults_ee()
        .require_present(x509.SubjectAlternativeName, anyhow, None)
        .require_present(x509.KeyUsage, Criticality.CRITICAL, None)
        .may_be_present(x509.ExtendedKeyUsage, anyhow, None)
        .may_be_present(x509.BasicConstraints, anyhow, None)
        .may_be_present(x509.AuthorityKeyIdentifier, anyhow, None)
    )
    # X509-SVID asks less of an authority than the web does: it names no CA/Browser rule.
    authority = (
        ExtensionPolicy.webpki_defaults_ca()
        .may_be_present(x509.AuthorityKeyIdentifier, anyhow, None)
        .may_be_present(x509.SubjectAlternativeName, anyhow, None)
        .may_be_present(x509.ExtendedKeyUsage, anyhow, None)
    )
    return authority, leaf
