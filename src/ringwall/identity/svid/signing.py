"""Signatures by the authority's JWT keys that are no JWT-SVIDs: compact JWS (RFC 7515), ES256 and nothing else.

The same keys sign the tokens that outsiders believe. So nothing is signed here that could pass for one: the type
is never ``JWT``, and no object that has a registered claim of a JWT is signed (RFC 7519, section 4.1): a JWT-SVID
must have ``sub``, ``aud`` and ``exp``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from ringwall.call import Json, as_object
from ringwall.errors import BadInput, Refused
from ringwall.identity.svid import jose
from ringwall.identity.svid.interface import PublicKey
from ringwall.wire import strict

ENVELOPE: Final = "ringwall-envelope+jws"  # beside each message between agents
CARD: Final = "JOSE"  # what A2A 1.0 wants of the signature of an agent's card
TYPES: Final = frozenset({ENVELOPE, CARD})
MAX_PAYLOAD: Final = 256 << 10  # bytes; a card is the longest thing that is signed here
MAX_HEADER: Final = 8 << 10  # characters of a header; ours have 120, and those of others may carry certificates
MAX_DEPTH: Final = 32  # of a payload
MAX_SIGNATURE: Final = 86  # base64url of the 64 bytes of ES256 (RFC 7518, section 3.4)
_ALGORITHM: Final = "ES256"
_CLAIMS: Final = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti"})


def compact(key: ec.EllipticCurvePrivateKey, *, kid: str, typ: str, payload: bytes) -> str:
    """Sign a JSON object.

    Args:
        key: on P-256.
        kid: the key's name in the bundle.
        typ: one of ``TYPES``.
        payload: the object, as JSON.

    Raises:
        BadInput: ``svid_not_signable``: it could be taken for a token, or is no object.

    """
    if typ not in TYPES:
        raise _not_signable(f"nothing of type {typ[:40]!a} is signed here")
    try:
        found = as_object(strict.parse(payload, max_bytes=MAX_PAYLOAD, max_depth=MAX_DEPTH))
    except BadInput as fault:
        raise _not_signable(fault.cause) from None
    if found is None or found.keys() & _CLAIMS:
        raise _not_signable("only objects without claims of a JWT are signed here")
    header = msgspec.json.encode({"alg": _ALGORITHM, "kid": kid, "typ": typ})
    message = f"{jose.encode(header)}.{jose.encode(payload)}"
    return f"{message}.{jose.encode(jose.sign(key, message.encode()))}"


def opened(token: str, *, typ: str, keys: Mapping[str, PublicKey], limit: int, what: str) -> bytes:
    """The payload of a compact JWS that one of these keys signed.

    Args:
        token: as it came.
        typ: what its header must say; the header has ``alg``, ``kid`` and ``typ`` and nothing else.
        keys: by ``kid``.
        limit: longest token, in characters.
        what: begins the codes: ``envelope``.

    Raises:
        Refused: ``<what>_too_large``, ``<what>_malformed``, ``<what>_header``, ``<what>_algorithm``,
            ``<what>_no_key`` or ``<what>_signature``.

    """
    if len(token) > limit:
        raise Refused(f"it has more than {limit} characters", code=f"{what}_too_large")
    parts = token.split(".")
    if len(parts) != 3 or not token.isascii():
        raise Refused("it has not three parts (JWS compact)", code=f"{what}_malformed")
    header = _header(parts[0], what)
    if header.keys() != {"alg", "kid", "typ"} or header["typ"] != typ:
        raise Refused(f"its header is not that of an {typ}", code=f"{what}_header")
    _check(header, parts[0], parts[1], parts[2], keys, what)
    try:
        return jose.decode(parts[1])
    except ValueError:
        raise Refused("its payload is not base64url", code=f"{what}_malformed") from None


def check_detached(
    protected: str, signature: str, payload: bytes, *, keys: Mapping[str, PublicKey], what: str
) -> None:
    """Judge a signature whose payload the reader knows, as A2A has it beside a card.

    The header may have more members: whatever they say about where a key could be had (``jku``, ``x5u``, ``jwk``)
    is its writer's word and not looked at. ``crit`` demands to be understood (RFC 7515, section 4.1.11), so it is
    refused.

    Args:
        protected: the header as it came.
        signature: as it came.
        payload: what must have been signed.
        keys: by ``kid``.
        what: begins the codes, which are those of :func:`opened`: ``card``.

    Raises:
        Refused: it is none of these keys' signature over this.

    """
    header = _header(protected, what)
    if header.get("typ", CARD) != CARD or "crit" in header or "b64" in header:
        raise Refused("its header is not that of a card's signature", code=f"{what}_header")
    _check(header, protected, jose.encode(payload), signature, keys, what)


def _header(part: str, what: str) -> dict[str, Json]:
    try:
        if len(part) > MAX_HEADER or not part.isascii():
            raise ValueError("it is too long, or not ASCII")
        header = as_object(strict.parse(jose.decode(part), max_bytes=MAX_HEADER, max_depth=4, max_nodes=64))
    except (ValueError, BadInput):
        raise Refused("its header is not base64url of JSON", code=f"{what}_malformed") from None
    if header is None:
        raise Refused("its header is no JSON object", code=f"{what}_malformed")
    return header


def _check(
    header: Mapping[str, Json], first: str, second: str, third: str, keys: Mapping[str, PublicKey], what: str
) -> None:
    if header.get("alg") != _ALGORITHM:
        raise Refused(f"alg is not {_ALGORITHM}", code=f"{what}_algorithm")
    kid = header.get("kid")
    key = keys.get(kid) if type(kid) is str else None
    if key is None:
        raise Refused("no key of the trust domain that must have signed it is named so", code=f"{what}_no_key",
                      remedy="the bundle may be old")
    try:
        if len(third) > MAX_SIGNATURE or not third.isascii():
            raise ValueError("it is no signature of this kind")
        raw = jose.decode(third)
    except ValueError:
        raise Refused("its signature is not base64url", code=f"{what}_malformed") from None
    if not jose.verifies(key, jose.ALGORITHMS[_ALGORITHM], f"{first}.{second}".encode(), raw):
        raise Refused("the signature is not the key's", code=f"{what}_signature")


def _not_signable(why: str) -> BadInput:
    return BadInput(f"the authority does not sign this: {why}", code="svid_not_signable")
