"""Reading a bundle: nothing of it is believed before all of it was checked."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from ringwall.call import Json
from ringwall.errors import BadInput, PolicyError
from ringwall.policy.build import CAPABILITIES, COMPILER, SOURCES, document, granted, revision
from ringwall.policy.bundle import archive, signature
from ringwall.policy.bundle.folder import DATA, read_data
from ringwall.policy.bundle.make import MANIFEST, PLAN
from ringwall.policy.bundle.signature import PublicKey
from ringwall.policy.embedded import EmbeddedPolicy
from ringwall.wire import strict

_NEEDED: Final = (MANIFEST, PLAN, DATA, CAPABILITIES)
_MAX_MANIFEST: Final = 256 << 10  # bytes; a thousand roots take less


class _How(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    opa: str
    plan: str


class _Metadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ringwall: _How


class _Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    revision: str
    roots: tuple[str, ...]
    rego_version: int
    metadata: _Metadata


class _Capability(msgspec.Struct, frozen=True):
    name: str


class _Capabilities(msgspec.Struct, frozen=True):
    builtins: tuple[_Capability, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle that passed every check but that its plan can be executed: that :meth:`policy` finds out."""

    revision: str
    compiled: bytes  # what EmbeddedPolicy takes
    data: dict[str, Json]
    sources: Mapping[str, bytes]
    signed_by: str  # the key's name; empty: the signature was not asked for

    def policy(self, base: Json) -> EmbeddedPolicy:
        """The policy, with the core's base data beside the bundle's own. Raises PolicyError."""
        return EmbeddedPolicy(self.compiled, {**self.data, **base})


def load(path: Path, *, keys: Sequence[Path] = (), scope: str = "") -> Bundle:
    """Read the bundle at ``path``. Raises PolicyError as :func:`open_bundle`, and ``bundle_unreadable``."""
    return open_bundle(read_file(path), keys=[PublicKey.load(key) for key in keys], scope=scope)


def open_bundle(raw: bytes, *, keys: Sequence[PublicKey] = (), scope: str = "") -> Bundle:
    """Check a bundle and take it apart.

    Args:
        raw: the archive.
        keys: with any, one of them must have signed it.
        scope: what it must have been signed for.

    Raises:
        PolicyError: what ``archive.read`` and ``signature.verify`` raise; ``bundle_incomplete``,
            ``bundle_bad_manifest``, ``bundle_bad_data``, ``bundle_owns_ringwall``, ``wrong_compiler``,
            ``unsupported_builtin``, or ``bundle_wrong_revision``: plan, sources and revision are not of one build.

    """
    files = archive.read(raw)
    signer = signature.verify(files, keys, scope=scope) if keys else ""
    if missing := [name for name in _NEEDED if name not in files]:
        raise _bad(f"lacks {missing[0]}", "bundle_incomplete")
    manifest = _manifest(files[MANIFEST])
    sources = {name: text for name, text in files.items() if name.endswith(".rego")}
    strange = sorted(set(files) - set(sources) - {*_NEEDED, signature.FILE})
    if strange:
        raise _bad(f"has {strange[0]}, which no bundle has", "bundle_bad_member")
    data = _data(files[DATA])
    capabilities = _capabilities(files[CAPABILITIES])
    counted = {**sources, **({DATA: files[DATA]} if data else {})}
    if manifest.revision != revision(counted, capabilities, manifest.metadata.ringwall.opa):
        raise _bad("has sources of another revision than its manifest says", "bundle_wrong_revision")
    if manifest.metadata.ringwall.plan != hashlib.sha256(files[PLAN]).hexdigest():
        raise _bad("has a plan of another revision than its manifest says", "bundle_wrong_revision")
    return Bundle(revision=manifest.revision, compiled=document(files[PLAN], manifest.revision, capabilities),
                  data=data, sources=sources, signed_by=signer)


def read_file(path: Path) -> bytes:
    """The bytes of a bundle's file: one read of a plain file. Raises PolicyError ``bundle_unreadable``."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # some devices act when they are opened: /dev/watchdog
            raise _unreadable(path, "it is no plain file")
        # O_NONBLOCK: opening a named pipe, if one stands there by now, would wait for its writer.
        with open(path, "rb", opener=lambda p, f: os.open(p, f | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _unreadable(path, "it is no plain file")
            return file.read(archive.MAX_PACKED + 1)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error


def _unreadable(path: Path, why: str) -> PolicyError:
    return PolicyError(f"the bundle {path} cannot be read: {why}", code="bundle_unreadable",
                       remedy="ringwall policy build DIR -o BUNDLE, and [policy] bundle names it")


def _manifest(raw: bytes) -> _Manifest:
    try:
        found = msgspec.convert(strict.parse(raw, max_bytes=_MAX_MANIFEST), _Manifest, strict=True)
    except (BadInput, msgspec.ValidationError) as error:
        raise _bad(f"has a bad manifest: {error}", "bundle_bad_manifest") from error
    how = found.metadata.ringwall
    if how.opa != COMPILER:
        raise PolicyError(f"the bundle's plan was compiled by opa {how.opa[:20]!a}", code="wrong_compiler",
                          remedy=f"build it with opa {COMPILER}")
    if any(root.strip("/") in {"", "ringwall"} for root in found.roots):
        raise _bad("says that it owns all data below \"ringwall\", which come from ringwall.toml",
                   "bundle_owns_ringwall")
    return found


def _data(raw: bytes) -> dict[str, Json]:
    try:
        return read_data(raw)
    except PolicyError as error:
        if error.code == "bundle_owns_ringwall":
            raise
        raise _bad(f"has bad data: {error.cause}", "bundle_bad_data") from error


def _capabilities(raw: bytes) -> bytes:
    try:
        named = {one.name for one in msgspec.convert(strict.parse(raw), _Capabilities).builtins}
    except (BadInput, msgspec.ValidationError) as error:
        raise _bad(f"has a bad {CAPABILITIES}: {error}", "bundle_bad_manifest") from error
    ours = set(granted((SOURCES / CAPABILITIES).read_bytes()))
    if more := sorted(named - ours):
        raise PolicyError(f"the bundle may use the built-in {more[0][:80]}, which policies here may not",
                          code="unsupported_builtin", remedy="compute it before the decision and pass it as a fact")
    return raw


def _bad(cause: str, code: str) -> PolicyError:
    return PolicyError(f"the bundle {cause}", code=code, remedy="build it again with `ringwall policy build`")
