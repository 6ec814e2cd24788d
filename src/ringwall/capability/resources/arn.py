"""ARNs of AWS: ``arn:partition:service:region:account:resource``, compared part by part.

The resource part is cut behind each ``/`` and ``:``, and its pieces keep what they end with:
``arn:aws:s3:::team-1/a/b`` is ``("aws", "s3", "", "", "team-1/", "a/", "b")``. So ``team-1/`` covers neither
``team-10/x`` nor the bucket itself. There are no wildcards: those of IAM cross ``/``, those of others do not.
"""

from __future__ import annotations

import string
from typing import Final

from ringwall.capability.resources.text import Canonical, bad, clean, pieces, plainly

MAX_ARN: Final = 2048  # IAM's own limit is 1600; an S3 key of 1024 bytes needs more than half of it
_WHAT: Final = "arn"
_LOWER: Final = frozenset(string.ascii_lowercase + string.digits + "-")
_FIELDS: Final = ("partition", "service", "region", "account")
_REQUIRED: Final = frozenset({"partition", "service"})


def canonical(text: str) -> Canonical:
    """Give the one spelling of an ARN. Raises BadInput."""
    return Canonical(text, _key(text))


def _key(text: str) -> tuple[str, ...]:
    plainly(clean(text, _WHAT, MAX_ARN), _WHAT, never="*?\\")
    scheme, *fields = text.split(":", 5)
    if scheme != "arn" or len(fields) != 5:
        raise bad(_WHAT, text, "is not arn:partition:service:region:account:resource")
    for name, field in zip(_FIELDS, fields, strict=False):
        if not set(field) <= _LOWER or (not field and name in _REQUIRED):
            raise bad(_WHAT, text, f"has no plain lower-case {name}")
    if not fields[0].startswith("aws"):
        raise bad(_WHAT, text, "has a partition that is not AWS's")
    if fields[3].isdigit() and len(fields[3]) != 12:
        raise bad(_WHAT, text, "has an account that is not twelve digits")
    if "${" in fields[4]:
        raise bad(_WHAT, text, "holds a variable of IAM")
    return (*fields[:4], *_resource(fields[4], fields[1], text))


def _resource(resource: str, service: str, text: str) -> tuple[str, ...]:
    found = pieces(resource, "/:")
    before = "/" if service != "apigateway" else ""  # arn:aws:apigateway:eu-west-1::/restapis/abc
    for piece in found:
        if piece == ":" or (piece == "/" and before[-1:] == "/"):
            raise bad(_WHAT, text, "has an empty part")
        if piece.rstrip("/:") in {".", ".."}:
            raise bad(_WHAT, text, "has a '.' or '..' part")
        before = piece
    if found in {(), ("/",)} or before.endswith(":"):
        raise bad(_WHAT, text, "names no resource")
    return found


def pattern(text: str) -> tuple[Canonical, bool]:
    """``aws:s3:::team-1/a`` (behind ``arn:``) is one resource, ``aws:s3:::team-1/`` all below; so is
    ``…:function:``. Raises BadInput.
    """
    whole = f"arn:{text}"
    if whole.count(":") < 6 and whole.endswith(":"):
        raise bad(_WHAT, whole, "names every resource of a service")
    # A resource never ends with a colon, so then the rest is read with a stand-in behind it.
    key = _key(f"{whole}x")[:-1] if whole.endswith(":") else _key(whole)
    return Canonical(text, key), whole.endswith(("/", ":"))
