"""HTTPS through the tunnel: each request on a connection of its own, once, and with an end."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ringwall.errors import BadInput, Unavailable
from ringwall.tools.builtins.amazon import Reply
from ringwall.tools.builtins.given import Given
from ringwall.tools.builtins.tunnel import shut, through, trust, unreachable

_PIECE: Final = 1 << 16


class Https:
    """Requests to one HTTPS service: each on a connection of its own, once, within a time limit, up to a size.

    Args:
        url: of the service.
        ca: as in ``trust``.
        proxy: host and port.
        seconds: for one request, everything included.

    Raises:
        BadInput: ``bad_place``: it is no https URL of a host, or ``ca`` is none.

    """

    def __init__(self, url: str, *, ca: Path | None, proxy: tuple[str, int], seconds: float) -> None:
        try:
            place = urlsplit(url)
            port = place.port or 443
        except ValueError:
            raise BadInput("the service's url is none", code="bad_place") from None
        if place.scheme != "https" or not place.hostname or place.query or place.fragment or place.username:
            raise BadInput("the service's url must be https://host[:port]", code="bad_place",
                           remedy="the way out of a tool's process carries TLS only")
        self._origin = f"https://{place.netloc}"
        self._host, self._port = place.hostname, port
        self._tls = trust(ca)
        self._proxy = proxy
        self._seconds = seconds

    def send(self, given: Given, most: int, method: str, url: str, headers: Mapping[str, str],
             body: bytes) -> Reply:
        """One request and its whole answer.

        Args:
            given: what it is made with; its end ends the request.
            most: bytes of the answer's body.
            method: of the request.
            url: whole; of this service.
            headers: besides those of the connection.
            body: of the request.

        Raises:
            Unavailable: ``service_unreachable``: nothing was sent. ``service_broken``: it may have taken effect.
            BadInput: ``result_too_large``. Refused: ``credential_ended``.

        """
        if not url.startswith(f"{self._origin}/"):
            raise BadInput("this is not the service's own address", code="bad_place")
        with self._connected(given) as sock:
            line = http.client.HTTPConnection(self._host, self._port)
            line.sock = sock
            try:
                line.putrequest(method, url.removeprefix(self._origin), skip_accept_encoding=True, skip_host=True)
                named = {"Host": self._origin.removeprefix("https://"), "Connection": "close"}
                if body or method in {"PUT", "POST"}:
                    named["Content-Length"] = str(len(body))
                for name, value in {**headers, **named}.items():
                    line.putheader(name, value)
                line.endheaders(body or None)
                with line.getresponse() as answer:
                    return _read(answer, most)
            except (OSError, http.client.HTTPException):
                raise Unavailable("the service broke off, or took too long; what was asked may have happened",
                                  code="service_broken") from None

    @contextmanager
    def _connected(self, given: Given) -> Generator[ssl.SSLSocket]:
        plain = through(self._proxy, self._host, self._port, self._seconds)
        # The plain socket's own: one of TLS is another thread's.
        other = plain.dup()
        end = partial(shut, other)
        limit = threading.Timer(self._seconds, end)
        limit.daemon = True
        try:
            with given.using(end):
                limit.start()
                try:
                    secured = self._tls.wrap_socket(plain, server_hostname=self._host)
                except (OSError, ValueError):
                    raise unreachable("its certificate is not trusted, or it speaks no TLS") from None
                with secured:
                    yield secured
        finally:
            limit.cancel()
            plain.close()
            other.close()


def _read(answer: http.client.HTTPResponse, most: int) -> Reply:
    said = answer.length
    if said is None and not answer.chunked:
        raise http.client.IncompleteRead(b"")  # whether it is whole nobody could say
    pieces: list[bytes] = []
    size = 0
    while (said is None or said <= most) and (piece := answer.read1(_PIECE)):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            break
    if size > most or (said is not None and said > most):
        raise BadInput(f"the answer has more than {most} bytes", code="result_too_large",
                       remedy="ask for something smaller")
    if said is not None and size != said:
        raise http.client.IncompleteRead(b"")
    return Reply(status=answer.status, headers=dict(answer.getheaders()), body=b"".join(pieces))
