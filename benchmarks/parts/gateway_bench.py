"""What benchmarks/gateway.py and soak.py share: Ringwall with its door over TCP, the tool, clients that obey."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import stack

DOOR: Final = 9805  # in the agent's own network
SENTENCE: Final = "The meeting on the quarterly report was moved to the large room on the second floor. "
TEXT: Final = (SENTENCE * 24)[:2000]  # with its JSON around it 2 KB
MANIFEST: Final = """
version = 1
trust_domain = "bench.example"
audit = {{ quota_mib = 1048576 }}
[models.main]
wire = "openai"
url = "{model}"
clearance = "private"
[tools.web]
mcp = "{tool}"
clearance = "private"
[tools.web.ops.echo]
effect = "read"
args = {{ text = "param" }}
[tools.pipes]
python = "gateway_tool"
read_only = [{parts}]
clearance = "private"
[tools.pipes.ops.echo]
effect = "read"
args = {{ text = "param" }}
[tenants.bench]
limits = {{ concurrent = 1024 }}
[tenants.bench.roles.load]
models = ["main"]
limits = {{ concurrent = 1024 }}
[tenants.bench.roles.load.tools]
"web/echo" = []
"pipes/echo" = []
[tenants.bench.agents.load]
role = "load"
door = {door}
work = {work}
"""


class Client:
    """parts/gateway_load.py, somewhere."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._answers = line.makefile()

    def ask(self, do: str, name: str, **more: Any) -> dict[str, Any]:
        """Have it do something; what it measured."""
        self._line.sendall(json.dumps({"do": do, "name": name, **more}).encode() + b"\n")
        line = self._answers.readline()
        told: dict[str, Any] = json.loads(line) if line else {"fault": "the client is gone"}
        if "fault" in told:
            sys.exit(told["fault"])
        return told


@contextlib.contextmanager
def client(path: Path, command: Sequence[str]) -> Generator[Client]:
    """A client that ``command`` starts, until the block ends; it finds us at ``path``."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)  # an agent has another uid
        listener.listen(1)
        listener.settimeout(stack.READY_S)
        with stack.started(command):
            try:
                line, _ = listener.accept()
            except TimeoutError:
                sys.exit(f"the client at {path} did not start")
            line.setblocking(True)
            with line:
                yield Client(line)


@contextlib.contextmanager
def outside(folder: Path) -> Generator[Client]:
    """One that is no agent."""
    path = folder / "outside.sock"
    with client(path, (sys.executable, str(stack.PARTS / "gateway_load.py"), str(path))) as made:
        yield made


class Gateway:
    """A Ringwall with one agent: the client, which has a door over TCP.

    Args:
        folder: its own, made here.
        tool: URL of the MCP server.
        model: base URL of the model.
        core: in parts/.

    """

    def __init__(self, folder: Path, *, tool: str, model: str, core: str) -> None:
        folder.mkdir(mode=0o711)
        (folder / "config").mkdir()
        self.work = folder / "work"
        self.work.mkdir(mode=0o755)
        self.stack = stack.Stack(folder, MANIFEST.format(
            tool=tool, model=model, parts=json.dumps(str(stack.PARTS)), work=json.dumps(str(self.work)),
            door=DOOR), core)

    @contextlib.contextmanager
    def up(self) -> Generator[Client]:
        """It runs, and so does the client in its agent, until the block ends."""
        command = self.stack.command("load", "gateway_load.py", "/workspace/load.sock")
        with self.stack.up(), client(self.work / "load.sock", command) as inside:
            yield inside


class Tool(NamedTuple):
    """The MCP server."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"


@contextlib.contextmanager
def tool(folder: Path) -> Generator[Tool]:
    """The MCP server, running."""
    port = stack.free_port()
    command = (sys.executable, str(stack.PARTS / "gateway_tool.py"), str(port))
    with stack.silent(command, port, folder / "tool.log") as made:
        yield Tool(port, made.pid)
