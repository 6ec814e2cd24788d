"""The built-in ``postgres``: one statement a call, as a role that was made for the call's tables.

Nothing here looks into the SQL: the role's rights decide, at the server. What a statement could leave behind for
the next one, or for others, is undone: ``query`` is read-only and always rolled back, ``execute`` is committed only
if it changed no table of the server's own, and the session is reset after each.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Generator, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import urlsplit

from pydantic import Field

from ringwall.errors import BadInput, RingwallError, Unavailable
from ringwall.tools.builtins import given
from ringwall.tools.builtins.rows import result
from ringwall.tools.builtins.serve import Place
from ringwall.tools.builtins.tunnel import through, trust
from ringwall.wire.postgres import Answer, Login, Lost, Session, SqlError

MAX_SQL: Final = 64 << 10  # bytes of a statement
MAX_PARAMS: Final = 100
MAX_PARAM: Final = 256 << 10  # bytes of one parameter
MAX_ROWS: Final = 1000
MAX_BYTES: Final = 1 << 20  # of all rows together, as the server sends them
MAX_KEPT: Final = 32  # connections; a tenant's credentials that are in use at one time are fewer
MAX_OF_ONE: Final = 16  # of them for one agent: another finds room, whatever the first one does
LOGIN_S: Final = 10.0
SHORT_S: Final = 5.0  # for a statement of ours
MAX_TABLES: Final = 64  # as many as one credential is made for
Value: TypeAlias = str | int | float | bool | None
Tables: TypeAlias = Annotated[Sequence[str], Field(min_length=1, max_length=MAX_TABLES)]

# Held until the end of a transaction by whoever changes a role, its password or its members, and by who makes large
# objects; a statement on the role's own tables takes none of these. COMMIT itself runs cursors that are held and
# triggers that are deferred, after this was asked: what such a one could be made of must not be there either.
_TOUCHED: Final = """
SELECT 1 FROM pg_catalog.pg_locks WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation'
   AND relation < 16384 AND mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock',
     'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
UNION ALL SELECT 1 FROM pg_catalog.pg_cursors WHERE is_holdable
UNION ALL SELECT 1 FROM pg_catalog.pg_proc WHERE pronamespace = pg_catalog.pg_my_temp_schema()
UNION ALL SELECT 1 FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
   WHERE c.relnamespace = pg_catalog.pg_my_temp_schema() AND NOT t.tgisinternal
