"""The built-in ``postgres`` as the roles that the broker makes, at a real PostgreSQL 15, through a real outlet."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest
from hypothesis import given as cases
from hypothesis import strategies as st
from tests.conformance.postgres.server import ADMIN, ADMIN_PASSWORD, BIN, Server, running
from tests.tools.builtins.places import FAR, handed, outlet

from ringwall.clock import SystemClock
from ringwall.errors import BadInput, RingwallError
from ringwall.manifest.details import Detail
from ringwall.tools.builtins import given, rows, serve
from ringwall.tools.builtins import postgres as builtin
from ringwall.tools.mcp_call import CREDENTIAL
from ringwall.vault.brokers.interface import Minted, Order
from ringwall.vault.brokers.postgres import PostgresBroker, make
from ringwall.vault.brokers.protocol import Postgres
from ringwall.wire.postgres import Answer, Column

needs_postgres = pytest.mark.skipif(not (BIN / "postgres").exists(),
                                    reason="needs_postgres: no PostgreSQL 15 found")


@dataclass(kw_only=True)
class Bench:
    """A server, a broker and the tool; ``reads`` and ``writes`` may use sales.orders."""

    server: Server
    broker: PostgresBroker
    place: serve.Place
    tool: builtin.Database
    reads: given.Given
    writes: given.Given
    number: int = 0

    def mint(self, lease: str, action: str) -> Minted:
        detail = Detail(identifier="db/x", actions=(action,), locations=("table:sales.orders",))
        return self.broker.mint(Order(lease=lease, seconds=300, details=(detail,), login=ADMIN_PASSWORD))

    def query(self, sql: str, *params: Any, by: given.Given | None = None) -> dict[str, Any]:
        with given.during(by or self.reads):
            return self.tool.query(["sales.orders"], sql, params)

    def execute(self, sql: str, *params: Any) -> dict[str, Any]:
        with given.during(self.writes):
            return self.tool.execute(["sales.orders"], sql, params)

    def code(self, sql: str, *params: Any, writes: bool = False) -> str:
        with pytest.raises(RingwallError) as caught:
            (self.execute if writes else self.query)(sql, *params)
        state = caught.value.cause[:5]
        return state if caught.value.code == "sql_error" else caught.value.code


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with running() as server, outlet(f"localhost:{server.port}") as proxy:
        ca = server.folder / "ca.pem"
        broker = make(Postgres(url=server.url, admin_user=ADMIN, ca=server.ca), SystemClock())
        place = serve.Place(url=server.url, ca=ca, proxy=proxy, seconds=3.0)
        none = given.Given({}, FAR)
        bench = Bench(server=server, broker=broker, place=place, tool=builtin.Database(place), reads=none,
                      writes=none)
        bench.reads = given.Given(bench.mint("reads", "read").values, FAR)
        bench.writes = given.Given(bench.mint("writes", "write").values, FAR)
        yield bench
        bench.reads.end()
        bench.writes.end()


@needs_postgres
class TestReal:
    def test_rows_come_as_json(self, bench: Bench) -> None:
        assert bench.query("SELECT id, item, price FROM sales.orders WHERE item = $1", "tea") == {
            "columns": ["id", "item", "price"], "rows": [[1, "tea", "2.50"]], "count": 1, "more": False}
        got = bench.query("SELECT true, 1.5::float8, 'NaN'::float8, 9007199254740993, '\\x00ff'::bytea, "
                          "'{\"a\": [1]}'::jsonb, '2026-11-23 07:00+00'::timestamptz, '{1,2}'::int[], NULL, "
                          "'P1D'::interval, 'infinity'::timestamp, '2026-11-23'::date")
        assert got["rows"] == [[True, 1.5, "NaN", "9007199254740993", "AP8=", {"a": [1]},
                                "2026-11-23T07:00:00+00:00", "{1,2}", None, "P1D", "infinity", "2026-11-23"]]

    def test_parameters_are_values_and_never_sql(self, bench: Bench) -> None:
        evil = "'; DROP TABLE sales.orders; --"
        assert bench.query("SELECT $1::text, $2::int, $3::bool, $4::float8, $5::text", evil, 7, True, 0.5,
                           None)["rows"] == [[evil, 7, True, 0.5, None]]

    @pytest.mark.parametrize(("sql", "code"), [
        ("SELECT * FROM hr.salaries", "42501"), ("SELECT * FROM sales.customers", "42501"),
        ("SELECT 1; SELECT 2", "42601"), ("COMMIT; DELETE FROM sales.orders", "42601"),
        ("COPY (SELECT 1) TO PROGRAM 'id'", "42501"), ("SELECT pg_read_file('/etc/passwd')", "42501"),
        ("COPY sales.orders TO STDOUT", "copy_refused"), ("SET ROLE minter", "42501"),
        ("SET SESSION AUTHORIZATION minter", "42501"), ("SELECT pg_sleep(60)", "57014"),
        ("DO $$ BEGIN LOOP END LOOP; END $$", "57014"),
        ("DELETE FROM sales.orders", "25006"), ("CREATE TEMP TABLE t (a int)", "25006"),
        ("ALTER ROLE CURRENT_USER PASSWORD 'known'", "25006"), ("SELECT nextval('sales.orders_id_seq')", "42501"),
        ("WITH w AS (SELECT set_config('transaction_read_only', 'off', false)) SELECT * FROM w", "25001"),
        ("COMMIT", "transaction_ended"), ("ROLLBACK", "transaction_ended"), ("END", "transaction_ended"),
        ("SELECT set_config('client_encoding', 'LATIN1', false)", "bad_message"),
        ("SELECT repeat('x', 2000000)", "result_too_large"), ("", "bad_arguments"),
        ("SELECT '\0'", "bad_arguments"),
        ("SELECT '\ud800'", "bad_arguments"), (f"SELECT '{'x' * 70000}'", "bad_arguments"), ("nonsense", "42601"),
    ])
    def test_what_a_hostile_statement_gets(self, bench: Bench, sql: str, code: str) -> None:
        assert bench.code(sql) == code
        assert bench.query("SELECT count(*) FROM sales.orders")["rows"] == [[2]]  # and the next call works

    @pytest.mark.parametrize(("sql", "code"), [
        ("INSERT INTO sales.customers VALUES (9, 'x')", "42501"), ("DROP TABLE sales.orders", "42501"),
        ("TRUNCATE sales.orders", "42501"),
        ("CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "42501"),
        ("ALTER ROLE CURRENT_USER PASSWORD 'known'", "catalog_changed"),
        ("DO $$ BEGIN EXECUTE 'ALTER ROLE CURRENT_USER PASSWORD ''known'''; END $$", "catalog_changed"),
        ("ALTER ROLE CURRENT_USER SET search_path = public", "catalog_changed"),
        ("GRANT rw_writes TO rw_reads", "42501"), ("SELECT lo_from_bytea(0, 'x')", "catalog_changed"),
        ("DO $$ BEGIN DELETE FROM sales.orders; COMMIT; END $$", "2D000"),
        ("PREPARE TRANSACTION 'x'", "transaction_ended"), ("COMMIT AND CHAIN", "transaction_chained"),
        ("SELECT generate_series(1, 1001)", "too_many_rows"),
    ])
    def test_what_a_hostile_statement_that_may_write_gets(self, bench: Bench, sql: str, code: str) -> None:
        if code == "transaction_chained":  # it ended an empty transaction, and began one like it
            bench.execute(sql)
        elif sql.startswith("PREPARE"):
            assert bench.code(sql, writes=True) in {code, "55000"}
        else:
            assert bench.code(sql, writes=True) == code
        assert bench.query("SELECT count(*) FROM sales.orders")["rows"] == [[2]]
        assert bench.server.sql("SELECT count(*) FROM pg_largeobject_metadata") == "0"

    @pytest.mark.parametrize("sql", [
        "DECLARE c CURSOR WITH HOLD FOR SELECT lo_from_bytea(0, 'x')",
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        """DO $x$ BEGIN
        CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE plpgsql AS
          'BEGIN EXECUTE ''ALTER ROLE CURRENT_USER PASSWORD known''; RETURN 1; END';
        EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT pg_temp.f()'; END $x$""",
        """DO $x$ BEGIN
        CREATE FUNCTION pg_temp.f() RETURNS trigger LANGUAGE plpgsql AS
          'BEGIN EXECUTE ''ALTER ROLE CURRENT_USER PASSWORD known''; RETURN NULL; END';
        CREATE TEMP TABLE t (a int);
        CREATE CONSTRAINT TRIGGER r AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
          FOR EACH ROW EXECUTE FUNCTION pg_temp.f();
        INSERT INTO t VALUES (1); END $x$""",
        """DO $x$ BEGIN CREATE TEMP TABLE t (a tsvector, b text);
        CREATE CONSTRAINT TRIGGER r AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
          FOR EACH ROW EXECUTE FUNCTION tsvector_update_trigger('a', 'pg_catalog.english', 'b'); END $x$""",
    ])
    def test_nothing_waits_to_run_until_it_is_committed(self, bench: Bench, sql: str) -> None:
        made = ("SELECT (SELECT rolpassword FROM pg_authid WHERE rolname = 'rw_writes'), count(*) "
                "FROM pg_largeobject_metadata")
        before = bench.server.sql(made)
        assert bench.code(sql, writes=True) == "catalog_changed"
        assert bench.server.sql(made) == before

    def test_what_was_written_stays_and_a_failure_leaves_nothing(self, bench: Bench) -> None:
        done = bench.execute("INSERT INTO sales.orders (item) VALUES ($1) RETURNING item", "jam")
        assert (done["rows"], done["count"]) == ([["jam"]], 1)
        assert bench.query("SELECT count(*) FROM sales.orders WHERE item = 'jam'")["rows"] == [[1]]
        assert bench.code("UPDATE sales.orders SET id = 1", writes=True) == "23505"
        assert bench.execute("DELETE FROM sales.orders WHERE item = 'jam'")["count"] == 1

    @pytest.mark.parametrize("sql", [
        "SET statement_timeout = 0", "SELECT pg_advisory_lock(42)", "LISTEN everything", "PREPARE p AS SELECT 1",
        "SET search_path = public", "SET default_transaction_read_only = off", "SET TimeZone = 'Asia/Tokyo'",
        "DECLARE c CURSOR FOR SELECT 1", "CREATE TEMP TABLE orders (id int)", "NOTIFY everything, 'x'",
    ])
    def test_nothing_of_a_statement_is_left_for_the_next(self, bench: Bench, sql: str) -> None:
        bench.execute(sql)
        left = ("SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'), "
                "(SELECT count(*) FROM pg_prepared_statements), "
                "(SELECT count(*) FROM pg_cursors WHERE is_holdable), "
                "(SELECT count(*) FROM pg_listening_channels()), current_setting('TimeZone'), "
                "current_setting('statement_timeout'), current_setting('search_path'), "
                "current_setting('default_transaction_read_only'), pg_my_temp_schema() = 0 OR NOT EXISTS "
                "(SELECT FROM pg_class WHERE relnamespace = pg_my_temp_schema()), "
                "NOT EXISTS (SELECT FROM pg_proc WHERE pronamespace = pg_my_temp_schema())")
        assert bench.execute(left)["rows"] == [[0, 0, 0, 0, "UTC", "2s", '"$user", public', "on", True, True]]

    def test_reading_notifies_nobody(self, bench: Bench) -> None:
        with given.during(given.Given(bench.mint("ear", "read").values, FAR)):
            bench.query("NOTIFY everything, 'x'")
        assert bench.server.sql("SELECT pg_notification_queue_usage()") == "0"

    def test_more_rows_than_fit_are_told(self, bench: Bench) -> None:
        got = bench.query("SELECT generate_series(1, 1001)")
        assert (len(got["rows"]), got["more"]) == (1000, True)
        assert bench.query("SELECT generate_series(1, 1000)")["more"] is False

    def test_one_connection_serves_a_credentials_calls(self, bench: Bench) -> None:
        pids = {bench.query("SELECT pg_backend_pid()")["rows"][0][0] for _ in range(5)}
        assert len(pids) == 1
        bench.server.sql(f"SELECT pg_terminate_backend({pids.pop()})")
        assert bench.query("SELECT 1")["rows"] == [[1]]  # a new one, where the old one broke between calls

    def test_a_dropped_credential_ends_the_call_under_way_and_its_connection(self, bench: Bench) -> None:
        credential = given.Given(bench.mint("dropped", "read").values, FAR)
        assert bench.query("SELECT 1", by=credential)["rows"] == [[1]]
        failed: list[str] = []

        def sleep() -> None:
            try:
                bench.query("SELECT pg_sleep(60)", by=credential)
            except RingwallError as fault:
                failed.append(fault.code)

        thread = threading.Thread(target=sleep)
        thread.start()
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'rw_dropped' AND wait_event = 'PgSleep'"
        while bench.server.sql(asleep) != "1":
            assert thread.is_alive()
        credential.end()
        thread.join(5)
        assert failed == ["credential_ended"]
        with pytest.raises(RingwallError) as caught:
            bench.query("SELECT 1", by=credential)
        assert caught.value.code == "credential_ended"

    def test_a_dropped_credential_ends_a_connection_that_waits(self, bench: Bench) -> None:
        credential = given.Given(bench.mint("idle", "read").values, FAR)
        bench.query("SELECT 1", by=credential)
        credential.end()
        while bench.server.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'rw_idle'") != "0":
            pass  # the server sees that the connection is gone

    def test_an_agent_that_takes_every_connection_it_can_leaves_some_to_others(
            self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(builtin, "MAX_OF_ONE", 2)
        tool = builtin.Database(bench.place)

        def ask(credential: given.Given, sql: str) -> str:
            try:
                with given.during(credential):
                    return str(tool.query(["sales.orders"], sql)["rows"])
            except RingwallError as fault:
                return fault.code

        greedy = [given.Given(bench.mint(f"greedy{n}", "read").values, FAR, "sam") for n in range(3)]
        other = given.Given(bench.mint("modest", "read").values, FAR, "ana")
        threads = [threading.Thread(target=ask, args=(one, "SELECT pg_sleep(60)")) for one in greedy[:2]]
        for one in threads:
            one.start()
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'rw_greedy%' AND wait_event = 'PgSleep'"
        while bench.server.sql(asleep) != "2":
            assert all(one.is_alive() for one in threads)
        assert ask(greedy[2], "SELECT 1") == "credential_busy"
        assert ask(other, "SELECT 1") == "[[1]]"
        greedy[0].end()
        threads[0].join()
        assert ask(greedy[2], "SELECT 1") == "[[1]]"  # what has ended, or waits for nothing, makes room
        for credential in (*greedy, other):
            credential.end()
        threads[1].join()

    def test_a_revoked_role_is_refused_by_the_server_and_the_error_says_nothing_of_it(self, bench: Bench) -> None:
        credential = given.Given(bench.mint("revoked", "read").values, FAR)
        bench.query("SELECT 1", by=credential)
        bench.broker.revoke(Order(lease="revoked", seconds=1, login=ADMIN_PASSWORD), "")
        with pytest.raises(RingwallError) as caught:
            bench.query("SELECT 1", by=credential)
        assert caught.value.code == "sql_error"
        assert "revoked" not in str(caught.value)
        assert credential.values["password"] not in str(caught.value)

    def test_a_place_that_the_outlet_does_not_list_or_that_is_somebody_else_is_told_nothing(
            self, bench: Bench, tmp_path: Path) -> None:
        with outlet("localhost:1") as proxy:
            place = serve.Place(url=bench.server.url, ca=bench.place.ca, proxy=proxy)
            with pytest.raises(RingwallError) as caught, given.during(bench.reads):
                builtin.Database(place).query([], "SELECT 1")
            assert caught.value.code == "service_unreachable"
        from tests.conformance.postgres.server import certificate
        place = serve.Place(url=bench.server.url, ca=certificate(tmp_path)[0], proxy=bench.place.proxy)
        with pytest.raises(RingwallError) as caught, given.during(bench.reads):
            builtin.Database(place).query([], "SELECT 1")
        assert caught.value.code == "bad_certificate"

    def test_the_served_tool_takes_the_credential_that_a_call_names(self, bench: Bench) -> None:
        async def ask(arguments: dict[str, Any]) -> types.CallToolResult:
            with handed() as (core, hand):
                core.give("lease-1", bench.reads.values)
                tools = serve.tools(builtin, bench.place)  # type: ignore[arg-type]
                params = types.CallToolRequestParams.model_validate(
                    {"name": "query", "arguments": arguments, "_meta": {CREDENTIAL: "lease-1"}})
                return await serve.answering(hand)(tools["query"], params)

        good = anyio.run(ask, {"tables": ["sales.orders"], "sql": "SELECT item FROM sales.orders WHERE id = $1",
                               "params": [1]})
        assert good.structured_content == {"result": {"columns": ["item"], "rows": [["tea"]], "count": 1,
                                                      "more": False}}
        assert anyio.run(ask, {"tables": ["sales.orders"], "sql": "SELECT 1", "params": [["a"]]}).is_error
        for tables in ("sales.orders", [], ["a.b"] * 65):
            assert anyio.run(ask, {"tables": tables, "sql": "SELECT 1"}).is_error


@pytest.mark.parametrize("url", ["postgresql://db.example", "mysql://db.example/x", "postgresql:///x",
                                 "postgresql://me:secret@db.example/x"])
def test_a_place_that_is_none_is_not_served(url: str) -> None:
    with pytest.raises(BadInput):
        builtin.operations(serve.Place(url=url))


@cases(st.sampled_from([16, 17, 20, 21, 23, 26, 114, 700, 701, 1114, 1184, 3802, 25]), st.text(max_size=40))
def test_whatever_a_server_calls_a_value_it_becomes_json(kind: int, text: str) -> None:
    answer = Answer(columns=(Column(name="a", type=kind),), rows=((text,), (None,)), count=2, more=False)
    got = rows.result(answer)["rows"]
    assert got[1] == [None]
    assert isinstance(got[0][0], str | int | float | bool | list | dict | None)
