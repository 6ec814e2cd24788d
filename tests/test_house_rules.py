"""The rules of the house that a machine can check."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
MAX_LINES = 400  # beyond that a file is several things

# What each package may import besides itself: DESIGN.md section 4. A name that ends in "." is a whole package.
CORE = ("call", "errors", "clock", "interface", "regex")
SHARED = (*CORE, "hidden", "identity.spiffe", "manifest.types", "manifest.audiences", "manifest.details",
          "manifest.peers", "wire.")
"""Besides these, each package's interface.py."""
EVERYTHING = ("",)
SDK: tuple[str, ...] = ("errors", "_client", "_secret", "aio")  # what an agent imports: nothing of the runtime
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "": SDK, "_client": SDK, "_secret": SDK, "aio": SDK,
    "errors": (), "clock": (), "regex": (), "hidden": ("errors",),
    "call": ("identity.spiffe", "errors"),
    "interface": CORE,
    "running": CORE,
    "refusing": CORE,
    "wall": (*CORE, "running", "refusing"),
    "wire": CORE,
    "manifest": SHARED,
    "identity": SHARED, "capability": SHARED, "limits": SHARED, "flow": SHARED, "policy": SHARED, "audit": SHARED,
    "approvals": SHARED, "keys": SHARED, "confine": SHARED, "telemetry": SHARED, "store": SHARED,
    # Brokers ask providers with the sidecar's HTTP client.
    "vault": (*SHARED, "tools.addresses", "tools.authorities", "tools.builtins.amazon", "tools.outside"),
    # One link to the sidecar carries tools and peers.
    "tools": (*SHARED, "peers.protocol"),
    "peers": (*SHARED, "manifest.peers", "tools.", "identity.svid."),
    # The guard's service confines itself further once it is loaded.
    "guard": (*SHARED, "confine."),
    # Model calls travel over the tenant's sidecar, whose frames belong to tools.
    "models": (*SHARED, "tools.echo", "tools.protocol", "tools.sidecar_client",
               # and so does the sidecar's HTTP client
               "tools.addresses", "tools.authorities", "tools.connections", "tools.http1", "tools.places"),
    # Doors hand calls to the wall and attest who asks; the client's limits are the door's.
    "doors": (*SHARED, "wall", "_client", "identity.operators", "identity.pidfd", "identity.registry",
              "identity.transport"),
    # Judges the log's calls again, with the rings' own code, outside the core.
    "explain": (*SHARED, "audit.", "capability.", "manifest.", "policy."),
    "runtime": EVERYTHING, "cli": EVERYTHING, "redteam": EVERYTHING,
}

# What others import or run by name, and nothing of ours imports.
ENTRY_POINTS = re.compile(r"(__main__|ringwall\.aio|ringwall\.redteam\.escape|ringwall\.redteam\.office\..+|"
                          r"ringwall\.redteam\.attacks\..+)$")

# In halves, because this file is checked too.
REGISTRIES = [half + "." + rest for half, rest in (
    ("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "com"), ("npmjs", "org"), ("proxy.golang", "org"),
    ("sum.golang", "org"), ("crates", "io"), ("maven", "org"), ("deb.debian", "org"), ("rubygems", "org"),
    ("docker", "io"), ("ghcr", "io"), ("quay", "io"))]


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """The package or top-level module below ``ringwall`` that a module belongs to; empty: the package itself."""
    return module.removeprefix("ringwall").strip(".").partition(".")[0]


SOURCES = {name_of(file): file for file in sorted(SRC.rglob("*.py"))}


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Each of our modules that a file imports, wherever in it, with the line."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: write imports in full"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield node.lineno, inner if inner in SOURCES else node.module or ""
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)


def allowed(room: str, module: str) -> bool:
    other = module.removeprefix("ringwall").strip(".")
    return (room_of(module) == room or other.endswith(".interface")
            or any(other == one or (one.endswith(".") and other.startswith(one)) or one == ""
                   or other == one.removesuffix(".") for one in MAY_IMPORT[room]))


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, text=True, check=False)
    names = listed.stdout.split("\0") if listed.returncode == 0 else []
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_dependencies_point_inward() -> None:
    wrong = [f"{SOURCES[module].relative_to(ROOT)}:{line}: {room_of(module) or 'ringwall'} may not import {other}"
             for module, file in SOURCES.items() for line, other in imports(file)
             if other.partition(".")[0] == "ringwall" and not allowed(room_of(module), other)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("room", "module", "right"), [
    ("flow", "ringwall.call", True), ("flow", "ringwall.flow.labels", True), ("flow", "ringwall.wire.strict", True),
    ("flow", "ringwall.keys.interface", True), ("flow", "ringwall.keys.file", False),
    ("flow", "ringwall.runtime.core", False), ("", "ringwall.call", False), ("call", "ringwall.wall", False),
    ("runtime", "ringwall.keys.file", True), ("wire", "ringwall.wall", False), ("flow", "ringwall.callx", False),
])
def test_the_dependency_rule_can_tell_right_from_wrong(room: str, module: str, right: bool) -> None:
    assert allowed(room, module) is right


def test_every_room_has_a_rule_and_every_rule_a_room() -> None:
    assert {room_of(module) for module in SOURCES} == set(MAY_IMPORT)


def test_every_module_is_imported_or_an_entry_point() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].values()
    used = {other for module, file in SOURCES.items() for _, other in imports(file) if other != module}
    used |= {script.partition(":")[0] for script in scripts}
    started = "\n".join(file.read_text() for file in SOURCES.values())  # modules run with -m, by their name
    dead = [module for module, file in SOURCES.items()
            if file.name != "__init__.py" and module not in used and not ENTRY_POINTS.search(module)
            and f'"{module}"' not in started]
    assert not dead, f"nothing imports {', '.join(dead)}"


def test_no_source_file_is_too_long() -> None:
    long = [f"{module} ({lines} lines)" for module, file in SOURCES.items()
            if (lines := len(file.read_text().splitlines())) > MAX_LINES]
    assert not long, ", ".join(long)


def test_no_file_names_a_registry() -> None:
    files = tracked()
    assert files or not (ROOT / ".git").exists()
    found = [f"{file.relative_to(ROOT)}: {host}" for file in files for host in REGISTRIES
             if host.encode() in file.read_bytes()]
    assert not found, "\n".join(found)


def test_untrusted_texts_meet_no_backtracking_engine() -> None:
    """``re`` runs on texts of ours only: these rooms see what agents, tools and models write."""
    rooms = {"guard", "flow", "capability", "wire"}
    found = [f"{file.relative_to(ROOT)}:{line}" for module, file in SOURCES.items() if room_of(module) in rooms
             for line, other in imports(file) if other == "re"]
    assert not found, "\n".join(found)


def test_scripts_are_executable_and_parse() -> None:
    for script in [*(ROOT / "scripts").glob("*.sh"), ROOT / ".ci" / "run"]:
        assert script.stat().st_mode & 0o111, script
        assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0, script
