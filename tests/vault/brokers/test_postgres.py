"""Roles for one lease, made and ended at a real PostgreSQL 15."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conformance.postgres.server import (
    ADMIN,
    ADMIN_PASSWORD,
    BIN,
    DATABASE,
    SUPER,
    SUPER_PASSWORD,
    Server,
    running,
)

from ringwall.capability.resources import parse_pattern
from ringwall.clock import SystemClock
from ringwall.errors import BadInput, Refused, RingwallError, Unavailable
from ringwall.manifest.details import Detail
from ringwall.vault.brokers import postgres_scope
from ringwall.vault.brokers.interface import Minted, Order
from ringwall.vault.brokers.network import Network
from ringwall.vault.brokers.postgres import PostgresBroker, make
from ringwall.vault.brokers.protocol import Postgres
from ringwall.wire.postgres import Login, Lost, Session, SqlError

needs_postgres = pytest.mark.skipif(not (BIN / "postgres").exists(),
                                    reason="needs_postgres: no PostgreSQL 15 found")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as found:
        yield found


def broker(server: Server, **changed: str) -> PostgresBroker:
    given = {"url": server.url, "admin_user": ADMIN, "ca": server.ca, **changed}
    return make(Postgres(**given), SystemClock())  # type: ignore[arg-type]


def order(lease: str, *locations: str, actions: Sequence[str] = ("read",), seconds: int = 300,
          login: str = ADMIN_PASSWORD) -> Order:
    detail = Detail(identifier="db/query", actions=tuple(actions), locations=tuple(locations))
    return Order(lease=lease, seconds=seconds, details=(detail,), login=login, session=f"acme-bot-{lease}")


def settled(server: Server, minted: Minted) -> Session:
    values = minted.values
    login = Login(host="localhost", user=values["username"], password=values["password"], database=DATABASE,
                  tls=Network((server.url,), ca=server.ca).tls, settings={})
    return Session(socket.create_connection(("127.0.0.1", server.port)), login, seconds=10)


def roles(server: Server) -> str:
    return server.sql("SELECT rolname FROM pg_roles WHERE rolname LIKE 'rw\\_%'")


def code(work: Callable[[], object], kind: type[RingwallError] = Refused) -> str:
    with pytest.raises(kind) as caught:
        work()
    return caught.value.code


@needs_postgres
class TestReal:
    def test_a_role_may_read_the_table_it_was_made_for_and_nothing_else(self, server: Server) -> None:
        made = broker(server)
        minted = made.mint(order("read1", "table:sales.orders"))
        session = settled(server, minted)
        assert session.ask("SELECT item FROM sales.orders ORDER BY id", seconds=5).rows == (("tea",), ("salt",))
        for sql in ("SELECT * FROM sales.customers", "SELECT * FROM hr.salaries", "DELETE FROM sales.orders",
                    "UPDATE sales.orders SET item = 'x'", "INSERT INTO sales.orders (item) VALUES ('x')",
                    "TRUNCATE sales.orders", "SELECT nextval('sales.orders_id_seq')", "SET ROLE minter",
                    "CREATE TABLE public.x (a int)", "CREATE SCHEMA x", "COPY sales.orders TO '/tmp/x'",
                    "COPY sales.orders TO PROGRAM 'cat'", "SELECT pg_read_file('/etc/passwd')",
                    "SET SESSION AUTHORIZATION boss", "SELECT rolpassword FROM pg_authid",
                    "SELECT lo_import('/etc/passwd')",
                    f"ALTER ROLE {minted.values['username']} VALID UNTIL 'infinity'",
                    "DO $$ BEGIN LOCK TABLE sales.orders IN EXCLUSIVE MODE; END $$"):
            with pytest.raises(SqlError) as caught:
                session.ask(sql, seconds=5)
            assert caught.value.sqlstate == "42501", (sql, str(caught.value))
        session.ask("GRANT SELECT ON sales.orders TO PUBLIC", seconds=5)  # a warning only: it has nothing to give
        assert server.sql("SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a WHERE a.grantee = 0 AND "
                          "c.relname = 'orders'") == "0"
        session.close()
        made.revoke(order("read1"), minted.handle)
        assert roles(server) == ""

    def test_a_role_may_write_the_table_it_was_made_for_and_its_sequence(self, server: Server) -> None:
        made = broker(server)
        session = settled(server, made.mint(order("write1", f"table:{DATABASE}.sales.orders", actions=("write",))))
        session.ask("BEGIN", seconds=5)
        assert session.ask("INSERT INTO sales.orders (item) VALUES ($1)", ("jam",), seconds=5).count == 1
        assert session.ask("DELETE FROM sales.orders WHERE item = 'jam'", seconds=5).count == 1
        session.ask("ROLLBACK", seconds=5)
        for sql in ("TRUNCATE sales.orders", "DROP TABLE sales.orders",
                    "INSERT INTO sales.customers VALUES (2, 'x')"):
            with pytest.raises(SqlError) as caught:
                session.ask(sql, seconds=5)
            assert caught.value.sqlstate == "42501"
        session.close()
        made.revoke(order("write1"), "")

    def test_a_schema_is_all_its_tables_and_a_name_is_a_name(self, server: Server) -> None:
        made = broker(server)
        session = settled(server, made.mint(order("all1", "table:sales.")))
        assert session.ask("SELECT name FROM sales.customers", seconds=5).rows == (("Ada",),)
        assert session.ask('SELECT * FROM sales."Odd; Name"', seconds=5).rows == ()
        with pytest.raises(SqlError):
            session.ask("SELECT * FROM hr.salaries", seconds=5)
        session.close()
        made.revoke(order("all1"), "")
        session = settled(server, made.mint(order("odd1", 'table:sales."Odd; Name"')))
        assert session.ask('SELECT * FROM sales."Odd; Name"', seconds=5).rows == ()
        session.close()
        made.revoke(order("odd1"), "")

    def test_the_server_itself_ends_logins_and_renewing_prolongs_them(self, server: Server) -> None:
        made = broker(server)
        minted = made.mint(order("short1", "table:sales.orders", seconds=0))
        with pytest.raises(SqlError) as caught:
            settled(server, minted)
        assert caught.value.sqlstate == "28P01"
        assert made.renew(order("short1", seconds=60), "") > minted.expires_at
        settled(server, minted).close()
        made.revoke(order("short1"), "")
        assert code(lambda: made.renew(order("short1"), "")) == "not_renewable"

    def test_revoking_ends_open_connections_and_what_the_role_made(self, server: Server) -> None:
        made = broker(server)
        minted = made.mint(order("gone1", "table:sales.orders", actions=("write",)))
        session, other = settled(server, minted), settled(server, minted)
        session.ask("SELECT lo_from_bytea(0, 'x')", seconds=5)
        session.ask("CREATE TEMP TABLE t (a int)", seconds=5)
        session.ask("CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", seconds=5)
        session.ask("SELECT pg_advisory_lock(7)", seconds=5)
        other.ask("BEGIN", seconds=5)
        other.ask("INSERT INTO sales.orders (item) VALUES ('never')", seconds=5)
        made.revoke(order("gone1"), "")
        for one in (session, other):
            with pytest.raises((Lost, SqlError)):
                one.ask("SELECT 1", seconds=5)
            one.close()
        with pytest.raises(SqlError):
            settled(server, minted)
        assert roles(server) == ""
        assert server.sql("SELECT count(*) FROM pg_largeobject_metadata") == "0"
        assert server.sql("SELECT count(*) FROM sales.orders WHERE item = 'never'") == "0"
        made.revoke(order("gone1"), "")  # again, and for a lease that was never there
        made.revoke(order("never1"), "")

    def test_a_role_that_locks_itself_is_revoked_all_the_same(self, server: Server) -> None:
        made = broker(server)
        minted = made.mint(order("locked1", "table:sales.orders", actions=("write",)))
        victim = made.mint(order("victim1", "table:sales.orders"))
        session = settled(server, minted)
        session.ask(f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {victim.values['username']}", seconds=5)
        session.ask("BEGIN", seconds=5)
        session.ask("LOCK TABLE sales.orders IN ACCESS EXCLUSIVE MODE", seconds=5)
        session.ask("ALTER ROLE CURRENT_USER PASSWORD 'mine'", seconds=5)  # and its row is locked
        made.revoke(order("victim1"), "")
        made.mint(order("victim2", "table:sales.orders"))  # neither lock is in anybody else's way
        made.revoke(order("victim2"), "")
        made.revoke(order("locked1"), "")
        with pytest.raises((Lost, SqlError)):
            session.ask("COMMIT", seconds=5)
        session.close()
        assert roles(server) == ""

    def test_neither_password_is_in_the_servers_log(self, server: Server) -> None:
        made = broker(server)
        minted = made.mint(order("quiet1", "table:sales.orders"))
        settled(server, minted).close()
        made.revoke(order("quiet1"), "")
        assert "rw_quiet1" in server.log
        assert minted.values["password"] not in server.log
        assert f"PASSWORD '{ADMIN_PASSWORD}'" in server.log  # of making the admin: the log would show it
        assert minted.values["password"] not in repr(minted)

    def test_many_at_once_on_one_table(self, server: Server) -> None:
        made, other = broker(server), broker(server)
        with ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit((made, other)[at % 2].mint, order(f"many{at}", "table:sales.orders"))
                    for at in range(8)]
            assert len({job.result().values["username"] for job in jobs}) == 8
            list(pool.map(lambda at: (made, other)[at % 2].revoke(order(f"many{at}"), ""), range(8)))
        assert roles(server) == ""

    @pytest.mark.parametrize(("wide", "back"), [
        ("GRANT SELECT ON hr.salaries TO PUBLIC; GRANT USAGE ON SCHEMA hr TO PUBLIC",
         "REVOKE SELECT ON hr.salaries FROM PUBLIC; REVOKE USAGE ON SCHEMA hr FROM PUBLIC"),
        ("GRANT SELECT (name) ON sales.customers TO PUBLIC", "REVOKE SELECT (name) ON sales.customers FROM PUBLIC"),
        ("GRANT UPDATE ON sales.orders TO PUBLIC", "REVOKE UPDATE ON sales.orders FROM PUBLIC"),
        ("GRANT USAGE ON SEQUENCE sales.orders_id_seq TO PUBLIC",
         "REVOKE USAGE ON SEQUENCE sales.orders_id_seq FROM PUBLIC"),
        ("GRANT CREATE ON SCHEMA public TO PUBLIC", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"),
        ("GRANT CREATE ON DATABASE shop TO PUBLIC", "REVOKE CREATE ON DATABASE shop FROM PUBLIC"),
        ("CREATE FUNCTION public.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
         "DROP FUNCTION public.f"),
        ("GRANT EXECUTE ON FUNCTION pg_read_file(text) TO PUBLIC",
         "REVOKE EXECUTE ON FUNCTION pg_read_file(text) FROM PUBLIC"),
        ("CREATE EXTENSION dblink", "DROP EXTENSION dblink"),
    ])
    def test_where_everybody_has_more_than_was_declared_nothing_is_minted(self, server: Server, wide: str,
                                                                         back: str) -> None:
        if "EXTENSION" in wide and not (BIN.parents[3] / "share/postgresql/15/extension/dblink.control").exists():
            wide, back = wide.replace("dblink", "adminpack"), back.replace("dblink", "adminpack")
        server.sql(wide)
        try:
            assert code(lambda: broker(server).mint(order("wide1", "table:sales.orders"))) == "provider_wider"
        finally:
            server.sql(back)
        assert roles(server) == ""
        made = broker(server)
        made.mint(order("wide1", "table:sales.orders"))
        made.revoke(order("wide1"), "")

    def test_what_cannot_be_given_is_refused_and_leaves_nothing(self, server: Server) -> None:
        made = broker(server)
        server.sql("CREATE TABLE public.boss_only (a int)")
        for location in ("table:sales.missing", "table:missing.orders", "table:public.boss_only"):
            assert code(lambda at=location: made.mint(order("no1", at))) == "provider_denied"  # type: ignore[misc]
        server.sql("DROP TABLE public.boss_only")
        made.mint(order("twice1", "table:sales.orders"))
        assert code(lambda: made.mint(order("twice1", "table:sales.orders"))) == "provider_denied"
        made.revoke(order("twice1"), "")
        assert roles(server) == ""

    def test_who_we_are_and_who_it_is_must_be_right(self, server: Server, tmp_path_factory: pytest.TempPathFactory,
                                                    ) -> None:
        from tests.conformance.postgres.server import certificate
        wrong, *_ = certificate(tmp_path_factory.mktemp("other"))
        there = order("tls1", "table:sales.orders")
        assert code(lambda: broker(server, ca=wrong.read_text()).mint(there), Unavailable) == "provider_unreachable"
        assert code(lambda: broker(server).mint(order("pw1", "table:sales.orders", login="wrong"))) \
            == "provider_denied"
        assert code(lambda: broker(server, admin_user="nobody").mint(there)) == "provider_denied"
        assert code(lambda: broker(server, url=server.url + "x").mint(order("db1", "table:sales.orders"))) \
            == "provider_denied"
        assert code(lambda: broker(server, url="postgresql://localhost:1/shop").mint(there), Unavailable) \
            == "provider_unreachable"

    def test_a_superuser_as_admin_works_too(self, server: Server) -> None:
        made = broker(server, admin_user=SUPER)
        minted = made.mint(order("boss1", "table:hr.salaries", login=SUPER_PASSWORD))
        settled(server, minted).close()
        made.revoke(order("boss1", login=SUPER_PASSWORD), "")
        assert roles(server) == ""

    def test_a_server_that_does_not_answer_is_not_waited_for(self, server: Server,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ringwall.vault.brokers.postgres.SECONDS", 1.0)
        server.sql("SELECT 1")
        made = broker(server)
        with subprocess.Popen(
                [BIN / "psql", "-X", "-q", "-h", server.folder, "-p", str(server.port), "-U", SUPER, "-d",
                 DATABASE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PGPASSWORD": SUPER_PASSWORD},
                text=True) as psql:
            assert psql.stdin is not None and psql.stdout is not None
            psql.stdin.write("BEGIN; LOCK TABLE pg_authid;\n\\echo locked\n")
            psql.stdin.flush()
            assert psql.stdout.readline() == "locked\n"
            assert code(lambda: made.mint(order("slow1", "table:sales.orders")), Unavailable) in {
                "provider_slow", "provider_unreachable"}
            psql.stdin.close()
        made.revoke(order("slow1"), "")
        assert roles(server) == ""


@contextmanager
def fake(*answers: bytes) -> Iterator[int]:
    """Something that listens and says this, whatever it is told."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with sock:
                    for answer in answers:
                        if not sock.recv(65536):
                            break
                        sock.sendall(answer)
                    try:
                        sock.recv(65536)
                    except OSError:
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


