"""PostgreSQL: a role for one lease, with rights on the tables of one call, that the server itself ends.

``VALID UNTIL`` ends logins only, so revoking also ends the role's connections. The server is told a SCRAM verifier:
the password is in none of its logs. A role gets all that PUBLIC has as well; where that is more than was declared,
nothing is minted (``postgres_scope``).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from ringwall.clock import Clock
from ringwall.errors import RingwallError
from ringwall.vault.brokers import postgres_scope as scope
from ringwall.vault.brokers.interface import Minted, Order, refused, unavailable
from ringwall.vault.brokers.network import Network
from ringwall.vault.brokers.protocol import Postgres
from ringwall.wire.postgres import Answer, Login, Lost, Session, SqlError

MAX_CONNECTIONS: Final = 4  # of one credential: the tool keeps one, and may lose it
SECONDS: Final = 10.0  # for the login, and again for each statement
ENDING_MS: Final = 3000  # for one connection to end when it is told to
LOCK_MS: Final = 500  # for a role's row: our own transactions hold one for a few milliseconds
MAX_ROUNDS: Final = 3  # of ending connections: one may log in while the first round looks
MAX_TRIES: Final = 5  # of a transaction that met another one on the same catalog row
_ITERATIONS: Final = 4096  # of SCRAM: PostgreSQL's own; the password has 256 random bits
_SETTINGS: Final = MappingProxyType({
    "search_path": "pg_catalog",  # nothing that somebody put into another schema answers for a built-in function
    "statement_timeout": "8s", "lock_timeout": "4s", "idle_in_transaction_session_timeout": "10s",
})
_AGAIN: Final = frozenset({
    "XX000",  # "tuple concurrently updated": two brokers grant on one table
    "40001", "40P01",
})
_SLOW: Final = frozenset({"57014", "55P03"})  # statement_timeout, lock_timeout
_BUSY: Final = re.compile("53|57|58|08")  # classes: resources, operator intervention, system, connection
_NO_SUCH_ROLE: Final = "42704"
_LEASE: Final = re.compile("[A-Za-z0-9]{1,48}")


def make(provider: Postgres, clock: Clock) -> PostgresBroker:
    """The broker of one secret. Raises Unavailable: its ``ca`` cannot be used."""
    return PostgresBroker(provider, Network((provider.url,), ca=provider.ca, private=provider.private), clock)


class PostgresBroker:
    """One database, and a user of it that may create roles and grant on the tables."""

    def __init__(self, provider: Postgres, network: Network, clock: Clock) -> None:
        self._provider = provider
        self._network = network
        self._clock = clock
        self._alone = threading.Lock()  # grants on one table that overlap fail: PostgreSQL does not queue them

    def mint(self, order: Order) -> Minted:
        """A new role. Raises as ``interface.Broker``; ``provider_wider``: PUBLIC has more than was declared."""
        wanted = scope.rights(order.details, scope.database(self._provider.url))
        role = _role(order)
        password = secrets.token_urlsafe(32)
        asked = self._clock.now()
        with self._session(order) as session:
            self._repeated(session, lambda: _create(session, role, _verifier(password), order, wanted))
        return Minted(values={"username": role, "password": password}, expires_at=asked + order.seconds)

    def renew(self, order: Order, handle: str) -> float:
        """Raises as ``interface.Broker``; ``not_renewable``: the role is gone."""
        asked = self._clock.now()
        with self._session(order) as session:
            try:
                until = _until(session, order.seconds)
                _ask(session, f"ALTER ROLE {scope.quoted(_role(order))} VALID UNTIL '{until}'")
            except SqlError as fault:
                if fault.sqlstate == _NO_SUCH_ROLE:
                    raise refused("not_renewable", "there is no such role") from None
                raise
        return asked + order.seconds

    def revoke(self, order: Order, handle: str) -> None:
        """No new login, no open connection, no role: in this order, each for good before the next.

        ``provider_denied``: what the role made cannot be dropped; nobody can log in as it all the same.
        """
        role = _role(order)
        with self._session(order) as session:
            number = _number(session, role)
            if not number:
                return
            self._shut(session, role, number)
            _end(session, number)
            self._repeated(session, lambda: _drop(session, role))
            _end(session, number)  # one that was logging in while the role still could

    def _shut(self, session: Session, role: str, number: str) -> None:
        """No new login. A connection of the role may hold the lock on its row, for as long as it likes: then it is
        ended first, and has no time for another one."""
        def shut() -> None:
            _ask(session, f"SET LOCAL lock_timeout = '{LOCK_MS}ms'")
            _ask(session, f"ALTER ROLE {scope.quoted(role)} NOLOGIN PASSWORD NULL")

        for left in reversed(range(MAX_ROUNDS)):
            try:
                self._repeated(session, shut)
            except SqlError as fault:
                if fault.sqlstate not in _SLOW or not left:
                    raise
                _end(session, number)
            else:
                return

    @contextmanager
    def _session(self, order: Order) -> Generator[Session]:
        """As the admin; what fails in it becomes what a broker raises."""
        parts = urlsplit(self._provider.url)
        host, port = parts.hostname or "", parts.port or 5432
        # Without TLS only to this machine, written as an address.
        plain = not self._provider.ca and host in {"127.0.0.1", "::1"}
        login = Login(host=host, user=self._provider.admin_user, password=order.login,
                      database=scope.database(self._provider.url), tls=None if plain else self._network.tls,
                      settings={**_SETTINGS, "application_name": f"ringwall {order.session}"[:63]})
        try:
            session = Session(self._network.connect(host, port, SECONDS), login, seconds=SECONDS)
            try:
                yield session
            finally:
                session.close()
        except SqlError as fault:
            raise _denied(fault) from None
        except Lost as fault:
            raise _lost(fault) from None

    def _repeated(self, session: Session, work: Callable[[], object]) -> None:
        """One transaction, again where it met another one."""
        if not self._alone.acquire(timeout=SECONDS):
            raise unavailable("provider_slow", "another order has not finished with it")
        try:
            for left in reversed(range(MAX_TRIES)):
                try:
                    _ask(session, "BEGIN")
                    work()
                    _ask(session, "COMMIT")
                    return
                except SqlError as fault:
                    _ask(session, "ROLLBACK")
                    if fault.sqlstate not in _AGAIN or not left:
                        raise
                except RingwallError:
                    if session.usable:
                        _ask(session, "ROLLBACK")
                    raise
        finally:
            self._alone.release()


def _create(session: Session, role: str, verifier: str, order: Order, wanted: scope.Rights) -> None:
    """The role with its rights, in the transaction that is open."""
    name = scope.quoted(role)
    _ask(session, f"CREATE ROLE {name} NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS "
                  f"LOGIN CONNECTION LIMIT {MAX_CONNECTIONS} PASSWORD '{verifier}' "
                  f"VALID UNTIL '{_until(session, order.seconds)}'")
    # To end its connections and drop what it makes, an admin that is no superuser must be a member of it.
    _ask(session, f"GRANT {name} TO CURRENT_USER")
    label = re.sub(r"[^A-Za-z0-9@:./_-]", "?", order.session)
    _ask(session, f"COMMENT ON ROLE {name} IS 'ringwall {label}'")

    def run(sql: str, *params: str) -> Sequence[Sequence[str | None]]:
        return _ask(session, sql, *params).rows

    scope.grant(run, role, wanted)


def _end(session: Session, number: str) -> None:
    """End a role's connections. Raises Unavailable if one outlives it."""
    for _ in range(MAX_ROUNDS):
        alive = _ask(session, "SELECT pg_terminate_backend(pid, $2::bigint) FROM pg_stat_activity "
                              "WHERE usesysid = $1::oid", number, str(ENDING_MS))
        if not alive.rows:
            return
    raise unavailable("provider_slow", "a connection of the role does not end")


