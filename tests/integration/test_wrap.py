"""``ringwall wrap``: an MCP server behind the wall for a client that nobody launched, driven by the real SDK."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from tests.stack import AGENTS, RINGWALL, alive, descendants, wait_for

from ringwall.audit.journal import read_records
from ringwall.audit.records import Record
from ringwall.cli.main import main
from ringwall.manifest.load import load

pytestmark = pytest.mark.confined


# A client that starts its server and then only waits.
HOLDER = """
import subprocess, sys
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
print(server.pid, flush=True)
server.wait()
"""


class Wrapped:
    """A short folder, a server, and the command line that wraps it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state, self.notes = folder, folder / "s", folder / "notes"
        self.notes.mkdir()
        self.notes.chmod(0o777)  # as root the server has a uid of its own
        (self.notes / "a.txt").write_text("alpha")
        (folder / "notes.py").write_text((AGENTS / "notes_server.py").read_text())
        self.server = [sys.executable, str(folder / "notes.py"), str(self.notes)]

    def line(self, *options: str) -> list[str]:
        return [*RINGWALL, "wrap", "--state", str(self.state), "--writable", str(self.notes), *options, "--",
                *self.server]

    @property
    def manifest(self) -> Path:
        return self.state / "wrap" / "notes" / "ringwall.toml"

    def records(self, *types: str) -> list[Record]:
        return list(read_records(self.state / "wrap/notes/1", "local", types=frozenset(types) if types else None))

    @asynccontextmanager
    async def client(self, *options: str) -> AsyncGenerator[ClientSession]:
        program, *arguments = self.line(*options)
        parameters = StdioServerParameters(command=program, args=arguments, env=dict(os.environ))
        async with stdio_client(parameters) as (reading, writing), ClientSession(reading, writing) as session:
            await session.initialize()
            yield session


@pytest.fixture
def wrapped() -> Generator[Wrapped]:
    folder = Path(tempfile.mkdtemp(prefix="rw", dir="/tmp"))  # a short path: sockets lie below it
    yield Wrapped(folder)
    shutil.rmtree(folder)


def text(result: Any) -> str:
    return str(result.content[0].text)


def test_a_real_client_lists_calls_and_is_refused_and_the_record_says_that_nobody_attests_it(
        wrapped: Wrapped) -> None:
    async def talk() -> None:
        async with wrapped.client("--allow", "read", "--allow", "write", "--allow", "look") as session:
            tools = (await session.list_tools()).tools
            assert sorted(tool.name for tool in tools) == ["look", "read", "write"]  # and not "drop"
            read = await session.call_tool("read", {"name": "a.txt"})
            assert (read.is_error, text(read)) == (False, "alpha")
            assert text(await session.call_tool("write", {"name": "b.txt", "text": "beta"})) == "written"
            assert (wrapped.notes / "b.txt").read_text() == "beta"
            assert text(await session.call_tool("look", {"path": str(wrapped.state)})) == "False"
            assert "SECRET_TOKEN" not in text(await session.call_tool("look", {"path": "env"}))
            refused = await session.call_tool("drop", {"name": "a.txt"})
            assert refused.is_error
            assert (wrapped.notes / "a.txt").exists()

    os.environ["SECRET_TOKEN"] = "s3cret"
    try:
        asyncio.run(talk())
    finally:
        del os.environ["SECRET_TOKEN"]
    (launch,) = wrapped.records("launch")
    assert (launch.body["attestation"], launch.body["confined"]) == ("none", False)
    said = {record.type for record in wrapped.records()}
    assert {"intent", "outcome", "refused"} <= said
    for record in wrapped.records("intent", "refused"):
        assert record.clear["subject"] == "spiffe://notes.wrap.internal/tenant/local/agent/client/role/client"
        facts = record.clear["identity"]
        assert (facts["attestation"], facts["strength"], facts["confined"]) == ("none", "none", False)


def test_the_manifest_is_written_once_and_what_a_person_makes_of_it_counts(wrapped: Wrapped) -> None:
    async def names() -> list[str]:
        async with wrapped.client() as session:
            return sorted(tool.name for tool in (await session.list_tools()).tools)

    assert asyncio.run(names()) == ["drop", "look", "read", "write"]
    made = load(wrapped.manifest)
    effects = {name: op.effect for name, op in made.tools["notes"].ops.items()}
    assert effects == {"drop": "delete", "look": "read", "read": "read", "write": "write"}
    assert made.tenants["local"].agents["client"].attestation == "none"
    lines = wrapped.manifest.read_text().splitlines(keepends=True)
    wrapped.manifest.write_text("".join(line for line in lines if line != '"notes/drop" = []\n'))
    assert asyncio.run(names()) == ["look", "read", "write"]


@pytest.mark.parametrize("who", ["client", "wrap"])
def test_when_the_client_or_the_wrap_is_killed_everything_ends(wrapped: Wrapped, who: str) -> None:
    client = subprocess.Popen([sys.executable, "-c", HOLDER, *wrapped.line()], stdout=subprocess.PIPE)
    assert client.stdout is not None
    wrap = int(client.stdout.readline())
    wait_for("the door", (wrapped.state / "wrap/notes/1/clients/local/client.sock").exists, 60)
    family = [wrap, *descendants(wrap)]
    assert len(family) > 3
    os.kill(client.pid if who == "client" else wrap, signal.SIGKILL)
    client.wait()
    client.stdout.close()
    wait_for("everything to end", lambda: not any(alive(pid) for pid in family))


def test_two_clients_of_one_server_have_a_wall_each_and_no_third_thing(wrapped: Wrapped) -> None:
    async def both() -> None:
        async with wrapped.client() as one, wrapped.client() as two:
            assert text(await one.call_tool("read", {"name": "a.txt"})) == "alpha"
            assert text(await two.call_tool("read", {"name": "a.txt"})) == "alpha"

    asyncio.run(both())
    assert sorted(path.name for path in (wrapped.state / "wrap/notes").iterdir()) == ["1", "2", "ringwall.toml"]


def test_another_command_under_the_same_name_is_refused_and_so_is_a_server_that_says_nothing(
        wrapped: Wrapped) -> None:
    asyncio.run(_once(wrapped))
    other = subprocess.run([*RINGWALL, "wrap", "--state", str(wrapped.state), "--name", "notes", "--", "cat"],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (other.returncode, "other_command" in other.stderr, other.stdout) == (1, True, "")
    mute = subprocess.run([*RINGWALL, "wrap", "--state", str(wrapped.state), "--name", "mute", "--", "false"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (mute.returncode, "server_failed" in mute.stderr, mute.stdout) == (3, True, "")
    assert not (wrapped.state / "wrap/mute/ringwall.toml").exists()


async def _once(wrapped: Wrapped) -> None:
    async with wrapped.client() as session:
        await session.list_tools()


def test_the_configuration_for_a_client_depends_on_no_current_folder(
        wrapped: Wrapped, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(wrapped.folder)
    done = CliRunner().invoke(main, ["wrap", "--print-config", "--state", "s", "--writable", "notes", "--",
                                     "python", "notes.py", "notes"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["mcpServers"]["notes"]
    folder = str(wrapped.folder)
    assert found["args"][-3:] == ["python", f"{folder}/notes.py", "notes"]
    assert f"{folder}/s" in found["args"]
    assert f"{folder}/notes" in found["args"]
    assert not wrapped.state.exists()  # nothing was started
