"""Host names and addresses inside URLs and e-mail addresses: one spelling each."""

from __future__ import annotations

import ipaddress
import string
from typing import Final

from ringwall.capability.resources.text import bad

MAX_NAME: Final = 253  # RFC 1035, section 2.3.4, as text
MAX_LABEL: Final = 63
# IPv4-compatible (RFC 4291, section 2.5.5.1) and NAT64 addresses (RFC 6052 and 8215).
_TRANSLATED: Final = tuple(map(ipaddress.IPv6Network, ("::/96", "64:ff9b::/96", "64:ff9b:1::/48")))
_LABEL: Final = frozenset(string.ascii_lowercase + string.digits + "-_")


def canonical_name(text: str, what: str) -> str:
    """A DNS name: ASCII, lower case, without the trailing dot of the root. Raises BadInput.

    Names in other scripts must come as A-labels (``xn--``): there the look-alike is visible.
    """
    if not text.isascii():
        raise bad(what, text, "has a host outside ASCII; write it as xn-- labels")
    name = text.lower().removesuffix(".")
    if not name or len(name) > MAX_NAME:
        raise bad(what, text, "has an empty or over-long host")
    labels = name.split(".")
    for label in labels:
        if not 0 < len(label) <= MAX_LABEL or not set(label) <= _LABEL or "-" in {label[0], label[-1]}:
            raise bad(what, text, "has a host that is not a DNS name")
    if _numeric(labels[-1]):
        raise bad(what, text, "has a host that some readers take for an IP address")
    return name


def _numeric(label: str) -> bool:
    """Whether URL readers would take a name that ends in this label for an IPv4 address (WHATWG URL, 3.5)."""
    digits = label.removeprefix("0x")
    return digits.isdigit() or (digits != label and set(digits) <= set(string.hexdigits))


def canonical_host(text: str, what: str) -> str:
    """A DNS name, four decimal numbers, or a bracketed IPv6 address. Raises BadInput.

    Other spellings of an address (hexadecimal, octal, fewer parts, IPv4 inside IPv6, zones) are refused.
    """
    if text.startswith("["):
        return f"[{_ipv6(text, what)}]"
    if text.isascii() and text[-1:].isdigit() and text.count(".") == 3:
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            pass  # not four decimal numbers: judged as a name, where a numeric last label is refused
    return canonical_name(text, what)


def _ipv6(text: str, what: str) -> str:
    inner = text[1:-1]
    if not text.endswith("]") or "%" in inner or "." in inner:
        raise bad(what, text, "has an address in brackets that is not plain IPv6")
    try:
        address = ipaddress.IPv6Address(inner)
    except ValueError:
        raise bad(what, text, "has an address in brackets that is not plain IPv6") from None
    if address.ipv4_mapped is not None or address.sixtofour is not None or address.teredo is not None:
        raise bad(what, text, "hides an IPv4 address in an IPv6 one; write it as IPv4")
    if any(address in network for network in _TRANSLATED) and int(address) > 1:  # :: and ::1 are themselves
        raise bad(what, text, "hides an IPv4 address in an IPv6 one; write it as IPv4")
    return address.compressed