def _drop(session: Session, role: str) -> None:
    if _number(session, role):
        _ask(session, f"DROP OWNED BY {scope.quoted(role)}")  # its rights too; not what others own (CASCADE)
        _ask(session, f"DROP ROLE {scope.quoted(role)}")


def _number(session: Session, role: str) -> str:
    """Its oid; empty: there is no such role."""
    rows = _ask(session, "SELECT oid FROM pg_roles WHERE rolname = $1", role).rows
    return (rows[0][0] or "") if rows else ""


def _until(session: Session, seconds: int) -> str:
    """By the server's clock, which is what ends it."""
    sql = "SELECT (clock_timestamp() + make_interval(secs => $1::float8))::text"
    [[when]] = _ask(session, sql, str(seconds)).rows
    if when is None or not re.fullmatch(r"[0-9:. +-]{19,40}", when):
        raise refused("provider_garbage", "its clock gives no time")
    return when


def _ask(session: Session, sql: str, *params: str) -> Answer:
    return session.ask(sql, params, seconds=SECONDS)


def _role(order: Order) -> str:
    if not _LEASE.fullmatch(order.lease):
        raise unavailable("broker_failed", "the lease's id is none")
    return f"rw_{order.lease}"


def _verifier(password: str) -> str:
    """What the server keeps (PostgreSQL 15 documentation, section 53.8; RFC 5803), made here."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt_, stored_, server_ = (base64.b64encode(raw).decode("ascii") for raw in (salt, stored, server))
    return f"SCRAM-SHA-256${_ITERATIONS}:{salt_}${stored_}:{server_}"


def _denied(fault: SqlError) -> RingwallError:
    if fault.sqlstate in _SLOW:
        return unavailable("provider_slow", fault.sqlstate)
    if _BUSY.match(fault.sqlstate):
        return unavailable("provider_unreachable", fault.sqlstate)
    return refused("provider_denied", f"{fault.sqlstate}: {fault.said}")


def _lost(fault: Lost) -> RingwallError:
    if fault.code == "connection_slow":
        return unavailable("provider_slow", fault.cause)
    if fault.code in {"bad_message", "too_long"}:
        return refused("provider_garbage", fault.cause)
    return unavailable("provider_unreachable", f"{fault.code}: {fault.cause}")
