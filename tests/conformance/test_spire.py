"""A real SPIRE server and agent, where ``RINGWALL_SPIRE_BIN`` names the folder of their binaries."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.identity.endpoint.web import listening
from tests.integration.test_spire import FETCH, MANIFEST
from tests.stack import ROOT, Stack, wait_for

NODE = "spiffe://example.org/node"
ANA = "spiffe://example.org/tenant/acme/agent/ana/role/reader"
SERVER = """
server {{
  bind_address = "127.0.0.1"
  bind_port = "{port}"
  socket_path = "{folder}/server.sock"
  trust_domain = "example.org"
  data_dir = "{folder}/server"
  log_level = "WARN"
}}
plugins {{
  DataStore "sql" {{ plugin_data {{ database_type = "sqlite3", connection_string = "{folder}/data.sqlite3" }} }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "memory" {{ plugin_data {{}} }}
}}
"""
AGENT = """
agent {{
  data_dir = "{folder}/agent"
  log_level = "WARN"
  server_address = "127.0.0.1"
  server_port = "{port}"
  socket_path = "{folder}/public/agent.sock"
  trust_domain = "example.org"
  join_token = "{token}"
  insecure_bootstrap = true
}}
plugins {{
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "memory" {{ plugin_data {{}} }}
  WorkloadAttestor "unix" {{ plugin_data {{}} }}
}}
"""


class Spire:
    """Both processes. The socket of the Workload API is ``path``."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        self.path = folder / "public" / "agent.sock"

    def _server(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(self._programs / "spire-server"), *words, "-socketPath",
                               str(self._folder / "server.sock")], capture_output=True, text=True, check=False)

    def enter(self, spiffe_id: str, uid: int) -> None:
        """Register an identity for a uid."""
        done = self._server("entry", "create", "-parentID", NODE, "-spiffeID", spiffe_id, "-selector",
                            f"unix:uid:{uid}")
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def running(self) -> Generator[None]:
        with listening() as sock:
            port = sock.getsockname()[1]
        (self._folder / "server.conf").write_text(SERVER.format(port=port, folder=self._folder))
        processes = [self._start("spire-server", "server.conf")]
        try:
            wait_for("the SPIRE server", lambda: self._server("healthcheck").returncode == 0 or None)
            token = self._server("token", "generate", "-spiffeID", NODE).stdout.split()[-1]
            (self._folder / "agent.conf").write_text(AGENT.format(port=port, folder=self._folder, token=token))
            processes.append(self._start("spire-agent", "agent.conf"))
            wait_for("the SPIRE agent", lambda: self.path.exists() or None)
            yield
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait(20)

    def _start(self, program: str, config: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([str(self._programs / program), "run", "-config", str(self._folder / config)],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def spire() -> Generator[Spire]:
    named = os.environ.get("RINGWALL_SPIRE_BIN")
    if not named:
        pytest.skip("needs_spire: RINGWALL_SPIRE_BIN names no folder with spire-server and spire-agent")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "public").mkdir(mode=0o755)
        made = Spire(Path(named), folder)
        with made.running():
            yield made


def test_an_agent_gets_its_svids_from_a_real_spire(spire: Spire) -> None:
    spire.enter("spiffe://example.org/ringwall" if ROOT else ANA, os.geteuid())
    with Stack(lambda _: MANIFEST.format(path=json.dumps(str(spire.path)))) as stack:
        wait_for("SPIRE's bundles", lambda: stack.status()["svid"]["known"] or None)
        stack.python("acme/ana", "")  # gives it a uid, if we are root
        if ROOT:
            spire.enter(ANA, json.loads((stack.state / "uids.json").read_text())["acme/agent/ana"])
        wait_for("SPIRE to sync", lambda: stack.python("acme/ana", FETCH).json == [ANA] * 2 or None)
        assert all("spire" in one for one in stack.python("acme/sam", FETCH).json)
