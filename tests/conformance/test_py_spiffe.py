"""py-spiffe, unchanged, inside ``ringwall run``: the whole Workload API through a real core, wall and log."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.fakes import run
from tests.identity.workload.bench import bench
from tests.stack import RINGWALL, Stack, wait_for

from ringwall.runtime.workload import SOCKET

pytestmark = pytest.mark.confined

MANIFEST = """
version = 1
trust_domain = "acme.example"
[tools.echo]
builtin = "echo"
[tenants.acme.roles.caller.tools]
"echo/echo" = []
[tenants.acme.roles.caller.svid]
x509 = true
audiences = ["billing.acme.example"]
[tenants.acme.roles.plain.tools]
"echo/echo" = []
[tenants.acme.agents.alice]
role = "caller"
[tenants.acme.agents.bob]
role = "caller"
processes = "tree"
[tenants.acme.agents.pete]
role = "plain"
"""

FETCHES = """
import json, os
from spiffe import WorkloadApiClient
with WorkloadApiClient() as client:
    svid, again = client.fetch_x509_svid(), client.fetch_x509_svid()
    context = client.fetch_x509_context()
    token = client.fetch_jwt_svid({"billing.acme.example"})
    seen = client.validate_jwt_svid(token.token, "billing.acme.example")
    domain = svid.spiffe_id.trust_domain
    keys = client.fetch_jwt_bundles().get_bundle_for_trust_domain(domain)
    known = client.fetch_x509_bundles().get_bundle_for_trust_domain(domain)
    refused = []
    for audience in ("vault", "else.example"):
        try:
            client.fetch_jwt_svid({audience})
        except Exception as no:
            refused.append(str(no))
print(json.dumps({
    "ids": [str(one) for one in (svid.spiffe_id, context.default_svid.spiffe_id, seen.spiffe_id)],
    "apart": svid.leaf.serial_number != again.leaf.serial_number, "jwt": sorted(keys.jwt_authorities),
    "x509": len(known.x509_authorities), "refused": refused, "socket": os.environ["SPIFFE_ENDPOINT_SOCKET"]}))
"""
ONE = """
import sys
from spiffe import WorkloadApiClient
try:
    with WorkloadApiClient(*sys.argv[1:]) as client:
        print(client.fetch_x509_svid().spiffe_id)
except Exception as no:
    print("PERMISSION_DENIED" if "PERMISSION_DENIED" in str(no) or "peer_foreign" in str(no) else repr(no))
"""
CHILD = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', sys.argv[1]]))"
ID = "spiffe://acme.example/tenant/acme/agent/alice/role/caller"


@pytest.fixture(scope="module")
def stack() -> Generator[Stack]:
    with Stack(lambda folder: MANIFEST) as running:
        yield running
        assert running.status()["restarts"] == 0, "".join(running.log)


def test_every_method_works_for_a_launched_process_and_each_svid_is_on_the_record(stack: Stack) -> None:
    ran = stack.python("acme/alice", FETCHES)
    assert ran.code == 0, ran.err
    found = ran.json
    assert found["ids"] == [ID] * 3
    assert found["apart"]
    assert found["jwt"]
    assert found["x509"]
    assert found["socket"] == "unix:///run/ringwall/svid.sock"
    assert ["audience_not_granted" in text for text in found["refused"]] == [True, True]
    intents = [record.clear["target"] for record in stack.records("acme", "intent")]
    assert intents == ["svid/x509", "svid/x509", "svid/x509", "svid/jwt"]
    assert len(stack.records("acme", "refused")) == 2
    assert stack.verify().ok


def test_a_child_of_the_launched_process_gets_nothing_unless_the_agent_is_a_tree(stack: Stack) -> None:
    alone = stack.run("acme/alice", [sys.executable, "-c", CHILD, ONE])
    assert alone.out == b"PERMISSION_DENIED\n", alone.err
    tree = stack.run("acme/bob", [sys.executable, "-c", CHILD, ONE])
    assert tree.out.decode().strip() == ID.replace("alice", "bob"), tree.err


def test_a_process_that_was_not_launched_is_refused_at_another_ones_socket(stack: Stack) -> None:
    with stack.begin("acme/alice", [sys.executable, "-c", "print('up', flush=True); input()"]) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == b"up\n"
        (path,) = stack.state.glob("doors/*/svid.sock")
        done = subprocess.run([sys.executable, "-c", ONE, f"unix://{path}"], capture_output=True, check=False)
        assert done.stdout == b"PERMISSION_DENIED\n", done.stderr
        agent.communicate(b"\n")


def test_an_agent_without_the_capability_has_neither_socket_nor_variable(stack: Stack) -> None:
    text = "import os; print(os.environ.get('SPIFFE_ENDPOINT_SOCKET'), os.listdir('/run/ringwall'))"
    assert stack.python("acme/pete", text).out == b"None ['door.sock']\n"


STAYS = """
import time
from spiffe import X509Source
source, last = X509Source(), None
while True:
    found = source.get_x509_context().default_svid.leaf.serial_number
    if found != last:
        print(found, flush=True)
    last = found
    time.sleep(0.05)
"""


def test_a_source_goes_on_after_the_core_was_killed() -> None:
    with Stack(lambda folder: MANIFEST) as stack, stack.begin("acme/alice", [sys.executable, "-c", STAYS]) as agent:
        assert agent.stdout is not None
        first = agent.stdout.readline()
        os.kill(stack.status()["pid"], signal.SIGKILL)
        assert int(agent.stdout.readline()) != int(first)  # of the next core, over the same socket's place
        agent.terminate()


def test_a_frozen_agents_stream_ends_on_the_record(stack: Stack) -> None:
    with stack.begin("acme/alice", [sys.executable, "-c", STAYS]) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline()
        before = len(stack.records("acme", "refused"))
        for verb in ("freeze", "thaw"):
            done = subprocess.run([*RINGWALL, verb, "agent", "acme/alice", "--reason", "a test", "--state",
                                   str(stack.state)], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            wait_for("a refused renewal", lambda: len(stack.records("acme", "refused")) > before)
        agent.terminate()


ROTATES = """
import sys, threading
from spiffe import X509Source
source = X509Source(socket_path=sys.argv[1])
changed = threading.Event()
source.subscribe_for_updates(changed.set)
first = source.get_x509_context().default_svid.leaf.serial_number
print("ready", flush=True)
changed.wait(20)
print(first != source.get_x509_context().default_svid.leaf.serial_number, flush=True)
source.close()
"""


def test_a_source_gets_its_renewed_svid_without_asking(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            agent = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "input()\nimport sys\n" + ROTATES, f"unix://{tmp_path}/d/alice/{SOCKET}",
                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert agent.stdin is not None
            assert agent.stdout is not None
            await made.launch("alice", pid=agent.pid)
            agent.stdin.write(b"go\n")
            assert await agent.stdout.readline() == b"ready\n"
            made.clock.ahead = 451
            made.authority.changed()
            assert (await agent.stdout.readline()).startswith(b"True")
            await agent.wait()

    run(scenario())
