"""Which keys of ``ringwall.toml`` say what secrets there are, and how they are kept: part of ``layout``."""

from __future__ import annotations

from typing import Final, get_args

from ringwall.manifest import spell, types
from ringwall.manifest import spell_tools as tools
from ringwall.manifest.shapes import Choice, Entry, File, Layout, ListOf, Record, Text, Whole
from ringwall.manifest.texts import NAME
from ringwall.manifest.types_vault import MAX_SECONDS, ROOT_SOURCES, SecretSource

_FILLED = Text(what="a text", read=spell.filled, pattern=".")
_URL = Text(what="a URL", read=spell.upstream, pattern="^[Hh][Tt][Tt][Pp][Ss]?://")
_NETWORK = Text(what='a network such as "10.1.0.0/16"', read=tools.network, pattern="^[0-9A-Fa-f.:/]+$")
_HOST = Text(what='a host such as "api.example"', read=tools.host, pattern="^[0-9a-z.:-]+$")
_PATH = Text(what='a method and a path such as "POST /v1/"', read=tools.request_path, pattern="^[A-Z]+ /")
_CA = Entry(key="ca_file", shape=File(),
            doc="Who signs the certificate of whom Ringwall asks (PEM). Absent: whom the system trusts.")
_PRIVATE = Entry(key="private", shape=ListOf(item=_NETWORK),
                 doc="Networks that are not public and that its names may lead to all the same.")
