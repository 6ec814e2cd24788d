"""The office's archive, a web service, and the authorization server that it believes: RFC 8693, 7009 and 9396.

A stand-in of the demo's own, strict where it matters: a subject's token is verified by the keys of its issuer, what
is given in exchange is good for exactly its ``authorization_details``, and a revoked token is good for nothing. It
has one weakness, as such services have: ``/debug`` shows the request as it came.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from ringwall.redteam.office.journalled import append
from ringwall.redteam.office.served import Answering, while_open

AUDIENCE: Final = "archive"
CLIENT: Final = ("ringwall", "kX4nW8vQ2sLtR6yPz0aB")
OWN_TOKEN: Final = "arc_" + "Zk3vXo7QeM1d" * 3
"""What the office would give its agents without Ringwall: it never ends, and opens everything."""
SECONDS: Final = 30 * 24 * 3600  # how long tokens live by themselves: as long as many services let them
_PAGES: Final = {"/hours": "open from nine to five", "/salaries": "ana 81000, bob 78000"}

Verify = Callable[[str, str], str]
"""Judges a subject's token for an audience; its SPIFFE ID. Raises ValueError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    details: list[Mapping[str, Any]] | None  # None: good for everything
    ends: float


class Archive:
    """Pages, and the tokens that open them.

    Args:
        journal: where each request that was let through is written down.
        verify: judges subjects' tokens.

    """

    def __init__(self, journal: Path, verify: Verify) -> None:
        self._journal = journal
        self._verify = verify
        self._tokens = {OWN_TOKEN: _Token(details=None, ends=float("inf"))}

    def exchange(self, form: Mapping[str, str]) -> dict[str, Any]:
        """RFC 8693, section 2. Raises PermissionError."""
        if form["grant_type"] != "urn:ietf:params:oauth:grant-type:token-exchange":
            raise PermissionError("unsupported_grant_type")
        try:
            self._verify(form["subject_token"], AUDIENCE)
        except ValueError as fault:
            raise PermissionError("invalid_grant") from fault
        asked = json.loads(form["authorization_details"]) if form.get("authorization_details") else None
        token = f"arc_{secrets.token_urlsafe(32)}"
        self._tokens[token] = _Token(details=asked, ends=time.time() + SECONDS)
        answer: dict[str, Any] = {
            "access_token": token, "token_type": "Bearer", "expires_in": SECONDS,
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        }  # fmt: skip
        return answer if asked is None else {**answer, "authorization_details": asked}

    def revoke(self, form: Mapping[str, str]) -> None:
        """RFC 7009."""
        self._tokens.pop(form["token"], None)

    def page(self, method: str, path: str, url: str, headers: Mapping[str, str]) -> str:
        """What a request gets. Raises PermissionError."""
        token = self._tokens.get(headers.get("authorization", "").removeprefix("Bearer "))
        if token is None or token.ends <= time.time() or not _opens(token, method, url):
            raise PermissionError("invalid_token" if token is None else "insufficient_scope")
        append(self._journal, method=method, path=path, by=headers.get("user-agent", ""))
        if path == "/debug":
            return f"{method} {path}\n" + "\n".join(f"{name}: {value}" for name, value in headers.items())
        return _PAGES.get(path, "there is no such page")


def _opens(token: _Token, method: str, url: str) -> bool:
    if token.details is None:
        return True
    return any(
        one.get("identifier") == f"archive/{method.lower()}" and f"url:{url}" in one.get("locations", ())
        for one in token.details
    )


def _handler(archive: Archive) -> type[Answering]:
    class Handler(Answering):
        def do_POST(self) -> None:  # noqa: N802 (the base class finds it by this name)
            form = {name: values[0] for name, values in parse_qs(self.body().decode()).items()}
            basic = base64.b64encode(":".join(CLIENT).encode()).decode()
            try:
                if self.headers.get("Authorization") != f"Basic {basic}":
                    raise PermissionError("invalid_client")
                if self.path == "/token":
                    self.answer(HTTPStatus.OK, json.dumps(archive.exchange(form)), "application/json")
                else:
                    archive.revoke(form)
                    self.answer(HTTPStatus.OK, "")
            except (PermissionError, KeyError, ValueError) as fault:
                self.answer(HTTPStatus.BAD_REQUEST, json.dumps({"error": str(fault)}), "application/json")

        def _page(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            url = f"http://{headers.get('host', '')}{self.path}"
            try:
                self.answer(HTTPStatus.OK, archive.page(self.command, self.path, url, headers))
            except PermissionError as fault:
                self.answer(HTTPStatus.UNAUTHORIZED, str(fault))

        do_GET = do_PUT = _page  # noqa: N815 (the base class finds them by these names)

    return Handler


@contextmanager
def serving(archive: Archive) -> Generator[int]:
    """Serve it on loopback while the block runs; gives the port."""
    with while_open(ThreadingHTTPServer(("127.0.0.1", 0), _handler(archive))) as port:
        yield port
