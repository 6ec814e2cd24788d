"""Every kind of secret is used once for an agent; then it is looked for wherever an agent or a thief could look."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.parse
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.integration.held import Place, completed, customer
from tests.stack import RINGWALL, ROOT, Puppet, alive, descendants, kill, wait_for

from ringwall.cli.audit import audit
from ringwall.redteam.office.archive import CLIENT

CRM, KEY, HOOK, DESK = "crm-Hq7VzT2mYs9LxB", "sk-stolen-9Lm4Qx7Tq2ZpXw", "hook-R1cVyK6qDn3P8s", "dsk-Wc5GjN8uEo2KtF"
ROLES = """
[secrets.desk]
from = "vault"
inject = {{ header = "Authorization", format = "Bearer {{}}" }}
[tools.desk]
mcp = "{desk}"
secret = "desk"
clearance = "private"
[tools.desk.ops.find]
effect = "read"
args = {{ ticket = "param" }}
[tenants.office.roles.clerk]
models = ["main"]
secrets = ["crm", "model-key", "cloud", "archive", "desk"]
read = {{ secrets = ["hook"] }}
[tenants.office.roles.clerk.tools]
"crm/get" = ["id:C-1"]
"desk/find" = []
"store/get" = ["s3:reports/"]
"archive/get" = ["url:{archive}/"]
[tenants.office.agents.abe]
role = "clerk"
[tenants.office.agents.ana]
role = "clerk"
[tenants.office.agents.kim]
role = "clerk"
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """After all secrets were used: the agent still runs. ``values``: by what they are."""

    place: Place
    agent: Puppet
    values: dict[str, str]
    received: str  # all that came over the agent's door