_SECRET = Layout(
    of=types.Secret, key_attr="name",
    entries=(
        Entry(key="from", attr="source", shape=Choice(options=get_args(SecretSource)), required=True,
              doc="Where Ringwall takes it from: `file`; `vault`, its own; `openbao`, one elsewhere; or `aws`, "
                  "`postgres` and `oauth`, which make a credential for each call (docs/credentials.md)."),
        Entry(key="file", shape=File(),
              doc="Of `file`: the file that holds it: mode 0600, outside everything an agent or tool server can "
                  "see."),
        Entry(key="inject", shape=Record(of=types.Injection),
              doc="Where it goes. Default: `Authorization: Bearer`."),
        Entry(key="seconds", shape=Whole(low=30, high=MAX_SECONDS),
              doc="How long a minted credential lives, at most. Default: 900."),
        Entry(key="vault", shape=NAME, doc="Of `openbao`: which, by the name in `[vaults]`."),
        Entry(key="key", shape=_FILLED, doc="Of `openbao`: which value of a KV version. Default: `value`."),
        Entry(key="database", shape=NAME,
              doc="Of `openbao`: a role of its database engine, which makes a credential for each call."),
        Entry(key="role_arn", shape=_FILLED, doc="Of `aws`: the role to assume (AssumeRoleWithWebIdentity)."),
        Entry(key="region", shape=_FILLED, doc="Of `aws`: the region of the token service."),
        Entry(key="sts", shape=_URL, doc="Of `aws`: the token service, if it is not AWS's own of the region."),
        Entry(key="token_url", shape=_URL, doc="Of `oauth`: where tokens are exchanged (RFC 8693)."),
        Entry(key="revoke_url", shape=_URL, doc="Of `oauth`: where they are revoked (RFC 7009). Absent: nowhere."),
        Entry(key="client_id", shape=_FILLED, doc="Of `oauth`: who Ringwall is there."),
        Entry(key="client_secret", shape=NAME,
              doc="Of `oauth`: the client's secret, by the name in `[secrets]`. Absent: it has none."),
        Entry(key="resource", shape=_FILLED, doc="Of `oauth`: for whom tokens are (RFC 8707)."),
        Entry(key="scopes", shape=ListOf(item=_FILLED), doc="Of `oauth`: what is asked for."),
        Entry(key="url", shape=Text(what='a URL such as "postgresql://db.example:5432/sales"',
                                    read=tools.postgres, pattern="^postgresql://"),
              doc="Of `postgres`: where the database is."),
        Entry(key="admin", shape=NAME,
              doc="Of `postgres`: the password of `admin_user`, by the name in `[secrets]`."),
        Entry(key="admin_user", shape=_FILLED, doc="Of `postgres`: the user that makes and drops roles."),
        Entry(key="audience", shape=_FILLED,
              doc="Of `aws`, `openbao` and `oauth`: the audience of the JWT-SVID that says for whom Ringwall asks. "
                  "Default: what the provider usually wants."),
        _CA,
        _PRIVATE,
    ),
)
_INJECTION = Layout(
    of=types.Injection, one_of=("header", "pointer", "query"),
    entries=(
        Entry(key="header", doc="The header that carries the secret.",
              shape=Text(what="the name of a header", read=spell.header, pattern="^[!-~]{1,64}$")),
        Entry(key="pointer", doc="The place in a JSON body that carries it instead: `/auth/token`.",
              shape=Text(what='a JSON pointer such as "/auth/token"', read=tools.pointer, pattern="^/")),
        Entry(key="query", doc="The parameter of the URL's query that carries it instead. URLs stand in others' "
                               "logs: for services that take it nowhere else.", shape=NAME),
        Entry(key="format", doc="The value; `{}` stands for the secret. Default: the secret alone.",
              shape=Text(what='a format such as "Bearer {}"', read=spell.header_format, pattern=r"\{\}")),
        Entry(key="hosts", shape=ListOf(item=_HOST),
              doc="Which hosts get it, where the server has several. Absent: all of them."),
        Entry(key="paths", shape=ListOf(item=_PATH),
              doc="Which requests carry it: a method, and a path with all below it where it ends in `/`. Absent: "
                  "all to the server or model that names the secret."),
    ),
)
_VAULT = Layout(
    of=types.VaultSettings,
    entries=(
        Entry(key="root", shape=Choice(options=ROOT_SOURCES),
              doc="How the root key is kept: `file` (0600, the default), `passphrase` and `shamir` (somebody must "
                  "unseal it after each start), `age`, `keyring`, `tpm2`, `pkcs11`, or `transit` of a vault "
                  "elsewhere."),
        Entry(key="identity", shape=File(), doc="Of `age`: the identity file that opens it, mode 0600."),
        Entry(key="module", shape=File(), doc="Of `pkcs11`: the library of the token."),
        Entry(key="token", shape=_FILLED, doc="Of `pkcs11`: the token's label."),
        Entry(key="pin_file", shape=File(), doc="Of `pkcs11`: the file with its PIN, mode 0600."),
        Entry(key="tcti", shape=_FILLED,
              doc="Of `tpm2`: how the TPM is reached. Default: the kernel's resource manager, /dev/tpmrm0."),
        Entry(key="pcrs", shape=_FILLED, doc="Of `tpm2`: which registers must be as they are: `sha256:0,7`."),
        Entry(key="transit", shape=NAME, doc="Of `transit`: which vault, by the name in `[vaults]`."),
        Entry(key="key", shape=NAME, doc="Of `transit`: the key's name there."),
        Entry(key="shares", shape=Whole(low=2, high=16), doc="Of `shamir`: how many shares. Default: 5."),
        Entry(key="threshold", shape=Whole(low=2, high=16), doc="Of `shamir`: how many open it. Default: 3."),
    ),
)
_OUTSIDE = Layout(
    of=types.OutsideVault, key_attr="name",
    entries=(
        Entry(key="url", shape=_URL, required=True, doc="Where it is: https, or http on this machine."),
        Entry(key="role", shape=NAME, required=True, doc="The role of its JWT auth method that Ringwall uses."),
        Entry(key="mount", shape=_FILLED, doc="Where that method is. Default: `jwt`."),
        Entry(key="audience", shape=_FILLED, doc="The audience of the tokens it is shown. Default: `openbao`."),
        Entry(key="kv", shape=_FILLED, doc="Where KV version 2 is. Default: `secret`."),
        Entry(key="path", shape=_FILLED,
              doc="In front of a secret's name there: `{tenant}`, `{agent}` and `{role}`, each once, stand for the "
                  "agent's own. Default: `agents/{tenant}/{agent}/{role}`."),
        Entry(key="database", shape=_FILLED, doc="Where the database engine is. Default: `database`."),
        Entry(key="transit", shape=_FILLED, doc="Where the transit engine is. Default: `transit`."),
        Entry(key="namespace", shape=_FILLED, doc="Its namespace. Absent: none."),
        _CA,
        _PRIVATE,
    ),
)
LAYOUTS: Final = (_SECRET, _INJECTION, _VAULT, _OUTSIDE)
