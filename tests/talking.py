"""Agents of two tenants that talk, or may not, in one installation: for end-to-end tests of messages."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.impostor import DOMAIN
from tests.stack import Puppet, Stack, wait_for

from ringwall.audit.records import Record

SERVE = 9801
MANIFEST = """
version = 1
trust_domain = "{domain}"

[tools.echo]
builtin = "echo"
clearance = "private"

[tenants.acme.roles.asker.tools]
"echo/echo" = []
[tenants.acme.roles.worker]
limits = {{ calls = "60000/min burst 10000" }}
[tenants.acme.roles.worker.tools]
"echo/echo" = []
[tenants.acme.roles.plain]
[tenants.globex.roles.guest]

[tenants.acme.agents.ana]
role = "asker"
processes = "tree"
send = {{ sam = ["quote"], bea = ["quote"] }}
[tenants.acme.agents.eve]
role = "plain"
[tenants.acme.agents.sam]
role = "worker"
processes = "tree"
listen = "127.0.0.1:{sam}"
serve = {serve}
skills = {{ quote = {{}}, other = {{}} }}
[tenants.acme.agents.sam.receive]
ana = ["quote"]
"globex/gus" = {{ skills = ["quote"] }}
[tenants.acme.agents.bea]
role = "worker"
listen = "127.0.0.1:{bea}"
serve = {serve}
skills = {{ quote = {{}} }}
receive = {{ ana = ["quote"] }}
[tenants.globex.agents.gus]
role = "guest"
send = {{ "acme/sam" = ["quote"] }}
[tenants.globex.agents.kim]
role = "guest"
listen = "127.0.0.1:{kim}"
serve = {serve}
skills = {{ quote = {{}} }}
receive = {{}}
"""
ROLES = {"acme/ana": "asker", "acme/eve": "plain", "acme/sam": "worker", "acme/bea": "worker",
         "globex/gus": "guest", "globex/kim": "guest"}


def free_ports(number: int) -> list[int]:
    found = [socket.socket() for _ in range(number)]
    try:
        for sock in found:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in found]
    finally:
        for sock in found:
            sock.close()


def manifest(_: Path) -> str:
    sam, bea, kim = free_ports(3)
    return MANIFEST.format(domain=DOMAIN, serve=SERVE, sam=sam, bea=bea, kim=kim)


def spiffe(agent: str) -> str:
    tenant, _, name = agent.partition("/")
    return f"spiffe://{DOMAIN}/tenant/{tenant}/agent/{name}/role/{ROLES[agent]}"


def port_of(stack: Stack, agent: str) -> int:
    """Where an agent that runs is listening."""
    told = stack.status()["messages"]["listening"][spiffe(agent)]
    return int(told["address"].rpartition(":")[2])


@contextmanager
def serving(stack: Stack, agent: str = "acme/sam", program: str = "a2a_agent.py") -> Generator[Server]:
    """An agent with an A2A server of its own, while the block runs."""
    before = {run["run"] for run in stack.status()["runs"]}
    with stack.begin(agent, [sys.executable, program, str(SERVE)]) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, stack.told.read_text()
        run = next(run for run in stack.status()["runs"] if run["run"] not in before)
        yield Server(stack, agent, run["run"], run["pid"], process)


class Server:
    """One of them. ``run`` names its run, ``pid`` is its process number outside."""

    def __init__(self, stack: Stack, agent: str, run: str, pid: int, process: Any) -> None:
        self.stack, self.agent, self.run, self.pid, self.process = stack, agent, run, pid, process

    @property
    def port(self) -> int:
        return port_of(self.stack, self.agent)


def order(**what: Any) -> list[Any]:
    """Parts that tell the server what to do."""
    return [{"data": what}]


def send(sender: Puppet, parts: Any = "hello", *, peer: str = "sam", skill: str = "quote", **more: Any) -> Any:
    """A message as the SDK sends it: ``{"result": ...}`` or ``{"code": ..., ...}``."""
    return sender.do("send", peer=peer, skill=skill, parts=parts, more=more)


def seen(sender: Puppet) -> Sequence[str]:
    """The ids of all messages that arrived at the server, by its own words; the question is the last of them."""

    def asked() -> Any:
        found = send(sender, order(do="seen"))
        return None if found.get("code") == "too_many_attempts" else found  # a test may have used them all up

    answer = wait_for("room in the budget", asked)
    assert "result" in answer, answer
    return list(answer["result"]["message"]["parts"][0]["data"])[:-1]


def messages(stack: Stack, tenant: str, *types: str) -> list[Record]:
    """Records of messages in a tenant's log."""
    return [one for one in stack.records(tenant, *types) if one.clear.get("kind") == "message"]


def body(text: str, **headers: str) -> str:
    """The end of a request's head and its body, for a puppet's ``raw``: each character is one byte."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    length = len(text.encode("latin-1"))
    head = f"Host: x\r\nContent-Type: application/json\r\nConnection: close\r\n{more}Content-Length: {length}"
    return f"{head}\r\n\r\n{text}"


def posted(sender: Puppet, text: str, path: str = "/a2a/sam", method: str = "POST") -> Any:
    """Bytes to the agent's own door; the parsed answer."""
    answer = sender.do("raw", data=f"{method} {path} HTTP/1.1\r\n{body(text)}")
    return {"status": int(answer["status"].split(" ")[1]), "json": json.loads(answer["body"] or "{}")}
