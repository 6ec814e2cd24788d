"""Compiles a policy with the real ``opa``: ``python -m ringwall.policy.build`` writes the shipped plan.

The result is one JSON document: OPA's plan, the compiler's version, the built-ins the policy may use, and a
revision over all that went in. The same sources give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from ringwall.errors import PolicyError

COMPILER: Final = "1.21.3"  # the one OPA whose plans are executed here; older ones have GHSA-g2pf-6v5v-qcc8
ENTRY_POINTS: Final = ("ringwall/decide/call", "ringwall/decide/list")
SOURCES: Final = Path(__file__).parent / "rego"
CAPABILITIES: Final = "capabilities.json"
SHIPPED: Final = "plan.json"
SECONDS: Final = 120.0  # opa takes 0.1 s; a machine under load may take a while


def find_opa(environment: Mapping[str, str]) -> str | None:
    """The opa to build with: ``RINGWALL_OPA``, then PATH, then ``~/go/bin``; None when there is none."""
    if named := environment.get("RINGWALL_OPA"):
        return named
    if found := shutil.which("opa", path=environment.get("PATH")):
        return found
    installed = Path(environment.get("HOME", "/nonexistent")) / "go" / "bin" / "opa"
    return str(installed) if os.access(installed, os.X_OK) else None


def run_opa(opa: str, *arguments: str, cwd: Path | None = None) -> str:
    """What opa prints. Raises PolicyError ``no_compiler``, or ``bad_policy`` with what it says."""
    try:
        done = subprocess.run([opa, *arguments], cwd=cwd, capture_output=True, text=True, timeout=SECONDS,
                              check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PolicyError(f"{opa} cannot be run: {error}", code="no_compiler",
                          remedy=f"install opa {COMPILER} and name it in RINGWALL_OPA") from error
    if done.returncode != 0:
        raise PolicyError(f"opa {arguments[0]}: {(done.stderr or done.stdout).strip()[:4000]}", code="bad_policy")
    return done.stdout


def opa_version(opa: str) -> str:
    """The compiler's version. Raises PolicyError when it cannot be run."""
    found = re.match(r"Version: (\S+)", run_opa(opa, "version"))
    return found.group(1) if found else "unknown"


def granted(capabilities: bytes) -> tuple[str, ...]:
    """The names of the built-ins in an OPA capabilities file, sorted."""
    tree = cast("dict[str, Any]", json.loads(capabilities))
    return tuple(sorted(item["name"] for item in tree["builtins"]))


def revision(sources: Mapping[str, bytes], capabilities: bytes, version: str) -> str:
    """SHA-256 over names and contents of the sources, the capabilities and the compiler's version."""
    parts = [version.encode(), capabilities, *(part for name in sorted(sources)
                                               for part in (name.encode(), sources[name]))]
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big") + part)
    return hashed.hexdigest()


def need_compiler(environment: Mapping[str, str]) -> str:
    """The opa to build with, of the right version. Raises PolicyError ``no_compiler`` or ``wrong_compiler``."""
    found = find_opa(environment)
    if found is None:
        raise PolicyError("there is no opa on this machine", code="no_compiler",
                          remedy=f"install opa {COMPILER} and name it in RINGWALL_OPA")
    check_compiler(found)
    return found


def check_compiler(opa: str) -> None:
    """Raises PolicyError ``no_compiler`` or ``wrong_compiler``."""
    version = opa_version(opa)
    if version != COMPILER:
        raise PolicyError(f"{opa} is version {version}", code="wrong_compiler", remedy=f"use opa {COMPILER}")


def compile_plan(opa: str, files: Mapping[str, bytes], capabilities: bytes) -> bytes:
    """OPA's plan of these files, in one spelling: sorted keys, no spaces.

    Args:
        opa: the compiler, checked.
        files: ``*.rego`` and at most a ``data.json`` at the root, by relative name.
        capabilities: which built-ins they may use.

    Raises:
        PolicyError: ``bad_policy``, it does not compile.

    """
    with tempfile.TemporaryDirectory(prefix="ringwall-policy-") as scratch:
        place = Path(scratch)
        write_files(place / "policy", files)  # a copy, so that opa sees these files and nothing beside them
        (place / CAPABILITIES).write_bytes(capabilities)
        run_opa(opa, "check", "--strict", "--bundle", "--capabilities", CAPABILITIES, "policy", cwd=place)
        points = [word for point in ENTRY_POINTS for word in ("-e", point)]
        run_opa(opa, "build", "-t", "plan", *points, "--capabilities", CAPABILITIES, "-b", "policy",
             "-o", "out.tar.gz", cwd=place)
        with tarfile.open(place / "out.tar.gz") as archive:
            member = archive.extractfile("/plan.json")
            plan = cast("dict[str, Any]", json.loads(member.read())) if member is not None else {}
    for file in plan.get("static", {}).get("files") or ():
        file["value"] = file["value"].removeprefix("policy/")
    return json.dumps(plan, sort_keys=True, separators=(",", ":")).encode()


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files below a folder that is made for them."""
    for name, content in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def shipped(sources: Path = SOURCES) -> dict[str, bytes]:
    """The sources of the policy that comes with Ringwall, by name."""
    return {path.name: path.read_bytes() for path in sorted(sources.glob("*.rego"))}


def document(plan: bytes, revision_: str, capabilities: bytes) -> bytes:
    """What ``EmbeddedPolicy`` loads: the plan with what it must be checked against."""
    head = {"opa": COMPILER, "revision": revision_, "builtins": granted(capabilities)}
    return json.dumps(head, sort_keys=True, separators=(",", ":")).encode()[:-1] + b',"plan":' + plan + b"}\n"


def build(opa: str, sources: Path) -> bytes:
    """Compile a folder of ``*.rego`` files with its ``capabilities.json``.

    Args:
        opa: the compiler, version 1.21.3.
        sources: the folder.

    Returns:
        what ``EmbeddedPolicy`` loads.

    Raises:
        PolicyError: no or another compiler, or the policy does not compile.

    """
    check_compiler(opa)
    capabilities = (sources / CAPABILITIES).read_bytes()
    texts = shipped(sources)
    return document(compile_plan(opa, texts, capabilities), revision(texts, capabilities, COMPILER), capabilities)


def main() -> int:
    """Write the plan that ships beside the default policy."""
    (SOURCES / SHIPPED).write_bytes(build(need_compiler(os.environ), SOURCES))
    return 0


if __name__ == "__main__":
    sys.exit(main())
