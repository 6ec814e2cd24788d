"""Reading the manifest as the core and the command line do: strict, its patterns and its place checked."""

from __future__ import annotations

from pathlib import Path

from ringwall.capability.resources import parse_pattern
from ringwall.manifest.load import load
from ringwall.manifest.place import check_place, writable_folders
from ringwall.manifest.types import Manifest
from ringwall.vault.brokers.scopes import inexpressible


def read_manifest(path: Path) -> Manifest:
    """The manifest at ``path``. Raises ManifestError with every fault found."""
    manifest = load(path, check_pattern=parse_pattern, check_scope=inexpressible)
    check_place(path, writable_folders(manifest))
    return manifest
