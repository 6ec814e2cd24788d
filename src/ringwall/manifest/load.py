"""Reading ``ringwall.toml``: strict, whole, and with every fault named at once."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from types import MappingProxyType
from typing import cast

from ringwall.manifest.build import Builder
from ringwall.manifest.layout_tools import BUILTINS
from ringwall.manifest.problems import Problems
from ringwall.manifest.references import PatternCheck, References
from ringwall.manifest.text import read, tables
from ringwall.manifest.types import Manifest, ToolServer


def load(path: Path, *, check_pattern: PatternCheck | None = None) -> Manifest:
    """Read and check the manifest at ``path``.

    Args:
        path: the file; relative paths in it start at its folder.
        check_pattern: checks one resource pattern by its kind's grammar and raises BadInput; None: only the
            kind's name is checked.

    Raises:
        ManifestError: with one problem for every fault found.

    """
    return parse(read(path), path, check_pattern=check_pattern)


def parse(text: str, path: Path, *, check_pattern: PatternCheck | None = None) -> Manifest:
    """Check the text of a manifest that is, or would be, at ``path``. Arguments and errors as for ``load``."""
    where = path.absolute()
    parsed = tables(text, where)
    problems = Problems(where.name)
    builder = Builder(where.parent, problems)
    manifest = cast("Manifest", builder.record(Manifest, parsed, (), path=where,
                                               revision=hashlib.sha256(text.encode()).hexdigest()))
    manifest = _with_builtins(manifest, problems)
    References(manifest, problems, check_pattern).check()
    problems.raise_if_any()
    return manifest


def _with_builtins(manifest: Manifest, problems: Problems) -> Manifest:
    """Give each built-in server the operations that come with it."""
    servers: dict[str, ToolServer] = {}
    for name, server in manifest.tools.items():
        servers[name] = server
        if not server.builtin:
            continue
        if server.ops or server.read_only or server.writable:
            problems.add(("tools", name), "a builtin server brings its own operations and sees no files",
                         fix="remove ops, read_only and writable")
        servers[name] = dataclasses.replace(server, ops=BUILTINS[server.builtin])
    return dataclasses.replace(manifest, tools=MappingProxyType(servers))
