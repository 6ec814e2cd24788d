"""One running installation for all end-to-end tests: two tenants, a model upstream, three tool servers."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.models.fake_upstream import Upstream, upstream
from tests.stack import Stack

KEY = "sk-end-to-end-key-93adf1c7"
MANIFEST = """
version = 1
trust_domain = "acme.example"

[models.main]
wire = "openai"
url = {url}
secret = "model-key"
clearance = "private"
[models.leaky]
wire = "openai"
url = {leaky}
secret = "model-key"
clearance = "private"
[models.exposed]
wire = "openai"
url = {url}
secret = "exposed-key"
clearance = "private"

[secrets.model-key]
from = "file"
file = {key}
inject = {{ header = "Authorization", format = "Bearer {{}}" }}
[secrets.exposed-key]
from = "file"
file = {exposed}
inject = {{ header = "Authorization", format = "Bearer {{}}" }}

[tools.echo]
builtin = "echo"
clearance = "private"

[tools.ledger]
python = "ledger_tool"
read_only = [{code}, {data}]
writable = [{books}]
clearance = "private"
[tools.ledger.ops.attempt]
effect = "read"
args = {{ what = "param", where = "param" }}
[tools.ledger.ops.look]
effect = "read"
args = {{ path = "selector:path" }}
[tools.ledger.ops.environment]
effect = "read"
args = {{}}
[tools.ledger.ops.descriptors]
effect = "read"
args = {{}}
[tools.ledger.ops.wait]
effect = "read"
args = {{ gate = "param" }}
[tools.ledger.ops.breed]
effect = "read"
args = {{ mark = "param" }}

[tools.desk]
command = [{python}, {desk}]
read_only = [{code}]
clearance = "private"
[tools.desk.ops.attempt]
effect = "read"
args = {{ what = "param", where = "param" }}
[tools.desk.ops.add]
effect = "read"
args = {{ a = "param", b = "param" }}

[tenants.acme.roles.clerk]
models = ["main", "leaky", "exposed"]
secrets = ["model-key", "exposed-key"]
[tenants.acme.roles.clerk.tools]
"echo/echo" = []
"ledger/attempt" = []
"ledger/look" = [{data_grant}]
"ledger/environment" = []
"ledger/descriptors" = []
"ledger/wait" = []
"ledger/breed" = []
"desk/attempt" = []
"desk/add" = []
[tenants.acme.agents.ana]
role = "clerk"
[tenants.acme.agents.tess]
role = "clerk"
processes = "tree"
[tenants.acme.agents.flo]
role = "clerk"
[tenants.acme.agents.workplace]
role = "clerk"
work = {work}

[tenants.globex.roles.guest.tools]
"echo/echo" = []
"ledger/attempt" = []
[tenants.globex.agents.gus]
role = "guest"
[tenants.globex.agents.ana]
role = "guest"
"""


def prepare(folder: Path) -> None:
    for name in ("data", "books", "work", "x"):
        (folder / name).mkdir()
    for name in ("books", "work"):
        (folder / name).chmod(0o777)  # as root, each process has a uid of its own
    (folder / "data" / "note.txt").write_text("the note")
    for file in (folder / "c" / "key", folder / "x" / "key"):
        file.touch(mode=0o600)
        file.write_text(KEY + "\n")


def manifest(folder: Path, model: Upstream) -> str:
    quoted = {
        "url": model.url("normal"), "leaky": model.url("echo"), "key": folder / "c" / "key",
        "exposed": folder / "x" / "key", "code": folder / "p", "data": folder / "data", "books": folder / "books",
        "python": sys.executable, "desk": folder / "p" / "desk_server.py", "data_grant": f"path:{folder / 'data'}/",
        "work": folder / "work",
    }  # fmt: skip
    return MANIFEST.format(**{name: json.dumps(str(value)) for name, value in quoted.items()})


@pytest.fixture(scope="session")
def model() -> Generator[Upstream]:
    with upstream() as server:
        yield server


@pytest.fixture(scope="session")
def stack(model: Upstream) -> Generator[Stack]:
    with Stack(lambda folder: manifest(folder, model), prepare) as running:
        yield running
        assert running.status()["restarts"] == 0, "".join(running.log)
