"""What Ringwall depends on: locked with hashes, named with a reason, under a licence that allows it."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

from packaging.markers import Marker  # pytest's own dependency

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ("requirements.txt", "requirements-dev.txt", "requirements-bench.txt")
PERMISSIVE = re.compile(r"MIT|MIT-0|BSD|Apache|PSF|MPL|Mozilla|Python Software Foundation")
COPYLEFT = re.compile(r"\bA?GPL|Affero|GNU General")
_PIN = re.compile(r"^([a-z0-9-]+)==(\S+) ; ([^\\\n]+)", re.MULTILINE)


def name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def declared() -> dict[str, set[str]]:
    """Names in pyproject.toml by the lock that must hold them."""
    run = [*PROJECT["project"]["dependencies"],
           *PROJECT["dependency-groups"]["build"]]
    return {LOCKS[0]: {name(one) for one in run},
            LOCKS[1]: {name(one) for one in [*run, *PROJECT["dependency-groups"]["dev"]]},
            LOCKS[2]: {name(one) for one in PROJECT["dependency-groups"]["bench"]}}


def locked(lock: str) -> dict[str, str]:
    return {package: version for package, version, _ in _PIN.findall((ROOT / lock).read_text())}


def wanted_here() -> dict[str, str]:
    """What the development lock pins for this Python."""
    pins = _PIN.findall((ROOT / LOCKS[1]).read_text())
    return {package: version for package, version, marker in pins if Marker(marker.strip()).evaluate()}


def licence(package: str) -> str:
    found = importlib.metadata.metadata(package)
    classifiers = [line for line in found.get_all("Classifier") or [] if line.startswith("License")]
    stated = " ".join([found.get("License-Expression") or found.get("License") or "", *classifiers]).strip()
    return stated or shipped(package)


def shipped(package: str) -> str:
    """Of a package that says nothing about its licence but brings its text."""
    texts = [file.read_text() for file in importlib.metadata.files(package) or () if file.name == "LICENSE"]
    return "MIT" if any("Permission is hereby granted, free of charge" in text for text in texts) else ""


def test_every_dependency_is_locked_and_both_locks_agree() -> None:
    for lock, names in declared().items():
        assert names <= set(locked(lock)), lock
    runs = locked(LOCKS[0])
    assert runs.items() <= locked(LOCKS[1]).items()


def test_every_line_of_a_lock_is_a_pin_or_a_hash_and_every_pin_has_one() -> None:
    for lock in LOCKS:
        lines = (ROOT / lock).read_text().splitlines()
        for line, after in zip(lines, [*lines[1:], ""], strict=True):
            if _PIN.match(line):
                assert after.startswith("    --hash=sha256:"), line
            else:
                assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?|#.*", line), line


def test_the_versions_installed_here_are_the_locked_ones() -> None:
    for package, version in wanted_here().items():
        assert importlib.metadata.version(package) == version, f"{package}: run make dev"


def test_every_licence_is_a_permissive_one() -> None:
    for package in wanted_here():
        assert PERMISSIVE.search(licence(package)), package
        assert not COPYLEFT.search(licence(package)), package


def test_the_page_on_dependencies_names_each_declared_one_with_its_licence() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \|", (ROOT / "docs" / "dependencies.md").read_text(),
                      re.MULTILINE)
    rivals = {name(one) for one in PROJECT["dependency-groups"]["bench"]}
    assert {name(package) for package, _, _ in rows} == declared()[LOCKS[1]] | rivals
    for package, why, stated in rows:
        assert len(why) > 20, package
        if name(package) in rivals:  # `make full` alone installs them
            continue
        first = re.split(r"[ -]", stated.strip())[0]
        assert first in licence(package), f"{package}: {stated} is not {licence(package)}"
