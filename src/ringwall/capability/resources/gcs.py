"""Buckets and objects of Google Cloud Storage: ``bucket`` or ``bucket/object``, also with ``gs://`` in front."""

from __future__ import annotations

from typing import Final

from ringwall.capability.resources import bucket as shared
from ringwall.capability.resources.text import Canonical, bad

_WHAT: Final = "gcs"
_ALLOWED: Final = shared.ALNUM | {".", "-", "_"}
_MAX_PART: Final = 63  # of a bucket's name, between dots
_MAX_BUCKET: Final = 222  # with dots
_HOSTS: Final = ("storage.googleapis.com", "storage.cloud.google.com")


def canonical(text: str) -> Canonical:
    """Give the one spelling of a bucket or object. Raises BadInput."""
    written, bucket, tail = shared.read(text, _WHAT, "gs://")
    if tail == "/":
        raise bad(_WHAT, text, "names no object; the bucket itself has no slash")
    _check(bucket, text)
    return shared.canonical(bucket, tail, written, _WHAT)


def _check(bucket: str, text: str) -> None:
    if not 3 <= len(bucket) <= _MAX_BUCKET or not set(bucket) <= _ALLOWED \
            or not {bucket[0], bucket[-1]} <= shared.ALNUM:
        raise bad(_WHAT, text, "has a bucket that is not lower-case letters, digits, dots, hyphens and underscores")
    if any(not 0 < len(part) <= _MAX_PART for part in bucket.split(".")) or shared.looks_like_address(bucket):
        raise bad(_WHAT, text, "has a bucket with an empty or long part, or one like an IP address")
    if bucket.startswith("goog") or bucket.endswith(_HOSTS):
        raise bad(_WHAT, text, "has a host for its bucket, or a name that Google keeps")


def pattern(text: str) -> tuple[Canonical, bool]:
    """``b`` is the bucket, ``b/`` all its objects, ``b/2026/`` those below, ``b/k`` one object. Raises BadInput."""
    if not text.endswith("/"):
        return canonical(text), False
    found = canonical(f"{text}x")
    return Canonical(found.id[:-1], found.key[:-1]), True
