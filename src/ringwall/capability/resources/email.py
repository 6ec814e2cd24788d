"""E-mail addresses: one bare addr-spec in dot-atom form (RFC 5322, section 3.4.1), nothing else.

``Bob@X.example`` is ``Bob@x.example``, key ``("x.example", "Bob")``: only its host knows whether the local
part ignores case, so it is kept.
"""

from __future__ import annotations

import string
from typing import Final

from ringwall.capability.resources.host import canonical_name
from ringwall.capability.resources.text import Canonical, bad, clean

MAX_ADDRESS: Final = 254  # RFC 5321, section 4.5.3.1.3, less the angle brackets
MAX_LOCAL: Final = 64  # RFC 5321, section 4.5.3.1.1
# atext without "%" and "!": old relays forward user%elsewhere@here and elsewhere!user@here.
_ATOM: Final = frozenset(string.ascii_letters + string.digits + "#$&'*+-/=?^_`{|}~")
_WHAT: Final = "email"


def canonical(text: str) -> Canonical:
    """Give the one spelling of one address. Raises BadInput for names, lists, quotes and comments."""
    clean(text, _WHAT, MAX_ADDRESS)
    local, at, domain = text.rpartition("@")
    if not at or len(local) > MAX_LOCAL or not all(atom and set(atom) <= _ATOM for atom in local.split(".")):
        raise bad(_WHAT, text, "is not one bare address such as bob@customer.example")
    domain = _domain(domain, text)
    return Canonical(f"{local}@{domain}", (domain, local))


def _domain(domain: str, text: str) -> str:
    name = canonical_name(domain, _WHAT)
    if "." not in name:
        raise bad(_WHAT, text, "has a domain without a dot")
    return name


def pattern(text: str) -> tuple[Canonical, bool]:
    """``bob@x.example`` is one address, ``@x.example`` the whole domain without its subdomains."""
    if not text.startswith("@"):
        return canonical(text), False
    domain = _domain(clean(text, _WHAT, MAX_ADDRESS)[1:], text)
    return Canonical(f"@{domain}", (domain,)), True
