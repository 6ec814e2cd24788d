"""What one secret's mark says, and what a new version or another state makes of it."""

from __future__ import annotations

from collections.abc import Mapping

from ringwall.errors import BadInput
from ringwall.vault.contents import Change
from ringwall.vault.interface import Owner
from ringwall.vault.schema import KEPT_VERSIONS, Entry, Mark, Path, State, Version

NOTHING_YET = Mark(high=0, versions=())  # of a path that never had a version; never stored


def picked(path: Path, mark: Mark | None, number: int | None) -> Version:
    """The version to read; None: the newest. Raises BadInput (``no_such_secret``, ``secret_deleted``,
    ``secret_destroyed``)."""
    version = _found(path, mark or NOTHING_YET, mark.high if mark and number is None else number or 0)
    match version.state:
        case "live":
            return version
        case "deleted":
            raise BadInput(f"version {version.number} of {path} was deleted", code="secret_deleted",
                           remedy="`ringwall vault undelete`, or put a new version")
        case "destroyed":
            raise _destroyed(path, version.number)


def added(path: Path, mark: Mark, version: Version) -> tuple[Mark, tuple[tuple[Path, int], ...]]:
    """The mark with a new version, and the old ones that it has no place for any more."""
    dropped, kept = mark.versions[:1 - KEPT_VERSIONS], mark.versions[1 - KEPT_VERSIONS:]
    new = Mark(high=version.number, versions=(*kept, version))
    return new, tuple((path, old.number) for old in dropped)


def turned(path: Path, mark: Mark | None, number: int, state: State) -> Change | None:
    """The change that gives a version a state; None: it has it. Raises BadInput (``no_such_secret``,
    ``secret_destroyed``)."""
    mark = mark or NOTHING_YET
    old = _found(path, mark, number)
    if old.state == state:
        return None
    if old.state == "destroyed":
        raise _destroyed(path, number)
    gone = state == "destroyed"
    new = Version(number=number, created=old.created, state=state, nonce=b"" if gone else old.nonce,
                  wrapped=b"" if gone else old.wrapped)
    versions = tuple(new if one.number == number else one for one in mark.versions)
    return Change(marks={path: Mark(high=mark.high, versions=versions)}, gone=((path, number),) if gone else ())


def listed(marks: Mapping[Path, Mark], tenant: str) -> list[Entry]:
    """All secrets of a tenant, or of all (empty), sorted."""
    return [
        Entry(owner=Owner(tenant=path.tenant, agent=path.agent, role=path.role), name=path.name,
              version=mark.high, state=mark.versions[-1].state)
        for path, mark in sorted(marks.items()) if not tenant or path.tenant == tenant
    ]


def no_such(path: Path) -> BadInput:
    """The error for what never was."""
    return BadInput(f"the vault has no such secret, or no such version of it: {path}", code="no_such_secret",
                    remedy="`ringwall vault list` names what there is; `ringwall vault put`")


def _found(path: Path, mark: Mark, number: int) -> Version:
    if not 1 <= number <= mark.high:
        raise no_such(path)
    for version in mark.versions:
        if version.number == number:
            return version
    raise _destroyed(path, number)  # older than those that are kept


def _destroyed(path: Path, number: int) -> BadInput:
    return BadInput(f"version {number} of {path} was destroyed", code="secret_destroyed",
                    remedy="put a new version; nothing brings this one back")
