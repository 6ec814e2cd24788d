"""Clients of Amazon's services, and of what speaks like them, that know nothing of where they run.

botocore reads the environment, files in ``~/.aws`` and a cloud's metadata service, keeps credentials fresh by
asking for new ones, follows redirects between regions and repeats requests. Of all that nothing is left here: it
spells, signs and reads; what it spelled is sent by whom the caller names, once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

import botocore.configprovider
import botocore.plugin
from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import Loader
from botocore.parsers import ResponseParserError
from botocore.session import Session

from ringwall.errors import BadInput

_CONFIG: Final[Any] = botocore.configprovider  # of both, no types are published
_PLUGIN: Final[Any] = botocore.plugin


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Static credentials of a session: nobody refreshes them."""

    access: str
    secret: str = field(repr=False)
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


Send: TypeAlias = Callable[[str, str, Mapping[str, str], bytes], Reply]
"""Method, URL, headers, body: one request, and its whole answer. Raises RingwallError."""


class Failed(Exception):
    """The service answered, and it was an error: status, and the code that it gave, which may be empty."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class Service:
    """One service at one place. Used from several threads.

    Args:
        name: ``s3``, ``sts``.
        url: of the service; no other is asked.
        region: that requests are signed for.

    """

    def __init__(self, name: str, *, url: str, region: str) -> None:
        self._name = name
        self._url = url
        self._region = region
        self._session = _session()
        self._lock = threading.Lock()  # sessions are of one thread at a time; clients are made for one request

    def ask(self, operation: str, keys: Keys | None, send: Send, **parameters: Any) -> dict[str, Any]:
        """One request.

        Args:
            operation: as botocore names it: ``GetObject``.
            keys: what it is signed with; None: it is not.
            send: sends it.
            parameters: of the operation.

        Returns:
            What it answered; ``Body``, if there is one, as bytes.

        Raises:
            Failed: the service says no.
            RingwallError: what ``send`` raised; ``aws_unreadable``: its answer, or a parameter, is not of that
                operation.

        """
        exchange = _Exchange(send)
        try:
            client = self._client(keys)
            client.meta.events.register("before-send", exchange)  # also of what it would ask by itself
            answer = cast("dict[str, Any]", getattr(client, _PYTHONIC[operation])(**parameters))
        except ClientError as fault:
            raise _failed(fault, exchange) from None
        except (BotoCoreError, ResponseParserError, ValueError, KeyError, TypeError, AttributeError,
                RecursionError) as fault:
            if exchange.status >= 400:  # with a page of HTML, or with nothing
                raise Failed(exchange.status, "") from None
            raise _unreadable(type(fault).__name__) from None
        if "Body" in answer:
            answer["Body"] = exchange.body
        return answer

    def _client(self, keys: Keys | None) -> Any:
        config = Config(
            signature_version=UNSIGNED if keys is None else None,
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1, "mode": "standard"},
            proxies={},
            # The lowest duration that AWS takes is its own to refuse, and others take less.
            parameter_validation=False,
            # Ceph and older stores know no trailing checksums.
            request_checksum_calculation="when_required", response_checksum_validation="when_required",
        )
        named: dict[str, Any] = {} if keys is None else {
            "aws_access_key_id": keys.access, "aws_secret_access_key": keys.secret, "aws_session_token": keys.token}
        with self._lock:
            token = _PLUGIN.set_plugin_context(_PLUGIN.PluginContext(plugins="DISABLED"))
            try:
                return self._session.create_client(self._name, region_name=self._region, endpoint_url=self._url,
                                                   verify=True, config=config, **named)
            finally:
                _PLUGIN.reset_plugin_context(token)


_PYTHONIC: Final[Mapping[str, str]] = {
    "GetObject": "get_object", "PutObject": "put_object", "ListObjectsV2": "list_objects_v2",
    "AssumeRoleWithWebIdentity": "assume_role_with_web_identity",
}
"""The operations that somebody here asks for."""


_SENDERS: Final = frozenset({"expect", "content-length", "user-agent", "host", "connection", "transfer-encoding"})
"""Headers that who sends a request says itself; none of them is signed but the host, which is the URL's."""


class _Exchange:
    """Stands in for botocore's own HTTP, for one request."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.body = b""

    def __call__(self, request: Any, **_: Any) -> AWSResponse:
        if self.status:
            raise _unreadable("it would ask twice")  # a redirect or a retry that was not switched off
        body = request.body or b""
        if not isinstance(body, bytes):
            body = body.encode() if isinstance(body, str) else bytes(body.read())
        headers = {str(name): _text(value) for name, value in request.headers.items()}
        for name in [name for name in headers if name.lower() in _SENDERS]:
            del headers[name]
        self.status = -1
        reply = self._send(str(request.method), str(request.url), headers, body)
        self.status, self.body = reply.status, reply.body
        if 300 <= reply.status < 400:
            raise Failed(reply.status, "")
        return AWSResponse(request.url, reply.status, dict(reply.headers), _Raw(reply.body))


class _Raw:
    """A body as botocore wants to read it."""

    def __init__(self, body: bytes) -> None:
        self._left = body

    def stream(self, **_: Any) -> Generator[bytes]:
        yield self.read()

    def read(self, amount: int | None = None) -> bytes:
        taken = self._left if amount is None else self._left[:amount]
        self._left = self._left[len(taken):]
        return taken


def _session() -> Any:
    """Every setting has its default, whatever the environment and the files of this machine say."""
    session: Any = Session()
    constant = _CONFIG.ConstantProvider
    settings = {name: constant(entry[2]) for name, entry in _CONFIG.BOTOCORE_DEFAUT_SESSION_VARIABLES.items()}
    for name in ("config_file", "credentials_file"):
        settings[name] = constant(os.devnull)
    session.register_component("config_store", _CONFIG.ConfigValueStore(mapping=settings))
    session.register_component("data_loader", Loader(
        extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False))
    return session


def _failed(fault: ClientError, exchange: _Exchange) -> Failed:
    error = cast("dict[str, Any]", fault.response).get("Error")
    code = cast("dict[str, Any]", error).get("Code") if isinstance(error, dict) else None
    return Failed(exchange.status, code if isinstance(code, str) and code.isalnum() and len(code) <= 64 else "")


def _unreadable(what: str) -> BadInput:
    return BadInput(f"the service's answer cannot be read ({what})", code="aws_unreadable")


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
