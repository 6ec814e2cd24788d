"""The folder a policy is written in: which files of it go into a bundle, which only into tests.

``*.rego`` but not ``*_test.rego``, and one ``data.json`` at the top, go in. Tests and call tables
(``*.calls.toml``, ``*.calls.json``) stay outside.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringwall.call import Json, as_object
from ringwall.errors import BadInput, PolicyError
from ringwall.policy.build import shipped
from ringwall.policy.bundle.archive import MAX_MEMBER, MAX_MEMBERS
from ringwall.wire import strict

DATA: Final = "data.json"
SITE: Final = "site/"  # where a site's files stand in its bundle, beside the shipped ones
TABLES: Final = (".calls.toml", ".calls.json")
MAX_DATA_VALUES: Final = 2_000_000  # of a data.json: 16 MiB of the smallest values


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What was found. Names are relative to the folder."""

    sources: Mapping[str, bytes]
    tests: Mapping[str, bytes]
    tables: tuple[Path, ...]
    data: dict[str, Json]

    def modules(self, *, whole: bool) -> dict[str, bytes]:
        """The Rego of the bundle: the folder's own, and unless ``whole`` the shipped files."""
        return dict(self.sources) if whole else {**shipped(), **self.placed()}

    def placed(self) -> dict[str, bytes]:
        """The folder's own Rego where it stands in the bundle of a site."""
        return {SITE + name: text for name, text in self.sources.items()}


def read_folder(folder: Path) -> Folder:
    """Read a policy's folder.

    Raises:
        PolicyError: ``policy_folder``: it cannot be read, holds links, special files or files that OPA would read
            and a bundle here has no place for; or its ``data.json`` is not an object of plain keys.

    """
    sources: dict[str, bytes] = {}
    tests: dict[str, bytes] = {}
    tables: list[Path] = []
    data: dict[str, Json] = {}
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if name.endswith("_test.rego"):
            tests[name] = _content(path)
        elif name.endswith(".rego"):
            sources[name] = _content(path)
        elif name.endswith(TABLES):
            tables.append(path)
        elif name == DATA:
            data = read_data(_content(path))
        elif path.name in {DATA, "data.yaml", "data.yml", "plan.json", ".manifest"}:
            raise _bad(f"{path} would be data or a plan of its own", f"put all data into {folder / DATA}")
    return Folder(sources=sources, tests=tests, tables=tuple(tables), data=data)


def read_data(raw: bytes) -> dict[str, Json]:
    """A bundle's own base data. Raises PolicyError ``policy_folder`` or ``bundle_owns_ringwall``."""
    try:
        found = as_object(strict.parse(raw, max_bytes=MAX_MEMBER, max_nodes=MAX_DATA_VALUES))
    except BadInput as error:
        raise _bad(f"{DATA}: {error.cause}", error.remedy) from error
    if found is None:
        raise _bad(f"{DATA} is not an object")
    for key in found:
        if key == "ringwall":
            raise PolicyError(f"{DATA} has the key \"ringwall\", whose data come from ringwall.toml",
                              code="bundle_owns_ringwall", remedy="use another key")
        if not key.replace("_", "a").replace("-", "a").isalnum() or not key.isascii():
            raise _bad(f"{DATA} has the key {key[:60]!a}", "letters, digits, '_' and '-' only")
    return found


def _files(folder: Path) -> list[Path]:
    """Every plain file below, in order. Names that begin with a dot are passed over."""
    found: list[Path] = []
    try:
        for place, folders, names in os.walk(folder, onerror=_raise, followlinks=False):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in [*folders, *sorted(names)]:
                path = Path(place) / name
                kind = path.lstat().st_mode
                if name.startswith(".") or stat.S_ISDIR(kind):
                    continue
                if not stat.S_ISREG(kind):
                    raise _bad(f"{path} is no plain file", "put the file itself there")
                found.append(path)
                if len(found) > MAX_MEMBERS:
                    raise _bad(f"{folder} has more than {MAX_MEMBERS} files", "give the folder of the policy only")
    except OSError as error:
        raise _bad(f"{error.filename}: {error.strerror}") from error
    return found


def _raise(error: OSError) -> None:
    raise error


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_MEMBER + 1)
    except OSError as error:
        raise _bad(f"{path}: {error.strerror}") from error
    if len(content) > MAX_MEMBER:
        raise _bad(f"{path} is larger than {MAX_MEMBER} bytes")
    return content


def _bad(cause: str, remedy: str = "") -> PolicyError:
    return PolicyError(cause, code="policy_folder", remedy=remedy)
