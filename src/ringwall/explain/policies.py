"""The policies that recorded calls are judged by again, in this process: the one in force, or a draft."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from ringwall.call import Json
from ringwall.capability.resources import parse_pattern
from ringwall.manifest.types import Manifest
from ringwall.policy.build import need_compiler
from ringwall.policy.bundle.folder import read_folder
from ringwall.policy.bundle.make import make
from ringwall.policy.bundle.reading import load, open_bundle
from ringwall.policy.data import policy_data
from ringwall.policy.embedded import EmbeddedPolicy

Source: TypeAlias = Callable[[Json], EmbeddedPolicy]
"""A compiled policy that only lacks its base data. Raises PolicyError."""


def in_force(manifest: Manifest) -> Source:
    """The policy that this manifest names: its bundle, else the shipped one. Raises PolicyError.

    Where an OPA decides, its bundle is executed here: both mean the same.
    """
    settings = manifest.policy
    if settings.bundle is None:
        return EmbeddedPolicy.default
    return load(settings.bundle, keys=settings.keys, scope=settings.scope).policy


def draft(path: Path, environment: Mapping[str, str], *, whole: bool = False) -> Source:
    """A draft: a bundle, or a folder of Rego, which is built with opa.

    It decides nothing, so nobody need have signed it.

    Args:
        path: the file or folder.
        environment: names opa.
        whole: the folder is a policy of its own and not rules beside the shipped ones.

    Raises:
        PolicyError: it is no policy, or there is no opa.

    """
    return open_bundle(built(path, environment, whole=whole)).policy if path.is_dir() else load(path).policy


def built(folder: Path, environment: Mapping[str, str], *, whole: bool = False) -> bytes:
    """The bundle of a folder of Rego. Raises PolicyError."""
    return make(need_compiler(environment), read_folder(folder), whole=whole)


def policy(source: Source, manifest: Manifest) -> EmbeddedPolicy:
    """A policy with the manifest's grants as its data. Raises PolicyError."""
    return source(policy_data(manifest, parse_pattern))
