"""Buckets and objects of S3: ``bucket`` or ``bucket/key``, also with ``s3://`` in front.

A URL of the service (``https://bucket.s3…``) is not accepted: the host part has many spellings.
"""

from __future__ import annotations

from typing import Final

from ringwall.capability.resources import bucket as shared
from ringwall.capability.resources.text import Canonical, bad

_WHAT: Final = "s3"
_ALLOWED: Final = shared.ALNUM | {".", "-"}
# Other names of a bucket (an access point's alias, an Object Lambda, a multi-region access point), and what the
# service keeps for itself.
_PREFIXES: Final = ("xn--", "sthree-", "amzn-s3-demo-")
_SUFFIXES: Final = ("-s3alias", "--ol-s3", ".mrap", "--table-s3", ".amazonaws.com", ".amazonaws.com.cn")


def canonical(text: str) -> Canonical:
    """Give the one spelling of a bucket or object. Raises BadInput."""
    written, bucket, tail = shared.read(text, _WHAT, "s3://")
    if tail == "/":
        raise bad(_WHAT, text, "names no object; the bucket itself has no slash")
    _check(bucket, text)
    return shared.canonical(bucket, tail, written, _WHAT)


def _check(bucket: str, text: str) -> None:
    if not 3 <= len(bucket) <= 63 or not set(bucket) <= _ALLOWED or not {bucket[0], bucket[-1]} <= shared.ALNUM:
        raise bad(_WHAT, text, "has a bucket that is not 3 to 63 lower-case letters, digits, dots and hyphens")
    if ".." in bucket or shared.looks_like_address(bucket):
        raise bad(_WHAT, text, "has a bucket with two dots in a row, or one like an IP address")
    if bucket.startswith(_PREFIXES) or bucket.endswith(_SUFFIXES):
        raise bad(_WHAT, text, "has a host or an alias for its bucket; write the bucket's own name")


def pattern(text: str) -> tuple[Canonical, bool]:
    """``b`` is the bucket, ``b/`` all its objects, ``b/2026/`` those below, ``b/k`` one object. Raises BadInput."""
    if not text.endswith("/"):
        return canonical(text), False
    found = canonical(f"{text}x")
    return Canonical(found.id[:-1], found.key[:-1]), True
