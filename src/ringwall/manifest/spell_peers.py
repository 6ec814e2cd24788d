"""The small notations of agents that talk to each other: names of peers, listeners, SPIFFE IDs, media types."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from ringwall.errors import BadInput
from ringwall.identity.spiffe import AnyId
from ringwall.manifest.shapes import Wrong
from ringwall.manifest.spell import MAX_PORT, filled, name, upstream

MAX_MEDIA: Final = 127  # characters of a media type: RFC 4288, section 4.2, a name of 127 in all its parts
MAX_DESCRIPTION: Final = 1024  # characters: it is read by models that pick a skill, not a manual
MAX_HOST: Final = 253  # RFC 1035, section 2.3.4, as text
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MEDIA = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")


def peer_name(text: str) -> str:
    """``agent``, ``tenant/agent``, or a name in ``[peers]``."""
    tenant, slash, agent = text.partition("/")
    name(tenant)
    if slash:
        name(agent)
    return text


def peer_skill(text: str) -> str:
    """``peer/skill``, where the peer may be ``tenant/agent``."""
    peer, slash, skill = text.rpartition("/")
    if not slash:
        raise Wrong('expected a peer and its skill such as "bob/invoice"')
    peer_name(peer)
    name(skill)
    return text


def spiffe_id(text: str) -> str:
    """The SPIFFE ID of an agent elsewhere, of any trust domain; a trust domain alone is nobody."""
    try:
        found = AnyId.parse(text)
    except BadInput as error:
        raise Wrong(f"{error.cause}{': ' + error.remedy if error.remedy else ''}") from error
    if not found.path:
        raise Wrong("names a trust domain and no agent in it")
    return text


def peer_url(text: str) -> str:
    """An https URL of a JSON-RPC interface, its path as the peer spells it; without one, the root."""
    short = upstream(text)
    if not text.startswith("https://"):
        raise Wrong("expected an https URL: peers are proved by mutual TLS")
    return text if short.count("/") > 2 else short + "/"


def listen(text: str) -> str:
    """``host:port`` of this machine. It is also what others connect to, so it cannot mean every address at once."""
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[1-9][0-9]{0,4}", port) or int(port) > MAX_PORT:
        raise Wrong('expected a host and a port from 1 to 65535 such as "10.0.0.5:7443"')
    return f"{_host(host)}:{port}"


def _host(text: str) -> str:
    bracketed = text.startswith("[") and text.endswith("]")
    try:
        address = ipaddress.ip_address(text[1:-1] if bracketed else text)
    except ValueError:
        return _dns_name(text)
    if bracketed != (address.version == 6):
        raise Wrong("an IPv6 address, and nothing else, stands in brackets")
    if address.is_unspecified or address.is_multicast:
        raise Wrong("is no address of one machine: whoever is told to connect to it could not; name one")
    if isinstance(address, ipaddress.IPv6Address) and (address.scope_id or address.ipv4_mapped):
        raise Wrong("hides an IPv4 address or an interface; write the address itself")
    return f"[{address}]" if bracketed else str(address)


def _dns_name(text: str) -> str:
    """Lower case, and no spelling that the resolver takes for an address ("0", "127.1", "0x7f.1": inet_aton(3))."""
    labels = text.split(".")
    if len(text) > MAX_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise Wrong("expected an address, or a host name in lower case")
    if labels[-1].isdigit() or labels[-1].startswith("0x"):
        raise Wrong("looks like an address and is none; write four decimal numbers")
    return text


def media_type(text: str) -> str:
    """``text/plain``: lower case, without parameters or ``*``."""
    if len(text) > MAX_MEDIA or not _MEDIA.fullmatch(text):
        raise Wrong('expected a media type such as "text/plain", in lower case and without parameters')
    return text


def uri_prefix(text: str) -> str:
    """An https URL that ends in a slash: without it, ``https://files.acme`` would cover ``https://files.acme.evil``."""
    upstream(text)
    if not text.startswith("https://") or not text.endswith("/"):
        raise Wrong('expected an https URL that ends in "/", such as "https://files.acme.example/quotes/"')
    host = text.split("/")[2]
    if host != host.lower() or host.endswith(":443"):  # URLs of parts are compared in their one spelling
        raise Wrong("expected the host in lower case, and no port where it is 443")
    return text


def description(text: str) -> str:
    """What a skill is for, in a few sentences."""
    if len(filled(text)) > MAX_DESCRIPTION:
        raise Wrong(f"expected at most {MAX_DESCRIPTION} characters")
    return text
