"""Typed resources: one canonical spelling each, and the patterns that grants are written in.

A pattern is ``<type>:<value>``; a trailing slash makes it a subtree (of tables: a trailing dot, of ARNs: a colon
too), ``email:@x.example`` is a whole domain. There are no globs (they stop at different characters in every system
that has them), and no form for "any value": an argument that may be anything is declared without a kind in the
manifest, where the reviewer sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ringwall.call import Resource
from ringwall.capability.resources import arn, email, gcs, git, iban, identifier, k8s, path, s3, table, url
from ringwall.capability.resources.text import Canonical
from ringwall.errors import BadInput

__all__ = ["TYPES", "Canonical", "Pattern", "canonical", "covers", "parse_pattern"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """Which resources a grant covers: one (``subtree`` false), or all whose key begins with ``key``."""

    type: str
    key: tuple[str, ...]
    subtree: bool
    text: str  # the pattern's own canonical spelling, as facts and errors name it


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    canonical: Callable[[str], Canonical]
    pattern: Callable[[str], tuple[Canonical, bool]]


_OPAQUE: Final = _Kind(canonical=identifier.canonical, pattern=identifier.pattern)
_KINDS: Final[Mapping[str, _Kind]] = MappingProxyType({
    "path": _Kind(canonical=path.canonical, pattern=path.pattern),
    "url": _Kind(canonical=url.canonical, pattern=url.pattern),
    "email": _Kind(canonical=email.canonical, pattern=email.pattern),
    "iban": _Kind(canonical=iban.canonical, pattern=iban.pattern),
    "arn": _Kind(canonical=arn.canonical, pattern=arn.pattern),
    "s3": _Kind(canonical=s3.canonical, pattern=s3.pattern),
    "gcs": _Kind(canonical=gcs.canonical, pattern=gcs.pattern),
    "table": _Kind(canonical=table.canonical, pattern=table.pattern),
    "git": _Kind(canonical=git.canonical, pattern=git.pattern),
    "k8s": _Kind(canonical=k8s.canonical, pattern=k8s.pattern),
    "id": _OPAQUE, "name": _OPAQUE, "channel": _OPAQUE, "member": _OPAQUE, "payee": _OPAQUE,
})
TYPES: Final = frozenset(_KINDS)
"""Every resource type: what may stand after the colon of an argument's role, and before that of a pattern."""


def _kind(name: str) -> _Kind:
    kind = _KINDS.get(name)
    if kind is None:
        raise BadInput(f"there is no resource type {name[:40]!a}", code="unknown_resource_type",
                       remedy=f"one of {', '.join(sorted(TYPES))}")
    return kind


def canonical(type_name: str, text: str) -> Canonical:
    """Give the one spelling of a resource.

    Args:
        type_name: one of TYPES.
        text: the value as it was sent.

    Raises:
        BadInput: ``bad_argument`` if there is no one spelling, ``unknown_resource_type``.

    """
    return _kind(type_name).canonical(text)


def parse_pattern(text: str) -> Pattern:
    """Read one pattern of a grant, for instance ``path:/srv/docs/public/``.

    Raises:
        BadInput: ``bad_pattern`` or ``unknown_resource_type``.

    """
    type_name, colon, value = text.partition(":")
    if not colon:
        raise BadInput(f"{text[:80]!a} is not <type>:<value>", code="bad_pattern",
                       remedy="for instance path:/srv/docs/public/")
    kind = _kind(type_name)
    if "*" in value:
        raise BadInput(f"{text[:80]!a} holds '*': there are no globs", code="bad_pattern",
                       remedy="list what is needed; a trailing slash is a subtree, email:@domain a whole domain")
    try:
        found, subtree = kind.pattern(value)
    except BadInput as error:
        raise BadInput(error.cause, code="bad_pattern", remedy=error.remedy) from None
    spelled = f"{type_name}:{found.id}"
    return Pattern(type=type_name, key=found.key, subtree=subtree,
                   text=spelled + "/" if subtree and type_name == "path" else spelled)


def covers(pattern: Pattern, resource: Resource) -> bool:
    """Whether a pattern covers a resource: the same type, and the same key or one below it."""
    if pattern.type != resource.type:
        return False
    if pattern.subtree:
        return resource.key[:len(pattern.key)] == pattern.key
    return resource.key == pattern.key
