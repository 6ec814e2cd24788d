"""``ringwall up`` against PostgreSQL 15: what was not declared the server itself refuses, and no role stays."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.postgres.server import ADMIN, ADMIN_PASSWORD, BIN, DATABASE, Server, running
from tests.stack import RINGWALL, Puppet, Stack, kill, wait_for

from ringwall.redteam.attack import Barrier
from ringwall.redteam.liars import command

pytestmark = pytest.mark.skipif(not (BIN / "postgres").exists(), reason="needs_postgres: no PostgreSQL 15 found")
BRIEF = 30  # seconds of the shortest lease that a manifest may name
KNOWN = "a-password-that-the-test-knows"
ORDERS = "SELECT item FROM sales.orders ORDER BY item"
SALARIES = "SELECT who, amount FROM hr.salaries"
DELETE = "DELETE FROM sales.customers"
MANIFEST = """
version = 1
trust_domain = "office.example"
[vault]
root = "file"
[secrets.shop-admin]
from = "vault"
[secrets.shop]
from = "postgres"
url = "{url}"
admin = "shop-admin"
admin_user = "{admin}"
ca_file = "{ca}"
seconds = {seconds}
[tools.shop]
builtin = "postgres"
url = "{url}"
ca_file = "{ca}"
secret = "shop"
clearance = "private"
[tenants.office.roles.clerk]
secrets = ["shop"]
limits = {{ calls = "6000/min burst 1000" }}
[tenants.office.roles.clerk.tools]
"shop/query" = ["table:sales.orders"]
[tenants.office.roles.keeper]
secrets = ["shop"]
[tenants.office.roles.keeper.tools]
"shop/execute" = ["table:sales.orders"]
[tenants.office.agents.ana]
role = "clerk"
[tenants.office.agents.kim]
role = "keeper"
"""


class Place:
    """One installation. ``begun`` starts it again, with liars in it or none."""

    def __init__(self, server: Server, seconds: int = 900) -> None:
        self.server = server
        url = f"postgresql://127.0.0.1:{server.port}/{DATABASE}"
        self.stack = Stack(lambda folder: MANIFEST.format(url=url, admin=ADMIN, ca=folder / "ca.pem",
                                                          seconds=seconds), self._prepare)

    def _prepare(self, folder: Path) -> None:
        (folder / "ca.pem").write_text(self.server.ca)

    @contextmanager
    def up(self) -> Generator[Place]:
        with self.stack:
            for words, stdin in ((("init",), ""), (("put", "office", "shop-admin", "--broker"), ADMIN_PASSWORD)):
                subprocess.run([*RINGWALL, "vault", *words, "--state", str(self.stack.state)], input=stdin.encode(),
                               check=True, capture_output=True, timeout=60)
            yield self

    @contextmanager
    def begun(self, *liars: Barrier) -> Generator[Puppet]:
        """Agent ana, while these lie."""
        self.stack.stop()
        self.stack.up = command(*liars) if liars else (*RINGWALL, "up")
        self.stack.start()
        with self.stack.puppet("office/ana") as ana:
            yield ana

    def leases(self) -> list[Any]:
        return self.stack.client.operate("leases.list", {})["leases"]

    def revoke(self) -> list[Any]:
        return self.stack.client.operate("leases.revoke", {"tenant": "office"})["leases"]

    def roles(self) -> list[str]:
        return [line for line in self.server.sql(
            "SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'rw_') ORDER BY 1").splitlines() if line]

    def connections(self, role: str) -> int:
        return int(self.server.sql(f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'"))  # noqa: S608


@dataclass(frozen=True, kw_only=True)
class Thief:
    """Somebody who got at a lease's role: its name, and a password that the superuser gave it."""

    server: Server
    role: str

    @classmethod
    def of(cls, place: Place) -> Thief:
        [role] = place.roles()
        place.server.sql(f"ALTER ROLE {role} PASSWORD '{KNOWN}'")
        return cls(server=place.server, role=role)

    def begin(self, sql: str) -> subprocess.Popen[str]:
        """A connection of his own."""
        return subprocess.Popen(
            [BIN / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p",
             str(self.server.port), "-U", self.role, "-d", DATABASE, "-c", sql],
            env={"PGPASSWORD": KNOWN}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True)

    def said(self, sql: str = "SELECT 'in'") -> str:
        out, err = self.begin(sql).communicate(timeout=30)
        return out.strip() or err


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def other() -> Generator[Server]:
    with running() as found:
        yield found