OK = message(b"R", bytes(4)) + message(b"Z", b"I")


@pytest.mark.parametrize("said", [
    OK,  # nobody is asked for a password
    message(b"R", (3).to_bytes(4, "big")),  # the password in clear
    message(b"R", (5).to_bytes(4, "big") + b"salt"),  # MD5
    message(b"R", (10).to_bytes(4, "big") + b"SCRAM-SHA-256\0\0") + message(b"R", (11).to_bytes(4, "big")
                                                                            + b"r=x,s=eA==,i=999999999"),
    message(b"R", (10).to_bytes(4, "big") + b"PLAIN\0\0"),
    message(b"R", (12).to_bytes(4, "big") + b"v=eA=="),
    b"R\xff\xff\xff\xff", b"R\x7f\xff\xff\xff", b"?\0\0\0\4", message(b"E", b""), b"HTTP/1.1 400 Bad\r\n\r\n",
])
def test_a_peer_that_does_not_prove_itself_gets_no_password(said: bytes) -> None:
    with fake(said) as port:
        provider = Postgres(url=f"postgresql://127.0.0.1:{port}/shop", admin_user="a")
        made = make(provider, SystemClock())
        with pytest.raises((Refused, Unavailable)) as caught:
            made.mint(order("x", "table:a.b"))
        assert caught.value.code in {"provider_unreachable", "provider_garbage", "provider_denied"}
        assert ADMIN_PASSWORD not in str(caught.value)


