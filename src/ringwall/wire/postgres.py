"""PostgreSQL's protocol, version 3, over a socket that is connected already: ``pg8000`` within limits.

What pg8000 leaves open is closed here: a peer that is not proven by SCRAM, messages of any length, a peer that
sends a byte a minute, statements in a row, and all rows at once. TLS begins before anything else is said.
Source: PostgreSQL 15 documentation, chapter 55.
"""

# pg8000 ships no types; everything of it stays in this file.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeArgument=false

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import scramp
from pg8000.core import DESCRIBE, EXECUTE, NULL_BYTE, PORTAL, SYNC_MSG, Context, CoreConnection, i_pack, i_unpack
from pg8000.exceptions import DatabaseError, InterfaceError

from ringwall.errors import RingwallError

MAX_ITERATIONS: Final = 1_000_000  # of SCRAM: the server says how many, and each costs us a microsecond
MAX_SAID: Final = 400  # characters of a server's message that are kept
MAX_SPARE: Final = 64 << 10  # bytes beyond the rows: descriptions, notices, an error
_SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)  # section 55.7
_OK, _SASL, _SASL_CONTINUE, _SASL_FINAL = 0, 10, 11, 12  # section 55.7, Authentication*
_IN_TRANSACTION: Final = b"T"


class SqlError(RingwallError):
    """The server refused a statement or a login.

    Args:
        sqlstate: five characters (PostgreSQL 15 documentation, appendix A), ``XX000`` if it sent none.
        said: its message, cut and on one line; without detail, hint or context, which may hold other rows.

    """

    default_code = "sql_error"

    def __init__(self, sqlstate: str, said: str) -> None:
        super().__init__(f"{sqlstate}: {said}")
        self.sqlstate = sqlstate
        self.said = said


class Lost(RingwallError):
    """The connection is over: ``connection_lost``, ``connection_slow``, ``connection_cut`` (by us),
    ``bad_certificate``, ``server_unproven``, ``bad_message``, ``copy_refused`` or ``too_long``."""

    default_code = "connection_lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of an answer: its name, and the number of its type in ``pg_type``."""

    name: str
    type: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one statement gave.

    Args:
        columns: empty for a statement that has none.
        rows: values as the server spells them; None is NULL.
        count: rows given or changed, as the server counts them; -1: it does not say.
        more: whether there were more rows than asked for.

    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[str | None, ...], ...]
    count: int
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who logs in where. ``host``: the name the certificate must bear. ``tls``: None is plain text, for this
    machine only. ``settings``: of the session, and what it returns to when it is reset."""

    host: str
    user: str
    password: str
    database: str
    tls: ssl.SSLContext | None
    settings: Mapping[str, str]


class Session:
    """One connection. For one thread at a time, but for ``cut``.

    Args:
        sock: connected; the session's from now on, also where this fails.
        login: who, and where.
        seconds: for the whole login.

    Raises:
        SqlError: the server does not let us in.
        Lost: it is not who it must be, or there was no answer.

    """

    def __init__(self, sock: socket.socket, login: Login, *, seconds: float) -> None:
        self._raw = sock.dup()  # TLS takes the other over; this one can still end the connection
        self._budget = _Budget()
        self._cut = threading.Event()
        self._late = threading.Event()
        try:
            with self._within(seconds), _told(self._why):
                self._budget.left = MAX_SPARE
                self._wire = _Wire(_encrypted(sock, login), login, self._budget)
        except BaseException:
            sock.close()
            self._raw.close()
            raise
        self._open = True

    @property
    def usable(self) -> bool:
        """Whether it can be asked."""
        return self._open and not self._cut.is_set()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open that has not failed."""
        return self._wire.status == _IN_TRANSACTION

    def ask(self, sql: str, params: Sequence[str | None] = (), *, rows: int = 1000, limit: int = MAX_SPARE,
            seconds: float) -> Answer:
        """Run one statement; what stands behind a semicolon is refused by the server (42601).

        Args:
            sql: one statement, with ``$1`` for the first parameter.
            params: as text; the server infers the types.
            rows: how many are wanted at most.
            limit: bytes of all rows together.
            seconds: for all of it.

        Raises:
            SqlError: the server refused it. The connection is usable.
            Lost: the connection is over, and so is its transaction. ``too_long``: the rows are more than ``limit``.

        """
        if not self.usable:
            raise Lost("the connection is over", code="connection_cut" if self._cut.is_set() else "connection_lost")
        self._budget.left = limit + MAX_SPARE
        try:
            with self._within(seconds), _told(self._why):
                context = self._wire.ask(sql, params, rows + 1)  # one more says that there are more
        except Lost:
            self.close()
            raise
        columns = tuple(Column(name=str(one["name"]), type=int(one["type_oid"])) for one in context.columns or ())
        found = tuple(map(tuple, context.rows or ()))
        return Answer(columns=columns, rows=found[:rows], count=context.row_count, more=len(found) > rows)

    def cut(self) -> None:
        """End the connection at once, also while another thread waits for an answer."""
        self._cut.set()
        self._shut()

    def close(self) -> None:
        """End it. Idempotent."""
        if not self._open:
            return
        self._open = False
        self._raw.setblocking(False)  # both descriptors: a peer that does not read must not keep us
        with contextlib.suppress(InterfaceError, OSError, ValueError, AttributeError):
            self._wire.close()
        self._shut()
        self._raw.close()

    def _shut(self) -> None:
        with contextlib.suppress(OSError):
            self._raw.shutdown(socket.SHUT_RDWR)

    def _why(self) -> str:
        if self._cut.is_set():
            return "connection_cut"
        return "connection_slow" if self._late.is_set() else ""

    @contextlib.contextmanager
    def _within(self, seconds: float) -> Generator[None]:
        """End the connection if what is done here takes longer: a timeout of the socket would begin anew with every
        byte."""
        def late() -> None:
            self._late.set()
            self._shut()

        timer = threading.Timer(seconds, late)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


