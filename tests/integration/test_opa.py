"""The same installation with an OPA that decides: by configuration alone, and nothing passes while it is down."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration import conftest
from tests.models.fake_upstream import Upstream
from tests.policy.compile import the_opa
from tests.policy.opa_process import running
from tests.stack import Stack, wait_for

from ringwall.policy.bundle.folder import read_folder
from ringwall.policy.bundle.make import make
from ringwall.policy.opa.address import Address

pytestmark = [pytest.mark.confined, pytest.mark.needs_opa]


def prepare(folder: Path) -> None:
    conftest.prepare(folder)
    for name in ("o", "rego"):
        (folder / name).mkdir(mode=0o755)
    (folder / "rego" / "site.rego").write_text(
        'package ringwall.site\n\ndeny contains {"code": "no_shouting", "reason": "quietly", "rule": "here"} if {\n'
        '\tinput.call.args.text == "HELLO"\n}\n')
    (folder / "c" / "bundle.tar.gz").write_bytes(make(the_opa(), read_folder(folder / "rego")))


def manifest(folder: Path, model: Upstream) -> str:
    policy = f'bundle = "{folder}/c/bundle.tar.gz"\nbackend = "opa"\nopa = "unix:{folder}/o/s"\ncache = true\n'
    return f"{conftest.manifest(folder, model)}\n[policy]\n{policy}"


def test_opa_decides_and_nothing_passes_while_it_is_down(model: Upstream) -> None:
    stack = Stack(lambda folder: manifest(folder, model), prepare)
    address, bundle = Address(path=f"{stack.folder}/o/s"), stack.folder / "c" / "bundle.tar.gz"
    with running(address, bundle) as opa, stack:
        found = stack.status()["policy"]
        assert found["backend"] == "opa" and found["fault"] == "" and found["pinned"] is True, found
        with stack.puppet("acme/ana") as agent:
            assert agent.call("echo/echo", text="hello")["result"]
            assert agent.call("echo/echo", text="HELLO")["code"] == "no_shouting"
            opa.kill()
            opa.wait()
            assert agent.call("echo/echo", text="another")["code"] == "policy_error"
            assert stack.status()["policy"]["fault"].startswith("opa_")
            with running(address, bundle):
                wait_for("OPA to be asked again",
                         lambda: True if "result" in agent.call("echo/echo", text="more") else None)
        intents = stack.records("acme", "intent")
        assert intents
        bodies = [stack.body("acme", record) for record in intents]
        assert all(found["revision"] in str(body) for body in bodies)
