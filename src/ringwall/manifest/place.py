"""Where a manifest or policy may lie: nowhere that an agent, or anybody else, could rewrite it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from ringwall.errors import ManifestError
from ringwall.manifest.types import Manifest

MAX_LINKS: Final = 40  # more symbolic links Linux does not follow (path_resolution(7))
OVERFLOW_UID: Final = 65534  # how a user namespace shows owners it does not map (proc(5), overflowuid)


def writable_folders(manifest: Manifest) -> tuple[Path, ...]:
    """The folders that agents and tool servers of this manifest can write."""
    servers = [path for server in manifest.tools.values() for path in server.writable]
    agents = [agent.work for tenant in manifest.tenants.values() for agent in tenant.agents.values() if agent.work]
    return (*agents, *servers)


def check_place(path: Path, writable: Sequence[Path]) -> None:
    """Check that nobody but its owner can change the file at ``path``.

    Args:
        path: a manifest or policy file; symbolic links are followed, and each place they lead over is checked.
        writable: folders that agents or tool servers can write.

    Raises:
        ManifestError: the file lies in such a folder; it or its folder may be written by everybody or belongs to
            another user than root or this one; a folder above it is open to everybody without the sticky bit; it
            has a second name; it cannot be looked at.

    """
    try:
        problems = [*_in_writable(path, writable), *_open_to_others(path)]
    except OSError as error:
        problems = [f"cannot be looked at: {error.strerror}"]
    if problems:
        raise ManifestError(tuple(f"{path}\n  {problem}" for problem in dict.fromkeys(problems)),
                            remedy="keep it in a folder that only you can write")


def _in_writable(path: Path, writable: Sequence[Path]) -> Iterable[str]:
    for place in _places(path):
        for folder in writable:
            if place.is_relative_to(folder) or place.is_relative_to(os.path.realpath(folder)):
                yield f"lies in {folder}, which an agent or tool server can write"


def _open_to_others(path: Path) -> Iterable[str]:
    found = path.stat()
    if found.st_mode & stat.S_IWOTH:
        yield "everybody can write it (mend: chmod o-w)"
    if found.st_nlink > 1:
        yield "has a second name (a hard link), perhaps where an agent can write"
    if found.st_uid not in {0, os.geteuid()}:
        yield f"belongs to another user (uid {found.st_uid})"
    for place in _places(path):
        for number, folder in enumerate(place.parents):
            yield from _folder(folder, nearest=number == 0)


def _folder(folder: Path, *, nearest: bool) -> Iterable[str]:
    found = folder.stat()
    sticky = bool(found.st_mode & stat.S_ISVTX) and not nearest  # in /tmp nobody replaces the folders of others
    if found.st_mode & stat.S_IWOTH and not sticky:
        yield f"everybody can write its folder {folder}"
    if found.st_uid not in {0, os.geteuid()} and not (found.st_uid == OVERFLOW_UID and not nearest):
        yield f"its folder {folder} belongs to another user (uid {found.st_uid})"


def _places(path: Path) -> list[Path]:
    """The name as given and every name its links lead over: who writes any of them chooses the file."""
    places = [Path(os.path.normpath(path.absolute()))]
    while len(places) < MAX_LINKS and places[-1].is_symlink():
        target = places[-1].parent / places[-1].readlink()
        places.append(Path(os.path.normpath(target)))
    return list(dict.fromkeys([*places, Path(os.path.realpath(path, strict=True))]))
