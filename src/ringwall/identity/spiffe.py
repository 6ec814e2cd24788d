"""The one parser of SPIFFE IDs (SPIFFE-ID specification, sections 2 and 2.1-2.3).

Grammar here: ``spiffe://<trust-domain>/tenant/<tenant>/agent/<agent>/role/<role>``.
"""

from __future__ import annotations

import string
from dataclasses import dataclass

from ringwall.errors import BadInput

MAX_ID_BYTES = 2048  # SPIFFE-ID, section 2.3: validators accept up to this
MAX_TRUST_DOMAIN_BYTES = 255  # SPIFFE-ID, section 2.1
_DOMAIN = frozenset(string.ascii_lowercase + string.digits + "._-")
_SEGMENT = frozenset(string.ascii_letters + string.digits + "._-")
_PATH = _SEGMENT | {"/"}
_NO_SEGMENT = frozenset({"", ".", ".."})


def _segment(text: str, what: str) -> str:
    if text in _NO_SEGMENT or not set(text) <= _SEGMENT:
        raise BadInput(
            f"{what} {text[:80]!a} is not a SPIFFE path segment",
            code="bad_spiffe_id",
            remedy="use letters, digits, '.', '_' and '-' only",
        )
    return text


def _domain(text: str) -> str:
    if not text or len(text) > MAX_TRUST_DOMAIN_BYTES or not set(text) <= _DOMAIN:
        raise BadInput(
            f"trust domain {text[:80]!a} is not valid",
            code="bad_spiffe_id",
            remedy="use lower-case letters, digits, '.', '_' and '-', at most 255 characters",
        )
    return text


@dataclass(frozen=True, slots=True)
class AnyId:
    """A SPIFFE ID of any trust domain, whatever its path means there; no path: the trust domain itself."""

    trust_domain: str
    path: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> AnyId:
        """Parse the whole text, or raise BadInput (``bad_spiffe_id``)."""
        if len(text) > MAX_ID_BYTES:  # characters: more than these bytes in any case, and ASCII is checked below
            raise BadInput(f"a SPIFFE ID has at most {MAX_ID_BYTES} bytes", code="bad_spiffe_id")
        scheme, found, rest = text.partition("://")
        if not found or scheme != "spiffe":
            raise BadInput(f"{text[:80]!a} does not begin with spiffe://", code="bad_spiffe_id")
        domain, *path = rest.split("/")
        if not (set(rest) <= _PATH and _NO_SEGMENT.isdisjoint(path)):  # all at once; one by one only to say which
            for one in path:
                _segment(one, "the path's part")
        return cls(_domain(domain), tuple(path))

    def __str__(self) -> str:
        return "/".join([f"spiffe://{self.trust_domain}", *self.path])


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """Who: trust domain, tenant, agent and role. Build it with :meth:`parse` or :meth:`make`."""

    trust_domain: str
    tenant: str
    agent: str
    role: str

    @classmethod
    def make(cls, *, trust_domain: str, tenant: str, agent: str, role: str) -> SpiffeId:
        """Check each part. Raises BadInput."""
        made = cls(
            _domain(trust_domain), _segment(tenant, "tenant"), _segment(agent, "agent"), _segment(role, "role")
        )
        if len(str(made)) > MAX_ID_BYTES:
            raise BadInput("the SPIFFE ID is longer than 2048 bytes", code="bad_spiffe_id")
        return made

    @classmethod
    def parse(cls, text: str) -> SpiffeId:
        """Parse the whole text, or raise BadInput."""
        found = AnyId.parse(text)
        if len(found.path) != 6 or found.path[::2] != ("tenant", "agent", "role"):
            raise BadInput(
                f"{text[:80]!a} is not spiffe://<domain>/tenant/<t>/agent/<a>/role/<r>", code="bad_spiffe_id"
            )
        return cls(found.trust_domain, found.path[1], found.path[3], found.path[5])

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/tenant/{self.tenant}/agent/{self.agent}/role/{self.role}"
