"""The session policy of one credential: what AWS shall allow of all that the role may do.

What is compiled allows exactly what the details say, or nothing is. It is one line without a space, because some
token services read the form that it is sent in without undoing ``+``.

Source: IAM User Guide, "Grammar of the IAM JSON policy language", "Session policies".
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ringwall.manifest.details import Detail
from ringwall.vault.brokers.interface import refused

MAX_POLICY: Final = 2048  # characters in clear, AssumeRoleWithWebIdentity's ``Policy``
_OBJECTS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {"get": ("read", "s3:GetObject"), "put": ("write", "s3:PutObject")})
_LIST: Final = "s3:ListBucket"
_BUCKET: Final = frozenset(string.ascii_lowercase + string.digits + ".-")
_NEVER: Final = ("*", "?", "${", "\\")
"""What IAM does not take literally in a resource or a condition."""


@dataclass(frozen=True, slots=True)
class _Place:
    bucket: str
    key: str  # empty: the bucket itself
    below: bool  # all that begins with key, which ends in a slash or is empty


def compile(details: Sequence[Detail], partition: str) -> str:  # noqa: A001 (what it does)
    """The policy.

    Args:
        details: all that the credential may be good for; each a ``server/get``, ``/put`` or ``/list``.
        partition: of AWS: ``aws``, ``aws-cn``, ...

    Raises:
        Refused: ``scope_empty``: nothing is named. ``scope_inexpressible``: something that no policy says, or that
            one would say more with. ``scope_too_large``.

    """
    allowed: dict[str, set[str]] = {}
    prefixes: dict[str, set[str]] = {}
    if not details:
        raise refused("scope_empty", "nothing is named that a credential could be for")
    for detail in details:
        verb = _verb(detail)
        for location in detail.locations:
            place = _place(location)
            if verb == "list":
                prefixes.setdefault(f"arn:{partition}:s3:::{place.bucket}", set()).add(_listed(place))
            else:
                allowed.setdefault(_OBJECTS[verb][1], set()).add(_objects(place, partition))
    text = _text(allowed, prefixes)
    if len(text) > MAX_POLICY:
        raise refused("scope_too_large", f"the session policy has {len(text)} characters; AWS takes {MAX_POLICY}")
    return text


def _text(allowed: Mapping[str, set[str]], prefixes: Mapping[str, set[str]]) -> str:
    by_resources: dict[tuple[str, ...], list[str]] = {}
    for action, resources in sorted(allowed.items()):
        by_resources.setdefault(tuple(sorted(resources)), []).append(action)
    by_prefixes: dict[tuple[str, ...], list[str]] = {}
    for bucket, listed in sorted(prefixes.items()):
        by_prefixes.setdefault(tuple(sorted(listed)), []).append(bucket)
    statements: list[dict[str, object]] = [
        {"Effect": "Allow", "Action": actions, "Resource": named} for named, actions in by_resources.items()]
    for listed, buckets in by_prefixes.items():
        condition = {"StringLike": {"s3:prefix": listed}}
        statements.append({"Effect": "Allow", "Action": _LIST, "Resource": buckets, "Condition": condition})
    text = json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))
    return text.replace(" ", "\\u0020")  # only in names is one left


def _verb(detail: Detail) -> str:
    verb = detail.identifier.rpartition("/")[2]
    effect = "read" if verb == "list" else _OBJECTS.get(verb, ("", ""))[0]
    if not effect or effect not in detail.actions:
        raise refused("scope_inexpressible", f"{detail.identifier} is none of get, put and list of an S3")
    if detail.max:
        raise refused("scope_inexpressible", f"a session policy bounds no argument of {detail.identifier}")
    if not detail.locations:
        raise refused("scope_empty", f"no bucket and no object is named for {detail.identifier}")
    return verb


def _place(location: str) -> _Place:
    kind, _, name = location.partition(":")
    if kind != "s3":
        raise refused("scope_inexpressible", f"{location[:80]!a} names no bucket or object as s3:bucket/key")
    bucket, slash, key = name.removeprefix("s3://").partition("/")
    if not 3 <= len(bucket) <= 63 or not _BUCKET.issuperset(bucket):
        raise refused("scope_inexpressible", f"{location[:80]!a} has no plain bucket")
    if any(one in key for one in _NEVER) or not key.isprintable():
        raise refused("scope_inexpressible", f"{location[:80]!a} has what a policy does not take literally")
    return _Place(bucket, key, bool(slash) and (not key or key.endswith("/")))


def _objects(place: _Place, partition: str) -> str:
    if not place.key and not place.below:
        raise refused("scope_inexpressible", f"s3:{place.bucket} is a bucket, where an object is meant")
    return f"arn:{partition}:s3:::{place.bucket}/{place.key}{'*' if place.below else ''}"


def _listed(place: _Place) -> str:
    """A value of ``s3:prefix``. Without a slash it would show what only begins like it: ``team-1``, ``team-10``."""
    if place.key and not place.below:
        raise refused("scope_inexpressible", f"s3:{place.bucket}/{place.key[:60]} ends in no slash, and a listing "
                      "shows all that begins so")
    return f"{place.key}*" if place.below else ""
