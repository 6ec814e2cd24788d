"""The strict validator of JWT-SVIDs (JWT-SVID, sections 2, 3 and 6)."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Final

from ringwall.call import Json, as_array, as_object
from ringwall.clock import Clock
from ringwall.errors import BadInput, Refused
from ringwall.identity.spiffe import AnyId
from ringwall.identity.svid import jose
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.verifier import Revoked, Verified, never
from ringwall.wire import strict

MAX_TOKEN: Final = 16 << 10  # characters; an SVID has some 500, and headers carry no more than this
MAX_DEPTH: Final = 8  # claims of brokers nest a little
MAX_VALUES: Final = 512  # in header or claims
MAX_AUDIENCES: Final = 16
SKEW_SECONDS: Final = 60.0  # by which an issuer's clock may be ahead of ours; expiry knows no such mercy
_HEADERS: Final = frozenset({"alg", "kid", "typ"})
_TYPES: Final = frozenset({"JWT", "JOSE"})


class TokenValidator:
    """Judges JWT-SVIDs. Arguments as of ``X509Verifier``."""

    def __init__(
        self, bundles: Callable[[], Mapping[str, Bundle]], clock: Clock, *, revoked: Revoked = never
    ) -> None:
        self._bundles = bundles
        self._clock = clock
        self._revoked = revoked

    def validate(self, token: str, audiences: Collection[str], *, expected: str = "") -> Verified:
        """Judge a token in JWS compact form.

        Args:
            token: as the peer sent it.
            audiences: ourselves, by each name we answer to; one of them must be meant.
            expected: the one SPIFFE ID it must be; empty: whoever it is, the caller judges.

        Returns:
            Who it is; ``number`` is its ``jti``, or empty.

        Raises:
            Refused: ``token_malformed``, ``token_too_large``, ``token_header``, ``token_algorithm``,
                ``token_claims``, ``token_no_key``, ``token_signature``, ``token_expired``, ``token_not_yet``,
                ``token_audience``, ``svid_bad_id``, ``svid_root_id``, ``svid_unknown_domain``,
                ``svid_wrong_id`` or ``svid_revoked``.

        """
        header, claims, message, signature = _parts(token)
        algorithm, kid = _header(header)
        spiffe_id = _subject(claims)
        bundle = self._bundles().get(spiffe_id.trust_domain)
        if bundle is None:
            raise Refused(f"the trust domain {spiffe_id.trust_domain} is not known here",
                          code="svid_unknown_domain",
                          remedy="[identity.federation] in the manifest, if it should be")
        key = bundle.jwt_keys.get(kid)
        if key is None:
            raise Refused(f"the bundle of {spiffe_id.trust_domain} has no key {kid[:80]!a}", code="token_no_key",
                          remedy="the bundle may be old")
        if not jose.verifies(key, algorithm, message, signature):
            raise Refused("the signature is not the key's", code="token_signature")
        expires = self._times(claims)
        _audience(claims, audiences)
        if expected and str(spiffe_id) != expected:
            raise Refused(f"it belongs to {spiffe_id}, not to {expected}", code="svid_wrong_id")
        number = claims.get("jti", "")
        if type(number) is not str:
            raise _claims("jti is no text")
        why = self._revoked(str(spiffe_id), number)
        if why:
            raise Refused(f"it was revoked: {why}", code="svid_revoked")
        return Verified(spiffe_id=spiffe_id, number=number, expires_at=expires)

    def _times(self, claims: Mapping[str, Json]) -> float:
        now = self._clock.now()
        expires = _time(claims, "exp")
        if expires is None:
            raise _claims("there is no exp")
        if now >= expires:
            raise Refused(f"it expired {now - expires:.0f} s ago", code="token_expired",
                          remedy="fetch a new one for each use")
        for name in ("nbf", "iat"):
            begins = _time(claims, name)
            if begins is not None and begins > now + SKEW_SECONDS:
                raise Refused(f"{name} is {begins - now:.0f} s ahead", code="token_not_yet",
                              remedy="compare this machine's clock with the issuer's")
        return expires


def read(token: str) -> tuple[dict[str, Json], dict[str, Json]]:
    """Header and claims as they stand there, believed by nobody. Raises Refused."""
    header, claims, _, _ = _parts(token)
    return header, claims


def _parts(token: str) -> tuple[dict[str, Json], dict[str, Json], bytes, bytes]:
    """Header, claims, what is signed, the signature."""
    if len(token) > MAX_TOKEN:
        raise Refused(f"a token has more than {MAX_TOKEN} characters", code="token_too_large")
    parts = token.split(".")
    if len(parts) != 3 or not token.isascii():
        raise _malformed("it has not three parts (JWS compact)")
    try:
        header, claims, signature = [jose.decode(part) for part in parts]
    except ValueError:
        raise _malformed("a part is not base64url") from None
    return _object(header), _object(claims), ".".join(parts[:2]).encode(), signature


def _object(raw: bytes) -> dict[str, Json]:
    try:
        found = as_object(strict.parse(raw, max_bytes=MAX_TOKEN, max_depth=MAX_DEPTH, max_nodes=MAX_VALUES))
    except BadInput as fault:
        raise _malformed(fault.cause) from None
    if found is None:
        raise _malformed("a part is no JSON object")
    return found


def _header(header: Mapping[str, Json]) -> tuple[jose.Algorithm, str]:
    if not header.keys() <= _HEADERS:
        raise Refused("the header has more than alg, kid and typ", code="token_header")
    kind = header.get("typ", "JWT")
    if type(kind) is not str or kind not in _TYPES:
        raise Refused("typ is neither JWT nor JOSE", code="token_header")
    name, kid = header.get("alg"), header.get("kid")
    algorithm = jose.ALGORITHMS.get(name) if type(name) is str else None
    if algorithm is None:
        raise Refused("alg is none of those an SVID may have", code="token_algorithm")
    if type(kid) is not str or not kid:
        raise Refused("the header names no key (kid)", code="token_header")
    return algorithm, kid


def _subject(claims: Mapping[str, Json]) -> AnyId:
    subject = claims.get("sub")
    if type(subject) is not str:
        raise _claims("there is no sub")
    try:
        spiffe_id = AnyId.parse(subject)
    except BadInput as fault:
        raise Refused(fault.cause, code="svid_bad_id") from None
    if not spiffe_id.path:
        raise Refused("the ID names the trust domain, not a workload", code="svid_root_id")
    return spiffe_id


def _time(claims: Mapping[str, Json], name: str) -> float | None:
    if name not in claims:
        return None
    value = claims[name]
    if type(value) not in {int, float} or not math.isfinite(value) or not 0 <= value < 1 << 53:
        raise _claims(f"{name} is no time")  # a text, a truth value or a number no clock shows
    return float(value)


def _audience(claims: Mapping[str, Json], audiences: Collection[str]) -> None:
    given = claims.get("aud")
    named = [given] if type(given) is str else as_array(given)
    if named is None or not 0 < len(named) <= MAX_AUDIENCES or not all(type(one) is str and one for one in named):
        raise _claims("aud is neither a text nor a list of some")
    if not set(named) & set(audiences):
        raise Refused("it is meant for somebody else", code="token_audience")


def _malformed(why: str) -> Refused:
    return Refused(f"this is no JWT: {why}", code="token_malformed")


def _claims(why: str) -> Refused:
    return Refused(f"the claims are not an SVID's: {why}", code="token_claims")
