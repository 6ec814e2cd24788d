"""The shipped plan is what the real compiler makes of the shipped sources."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.policy.compile import the_opa

from ringwall.errors import PolicyError
from ringwall.policy.build import CAPABILITIES, SHIPPED, SOURCES, build, find_opa, revision


@pytest.mark.needs_opa
def test_the_shipped_plan_equals_a_fresh_build() -> None:
    assert build(the_opa(), SOURCES) == (SOURCES / SHIPPED).read_bytes()


@pytest.mark.needs_opa
def test_the_sources_are_formatted_and_strict() -> None:
    files = sorted(str(path) for path in SOURCES.glob("*.rego"))
    assert files
    assert subprocess.run([the_opa(), "fmt", "--list", *files], capture_output=True, check=True).stdout == b""
    subprocess.run([the_opa(), "check", "--strict", *files], check=True)


@pytest.mark.needs_opa
def test_a_policy_that_wants_the_network_or_does_not_compile_is_not_built(tmp_path: Path) -> None:
    shutil.copytree(SOURCES, tmp_path / "p")
    evil = tmp_path / "p" / "evil.rego"
    for body in ('p := http.send({"method": "get", "url": "x"})', "p :="):
        evil.write_text(f"package ringwall.evil\n{body}\n")
        with pytest.raises(PolicyError) as caught:
            build(the_opa(), tmp_path / "p")
        assert caught.value.code == "bad_policy" and "evil.rego" in caught.value.cause


def test_a_missing_or_different_compiler_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        build(str(tmp_path / "opa"), SOURCES)
    assert caught.value.code == "no_compiler"
    old = tmp_path / "opa"
    old.write_text("#!/bin/sh\necho Version: 1.2.3\n")
    old.chmod(0o700)
    with pytest.raises(PolicyError) as caught:
        build(str(old), SOURCES)
    assert caught.value.code == "wrong_compiler"


def test_opa_is_found_by_name_then_path_then_home(tmp_path: Path) -> None:
    home, path = tmp_path / "home" / "go" / "bin", tmp_path / "bin"
    for folder in (home, path):
        folder.mkdir(parents=True)
        (folder / "opa").write_text("#!/bin/sh\n")
        (folder / "opa").chmod(0o700)
    known = {"HOME": str(tmp_path / "home"), "PATH": str(path)}
    assert find_opa({**known, "RINGWALL_OPA": "/x/opa"}) == "/x/opa"
    assert find_opa(known) == str(path / "opa")
    assert find_opa({**known, "PATH": "/nowhere"}) == str(home / "opa")
    assert find_opa({"PATH": "/nowhere"}) is None


def test_the_revision_depends_on_every_source_the_capabilities_and_the_compiler() -> None:
    capabilities = (SOURCES / CAPABILITIES).read_bytes()
    one = revision({"a": b"x", "b": b"y"}, capabilities, "1")
    others = [revision({"a": b"xy", "b": b""}, capabilities, "1"),
              revision({"a": b"x", "c": b"y"}, capabilities, "1"), revision({"a": b"x", "b": b"y"}, b"{}", "1"),
              revision({"a": b"x", "b": b"y"}, capabilities, "2")]
    assert len({one, *others}) == 5
