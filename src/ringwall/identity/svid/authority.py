"""The embedded authority: issues SVIDs to launched processes, and rotates its own keys.

A change of keys is noted in the system log, then durable on disk, then in force: a core that is killed in between
goes on with what the disk has. Every new key first signs an SVID for nobody that our own strict verifiers accept.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from ringwall.call import Denied, Event, Json, LaunchId
from ringwall.clock import Clock
from ringwall.errors import BadInput, Refused, RingwallError, Unavailable
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.identity.svid import issue, keyring, signing
from ringwall.identity.svid.interface import (
    REFRESH_HINT,
    SVID_SECONDS,
    TOKEN_SECONDS,
    Bundle,
    JwtSvid,
    SystemSvid,
    X509Svid,
)
from ringwall.identity.svid.keyring import Activate, Key, Prepare, Step, Use
from ringwall.identity.svid.ledger import Ledger
from ringwall.identity.svid.store import Kept, KeyStore
from ringwall.identity.svid.tokens import TokenValidator
from ringwall.identity.svid.verifier import X509Verifier
from ringwall.interface import Journal

LOG: Final = "system"
SYSTEM: Final = "ringwall"  # first segment of our own parts' IDs; an agent's is "tenant"
LOOK_SECONDS: Final = 30.0  # the wall clock may jump while we sleep: look at least so often
NAME_BYTES: Final = 8  # of a key's random name
MAX_STEPS: Final = 32  # in one go: a dozen happen after the longest sleep

Entitled = Callable[[SpiffeId, LaunchId], Denied | None]
"""Why this launch may not have an SVID of this ID now, or None."""


class EmbeddedAuthority:
    """Implements ``interface.Authority``. Used from one event loop; ``start`` before all else.

    Args:
        trust_domain: its own.
        issuer: the ``iss`` of tokens.
        store: where keys are kept.
        clock: what time it is.
        journal: where changes of keys are noted, and issued SVIDs counted.
        entitled: asked for every SVID.
        frozen: why an agent is frozen, or empty; for ``revoked``.
        foreign: bundles of other trust domains, by name.

    """

    def __init__(
        self,
        *,
        trust_domain: str,
        issuer: str,
        store: KeyStore,
        clock: Clock,
        journal: Journal,
        entitled: Entitled,
        frozen: Callable[[SpiffeId], str],
        foreign: Callable[[], Mapping[str, Bundle]],
    ) -> None:
        self._domain = trust_domain
        self._issuer = issuer
        self._store = store
        self._clock = clock
        self._journal = journal
        self._entitled = entitled
        self._frozen = frozen
        self._foreign = foreign
        self._kept = Kept(sequence=0, keys=())
        self._bundle: Bundle | None = None
        self._ledger = Ledger()
        self._callbacks: dict[object, Callable[[], None]] = {}
        self._turning = asyncio.Lock()
        self.fault = ""

    async def start(self) -> None:
        """Take the keys from disk, and make what is missing.

        Raises:
            RingwallError: they cannot be read, written or noted in the log: nothing may start.

        """
        found = self._store.load()
        # A number that only grows, though the file may have been lost: others refuse a bundle that goes back.
        self._kept = found if found is not None else Kept(sequence=int(self._clock.now()), keys=())
        if self._kept.keys:
            self._bundle = _bundle(self._domain, self._kept)
        await self.turn()

    async def tend(self) -> None:
        """Rotate, for ever. What fails is tried again; the keys there are go on meanwhile, until they expire."""
        while True:
            wait = keyring.next_time(self._kept.keys) - self._clock.now()
            await asyncio.sleep(LOOK_SECONDS if self.fault else max(0.0, min(wait, LOOK_SECONDS)))
            try:
                await self.turn()
            except RingwallError as fault:
                self.fault = str(fault)

    async def turn(self) -> None:
        """Do what is due. Raises AuditError, Unavailable, or RingwallError (``svid_key_unfit``)."""
        async with self._turning:
            for _ in range(MAX_STEPS):
                now = self._clock.now()
                self._ledger.prune(now)
                step = keyring.due(self._kept.keys, now)
                if step is None:
                    break
                await self._take(step, now)
            self.fault = ""

    async def _take(self, step: Step, now: float) -> None:
        if isinstance(step, Prepare):
            key = self._made(step, now)
            keys, what, named = (*self._kept.keys, key), "key_prepared", key
        elif isinstance(step, Activate):
            keys, what, named = keyring.turned(self._kept.keys, step, now), "key_activated", step.key
        else:
            keys, what, named = tuple(key for key in self._kept.keys if key != step.key), "key_dropped", step.key
        kept = Kept(sequence=self._kept.sequence + 1, keys=keys)
        bundle = _bundle(self._domain, kept)
        body: dict[str, Json] = {"use": named.use, "key": named.name, "turn": named.turn, "sequence": kept.sequence}
        await self._journal.note(Event(type=what, tenant=LOG, body=body))
        await asyncio.to_thread(self._store.save, kept, bundle)
        self._kept, self._bundle = kept, bundle
        self.changed()

    def _made(self, step: Prepare, now: float) -> Key:
        name, private = secrets.token_hex(NAME_BYTES), issue.new_key()
        begins, ends = now - issue.BACKDATE_SECONDS, now + keyring.KEY_SECONDS
        certificate = b"" if step.use == "jwt" else issue.authority(
            private, trust_domain=self._domain, name=name, begins=begins, ends=ends
        )
        key = Key(name=name, use=step.use, phase="prepared", private=private, certificate=certificate,
                  created=now, turn=step.turn, expires=ends)
        self._prove(key, now)
        return key

    def _prove(self, key: Key, now: float) -> None:
        """A key whose SVIDs our own verifiers refuse must never be published. Raises RingwallError."""
        alone = {self._domain: _bundle(self._domain, Kept(sequence=0, keys=(key,)))}
        nobody = SpiffeId.make(trust_domain=self._domain, tenant="ringwall", agent="nobody", role="proof")
        still = _At(now)
        try:
            if key.use == "x509":
                made, _, _ = self._leaf(key, nobody, issue.new_key().public_key(), now)
                X509Verifier(lambda: alone, still).verify([made], expected=str(nobody))
            else:
                token, _, _ = self._token(key, nobody, [self._domain], now)
                TokenValidator(lambda: alone, still).validate(token, [self._domain], expected=str(nobody))
        except (Refused, BadInput) as fault:
            raise RingwallError(
                f"a new key of the authority makes no valid SVIDs: {fault}", code="svid_key_unfit",
                remedy="compare the installed version of cryptography with the locked one",
            ) from fault

    async def x509_svid(self, spiffe_id: SpiffeId, launch: LaunchId, csr: bytes | None = None) -> X509Svid:
        """See ``interface.Authority``."""
        now = self._clock.now()
        self._check(spiffe_id, launch, now)
        signer, bundle = self._active("x509", now), self.bundle()
        private = issue.new_key() if csr is None else None
        public = private.public_key() if private is not None else issue.key_of_csr(csr or b"")
        certificate, number, ends = self._leaf(signer, spiffe_id, public, now)
        self._count(spiffe_id, signer)
        self._ledger.add(spiffe_id.tenant, launch, number, ends)
        return X509Svid(
            spiffe_id=spiffe_id, chain=(certificate,), key=b"" if private is None else issue.pkcs8(private),
            authorities=bundle.authorities, issued_at=now, expires_at=ends,
        )

    async def jwt_svid(
        self, spiffe_id: SpiffeId, launch: LaunchId, audience: Sequence[str], details: Sequence[Json] = ()
    ) -> JwtSvid:
        """See ``interface.Authority``."""
        now = self._clock.now()
        issue.check_audience(audience)
        self._check(spiffe_id, launch, now)
        signer = self._active("jwt", now)
        token, number, ends = self._token(signer, spiffe_id, audience, now, details)
        self._count(spiffe_id, signer)
        self._ledger.add(spiffe_id.tenant, launch, number, ends)
        return JwtSvid(spiffe_id=spiffe_id, token=token, issued_at=now, expires_at=ends)

    def sign(self, typ: str, payload: bytes) -> str:
        """A compact JWS by the active JWT key that cannot pass for a JWT-SVID: see ``signing.compact``.

        Raises:
            Unavailable: ``svid_not_ready``.
            BadInput: ``svid_not_signable``.

        """
        key = self._active("jwt", self._clock.now())
        return signing.compact(key.private, kid=key.name, typ=typ, payload=payload)

    async def system_svid(self, part: str) -> SystemSvid:
        """An SVID for a part of the runtime itself. It ends with the core, so nothing withdraws it.

        Raises:
            BadInput: ``bad_spiffe_id``. Unavailable: ``svid_not_ready``.

        """
        now = self._clock.now()
        spiffe_id = AnyId.parse(f"spiffe://{self._domain}/{SYSTEM}/{part}")
        signer, private = self._active("x509", now), issue.new_key()
        certificate, _, ends = self._leaf(signer, spiffe_id, private.public_key(), now)
        self._count(spiffe_id, signer)
        return SystemSvid(spiffe_id=spiffe_id, chain=(certificate,), key=issue.pkcs8(private), issued_at=now,
                          expires_at=ends)

    async def system_token(self, part: str, audience: str) -> str:
        """A JWT-SVID for a part of the runtime itself: for what no agent causes, such as listing a server's tools.

        Raises:
            BadInput: ``bad_spiffe_id``, ``svid_bad_audience``. Unavailable: ``svid_not_ready``.

        """
        now = self._clock.now()
        issue.check_audience([audience])
        spiffe_id, signer = AnyId.parse(f"spiffe://{self._domain}/{SYSTEM}/{part}"), self._active("jwt", now)
        self._count(spiffe_id, signer)
        return self._token(signer, spiffe_id, [audience], now)[0]

    def bundle(self) -> Bundle:
        """See ``interface.Authority``."""
        if self._bundle is None:
            raise _not_ready()
        return self._bundle

    def bundles(self) -> Mapping[str, Bundle]:
        """See ``interface.Authority``. A foreign bundle never stands for the own domain."""
        return {**self._foreign(), self._domain: self.bundle()}

    def revoke(self, launch: LaunchId) -> None:
        """This launch is withdrawn: what it holds counts no more, and its streams learn of it."""
        self._ledger.revoke(launch)
        self.changed()

    def revoked(self, spiffe_id: str, number: str) -> str:
        """See ``interface.Authority``."""
        if self._ledger.revoked(number):
            return "the process it was issued to was withdrawn"
        try:
            agent = SpiffeId.parse(spiffe_id)
        except BadInput:
            return ""  # another domain's grammar: nothing here issued or froze it
        return self._frozen(agent) if agent.trust_domain == self._domain else ""

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """See ``interface.Authority``."""
        mark = object()
        self._callbacks[mark] = callback

        def end() -> None:
            self._callbacks.pop(mark, None)

        return end

    def changed(self) -> None:
        """Tell everybody to look again: after a freeze or a thaw too."""
        for callback in list(self._callbacks.values()):
            callback()

    def status(self) -> Json:
        """See ``interface.Authority``."""
        keys = self._kept.keys
        return {
            "trust_domain": self._domain,
            "sequence": self._kept.sequence,
            "keys": [{"use": key.use, "key": key.name, "phase": key.phase, "turn": key.turn, "expires": key.expires}
                     for key in keys],
            "next": keyring.next_time(keys),
            "alive": len(self._ledger),
            "bundle": str(self._store.bundle_path),
            "fault": self.fault,
        }

    def _check(self, spiffe_id: SpiffeId, launch: LaunchId, now: float) -> None:
        if spiffe_id.trust_domain != self._domain:
            raise Refused(f"{spiffe_id.trust_domain} is not this trust domain", code="svid_wrong_domain")
        denied = self._entitled(spiffe_id, launch)
        if denied is not None:
            raise Refused(denied.reason, code=denied.code, remedy=denied.remedy)
        self._ledger.check_room(spiffe_id.tenant, now)

    def _active(self, use: Use, now: float) -> Key:
        key = keyring.active(self._kept.keys, use)
        if key is None or not key.usable(now):
            raise _not_ready()
        return key

    def _leaf(
        self, signer: Key, spiffe_id: SpiffeId | AnyId, key: EllipticCurvePublicKey, now: float
    ) -> tuple[bytes, str, float]:
        begins = now - issue.BACKDATE_SECONDS
        ends = float(int(min(begins + SVID_SECONDS, signer.expires)))
        made, number = issue.leaf(signer.private, signer.certificate, spiffe_id=spiffe_id, key=key, begins=begins,
                                  ends=ends)
        return made, number, ends

    def _token(
        self, signer: Key, spiffe_id: SpiffeId | AnyId, audience: Sequence[str], now: float,
        details: Sequence[Json] = (),
    ) -> tuple[str, str, float]:
        ends = float(int(min(now + TOKEN_SECONDS, signer.expires)))
        made, number = issue.token(signer.private, kid=signer.name, issuer=self._issuer, spiffe_id=spiffe_id,
                                   audience=audience, begins=now, ends=ends, details=details)
        return made, number, ends

    def _count(self, spiffe_id: SpiffeId | AnyId, signer: Key) -> None:
        body: dict[str, Json] = {"use": signer.use, "key": signer.name}
        self._journal.count(Event(type="svid_issued", tenant=LOG, subject=str(spiffe_id), body=body))


class _At:
    """A clock that stands still, for proving a key at the moment it was made."""

    def __init__(self, now: float) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now


def _bundle(trust_domain: str, kept: Kept) -> Bundle:
    return Bundle(
        trust_domain=trust_domain,
        authorities=tuple(key.certificate for key in kept.keys if key.use == "x509"),
        jwt_keys={key.name: key.private.public_key() for key in kept.keys if key.use == "jwt"},
        sequence=kept.sequence,
        refresh_hint=REFRESH_HINT,
    )


def _not_ready() -> Unavailable:
    return Unavailable("the authority has no key that may sign now", code="svid_not_ready",
                       remedy="`ringwall status` says why")