@dataclass(frozen=True, kw_only=True)
class Dead:
    """An installation that was killed as a whole while it had a lease: nobody is there to revoke anything."""

    place: Place
    thief: Thief
    at: float  # time.monotonic of the killing
    let_in: str


@pytest.fixture(scope="module")
def dead(other: Server) -> Generator[Dead]:
    """Begun first, so that the others run while its lease ends by itself."""
    place = Place(other, seconds=BRIEF)
    with place.up():
        with place.stack.puppet("office/ana") as ana:
            assert "tea" in json.dumps(answered(query(ana)))
            thief = Thief.of(place)
            let_in = thief.said()
            assert place.stack.process is not None
            kill(place.stack.process.pid, signal.SIGSTOP)  # or it would start another core
            kill(place.stack.pid("core"))
            kill(place.stack.process.pid)
            place.stack.process.wait()
        yield Dead(place=place, thief=thief, at=time.monotonic(), let_in=let_in)


@pytest.fixture(scope="module")
def place(server: Server, dead: Dead) -> Generator[Place]:
    with Place(server).up() as up:
        yield up


def query(agent: Puppet, sql: str = ORDERS, tables: Sequence[str] = ("sales.orders",)) -> Any:
    return agent.call("shop/query", tables=list(tables), sql=sql)


def answered(answer: Any) -> Any:
    assert "result" in answer, answer
    return answer["result"]


def refused(answer: Any) -> str:
    assert "error" in answer, answer
    return answer["code"]


def by_the_server(answer: Any) -> bool:
    """Whether PostgreSQL itself refused a right: SQLSTATE 42501."""
    assert refused(answer) == "tool_error", answer
    return "42501" in answer["reason"]


def test_a_declared_table_is_read_with_one_role_and_others_are_refused(place: Place) -> None:
    with place.stack.puppet("office/ana") as ana:
        for _ in range(5):
            assert "tea" in json.dumps(answered(query(ana)))
        assert len(place.roles()) == len(place.leases()) == 1
        # What it names was granted, what it does was not: the statement is the server's to judge.
        assert by_the_server(query(ana, SALARIES))
        assert by_the_server(query(ana, "SELECT * FROM sales.customers"))
        assert refused(query(ana, SALARIES, ["hr.salaries"])) == "resource_not_granted"
        assert refused(ana.call("shop/execute", tables=["sales.orders"], sql=DELETE)) == "not_granted"
        assert len(place.roles()) == 1
    with place.stack.puppet("office/kim") as kim:
        assert refused(query(kim)) == "not_granted"
        changed = kim.call("shop/execute", tables=["sales.orders"], sql="UPDATE sales.orders SET price = price + 1")
        assert answered(changed), changed
        assert by_the_server(kim.call("shop/execute", tables=["sales.orders"], sql=DELETE))
    assert place.server.sql("SELECT count(*) FROM sales.customers") == "1"


def test_roles_end_with_their_agents_last_process(place: Place) -> None:
    with place.stack.puppet("office/ana") as ana:
        answered(query(ana))
        assert place.roles()
    wait_for("the roles to end", lambda: not place.roles() or None)
    assert place.leases() == []


