"""What ``ringwall.toml`` says of secrets, the vault, and vaults elsewhere. Others import it from ``types``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

MAX_SECONDS: Final = 900  # how long a minted credential lives at most, whatever its provider allows
SecretSource = Literal["file", "vault", "openbao", "aws", "postgres", "oauth"]
MINTED: Final = frozenset[SecretSource]({"aws", "postgres", "oauth"})
"""Sources that make a credential for one call; so does ``openbao`` where ``database`` names a role of it."""
RootSourceName = Literal["file", "passphrase", "age", "keyring", "tpm2", "pkcs11", "transit", "shamir"]
ROOT_SOURCES: Final[tuple[RootSourceName, ...]] = get_args(RootSourceName)


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """Where a secret goes: one header, one parameter of the query, or one place of a JSON body, of requests to one
    upstream."""

    header: str = ""
    pointer: str = ""  # RFC 6901, instead of a header
    query: str = ""  # the name of a parameter, instead of either
    format: str = "{}"
    hosts: tuple[str, ...] = ()  # "api.example": of the URL; empty: every host of the server that names the secret
    paths: tuple[str, ...] = ()  # "POST /v1/": method and path prefix; empty: every request to it

    def covers(self, method: str, path: str, host: str = "") -> bool:
        """Whether a request carries it.

        Args:
            method: in upper case.
            path: of its URL.
            host: of its URL, in lower case and without a port; empty: where there is only one.

        """
        if self.hosts and host and host not in self.hosts:
            return False
        for text in self.paths:
            wanted, _, place = text.partition(" ")
            if wanted == method and (path.startswith(place) if place.endswith("/") else path == place):
                return True
        return not self.paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret Ringwall holds, fetches or has minted. Which keys it has depends on `from`: docs/vault.md.

    ``file``: an absolute path, mode 0600, outside every view.
    """

    name: str
    source: SecretSource = "file"
    file: Path = Path()
    inject: Injection = field(default_factory=lambda: Injection(header="Authorization", format="Bearer {}"))
    seconds: int = MAX_SECONDS  # of a minted credential
    # openbao
    vault: str = ""  # name in [vaults]
    key: str = "value"  # which value of a KV version
    database: str = ""  # role of the database engine: a credential is minted instead of a value read
    # aws
    role_arn: str = ""
    region: str = ""
    sts: str = ""  # URL of the token service; empty: AWS's own of the region
    # oauth (RFC 8693)
    token_url: str = ""
    revoke_url: str = ""  # RFC 7009; empty: there is none
    client_id: str = ""
    client_secret: str = ""  # name in [secrets]; empty: a public client
    resource: str = ""  # RFC 8707
    scopes: tuple[str, ...] = ()
    # postgres
    url: str = ""  # "postgresql://host:5432/database"
    admin: str = ""  # name in [secrets] of the password of ``admin_user``
    admin_user: str = ""
    # of all that ask somebody elsewhere
    audience: str = ""  # of the JWT-SVID that proves for whom we ask; empty: the provider's usual one
    ca_file: Path | None = None
    private: tuple[str, ...] = ()

    @property
    def minted(self) -> bool:
        """Whether it is made for a call, and lives for seconds."""
        return self.source in MINTED or bool(self.database)


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultSettings:
    """How the root key of the embedded vault is kept: docs/vault.md."""

    root: RootSourceName = "file"
    identity: Path | None = None  # age: the identity that opens it
    module: Path | None = None  # pkcs11: the token's library
    token: str = ""  # pkcs11: its label
    pin_file: Path | None = None  # pkcs11
    tcti: str = ""  # tpm2: how the TPM is reached; empty: the kernel's resource manager
    pcrs: str = ""  # tpm2: "sha256:0,7"; empty: none
    transit: str = ""  # transit: name in [vaults]
    key: str = ""  # transit: the key's name there
    shares: int = 5  # shamir
    threshold: int = 3  # shamir


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideVault:
    """An OpenBao or HashiCorp Vault elsewhere. Ringwall logs in with a JWT-SVID of the agent that a call is for."""

    name: str
    url: str
    role: str  # of the JWT auth method
    mount: str = "jwt"  # where that method is
    audience: str = "openbao"
    kv: str = "secret"  # where KV version 2 is
    path: str = "agents/{tenant}/{agent}/{role}"  # below it, in front of a secret's name
    database: str = "database"  # where the database engine is
    transit: str = "transit"  # where the transit engine is
    namespace: str = ""
    ca_file: Path | None = None
    private: tuple[str, ...] = ()