class _Budget:
    """How many bytes the peer may still send."""

    left = 0


class _Reader:
    """The connection's file, with the budget."""

    def __init__(self, file: Any, budget: _Budget) -> None:
        self._file = file
        self._budget = budget
        self.write = file.write
        self.flush = file.flush

    def read(self, size: int) -> bytes:
        """Raises Lost for a length that is none (a negative one reads to the end) or more than is left."""
        if size < 0:
            raise Lost("a message announces a negative length", code="bad_message")
        self._budget.left -= size
        if self._budget.left < 0:
            raise Lost("the answer is longer than allowed", code="too_long")
        return self._file.read(size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Wire(CoreConnection):
    """pg8000's connection: strict about who the server is, frugal with what it sends."""

    def __init__(self, sock: socket.socket, login: Login, budget: _Budget) -> None:
        self._budget = budget
        self._file: _Reader | None = None
        self._proven = False
        settings = dict(login.settings)
        super().__init__(login.user, host=login.host, database=login.database, password=login.password, sock=sock,
                         ssl_context=False, application_name=settings.pop("application_name", None),
                         startup_params=settings)

    @property
    def _sock(self) -> Any:
        return self._file

    @_sock.setter
    def _sock(self, file: Any) -> None:
        if file is None and self._file is not None:
            with contextlib.suppress(OSError, ValueError):  # it writes what is left, to a peer that may be gone
                self._file.close()
        self._file = None if file is None else _Reader(file, self._budget)

    @property
    def status(self) -> bytes:
        """Of the transaction, as the server said last."""
        return self._transaction_status or b""

    def ask(self, sql: str, params: Sequence[str | None], rows: int) -> Any:
        """One statement by the extended protocol, in one round trip (section 55.2.3)."""
        context = Context(sql)
        self.send_PARSE(NULL_BYTE, sql)
        self.send_BIND(NULL_BYTE, params)
        self._send_message(DESCRIBE, PORTAL + NULL_BYTE)
        self._send_message(EXECUTE, NULL_BYTE + i_pack(rows))
        self._sock.write(SYNC_MSG)
        self._sock.flush()
        self.handle_messages(context)
        return context

    def handle_AUTHENTICATION_REQUEST(self, data: bytes, context: Any) -> None:  # noqa: N802 (pg8000's name)
        """Only SCRAM, to its end: then the server knows the password's verifier, and never sees the password."""
        code = i_unpack(data)[0]
        if code not in {_OK, _SASL, _SASL_CONTINUE, _SASL_FINAL} or (code == _OK and not self._proven):
            raise Lost("the server does not ask for SCRAM-SHA-256", code="server_unproven")
        if code == _SASL_CONTINUE:
            count = data.rpartition(b",i=")[2]
            if not count.isdigit() or len(count) > 9 or int(count) > MAX_ITERATIONS:
                raise Lost("the server asks for too many rounds of SCRAM", code="server_unproven")
        super().handle_AUTHENTICATION_REQUEST(data, context)
        self._proven = self._proven or code == _SASL_FINAL

    def handle_PARAMETER_STATUS(self, data: bytes, context: Any) -> None:  # noqa: N802 (pg8000's name)
        """The encoding is UTF-8: which one is read with is not for the peer, or a statement, to choose."""
        name, _, value = data.rstrip(b"\0").partition(b"\0")
        if name == b"client_encoding" and value.upper() not in {b"UTF8", b"UNICODE"}:
            raise Lost("the connection's encoding was changed", code="bad_message")

    def handle_COPY_OUT_RESPONSE(self, data: bytes, context: Any) -> None:  # noqa: N802 (pg8000's name)
        """Never asked for."""
        raise Lost("COPY to and from the client is not carried", code="copy_refused")

    def handle_COPY_IN_RESPONSE(self, data: bytes, context: Any) -> None:  # noqa: N802 (pg8000's name)
        """Never asked for."""
        raise Lost("COPY to and from the client is not carried", code="copy_refused")

    def handle_ROW_DESCRIPTION(self, data: bytes, context: Any) -> None:  # noqa: N802 (pg8000's name)
        """Values stay as the server spells them."""
        super().handle_ROW_DESCRIPTION(data, context)
        context.input_funcs = [str] * len(context.columns)


def _encrypted(sock: socket.socket, login: Login) -> socket.socket:
    if login.tls is None:
        return sock
    sock.sendall(_SSL_REQUEST)
    if sock.recv(1) != b"S":  # one byte: what is sent ahead of the handshake would be believed after it
        raise Lost("the server speaks no TLS", code="server_unproven")
    return login.tls.wrap_socket(sock, server_hostname=login.host)


@contextlib.contextmanager
def _told(why: Any) -> Generator[None]:
    """pg8000's many ways to fail, as two."""
    try:
        yield
    except DatabaseError as fault:
        if why():
            raise Lost("the connection was ended", code=why()) from None
        raise _said(fault) from None
    except Lost:
        raise
    except ssl.SSLCertVerificationError:
        raise Lost("the server's certificate is not to be trusted", code="bad_certificate") from None
    except scramp.ScramException:
        raise Lost("the server cannot prove that it knows the password", code="server_unproven") from None
    except (InterfaceError, OSError) as fault:
        code = why() or ("connection_slow" if isinstance(fault, TimeoutError) else "connection_lost")
        raise Lost(f"the connection broke ({type(fault).__name__})", code=code) from None
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, struct.error) as fault:
        code = why() or "bad_message"
        raise Lost(f"the server's answer is none ({type(fault).__name__})", code=code) from None


def _said(fault: DatabaseError) -> SqlError:
    given = fault.args[0] if fault.args and isinstance(fault.args[0], dict) else {}
    state = str(given.get("C", ""))
    said = " ".join("".join(c if c.isprintable() else " " for c in str(given.get("M", ""))).split())
    good = len(state) == 5 and state.isascii() and state.isalnum()
    return SqlError(state if good else "XX000", said[:MAX_SAID])
