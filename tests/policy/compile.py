"""Plans for the executor's tests: compiled by opa where it is there, or written by hand."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ringwall.policy.build import find_opa
from ringwall.policy.plan.loader import Plan


def the_opa() -> str:
    """The compiler, or skip (listed in tests/skips.toml as needs_opa)."""
    found = find_opa(os.environ)
    if found is None:
        pytest.skip("needs_opa: no opa found (RINGWALL_OPA, PATH, ~/go/bin)")
    return found


def compiled(rego: str, folder: Path) -> Plan:
    """Compile ``data.t.p`` of one module with the real opa."""
    return Plan(compiled_bytes(rego, folder))


def compiled_bytes(rego: str, folder: Path) -> bytes:
    """The plan of ``data.t.p`` of one module."""
    (folder / "t.rego").write_text(f"package t\n\n{rego}\n")
    subprocess.run([the_opa(), "build", "-t", "plan", "-e", "t/p", "-o", "out.tgz", "t.rego"], cwd=folder,
                   check=True, capture_output=True)
    with tarfile.open(folder / "out.tgz") as archive:
        member = archive.extractfile("/plan.json")
        assert member is not None
        return member.read()


def statement(kind: str, **fields: Any) -> Any:
    return {"type": kind, "stmt": {"file": 0, "col": 1, "row": 1, **fields}}


def local(number: int) -> Any:
    return {"type": "local", "value": number}


def block(*statements: Any) -> Any:
    return {"stmts": list(statements)}


def by_hand(*statements: Any, functions: tuple[Any, ...] = (), builtins: tuple[str, ...] = (),
            strings: tuple[str, ...] = ()) -> bytes:
    """A plan with one entry point ``e``."""
    return json.dumps({
        "static": {"strings": [{"value": text} for text in strings],
                   "builtin_funcs": [{"name": name, "decl": {}} for name in builtins]},
        "plans": {"plans": [{"name": "e", "blocks": [block(*statements)]}]},
        "funcs": {"funcs": list(functions)},
    }).encode()