@given(st.binary(max_size=200))
def test_whatever_a_peer_says_ends_in_an_error_of_ours(said: bytes) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(said)
        theirs.shutdown(socket.SHUT_WR)
        login = Login(host="x", user="a", password="b", database="c", tls=None, settings={})
        with pytest.raises((Lost, SqlError)):
            Session(ours, login, seconds=5)


def test_a_database_elsewhere_without_tls_is_not_spoken_to() -> None:
    with fake(b"N") as port:
        made = make(Postgres(url=f"postgresql://localhost:{port}/shop", admin_user="a"), SystemClock())
        assert code(lambda: made.mint(order("x", "table:a.b")), Unavailable) == "provider_unreachable"


@pytest.mark.parametrize(("location", "actions"), [
    ("table:other.sales.orders", ("read",)), ("s3:bucket/key", ("read",)), ("table:sales", ("read",)),
    ("table:pg_catalog.pg_authid", ("read",)), ("table:information_schema.", ("read",)),
    ("table:sales.a b", ("read",)),
    ('table:sales."a', ("read",)), ("table:", ("read",)), ("table:.", ("read",)),
    ("table:sales.orders", ("delete",)),
    ("table:sales.orders", ()), ("table:a.b.c.d", ("read",)), ('table:sales."a"b', ("read",)),
])
def test_what_no_role_can_be_limited_to_is_refused_before_anybody_is_asked(location: str,
                                                                          actions: tuple[str, ...]) -> None:
    details = order("x", location, actions=actions).details
    assert postgres_scope.wrong(details, "shop")
    assert code(lambda: postgres_scope.rights(details, "shop")) == "scope_inexpressible"


def test_nothing_and_too_much_are_no_scope() -> None:
    assert code(lambda: postgres_scope.rights((), "shop")) == "scope_empty"
    assert code(lambda: postgres_scope.rights(order("x").details, "shop")) == "scope_empty"
    many = order("x", *(f"table:s.t{at}" for at in range(postgres_scope.MAX_TABLES + 1))).details
    assert code(lambda: postgres_scope.rights(many, "shop")) == "scope_too_large"


@given(st.text(max_size=80))
def test_a_location_means_what_the_wall_says_it_means_or_nothing(text: str) -> None:
    try:
        pattern = parse_pattern(f"table:{text}")
    except BadInput:
        return
    details = order("x", pattern.text).details
    if postgres_scope.wrong(details, "shop"):
        return
    [place] = postgres_scope.rights(details, "shop").of
    assert (place.schema, place.table) == ((*pattern.key, "") if pattern.subtree else pattern.key)[-2:]