LIMIT 1"""
_SETTINGS: Final = MappingProxyType({
    "application_name": "ringwall", "DateStyle": "ISO, YMD", "IntervalStyle": "iso_8601", "TimeZone": "UTC",
    "bytea_output": "hex", "extra_float_digits": "1", "default_transaction_read_only": "on", "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s", "idle_session_timeout": "16min",
})


def operations(place: Place) -> Sequence[Callable[..., Any]]:
    """See ``serve.Builtin``."""
    database = Database(place)
    return (database.query, database.execute)


class Database:
    """One database, with a connection for each credential that is in use."""

    def __init__(self, place: Place) -> None:
        parts = urlsplit(place.url)
        self._host, self._port, self._name = parts.hostname or "", parts.port or 5432, parts.path.removeprefix("/")
        if parts.scheme != "postgresql" or not self._host or not self._name or parts.username is not None:
            raise BadInput("the URL is none of a PostgreSQL database", code="bad_place")
        self._place = place
        self._tls = _context(place, self._host)
        self._kept: dict[given.Given, _Kept] = {}
        self._lock = threading.Lock()

    def query(self, tables: Tables, sql: str, params: Sequence[Value] = ()) -> dict[str, Any]:
        """Read with one SQL statement. Name every table it reads: schema.table; $1 is the first of params."""
        return self._run(sql, params, writes=False)

    def execute(self, tables: Tables, sql: str, params: Sequence[Value] = ()) -> dict[str, Any]:
        """Change rows with one SQL statement. Name every table it uses: schema.table; $1 is the first of params."""
        return self._run(sql, params, writes=True)

    def _run(self, sql: str, params: Sequence[Value], *, writes: bool) -> dict[str, Any]:
        texts = _checked(sql, params)
        with self._working(given.current()) as session:
            try:
                return self._transaction(session, sql, texts, writes=writes)
            except SqlError as fault:
                raise RingwallError(f"{fault.sqlstate}: {fault.said}", code="sql_error") from None
            except Lost as fault:
                raise _lost(fault) from None

    def _transaction(self, session: Session, sql: str, params: Sequence[str | None], *,
                     writes: bool) -> dict[str, Any]:
        session.ask(f"BEGIN READ {'WRITE' if writes else 'ONLY'}", seconds=SHORT_S)
        try:
            answer = session.ask(sql, params, rows=MAX_ROWS, limit=MAX_BYTES, seconds=self._place.seconds)
            self._judge(session, answer, writes=writes)
            found = result(answer)
            if writes:
                _commit(session)
            return found
        finally:
            _reset(session)

    def _judge(self, session: Session, answer: Answer, *, writes: bool) -> None:
        """Whether it may be believed, and kept. Raises RingwallError."""
        if not session.in_transaction:
            session.close()
            raise BadInput("a statement may not begin or end transactions", code="transaction_ended")
        if not writes:
            return
        if answer.more:
            raise BadInput(f"it gives more than {MAX_ROWS} rows: nothing was changed", code="too_many_rows")
        session.ask("SET LOCAL search_path = pg_catalog", seconds=SHORT_S)
        if session.ask(_TOUCHED, seconds=SHORT_S).rows:
            raise BadInput("it changes roles or other tables of the server's own, or leaves a held cursor or a "
                           "temporary function or trigger: nothing was changed",
                           code="catalog_changed")

    @contextlib.contextmanager
    def _working(self, credential: given.Given) -> Generator[Session]:
        """The credential's own connection, for one call at a time."""
        kept = self._of(credential)
        if not kept.lock.acquire(timeout=self._place.seconds):
            raise Unavailable("other calls with this credential have not ended", code="credential_busy")
        try:
            cut = kept.cut  # one object: it is known by its identity
            with credential.using(cut):
                yield kept.session(lambda: self._connect(credential))
        finally:
            kept.tidy()
            kept.lock.release()

    def _of(self, credential: given.Given) -> _Kept:
        with self._lock:
            found = self._kept.get(credential)
            if found is None:
                self._sweep(credential)
                if self._full(credential):
                    raise Unavailable("too many credentials are in use at once", code="credential_busy")
                found = self._kept[credential] = _Kept(credential)
            return found

    def _full(self, credential: given.Given) -> bool:
        """Whether there is no room for a connection of this one."""
        same = sum(one.whose == credential.whose for one in self._kept)
        return len(self._kept) >= MAX_KEPT or same >= MAX_OF_ONE

    def _sweep(self, wanted: given.Given) -> None:
        """Forget what has ended; and, if there is no room for this one, what nobody works with."""
        for credential, kept in list(self._kept.items()):
            ours = len(self._kept) >= MAX_KEPT or credential.whose == wanted.whose
            over = credential.ended or (ours and self._full(wanted) and not kept.lock.locked())
            if over and kept.lock.acquire(blocking=False):
                kept.close()
                kept.lock.release()
                del self._kept[credential]

    def _connect(self, credential: given.Given) -> Session:
        values = credential.values
        limit = f"{max(1, int(self._place.seconds * 1000) - 1000)}"  # ms: the server tells before we give up
        login = Login(host=self._host, user=values.get("username", ""), password=values.get("password", ""),
                      database=self._name, tls=self._tls, settings={**_SETTINGS, "statement_timeout": limit})
        try:
            sock = through(self._place.proxy, self._host, self._port, LOGIN_S)
            sock.settimeout(None)  # the session has limits of its own
            return Session(sock, login, seconds=LOGIN_S)
        except SqlError as fault:
            raise RingwallError(f"{fault.sqlstate}: the server refuses the credential", code="sql_error") from None
        except Lost as fault:
            raise _lost(fault) from None


