"""Which keys of ``ringwall.toml`` say what tool servers, secrets and models there are: part of ``layout``."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, get_args

from ringwall.call import Effectclass
from ringwall.manifest import spell, types
from ringwall.manifest import spell_tools as tools
from ringwall.manifest.shapes import Choice, Entry, File, Flag, Layout, ListOf, MapOf, Record, Text, Whole
from ringwall.manifest.texts import CLEARANCE as _CLEARANCE
from ringwall.manifest.texts import NAME

_FILLED = Text(what="a text", read=spell.filled, pattern=".")
_FIELD = Text(what='the name of a field, or "*"', read=spell.field_name, pattern=r"^(\*|[A-Za-z0-9._-]{1,64})$")
_URL = Text(what="a URL", read=spell.upstream, pattern="^[Hh][Tt][Tt][Pp][Ss]?://")
_PREFIX = Text(what='a URL such as "https://docs.example/"', read=tools.prefix, pattern="^[Hh][Tt][Tt][Pp][Ss]?://")
_HOST = Text(what='a host and a port such as "api.example:443"', read=tools.host_port, pattern=":[0-9]{1,5}$")
_NETWORK = Text(what='a network such as "10.1.0.0/16"', read=tools.network, pattern="^[0-9A-Fa-f.:/]+$")
_PATH = Text(what='a method and a path such as "POST /v1/"', read=tools.request_path, pattern="^[A-Z]+ /")
MAX_ANSWER: Final = 8 << 20  # bytes: the wall's own limit for one call
_PRICED = Whole(low=0, high=10**9)  # a thousand a million tokens; MAX_COUNT tokens then cost at most 10**12
BUILTINS: Final = MappingProxyType({
    "echo": MappingProxyType({"echo": types.Operation(
        effect="read", args=MappingProxyType({"text": types.ArgumentRole(role="payload")}),
        returns=MappingProxyType({"*": types.OutputLabel()}))}),
    "s3": MappingProxyType({
        "get": types.Operation(
            effect="read", args=MappingProxyType({"object": types.ArgumentRole(role="selector", kind="s3")}),
            returns=MappingProxyType({"*": types.OutputLabel()})),
        "put": types.Operation(
            effect="write", args=MappingProxyType({
                "object": types.ArgumentRole(role="target", kind="s3"),
                "content": types.ArgumentRole(role="payload"),
                "encoding": types.ArgumentRole(role="param")}),
            returns=MappingProxyType({"*": types.OutputLabel()})),
        "list": types.Operation(
            effect="read", args=MappingProxyType({"prefix": types.ArgumentRole(role="selector", kind="s3")}),
            returns=MappingProxyType({"*": types.OutputLabel()})),
    }),
    "postgres": MappingProxyType({
        name: types.Operation(
            effect=effect, args=MappingProxyType({
                "tables": types.ArgumentRole(role="selector", kind="table"),
                "sql": types.ArgumentRole(role="query"), "params": types.ArgumentRole(role="payload")}),
            returns=MappingProxyType({"*": types.OutputLabel()}))
        for name, effect in (("query", "read"), ("execute", "write"))}),
})
"""The operations that come with each built-in server."""
_PRICE = Layout(
    of=types.Price,
    entries=(
        Entry(key="in", attr="tokens_in", shape=_PRICED, required=True, doc="A million tokens of the request."),
        Entry(key="out", attr="tokens_out", shape=_PRICED, required=True, doc="A million tokens of the answer."),
    ),
)
_OPERATION_TABLE = Layout(
    of=types.Operation,
    entries=(
        Entry(key="effect", shape=Choice(options=get_args(Effectclass)), required=True,
              doc="What the operation does to the world."),
        Entry(key="args", required=True,
              shape=MapOf(name=NAME, value=Text(what='a role such as "selector:path"', read=spell.argument_role,
                                                pattern=f"^({'|'.join(get_args(spell.RoleName))})(:|$)")),
              doc="Every argument and what it is for: `role` or `role:kind`. An argument that is not here is "
                  f"refused. Roles: {', '.join(get_args(spell.RoleName))}. Kinds: {', '.join(spell.KINDS)}. "
                  "A target needs one; url is of kind url; a selector without one is bounded by nothing."),
        Entry(key="returns",
              shape=MapOf(name=_FIELD, value=Text(what='a label such as "U private"', read=spell.output_label,
                                                  pattern="^[PTCMU]( (public|private|secret))?$")),
              doc="Labels of output fields: integrity P, T, C, M or U (best to worst), then public, private "
                  "(the default) or secret; `\"*\"` names all other fields. Output without a label is untrusted "
                  "and private."),
        Entry(key="cost", shape=Whole(low=0, high=spell.MAX_MICROS),
              doc="What one call costs, in micro-units of `[limits] currency`. Default: 0."),
        Entry(key="operation", shape=_FILLED,
              doc="Of a web API: its `operationId`, or a method and path such as `GET /users/{id}`. Default: the "
                  "name here."),
        Entry(key="definition", doc="The hash of the tool's definition that was reviewed (`ringwall pins list`). "
                                    "Absent: the first one that is seen counts.",
              shape=Text(what="a SHA-256 in hexadecimal", read=tools.sha256, pattern="^[0-9a-f]{64}$")),
    ),
)
_SERVER = Layout(
    of=types.ToolServer, key_attr="name", one_of=("command", "python", "builtin", "mcp", "openapi", "http"),
    entries=(
        Entry(key="command", shape=ListOf(item=_FILLED, repeats=True),
              doc="An MCP server over stdio: program and arguments. It runs confined and without network."),
        Entry(key="python", doc="A Python module whose public functions are served as such a server.",
              shape=Text(what="a module's name", read=spell.module, pattern="^[A-Za-z_][A-Za-z0-9_.]*$")),
        Entry(key="builtin", shape=Choice(options=tuple(BUILTINS)),
              doc="A server that comes with Ringwall; its operations and labels come with it. `echo` has "
                  "`echo(text)`; `s3` and `postgres`: docs/vault.md."),
        Entry(key="read_only", shape=ListOf(item=File()), doc="Files and folders the server may read."),
        Entry(key="writable", shape=ListOf(item=File()), doc="Folders the server may write."),
        Entry(key="clearance", shape=_CLEARANCE, doc="What this recipient may be shown. Default: public."),
        Entry(key="system_of_record", shape=Flag(),
              doc="Whether its T labels count, for its own values. Default: false."),
        Entry(key="ops", shape=MapOf(name=NAME, value=Record(of=types.Operation)),
              doc="The operations agents may be given. One that is not here does not exist."),
        Entry(key="mcp", shape=_URL, doc="An MCP server over streamable HTTP: its URL."),
        Entry(key="openapi", shape=File(),
              doc="The OpenAPI description (JSON) of a web API at `url`; `ringwall import openapi` writes the "
                  "rest."),
        Entry(key="http", shape=ListOf(item=_PREFIX),
              doc="Where plain HTTP requests may go: URLs, or all below one that ends in `/`. Its operations are "
                  "the methods `get`, `head`, `post`, `put`, `patch` and `delete`, with the arguments `url` and, "
                  "where the method has one, `body`."),
        Entry(key="url", doc="The base URL of the web API; of `s3` or `postgres`, where that is. Required with "
                             "each of them.",
              shape=Text(what="a URL", read=tools.server_url, pattern="^([Hh][Tt][Tt][Pp][Ss]?|postgresql)://")),
        Entry(key="secret", shape=NAME,
              doc="What `mcp`, `openapi`, `http`, `s3` or `postgres` is asked with, by the name in `[secrets]`."),
        Entry(key="region", shape=_FILLED, doc="Of the builtin `s3`: the region its requests are signed for."),
        Entry(key="ca_file", shape=File(),
              doc="Of the builtins `s3` and `postgres`: who signs the certificate of `url` (PEM). Absent: whom the "
                  "system trusts."),
        Entry(key="oauth", shape=Record(of=types.OAuth),
              doc="Instead of `secret`: client credentials that Ringwall trades for a token of this server."),
        Entry(key="network", shape=ListOf(item=_HOST),
              doc="What a `command` may reach besides: `host:port`, through a proxy of the tenant's sidecar "
                  "(`HTTPS_PROXY` is set). Absent: nothing."),
        Entry(key="private", shape=ListOf(item=_NETWORK),
              doc="Networks that are not public and that names may lead to all the same. An address that stands in "
                  "a URL here needs none."),
        Entry(key="timeout_s", shape=Whole(low=1, high=600), doc="Seconds that a call may take. Default: 30."),
        Entry(key="max_bytes", shape=Whole(low=1024, high=MAX_ANSWER),
              doc="How long an answer of `mcp`, `openapi` or `http` may be, in bytes. Default: 1048576."),
    ),
)
_OAUTH = Layout(
    of=types.OAuth,
    entries=(
        Entry(key="token_url", shape=_URL, required=True, doc="Where tokens are given (RFC 6749, section 3.2)."),
        Entry(key="client_id", shape=_FILLED, required=True, doc="Who Ringwall is there."),
        Entry(key="secret", shape=NAME, required=True, doc="The client's secret, by the name in `[secrets]`."),
        Entry(key="scopes", shape=ListOf(item=_FILLED), doc="What is asked for. Absent: what the server gives."),
        Entry(key="resource", shape=_FILLED,
              doc="For whom the token is (RFC 8707). Default: the server's own URL."),
    ),
)
_MODEL = Layout(
    of=types.Model, key_attr="name",
    entries=(
        Entry(key="wire", shape=Choice(options=("openai", "anthropic")), required=True,
              doc="The protocol the upstream speaks: `openai` (chat completions and responses) or `anthropic` "
                  "(messages)."),
        Entry(key="url", required=True, doc="Base URL including `/v1`: https, or http on this machine.",
              shape=Text(what="a URL", read=spell.upstream, pattern="^[Hh][Tt][Tt][Pp][Ss]?://")),
        Entry(key="secret", shape=NAME, doc="Its key, by the name in `[secrets]`. Absent: it wants none."),
        Entry(key="model", shape=_FILLED, doc="What the upstream calls the model. Default: the name used here."),
        Entry(key="clearance", shape=_CLEARANCE, doc="What this recipient may be shown. Default: public."),
        Entry(key="price", shape=Record(of=types.Price),
              doc="What it costs: `{ in = 2500000, out = 10000000 }`. Without one, nobody with a budget of money "
                  "may ask it."),
        Entry(key="provider_tools", shape=MapOf(name=NAME, value=Record(of=types.ProviderTool)),
              doc="Tools that run at the provider, past the wall, by the provider's name. A role needs "
                  "`MODEL/NAME` among its models to use one. Absent: none."),
        Entry(key="timeout_s", shape=Whole(low=1, high=3600),
              doc="Seconds to the end of an answer; of a stream, to its next piece. Default: 120."),
        Entry(key="retries", shape=Whole(low=0, high=5),
              doc="How often a request is repeated that the upstream says it has not begun. Default: 2."),
    ),
)
_PROVIDER_TOOL = Layout(
    of=types.ProviderTool, key_attr="name",
    entries=(
        Entry(key="effect", shape=Choice(options=get_args(Effectclass)), required=True,
              doc="What it does to the world."),
        Entry(key="clearance", shape=_CLEARANCE, doc="What it may be shown. Default: public."),
    ),
)
LAYOUTS: Final = (_PRICE, _OPERATION_TABLE, _SERVER, _OAUTH, _MODEL, _PROVIDER_TOOL)
