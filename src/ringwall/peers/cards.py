"""Agent cards: ours are made anew and signed, a peer's is believed only if it is signed and names that peer.

A2A 1.0, section 8.4: a JWS over the canonical card (RFC 8785) without its signatures. Which key may have signed is
said by the bundle of the peer's trust domain, never by the card.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from ringwall.call import Json, as_array, as_object
from ringwall.errors import BadInput, Refused
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.identity.svid import signing
from ringwall.identity.svid.interface import Bundle
from ringwall.manifest.types import Skill
from ringwall.peers import jcs
from ringwall.wire.a2a import check_card, own_card

EXTENSION: Final = "urn:ringwall:spiffe"  # says whose card it is
PROTOCOL: Final = "1.0"
MAX_SIGNATURES: Final = 8  # tried on one card: each costs as much as a TLS handshake's
_SCHEME: Final = "mtls"
_CAPABILITIES: Final = ("streaming", "pushNotifications", "extendedAgentCard")


def build(
    *, agent: SpiffeId, base: Json, skills: Mapping[str, Skill], url: str, sign: Callable[[str, bytes], str]
) -> dict[str, Json]:
    """The card of an agent of ours as peers see it.

    Made anew from what the operator declared. Of the card that the agent's own server gives, only name, version,
    capabilities and descriptions are taken, and of skills only those declared: no URLs, no extensions, no
    security schemes.

    Args:
        agent: whose.
        base: what the agent's own server gives, parsed.
        skills: declared in the manifest.
        url: of its listener, JSON-RPC; ends in a slash.
        sign: see ``EmbeddedAuthority.sign``.

    Raises:
        BadInput: ``a2a_bad_card``: the server's card is none.
        Unavailable: there is no key to sign with.

    """
    own = own_card(base)
    described = {one["id"]: one for one in as_array(own.get("skills")) or []}
    made: dict[str, Json] = {
        "name": own["name"],
        "description": own.get("description", "") or own["name"],
        "version": own["version"],
        "supportedInterfaces": [_interface(url, "JSONRPC"), _interface(f"{url}rest", "HTTP+JSON")],
        "capabilities": {
            **{name: True for name in _CAPABILITIES if (as_object(own.get("capabilities")) or {}).get(name)},
            "extensions": [{"uri": EXTENSION, "description": "The SPIFFE ID of this agent's certificate.",
                            "params": {"spiffe_id": str(agent)}}],
        },
        "securitySchemes": {_SCHEME: {"mtlsSecurityScheme": {"description": "An X.509-SVID of a known agent."}}},
        "securityRequirements": [{"schemes": {_SCHEME: {"list": []}}}],
        "defaultInputModes": sorted({mode for skill in skills.values() for mode in skill.input}),
        "defaultOutputModes": sorted({mode for skill in skills.values() for mode in skill.output}),
        "skills": [_skill(skill, described.get(skill.name, {})) for skill in skills.values()],
    }
    card = check_card(made)
    protected, _, signature = sign(signing.CARD, jcs.canonicalize(_signed(card))).split(".")
    return {**card, "signatures": [{"protected": protected, "signature": signature}]}


def unsaid(base: Json, name: str) -> dict[str, Json]:
    """The same card without a word of the server's own: what it can do is left. Raises BadInput."""
    return {**own_card(base), "name": name, "description": name, "version": "0", "skills": []}


def check(card: Json, *, expected: str, url: str, bundles: Mapping[str, Bundle]) -> dict[str, Json]:
    """A peer's card, if it is that peer's.

    Args:
        card: as the peer gave it, parsed.
        expected: the peer's SPIFFE ID, which its certificate proved.
        url: where it was asked: every interface must be on the same host.
        bundles: by trust domain; only that of the peer's counts.

    Returns:
        The card with what A2A 1.0 knows and nothing else.

    Raises:
        Refused: ``card_malformed``, ``card_unsigned``, ``card_header``, ``card_algorithm``, ``card_no_key``,
            ``card_signature``, ``card_wrong_id``, ``card_wrong_url`` or ``card_no_interface``.

    """
    try:
        checked = check_card(card)
        forms = {jcs.canonicalize(_signed(checked)), jcs.canonicalize(_unsigned(card))}
    except BadInput as fault:
        raise Refused(f"the peer's card is none: {fault.cause}", code="card_malformed") from None
    domain = AnyId.parse(expected).trust_domain
    bundle = bundles.get(domain)
    if bundle is None:
        raise Refused(f"the trust domain {domain} is not known here", code="card_no_key",
                      remedy="[identity.federation] in the manifest, if it should be")
    _check_signatures(checked, forms, bundle)
    capabilities = as_object(checked["capabilities"]) or {}
    named = [one.get("params") for one in capabilities.get("extensions", ()) if one["uri"] == EXTENSION]
    if named != [{"spiffe_id": expected}]:
        raise Refused(f"the card does not say that it is {expected}'s", code="card_wrong_id",
                      remedy=f"it needs the extension {EXTENSION} with this ID")
    _check_interfaces(checked, url)
    return checked