@contextlib.contextmanager
def desk_serving(journal: Path) -> Generator[int]:
    """The office's help desk, an MCP server over HTTP; its port."""
    with subprocess.Popen([sys.executable, "-m", "ringwall.redteam.office.desk", str(journal)],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.communicate()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Generator[Scene]:
    journal = tmp_path_factory.mktemp("desk")
    with desk_serving(journal) as port:
        desk = f"http://127.0.0.1:{port}/mcp"
        with Place(ROLES.replace("{desk}", desk), minting=True) as place:
            whose = "office/ana"
            place.open((whose, "crm", CRM), (whose, "model-key", KEY), (whose, "hook", HOOK), (whose, "desk", DESK))
            with place.stack.puppet(whose, task=f"Read {place.site}/hours and reports/q3.txt") as agent:
                wait_for("the server elsewhere to be listed", lambda: "desk/find" in _names(agent))
                received = [
                    customer(agent), completed(agent), agent.call("desk/find", ticket=7),
                    agent.call("store/get", object="reports/q3.txt"),
                    agent.call("archive/get", url=f"{place.site}/hours"), agent.do("list"),
                ]
                assert all("result" in one for one in received), received
                # Each was really used, by what it was used for.
                assert place.asked[-1] == ("/customers/C-1", CRM)
                assert place.model.seen[-1][1]["Authorization"] == f"Bearer {KEY}"
                assert f"Bearer {DESK}" in (journal / "asked.jsonl").read_text()
                [(_, secret, session)], [token] = place.cloud.made, place.archive.made
                values = {
                    "web API": CRM, "model": KEY, "MCP server": DESK, "client": CLIENT[1], "cloud secret": secret,
                    "cloud session": session, "archive token": token, "identity shown": place.archive.subjects[0],
                }  # fmt: skip
                yield Scene(place, agent, values, json.dumps(received))


def _names(agent: Puppet) -> set[str]:
    return {one["name"] for one in agent.do("list")["result"]}


# --- how it is looked for


def spellings(value: str) -> set[bytes]:
    """Ways in which a value may lie about; what is inside of a longer Base64 is found at each of its offsets."""
    raw = value.encode()
    found = {raw, raw.hex().encode(), raw.hex().upper().encode(), value.encode("utf-16-le"), raw[::-1],
             value.encode("utf-16-be"), value.encode("utf-32-le"), urllib.parse.quote(value, safe="").encode()}
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + raw)
        inner = coded[-(-before * 8 // 6):len(coded) - 4]  # without what the neighbours have a part in
        found |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def stolen(scene: Scene, where: bytes, **more: str) -> list[str]:
    """What is found there of the values, and of more."""
    wanted = {**scene.values, **more}
    return [what for what, value in wanted.items() if any(one in where for one in spellings(value))]


def memory(pid: int) -> bytes:
    """All that a process has in its memory and could read itself."""
    pieces: list[bytes] = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as mem:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            area, modes = line.split()[:2]
            if modes[0] != "r" or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            start, end = (int(one, 16) for one in area.split("-"))
            with contextlib.suppress(OSError):  # a mapped file that was cut short
                mem.seek(start)
                pieces.append(mem.read(end - start))
    return b"\0".join(pieces)


def everybody(place: Place) -> dict[int, str]:
    """Every process of the installation, by its command line."""
    assert place.stack.process is not None
    pids = {place.stack.process.pid, *descendants(place.stack.process.pid)}
    return {pid: Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace") for pid in pids if alive(pid)}


def files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path, path.read_bytes()


# --- where


def test_the_search_finds_each_spelling(scene: Scene) -> None:
    for value in scene.values.values():
        raw = value.encode()
        for hidden in (raw, base64.b64encode(b"user:" + raw), base64.b64encode(b"u:" + raw + b"!"),
                       base64.urlsafe_b64encode(b"{" + raw), raw.hex().encode(), value.encode("utf-16"),
                       urllib.parse.quote(value, safe="").encode()):
            assert stolen(scene, b"x" + hidden + b"x"), hidden


@pytest.mark.confined
def test_nothing_is_in_the_agents_memory_but_what_it_read_itself(scene: Scene) -> None:
    def keeps(what: str) -> None:
        text = f"import ringwall, builtins\nbuiltins.{what}\nanswer = 0"
        assert scene.agent.do("python", text=text) == {"result": 0}

    keeps("data = ringwall.call_tool('store/get', {'object': 'reports/q3.txt'})")
    seen = memory(scene.agent.pid)
    assert b"sales were fine" in seen  # so it is its memory
    assert stolen(scene, seen, hook=HOOK) == []
    keeps("hook = ringwall.secret('hook').reveal()")
    assert stolen(scene, memory(scene.agent.pid), hook=HOOK) == ["hook"]


def test_nothing_is_in_what_the_agent_received(scene: Scene) -> None:
    assert "sales were fine" in scene.received
    assert stolen(scene, scene.received.encode(), hook=HOOK) == []


def test_nothing_is_in_any_processs_environment_or_arguments(scene: Scene) -> None:
    seen = 0
    for pid in everybody(scene.place):
        for name in ("environ", "cmdline"):
            try:
                found = Path(f"/proc/{pid}/{name}").read_bytes()
            except PermissionError:  # the core's: closed to its own user too
                assert not ROOT
                continue
            seen += 1
            assert stolen(scene, found, hook=HOOK) == [], (pid, name)
    assert seen >= 10


def test_nothing_is_in_any_file_of_the_state_folder(scene: Scene) -> None:
    scene.place.cli("status")  # so that there is one more record
    found = dict(files(scene.place.stack.state))
    names = {path.name for path in found}
    assert {"vault.db", "leases.db", "root.key"} <= names, names
    assert any("audit" in path.parts for path in found)
    assert {path: stolen(scene, data, hook=HOOK) for path, data in found.items() if stolen(scene, data, hook=HOOK)
            } == {}
    vault = [data for path, data in found.items() if path.name.startswith("vault.db")]
    assert any(b"archive-client" in data for data in vault)  # names are no secrets


def test_nothing_is_in_what_ringwall_says(scene: Scene) -> None:
    stack = scene.place.stack
    told = ["".join(stack.log).encode(), stack.told.read_bytes()]
    for words in (("status", "--json"), ("doctor",), ("leases", "--json"), ("vault", "list"),
                  ("audit", "tail", "-n", "1000", "--json")):
        done = subprocess.run([*RINGWALL, *words, "--state", str(stack.state)], capture_output=True, check=False,
                              timeout=60)
        assert len(done.stdout) > 40, done
        told.append(done.stdout + done.stderr)
    records = stack.records("office", "intent", "outcome", "lease_issued")
    assert len(records) >= 11
    for record in records:
        shown = CliRunner().invoke(audit, ["show", f"office/{record.number}", "--state", str(stack.state)])
        assert shown.exit_code == 0, shown.output
        told.append(shown.output.encode())
    assert stolen(scene, b"\0".join(told), hook=HOOK) == []


@pytest.mark.confined
def test_no_process_that_holds_a_secret_can_be_made_to_dump_it(scene: Scene) -> None:
    stack = scene.place.stack
    holders = {name: stack.pid(name) for name in ("core", "sidecar-office", "broker-office", "office/store")}
    for name, pid in {**holders, "agent": scene.agent.pid}.items():
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        assert [line.split()[4:6] for line in limits if line.startswith("Max core file size")] == [["0", "0"]], name
    for name, pid in holders.items():
        # The limit does not hold where core_pattern names a program. What may not be dumped is root's in /proc.
        seen = Path(f"/proc/{pid}/maps").stat().st_uid
        assert seen == 0 if ROOT else seen != os.geteuid(), (name, seen)


def test_a_crash_leaves_no_memory_in_a_file(scene: Scene) -> None:
    stack = scene.place.stack
    worker = stack.pid("office/store")
    for signum in (signal.SIGQUIT, signal.SIGABRT, signal.SIGSEGV):
        kill(worker, signum)  # the first process of its own namespace takes none of these from anybody
    with stack.puppet("office/kim") as kim:
        kim.ask("python", text="import ctypes\nctypes.string_at(0)")  # but it can crash by itself
        wait_for("its end", lambda: not alive(kim.pid))
    left = dict(files(stack.folder))
    assert not [path for path in left if path.name.startswith("core")]
    assert [path for path, data in left.items() if stolen(scene, data)] == []


def test_a_worker_that_is_started_again_is_given_the_credential_that_there_is(scene: Scene) -> None:
    def stored() -> str:
        return scene.agent.call("store/get", object="reports/q3.txt").get("code", "")

    worker = scene.place.stack.pid("office/store")
    assert stored() == ""
    kill(worker)
    wait_for("its end", lambda: not alive(worker))
    wait_for("a new one", lambda: not stored())
    assert len(scene.place.cloud.made) == 1
