"""Where SVIDs come from: the embedded authority here, a SPIRE agent elsewhere; what Workload API and TLS build on.

Issuing is asynchronous because a SPIRE agent is asked over a socket; bundles are always at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ringwall.call import Json, LaunchId
from ringwall.identity.spiffe import AnyId, SpiffeId

SVID_SECONDS: Final = 15 * 60  # a stolen key is worth no more than this; renew at half of it
TOKEN_SECONDS: Final = 5 * 60  # JWT-SVID, section 4.3 wants it short: a token can be replayed until then
REFRESH_HINT: Final = 5 * 60  # seconds between two looks at our bundle (SPIFFE Trust Domain and Bundle, 4.1.3)

PublicKey: TypeAlias = EllipticCurvePublicKey | RSAPublicKey
"""A key that signs JWT-SVIDs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What is trusted for one trust domain, and for no other.

    Args:
        trust_domain: its name, without ``spiffe://``.
        authorities: certificates that sign X.509-SVIDs, DER.
        jwt_keys: keys that sign JWT-SVIDs, by their ``kid``.
        sequence: grows with every change; None where the domain does not say.
        refresh_hint: seconds after which to look again; None where the domain does not say.

    """

    trust_domain: str
    authorities: tuple[bytes, ...] = ()
    jwt_keys: Mapping[str, PublicKey] = field(default_factory=dict[str, PublicKey])
    sequence: int | None = None
    refresh_hint: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class X509Svid:
    """An X.509-SVID as the Workload API hands it out.

    Args:
        spiffe_id: whose.
        chain: leaf first, DER each; authorities of the bundle are not in it.
        key: PKCS #8, DER, not encrypted; empty if the asker sent a CSR and has the key.
        authorities: of the own trust domain, DER each.
        issued_at: seconds since the epoch.
        expires_at: the same; renew half way.

    """

    spiffe_id: SpiffeId
    chain: tuple[bytes, ...]
    key: bytes = field(repr=False)
    authorities: tuple[bytes, ...]
    issued_at: float
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemSvid:
    """An X.509-SVID of a part of the runtime itself: ``spiffe://<trust domain>/ringwall/<part>``, no agent's
    ID. Fields as of ``X509Svid``."""

    spiffe_id: AnyId
    chain: tuple[bytes, ...]
    key: bytes = field(repr=False)
    issued_at: float
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtSvid:
    """A JWT-SVID. ``issued_at`` and ``expires_at`` in seconds since the epoch."""

    spiffe_id: SpiffeId
    token: str = field(repr=False)
    issued_at: float
    expires_at: float


class Authority(Protocol):
    """Issues SVIDs to launched processes. Whoever calls it has attested the process; it asks again if it may."""

    async def x509_svid(self, spiffe_id: SpiffeId, launch: LaunchId, csr: bytes | None = None) -> X509Svid:
        """A certificate with a serial of its own, for a new key or the CSR's.

        Args:
            spiffe_id: as attested, never as asked for.
            launch: of the process.
            csr: PKCS #10, DER, P-256: only its key counts.

        Raises:
            Refused: the launch is withdrawn, is another's, or is frozen.
            BadInput: ``svid_bad_csr``.
            Unavailable: there is no key to sign with (``svid_not_ready``), or too much was issued
                (``svid_too_many``).

        """
        ...

    async def jwt_svid(
        self, spiffe_id: SpiffeId, launch: LaunchId, audience: Sequence[str], details: Sequence[Json] = ()
    ) -> JwtSvid:
        """A token for these audiences; the caller has judged whether this agent may have it.

        Args:
            spiffe_id: as attested, never as asked for.
            launch: of the process.
            audience: who shall believe it.
            details: ``authorization_details`` that it says besides, where the issuer can say such things: SPIRE's
                tokens have none.

        Raises:
            Refused, Unavailable: as above.
            BadInput: ``svid_bad_audience``: none, too many, empty, too long.

        """
        ...

    def bundle(self) -> Bundle:
        """Of the own trust domain. Raises Unavailable (``svid_not_ready``)."""
        ...

    def bundles(self) -> Mapping[str, Bundle]:
        """Own and federated, by trust domain. Never merge them. Raises Unavailable (``svid_not_ready``)."""
        ...

    def revoked(self, spiffe_id: str, number: str) -> str:
        """Why what this authority issued no longer counts though it has not expired; empty if it does.

        Args:
            spiffe_id: as verified.
            number: the certificate's serial in lower-case hex, or the token's ``jti``.

        """
        ...

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Be told that bundles, or who is entitled to what, changed: look again. Returns what ends it.

        Callbacks run in the core's loop, must not block and must not raise.
        """
        ...

    def status(self) -> Json:
        """For ``ringwall status`` and ``doctor``."""
        ...
