"""What S3 and Google Cloud Storage share: a bucket, and a key whose ``/`` are only a habit of its readers.

``reports/2026/a.csv`` is ``("reports/", "2026/", "a.csv")``: each piece keeps its slash, so that
``reports/2026/`` covers neither the object ``reports/2026`` nor the bucket ``reports`` itself.
"""

from __future__ import annotations

import string
from typing import Final

from ringwall.capability.resources.text import Canonical, bad, clean, pieces, plainly

MAX_KEY: Final = 1024  # bytes of UTF-8, in both services
MAX_TEXT: Final = MAX_KEY + 256  # the scheme and the longest bucket before it
# Wildcards and versions of some readers' own: gs://b/o#1, s3://b/k?versionId=1, and globs.
_NEVER: Final = "*?[]#\\"
ALNUM: Final = frozenset(string.ascii_lowercase + string.digits)


def read(text: str, what: str, scheme: str) -> tuple[str, str, str]:
    """The scheme if it was written, the bucket, and all behind it with its slash. Raises BadInput."""
    plainly(clean(text, what, MAX_TEXT), what, never=_NEVER)
    rest = text.removeprefix(scheme)
    if "://" in rest:
        raise bad(what, text, f"is a URL of another kind; write {scheme}bucket/key")
    bucket, slash, key = rest.partition("/")
    if len(key.encode()) > MAX_KEY:
        raise bad(what, text, f"has a key of more than {MAX_KEY} bytes")
    return text[:len(text) - len(rest)], bucket, slash + key


def canonical(bucket: str, tail: str, written: str, what: str) -> Canonical:
    """Put a bucket that was checked and a key together. Raises BadInput for a key that is read in two ways.

    Args:
        bucket: its name.
        tail: empty, or a slash and the key; a slash alone is the bucket with nothing said of its objects.
        written: the scheme that was written: what is called gets it as it was.
        what: the kind, for errors.

    """
    text = bucket + tail
    found = pieces(text, "/")
    for piece in found[1:]:
        name = piece.removesuffix("/")
        if name in {"", ".", ".."}:
            raise bad(what, text, "has an empty, '.' or '..' part, which some readers fold away")
        if name != name.strip():
            raise bad(what, text, "has a part that begins or ends with a space")
    return Canonical(text, found, written + text if written else "")


def looks_like_address(bucket: str) -> bool:
    """Four numbers with dots, which both services refuse."""
    parts = bucket.split(".")
    return len(parts) == 4 and all(part.isdigit() for part in parts)
