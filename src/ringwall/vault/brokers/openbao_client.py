"""``hvac``, with our own way out: it builds the requests, ``network`` carries them.

So no redirect is followed, nothing of the environment is read (``VAULT_ADDR``, ``VAULT_TOKEN``, proxies,
certificates), the address is judged, and every answer has a size and a time limit.
"""

# hvac ships no types; everything of it stays in this file.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false

from __future__ import annotations

import json
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

import hvac
from hvac.adapters import Adapter

from ringwall.call import Json
from ringwall.errors import BadInput, RingwallError
from ringwall.vault.brokers.interface import refused, unavailable
from ringwall.vault.brokers.network import Answer, Network
from ringwall.vault.brokers.protocol import Vault
from ringwall.wire import strict

MAX_TOKEN: Final = 4096  # characters of a login's token; OpenBao's have about 100, batch tokens 300
_MAX_DEPTH: Final = 16


class Client:
    """One login's requests. What is not an answer as the API describes it raises Refused (``provider_garbage``)."""

    def __init__(self, vault: Vault, network: Network) -> None:
        made: Any = partial(_Adapter, network=network)
        self._vault = vault
        self._hvac = hvac.Client(url=vault.url, token="", verify=True, allow_redirects=False, adapter=made,
                                 namespace=vault.namespace or None)

    @property
    def token(self) -> str:
        """Of the login; setting it takes one up again."""
        return str(self._hvac.token)

    @token.setter
    def token(self, token: str) -> None:
        self._hvac.token = token

    def login(self, jwt: str) -> int:
        """Log in by JWT. The seconds that the login lives."""
        vault = self._vault
        answer = self._hvac.auth.jwt.jwt_login(role=vault.role, jwt=jwt, use_token=True, path=vault.mount)
        return seconds(_of(answer, "auth"), "lease_duration")

    def read(self, path: str) -> dict[str, Json]:
        """The newest version of a KV secret."""
        answer = self._hvac.secrets.kv.v2.read_secret_version(path=path, mount_point=self._vault.kv,
                                                              raise_on_deleted_version=True)
        return _of(_of(answer, "data"), "data")

    def credentials(self, role: str) -> dict[str, Json]:
        """A new credential of the database engine: the whole answer."""
        return _object(self._hvac.secrets.database.generate_credentials(role, mount_point=self._vault.database))

    def renew(self, lease: str, increment: int) -> int:
        """Prolong a lease and the login it hangs on. The seconds that both live from now."""
        answer = _object(self._hvac.sys.renew_lease(lease, increment=increment))
        login = _of(self._hvac.auth.token.renew_self(increment=increment), "auth")
        return min(seconds(answer, "lease_duration"), seconds(login, "lease_duration"))

    def leave(self) -> None:
        """End the login, and with it all that it leased."""
        self._hvac.auth.token.revoke_self()

    def encrypt(self, key: str, plaintext: str) -> dict[str, Json]:
        """Under a transit key; base64."""
        answer = self._hvac.secrets.transit.encrypt_data(key, plaintext=plaintext, mount_point=self._vault.transit)
        return _of(answer, "data")

    def decrypt(self, key: str, ciphertext: str) -> dict[str, Json]:
        """See ``encrypt``."""
        answer = self._hvac.secrets.transit.decrypt_data(key, ciphertext=ciphertext,
                                                         mount_point=self._vault.transit)
        return _of(answer, "data")


class _Adapter(Adapter):  # pyright: ignore[reportMissingTypeArgument]
    """hvac's requests, over ``network``."""

    def __init__(self, *args: Any, network: Network, **named: Any) -> None:
        super().__init__(*args, **named)
        self.close()  # requests' session, which is never used
        self._network = network

    def get_login_token(self, response: Any) -> str:
        token = _of(response, "auth").get("client_token")
        if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN or not token.isascii() \
                or not token.isprintable() or " " in token:  # it goes into a header
            raise refused("provider_garbage", "the login gives no token")
        return token

    def request(self, method: str, url: str, headers: Any = None, raise_exception: bool = True,
                **named: Any) -> dict[str, Json]:
        """One request. Raises as ``interface.Outside``."""
        sent = {"X-Vault-Request": "true", "Accept": "application/json", **(headers or {})}
        if self.token:
            sent["X-Vault-Token"] = str(self.token)
        if self.namespace:
            sent["X-Vault-Namespace"] = str(self.namespace)
        body = b""
        if named.get("json") is not None:
            body = json.dumps(named["json"]).encode()
            sent["Content-Type"] = "application/json"
        params = {key: value for key, value in (named.get("params") or {}).items() if value is not None}
        query = f"?{urlencode(params)}" if params else ""
        whole = self.urljoin(self.base_uri, url) + query
        return _read(self._network.send(method.upper(), whole, sent, body))


def seconds(answer: dict[str, Json], name: str) -> int:
    """A number of seconds in an answer. Raises Refused."""
    value = answer.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 32:
        raise refused("provider_garbage", f"{name} is no number of seconds")
    return value


def _read(answer: Answer) -> dict[str, Json]:
    if answer.status == 204:
        return {}
    try:
        body = strict.parse(answer.body, max_depth=_MAX_DEPTH)
    except BadInput:
        body = None
    if answer.status == 200:
        return _object(body)
    raise _denied(answer.status, body)


def _denied(status: int, body: Json) -> RingwallError:
    """By the status: OpenBao's and Vault's API documentation, "HTTP status codes"."""
    errors = body.get("errors") if isinstance(body, dict) else None
    if status == 404 and isinstance(body, dict):  # of a version that was deleted: its metadata instead of errors
        return refused("no_such_secret", "there is nothing at this path")
    if 300 <= status < 400 or (not isinstance(errors, list) and status < 500):
        return refused("provider_garbage", f"status {status}, and not the JSON it should be")
    if status == 503 or (status == 500 and "audit" in str(errors)):
        return unavailable("provider_sealed", f"status {status}")
    if status in {412, 429, 472, 473} or status >= 500:
        return unavailable("provider_unreachable", f"status {status}")
    return refused("provider_denied", f"status {status}")


def _object(value: Any) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise refused("provider_garbage", "the answer is no object")
    return value


def _of(value: Any, name: str) -> dict[str, Json]:
    return _object(_object(value).get(name))