class _Kept:
    """A credential's connection, which ends with the credential, also between calls."""

    def __init__(self, credential: given.Given) -> None:
        self.lock = threading.Lock()
        self._credential = credential
        self._session: Session | None = None
        self._hold = contextlib.ExitStack()
        self._end: Callable[[], None] | None = None

    def session(self, connect: Callable[[], Session]) -> Session:
        """It, or a new one where it broke while nobody used it. With ``lock``."""
        if self._session is not None and not _answers(self._session):
            self.close()
        if self._session is None:
            self._session = connect()
            self._end = self.end  # one object: it is known by its identity
            try:
                self._hold.enter_context(self._credential.using(self._end))
            except RingwallError:  # it ended while we logged in
                self.close()
                raise
        return self._session

    def cut(self) -> None:
        """End it at once, from any thread."""
        session = self._session
        if session is not None:
            session.cut()

    def end(self) -> None:
        """End it at once, from any thread; who works with it closes it."""
        self.cut()
        if self.lock.acquire(blocking=False):
            self.close()
            self.lock.release()

    def tidy(self) -> None:
        """Close it if it is over. With ``lock``."""
        if self._session is not None and not self._session.usable:
            self.close()

    def close(self) -> None:
        """End it. With ``lock``."""
        if self._session is not None:
            self._session.close()
        self._session = None
        self._hold.close()


def _answers(session: Session) -> bool:
    try:
        session.ask("SELECT 1", seconds=SHORT_S)
    except (SqlError, Lost):
        return False
    return True


def _commit(session: Session) -> None:
    try:
        session.ask("COMMIT", seconds=SHORT_S)
    except Lost:
        raise Unavailable("the connection broke while it was committed: it may or may not have happened",
                          code="outcome_unknown") from None


def _reset(session: Session) -> None:
    """Whatever happened, nothing of it is left for the next call."""
    try:
        if session.usable:
            session.ask("ROLLBACK", seconds=SHORT_S)
            session.ask("DISCARD ALL", seconds=SHORT_S)
    except (SqlError, Lost):
        session.close()


def _checked(sql: str, params: Sequence[Value]) -> list[str | None]:
    """Parameters as text. Raises BadInput for what the protocol cannot carry."""
    texts = [_text(value) for value in params]
    try:
        sizes = [len(text.encode()) for text in (sql, *(text for text in texts if text is not None))]
    except UnicodeEncodeError:
        raise BadInput("a lone surrogate is no character", code="bad_arguments") from None
    if sizes[0] > MAX_SQL or len(texts) > MAX_PARAMS or max(sizes) > MAX_PARAM:
        raise BadInput(f"at most {MAX_SQL} bytes of SQL and {MAX_PARAMS} parameters of {MAX_PARAM} bytes",
                       code="bad_arguments")
    if not sql.strip() or "\0" in sql or any(text is not None and "\0" in text for text in texts):
        raise BadInput("the SQL is empty, or something holds a NUL", code="bad_arguments")
    return texts


def _text(value: Value) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


def _lost(fault: Lost) -> RingwallError:
    if fault.code == "too_long":
        return BadInput(f"the rows have more than {MAX_BYTES} bytes: nothing was changed", code="result_too_large",
                        remedy="ask for fewer rows or columns")
    if fault.code == "copy_refused":
        return BadInput(fault.cause, code="copy_refused")
    return Unavailable(fault.cause, code=fault.code)


def _context(place: Place, host: str) -> ssl.SSLContext | None:
    """None, which is plain text: only to this machine, written as an address, without a CA."""
    return None if place.ca is None and host in {"127.0.0.1", "::1"} else trust(place.ca)