def test_revoking_ends_the_role_and_its_open_connections(place: Place) -> None:
    with place.stack.puppet("office/ana") as ana:
        answered(query(ana))
        thief = Thief.of(place)
        assert thief.said() == "in"
        with thief.begin("SELECT pg_sleep(120)") as sleeping:
            wait_for("his connection and the tool's", lambda: place.connections(thief.role) == 2 or None)
            assert [one["state"] for one in place.revoke()] == ["ended"]
            assert place.roles() == []
            assert place.connections(thief.role) == 0
            assert sleeping.wait(20) != 0
            assert sleeping.stderr is not None
            assert "terminating connection" in sleeping.stderr.read()
        assert "password authentication failed" in thief.said()
        answered(query(ana))  # a new one
        assert place.roles() != [thief.role]


def test_freezing_ends_the_role_and_nothing_new_is_made(place: Place) -> None:
    with place.stack.puppet("office/ana") as ana:
        answered(query(ana))
        thief = Thief.of(place)
        with thief.begin("SELECT pg_sleep(120)") as sleeping:
            wait_for("his connection", lambda: place.connections(thief.role) == 2 or None)
            place.stack.client.operate("freeze", {"scope": "agent", "name": "office/ana", "reason": "a drill"})
            assert sleeping.wait(20) != 0
        wait_for("the role to end", lambda: not place.roles() or None)
        assert refused(query(ana)) == "frozen"
        assert place.roles() == []
        place.stack.client.operate("thaw", {"scope": "agent", "name": "office/ana", "reason": "over"})
        answered(query(ana))


def test_a_core_that_was_killed_is_followed_by_one_that_knows_its_roles(place: Place) -> None:
    with place.stack.puppet("office/ana") as ana:
        answered(query(ana))
        before, leases = place.roles(), [one["lease"] for one in place.leases()]
        kill(place.stack.pid("core"))
        place.stack.wait_ready(2)
        assert [one["lease"] for one in place.leases()] == leases
        assert "tea" in json.dumps(answered(query(ana)))
        assert place.roles() == before  # taken up: no other was made
        assert [one["state"] for one in place.revoke()] == ["ended"]
        assert place.roles() == []


def test_where_capability_and_policy_lie_the_server_itself_refuses(place: Place) -> None:
    with place.begun("capability", "policy") as ana:
        assert "tea" in json.dumps(answered(query(ana)))
        before, logged = place.roles(), len(place.server.log)
        assert by_the_server(query(ana, SALARIES, ["hr.salaries"]))
        assert by_the_server(query(ana, "SELECT * FROM sales.customers", ["sales.customers"]))
        said = place.server.log[logged:]
        assert "permission denied for schema hr" in said
        assert "permission denied for table customers" in said
        # Nothing was granted that writes: no role is made at all.
        written = ana.call("shop/execute", tables=["sales.customers"], sql=DELETE)
        assert refused(written) == "scope_empty"
        assert place.roles() == before


def test_without_a_scope_the_rings_refuse_and_without_both_it_happens(place: Place) -> None:
    """The second half is the control: nothing but scope and rings stands in between."""
    with place.begun("scope") as ana:
        assert refused(query(ana, SALARIES, ["hr.salaries"])) == "resource_not_granted"
        assert place.roles() == []
    with place.begun("capability", "policy", "scope") as ana:
        assert "100" in json.dumps(answered(query(ana, SALARIES, ["hr.salaries"])))


def test_where_nobody_is_left_the_servers_clock_ends_logins_and_the_next_start_revokes(dead: Dead) -> None:
    assert dead.let_in == "in"
    place, thief = dead.place, dead.thief
    assert place.roles() == [thief.role]
    left = dead.at + BRIEF + 2 - time.monotonic()  # what the tests before this one have not used up
    until = time.monotonic() + max(left, 2.0)
    while (said := thief.said()) == "in":
        assert time.monotonic() < until, "the server lets him in after its time"
        time.sleep(0.5)
    assert "password authentication failed" in said
    assert "has an expired password" in place.server.log
    assert place.roles() == [thief.role]  # nobody has dropped it
    place.stack.start()
    wait_for("the next start to revoke it", lambda: not place.roles() or None)
    wait_for("the record", lambda: place.stack.records("office", "lease_revoked") or None)
    assert place.stack.verify().ok
