"""What outward servers are asked with: a secret at its one declared place, or a token traded for one.

Nothing is substituted inside of what an agent wrote. The core holds tokens in memory only, for one agent and one
server each, and drops them a minute before they expire.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field
from typing import Final, TypeAlias, cast
from urllib.parse import quote, quote_plus, urlsplit

from ringwall.call import Call, Json, Process, Subject, subject_name
from ringwall.clock import Clock
from ringwall.errors import BadInput, RingwallError, Unavailable
from ringwall.manifest.types import Manifest, OAuth, ToolServer
from ringwall.tools.answer import HttpAnswer, HttpRequest
from ringwall.tools.sidecar_client import SidecarClient
from ringwall.vault.interface import Secrets
from ringwall.wire.strict import parse

EARLY_S: Final = 60.0  # before its expiry a token is not used any more: it has to arrive, and clocks differ
UNSAID_S: Final = 300.0  # how long a token is kept whose server does not say how long it lasts
LONGEST_S: Final = 3600.0  # however long it lasts, a token that was withdrawn is not used longer than this
MAX_TOKEN: Final = 8000  # characters: with its scheme it has to fit into a header
INJECTED: Final = "access_token"  # which value of a minted credential is
MAX_TOKEN_ANSWER: Final = 64 << 10
_VISIBLE: Final = frozenset(map(chr, range(0x20, 0x7F)))  # of a header's value, RFC 9110 section 5.5, without tab


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """What one request carries. ``values``: the secrets in it, which must not come back."""

    headers: dict[str, str] = field(default_factory=dict[str, str])
    pointers: dict[str, str] = field(default_factory=dict[str, str])  # JSON pointer -> text, for a JSON body
    query: dict[str, str] = field(default_factory=dict[str, str])  # parameter of the URL -> text, not encoded yet
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    until: float  # monotonic
    secret: str = field(repr=False)  # what it was traded for: sealed, deleted or another one now, it buys nothing


@dataclass(frozen=True, slots=True)
class _For:
    """Whose secrets are used: an attested agent's, or for what Ringwall asks by itself, the tenant's."""

    tenant: str
    who: Process | None = None
    call: Call | None = None  # of this process, where it is for one

    @property
    def name(self) -> str:
        """The agent's SPIFFE ID; empty: Ringwall's own asking."""
        return "" if self.who is None else subject_name(self.who)


_Key: TypeAlias = tuple[str, str, str]  # tenant, SPIFFE ID, server


class Credentials:
    """Looks up secrets for calls.

    Args:
        manifest: servers, secrets, and who was granted which.
        secrets: their values, for who asks.
        clock: for the life of tokens.

    """

    def __init__(self, manifest: Manifest, secrets: Secrets, clock: Clock) -> None:
        self._manifest = manifest
        self._secrets = secrets
        self._clock = clock
        self._tokens: dict[_Key, _Token] = {}
        self._asking: dict[_Key, asyncio.Task[str]] = {}

    async def of(self, call: Call, server: ToolServer, method: str, path: str, sidecar: SidecarClient,
                 host: str = "") -> Injected:
        """What a request of this call carries.

        Args:
            call: asked by an agent whose role must have the secret.
            server: whom it goes to.
            method: in upper case.
            path: of the URL, for the secret's ``paths``.
            sidecar: of the tenant, for tokens.
            host: of the URL, in lower case, without a port, for the secret's ``hosts``; empty: there is one only.

        Raises:
            BadInput: ``secret_not_granted``, ``bad_secret``, ``token_refused``.
            RingwallError: what reading the secret raised, without its path.
            Unavailable: the token server cannot be asked.

        """
        wanted = _wanted(server)
        if not wanted:
            return Injected()
        return await self._asked(self.check_granted(call, wanted), server, method, path, sidecar, host)

    async def listing(self, tenant: str, server: ToolServer, sidecar: SidecarClient) -> Injected:
        """What Ringwall's own requests to an ``mcp`` server carry, for its definitions. Raises as ``of``."""
        if not _wanted(server):
            return Injected()
        return await self._asked(_For(tenant), server, "POST", urlsplit(server.mcp).path or "/", sidecar)

    async def listening(self, who: Subject, server: ToolServer, sidecar: SidecarClient) -> Injected:
        """What an agent's own ear on an ``mcp`` server carries. Never another's secret: a session there is its
        launch's, and would be that other one's from then on. Raises as ``of``."""
        wanted = _wanted(server)
        if not wanted:
            return Injected()
        whose = self._granted(who, wanted)
        return await self._asked(whose, server, "POST", urlsplit(server.mcp).path or "/", sidecar)

    def forget(self, call: Call, server: str) -> None:
        """Drop a token that its server does not take any more."""
        if isinstance(call.subject, Process):
            self._tokens.pop((call.tenant, subject_name(call.subject), server), None)

    def check_granted(self, call: Call, name: str) -> _For:
        """Raises BadInput (``secret_not_granted``): only an agent whose role has the secret uses it."""
        return self._granted(call.subject, name, call)

    def _granted(self, who: Subject, name: str, call: Call | None = None) -> _For:
        if isinstance(who, Process):
            tenant = self._manifest.tenants.get(who.tenant)
            role = tenant.roles.get(who.spiffe_id.role) if tenant is not None else None
            if role is not None and name in role.secrets:
                return _For(who.tenant, who, call)
        raise BadInput("this agent's role was not granted the secret of this server", code="secret_not_granted",
                       remedy="add it to `secrets` of the role in ringwall.toml")

    async def _asked(self, whose: _For, server: ToolServer, method: str, path: str, sidecar: SidecarClient,
                     host: str = "") -> Injected:
        if server.oauth is not None:
            token = await self._token(whose, server, server.oauth, sidecar)
            return Injected(headers={"Authorization": f"Bearer {token}"}, values=(token,))
        where = self._manifest.secrets[server.secret].inject
        if not where.covers(method, path, host):
            return Injected()
        value = await self._value(whose, server.secret)
        text = where.format.replace("{}", value)
        if where.pointer:
            return Injected(pointers={where.pointer: text}, values=(value,))
        if where.query:
            return Injected(query={where.query: text}, values=(value,))
        return Injected(headers={where.header: text}, values=(value,))

    async def _value(self, whose: _For, name: str) -> str:
        try:
            value = (await self._raw(whose, name)).decode("ascii")
        except UnicodeDecodeError:
            value = ""
        except RingwallError as fault:  # its cause names a file, which is no business of an agent's
            raise BadInput(f"secret {name} cannot be used now", code=fault.code) from fault
        if not 0 < len(value) <= MAX_TOKEN or not _VISIBLE.issuperset(value):
            raise BadInput(f"secret {name} is empty, too long or no text of one line", code="bad_secret",
                           remedy="store the value alone, without line breaks")
        return value

    async def _raw(self, whose: _For, name: str) -> bytes:
        """A kept value, or a token made for exactly this call. Raises RingwallError."""
        who = whose.who
        if who is None:
            return await self._secrets.own(whose.tenant, name)
        if whose.call is None or not self._manifest.secrets[name].minted:
            return await self._secrets.value(who.spiffe_id, who.launch, name)
        minted = await self._secrets.credential(whose.call, name)
        return minted.values.get(INJECTED, "").encode()

    async def _token(self, whose: _For, server: ToolServer, oauth: OAuth, sidecar: SidecarClient) -> str:
        """One asks, the others get what it got: were each to ask in turn, a server that hangs would hold up the
        last as often as there are others."""
        key = whose.tenant, whose.name, server.name
        secret = await self._value(whose, oauth.secret)
        kept = self._tokens.get(key)
        if kept is not None and kept.secret == secret and self._clock.monotonic() < kept.until:
            return kept.value
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._fresh(key, secret, server, oauth, sidecar))
            asking.add_done_callback(lambda done: self._asked_for(key, done))
        return await asyncio.shield(asking)

    async def _fresh(self, key: _Key, secret: str, server: ToolServer, oauth: OAuth, sidecar: SidecarClient) -> str:
        self._tokens.pop(key, None)
        asked_at = self._clock.monotonic()
        token, seconds = _token_of(await self._trade(secret, server, oauth, sidecar))
        self._tokens[key] = _Token(token, asked_at + min(seconds, LONGEST_S) - EARLY_S, secret)
        return token

    def _asked_for(self, key: _Key, done: asyncio.Task[str]) -> None:
        del self._asking[key]
        if not done.cancelled():
            done.exception()  # whoever asked may have left

    async def _trade(self, secret: str, server: ToolServer, oauth: OAuth, sidecar: SidecarClient) -> HttpAnswer:
        """Client credentials for a token (RFC 6749, section 4.4), for one resource (RFC 8707)."""
        fields = {"grant_type": "client_credentials"}
        if oauth.scopes:
            fields["scope"] = " ".join(oauth.scopes)
        fields["resource"] = oauth.resource or server.mcp or server.url or server.http[0]
        body = "&".join(f"{name}={quote(text, safe='')}" for name, text in fields.items())
        # Section 2.3.1: name and secret are form-encoded before they become a Basic credential.
        basic = base64.b64encode(f"{quote_plus(oauth.client_id)}:{quote_plus(secret)}".encode()).decode()
        answer, end = await sidecar.run_http(
            server.name,
            HttpRequest(method="POST", url=oauth.token_url, body=body.encode(), headers={
                "Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}),
            injected={"Authorization": f"Basic {basic}"}, withheld=(secret,), seconds=float(server.timeout_s))
        if answer is None:
            why = end.error["code"] if end.error else "sidecar_fault"
            raise Unavailable("the token of this server cannot be had", code=why)
        return answer


def _wanted(server: ToolServer) -> str:
    return server.oauth.secret if server.oauth else server.secret


def _token_of(answer: HttpAnswer) -> tuple[str, float]:
    """The token and its life in seconds. Raises BadInput (``token_refused``); nothing of the answer is repeated."""
    if answer.status != 200 or answer.kind != "application/json":
        raise BadInput(f"the token server refused (HTTP status {answer.status})", code="token_refused",
                       remedy="check client_id, the secret and the scopes in ringwall.toml")
    try:
        found = parse(answer.body, max_bytes=MAX_TOKEN_ANSWER, max_depth=8, max_nodes=200)
    except BadInput:
        raise BadInput("the token server gave no JSON that can be read", code="token_refused") from None
    fields = cast("dict[str, Json]", found) if isinstance(found, dict) else {}
    token, kind, life = fields.get("access_token"), fields.get("token_type"), fields.get("expires_in", UNSAID_S)
    plain = isinstance(token, str) and 0 < len(token) <= MAX_TOKEN and (_VISIBLE - {" "}).issuperset(token)
    if not plain or not isinstance(kind, str) or kind.lower() != "bearer":
        raise BadInput("the token server gave no bearer token", code="token_refused")
    if isinstance(life, bool) or not isinstance(life, int | float) or life < 0:
        raise BadInput("the token server gave a token without a plain life", code="token_refused")
    return str(token), float(life)