def for_agent(card: Mapping[str, Json], base_url: str) -> dict[str, Json]:
    """A checked card for an agent of ours: it reaches the peer through its own door, and needs no certificate.

    Args:
        card: from :func:`check`.
        base_url: of the peer at the door, without a slash at the end.

    """
    left_out = {"signatures", "securitySchemes", "securityRequirements"}
    kept = {name: value for name, value in card.items() if name not in left_out}
    interfaces = [_interface(base_url, "JSONRPC"), _interface(f"{base_url}/rest", "HTTP+JSON")]
    skills = [{name: value for name, value in skill.items() if name != "securityRequirements"}
              for skill in as_array(card.get("skills")) or []]
    return {**kept, "supportedInterfaces": interfaces, "skills": skills}


def _interface(url: str, binding: str) -> dict[str, Json]:
    return {"url": url, "protocolBinding": binding, "protocolVersion": PROTOCOL}


def _skill(skill: Skill, described: Mapping[str, Json]) -> dict[str, Json]:
    """What the operator says comes first; the server's words only where he says nothing."""
    return {
        "id": skill.name,
        "name": described.get("name", skill.name),
        "description": skill.description or described.get("description", "") or skill.name,
        "tags": described.get("tags") or [skill.name],
        "examples": described.get("examples", []),
        "inputModes": list(skill.input),
        "outputModes": list(skill.output),
    }


def _unsigned(card: Json) -> dict[str, Json]:
    return {name: value for name, value in (as_object(card) or {}).items() if name != "signatures"}


def _signed(card: Mapping[str, Json]) -> Json:
    """The form that the reference implementation signs: without whatever is empty, at any depth."""
    return _full({name: value for name, value in card.items() if name != "signatures"})


def _full(value: Json) -> Json:
    """The value without empty texts, lists and objects; None if nothing is left."""
    fields, items = as_object(value), as_array(value)
    if fields is not None:
        return {name: full for name, inner in fields.items() if (full := _full(inner)) is not None} or None
    if items is not None:
        return [full for inner in items if (full := _full(inner)) is not None] or None
    return None if value == "" else value


def _check_signatures(card: Mapping[str, Json], forms: set[bytes], bundle: Bundle) -> None:
    """One good signature is enough. Raises Refused with what is wrong with the last one."""
    last = Refused("the card is not signed", code="card_unsigned")
    for one in (as_array(card.get("signatures")) or [])[:MAX_SIGNATURES]:
        for form in forms:
            try:
                signing.check_detached(one["protected"], one["signature"], form, keys=bundle.jwt_keys, what="card")
            except Refused as no:
                last = Refused(f"no signature of the card counts: {no.cause}", code=no.code, remedy=no.remedy)
            else:
                return
    raise last


def _check_interfaces(card: Mapping[str, Json], url: str) -> None:
    host = _host(url)
    for one in card["supportedInterfaces"]:
        if not host or _host(str(one["url"])) != host:
            raise Refused("an interface in the card is not at the peer's own host", code="card_wrong_url")
    speaks = [one for one in card["supportedInterfaces"]
              if one["protocolBinding"] == "JSONRPC" and one["protocolVersion"].startswith("1.")]
    if not speaks:
        raise Refused("the card names no JSON-RPC interface of A2A 1.x", code="card_no_interface")


def _host(url: str) -> str:
    """Of an https URL without user; empty: it is none."""
    try:
        parts = urlsplit(url)
        return parts.hostname or "" if parts.scheme == "https" and "@" not in parts.netloc else ""
    except ValueError:
        return ""
