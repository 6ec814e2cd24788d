"""What ``ringwall.toml`` says of tool servers, secrets and models. Others import it from ``types``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

ANSWER_BYTES: Final = 1 << 20  # how long an answer of a server elsewhere may be, unless its table says otherwise
HTTP_METHODS: Final = ("get", "head", "post", "put", "patch", "delete")
"""The operations of an ``http`` server, and those that a web API may have."""
WORKERS: Final = frozenset({"s3", "postgres"})
"""Built-ins with a process of their own, which is given a credential for each call and reaches ``url`` only."""
Clearance = Literal["public", "private", "secret"]
Integrity = Literal["P", "T", "C", "M", "U"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentRole:
    """What an argument is for, and of which kind its value is: ``selector:path``, ``target:email``, ``payload``."""

    role: Literal["target", "payload", "selector", "param", "query", "url", "secret", "ident"]
    kind: str = ""  # path, url, email, iban, id, ...; empty where the role has none


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLabel:
    """The labels of one output field, for instance ``U private``."""

    integrity: Integrity = "U"
    confidentiality: Clearance = "private"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of a tool server: what it does, what its arguments are, how its output is labelled."""

    effect: str  # call.Effectclass
    args: Mapping[str, ArgumentRole]
    returns: Mapping[str, OutputLabel] = field(default_factory=dict[str, OutputLabel])  # "*": all other fields
    cost: int = 0  # of one call, in micro-units of [limits] currency
    operation: str = ""  # of a web API: its operationId or "GET /users/{id}"; empty: the name here
    definition: str = ""  # hash of the definition that was reviewed; empty: the first one that is seen


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth:
    """Client credentials (RFC 6749, section 4.4) that Ringwall trades for a token of one server."""

    token_url: str
    client_id: str
    secret: str  # name in [secrets]: the client's secret
    scopes: tuple[str, ...] = ()
    resource: str = ""  # RFC 8707; empty: the server's own URL


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolServer:
    """A tool server: exactly one of ``command``, ``python``, ``builtin``, ``mcp``, ``openapi`` and ``http``."""

    name: str
    command: tuple[str, ...] = ()
    python: str = ""
    builtin: str = ""
    read_only: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    clearance: Clearance = "public"
    system_of_record: bool = False
    ops: Mapping[str, Operation] = field(default_factory=dict[str, Operation])
    mcp: str = ""  # URL of an MCP server over streamable HTTP
    openapi: Path | None = None  # the description of a web API, at ``url``
    http: tuple[str, ...] = ()  # URL prefixes that plain HTTP requests may go to
    url: str = ""  # base URL of the web API
    secret: str = ""  # name in [secrets], for mcp, openapi, http and those built-ins that ask somebody
    region: str = ""  # of the builtin s3
    ca_file: Path | None = None  # who signs the certificate of a builtin's upstream; None: the system's authorities
    oauth: OAuth | None = None  # instead of ``secret``
    network: tuple[str, ...] = ()  # host:port, for ``command``: all that it reaches, through the sidecar
    private: tuple[str, ...] = ()  # networks (CIDR) that its names may lead to although they are not public
    timeout_s: int = 30
    max_bytes: int = ANSWER_BYTES  # of one answer of mcp, openapi and http

    @property
    def outward(self) -> bool:
        """Whether the tenant's sidecar asks somebody over HTTP."""
        return bool(self.mcp or self.openapi or self.http)

    @property
    def worker(self) -> bool:
        """Whether it is a built-in with a process of its own."""
        return self.builtin in WORKERS

    @property
    def reaches(self) -> tuple[str, ...]:
        """All of the network that its process reaches, as ``host:port``."""
        if not self.worker:
            return self.network
        found = urlsplit(self.url)
        usual = {"https": 443, "http": 80}.get(found.scheme, 5432)
        return (f"{found.hostname}:{found.port or usual}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a million tokens cost, in micro-units (millionths) of ``[limits] currency``."""

    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderTool:
    """A tool that runs at the model's provider, past the wall: what it does, and what it may be shown."""

    name: str  # the provider's own, such as "web_search"
    effect: str  # call.Effectclass
    clearance: Clearance = "public"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model upstream."""

    name: str
    wire: Literal["openai", "anthropic"]
    url: str  # base URL including /v1
    secret: str = ""  # name in [secrets]; empty: the upstream wants none
    model: str = ""  # what the upstream calls it; empty: the name itself
    clearance: Clearance = "public"
    price: Price | None = None  # None: unknown, and so not for anybody with a budget of money
    provider_tools: Mapping[str, ProviderTool] = field(default_factory=dict[str, ProviderTool])
    timeout_s: int = 120  # to the end of the answer; of a stream, to its next piece
    retries: int = 2  # of requests that the upstream says it has not begun (429, 503)
