"""What the embedded vault keeps, and how its rows look.

Four tables. ``vault_values`` has only ciphertext; all that says which ciphertext counts (the highest version, each
version's state, its nonce and its wrapped data key) is one *mark* a path, under a MAC. So a rotation writes marks
and touches no value, and a reader needs one row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from ringwall.errors import BadInput
from ringwall.keys.interface import MAX_GENERATION
from ringwall.store.interface import Row
from ringwall.vault.interface import Owner

FORMAT: Final = "ringwall-vault-v1"
MAX_VALUE: Final = 64 << 10  # bytes: keys, tokens, certificates with their chain; a larger thing is a file
MAX_TEXT: Final = 128  # characters of a tenant, agent, role or name: twice what a manifest's name may have
MAX_SECRETS: Final = 100_000  # paths: all their marks are in memory, about a kilobyte each
KEPT_VERSIONS: Final = 32  # of a secret: older ones are destroyed by the next put, so that marks stay small

State: TypeAlias = Literal["live", "deleted", "destroyed"]

# Types that SQLite and PostgreSQL both take; to SQLite, BYTEA is a name like any other.
TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS vault_meta (id BIGINT PRIMARY KEY, format TEXT NOT NULL,
       generation BIGINT NOT NULL, sequence BIGINT NOT NULL, root_check BYTEA NOT NULL, mac BYTEA NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS vault_tenants (tenant TEXT PRIMARY KEY, salt BYTEA NOT NULL,
       keeping BYTEA NOT NULL, mac BYTEA NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS vault_marks (tenant TEXT NOT NULL, agent TEXT NOT NULL, role TEXT NOT NULL,
       name TEXT NOT NULL, mark BYTEA NOT NULL, mac BYTEA NOT NULL, PRIMARY KEY (tenant, agent, role, name))""",
    """CREATE TABLE IF NOT EXISTS vault_values (tenant TEXT NOT NULL, agent TEXT NOT NULL, role TEXT NOT NULL,
       name TEXT NOT NULL, version BIGINT NOT NULL, body BYTEA NOT NULL,
       PRIMARY KEY (tenant, agent, role, name, version))""",
)
META: Final = "SELECT format, generation, sequence, root_check, mac FROM vault_meta WHERE id = 1"
TENANTS: Final = "SELECT tenant, salt, keeping, mac FROM vault_tenants"
MARKS: Final = "SELECT tenant, agent, role, name, mark, mac FROM vault_marks"
VALUES: Final = "SELECT tenant, agent, role, name, version, body FROM vault_values"
VALUE: Final = ("SELECT body FROM vault_values WHERE tenant = ? AND agent = ? AND role = ? AND name = ? "
                "AND version = ?")
PUT_META: Final = ("INSERT INTO vault_meta (id, format, generation, sequence, root_check, mac) "
                   "VALUES (1, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET format = excluded.format, "
                   "generation = excluded.generation, sequence = excluded.sequence, "
                   "root_check = excluded.root_check, mac = excluded.mac")
PUT_TENANT: Final = ("INSERT INTO vault_tenants (tenant, salt, keeping, mac) VALUES (?, ?, ?, ?) "
                     "ON CONFLICT (tenant) DO UPDATE SET salt = excluded.salt, keeping = excluded.keeping, "
                     "mac = excluded.mac")
PUT_MARK: Final = ("INSERT INTO vault_marks (tenant, agent, role, name, mark, mac) VALUES (?, ?, ?, ?, ?, ?) "
                   "ON CONFLICT (tenant, agent, role, name) DO UPDATE SET mark = excluded.mark, mac = excluded.mac")
PUT_VALUE: Final = ("INSERT INTO vault_values (tenant, agent, role, name, version, body) VALUES (?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT (tenant, agent, role, name, version) DO UPDATE SET body = excluded.body")
DROP_VALUE: Final = ("DELETE FROM vault_values WHERE tenant = ? AND agent = ? AND role = ? AND name = ? "
                     "AND version = ?")
EMPTY: Final = ("DELETE FROM vault_values", "DELETE FROM vault_marks", "DELETE FROM vault_tenants",
                "DELETE FROM vault_meta")


class Path(NamedTuple):
    """Where a secret is: its owner, taken from an attested subject, and its name."""

    tenant: str
    agent: str
    role: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} of {self.tenant}/{self.agent}/{self.role}"


class Version(msgspec.Struct, array_like=True, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version of a secret, without its value."""

    number: int
    created: int  # microseconds since the epoch
    state: State
    nonce: bytes  # of the value's ciphertext: names the one body that is this version
    wrapped: bytes  # its data key under the tenant's; empty: destroyed

    def __repr__(self) -> str:
        return f"<version {self.number}, {self.state}>"


class Mark(msgspec.Struct, array_like=True, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that counts of one secret: its highest version ever, and the newest versions, oldest first."""

    high: int
    versions: tuple[Version, ...]


class Meta(NamedTuple):
    """What the file says of itself."""

    format: str
    generation: int
    sequence: int
    root_check: bytes
    mac: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionInfo:
    """What is told of a version. ``created``: seconds since the epoch."""

    version: int
    created: float
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is told of a secret: names only. ``version`` is the newest, ``state`` that version's."""

    owner: Owner
    name: str
    version: int
    state: State


def path_of(owner: Owner, name: str) -> Path:
    """The path of a secret. Raises BadInput (``bad_secret_name``)."""
    path = Path(owner.tenant, owner.agent, owner.role, name)
    for text in path:
        if not (1 <= len(text) <= MAX_TEXT and text.isascii() and text.isprintable() and " " not in text):
            raise BadInput(
                "a secret's name, or a part of its owner's, is empty, too long, or not made of visible ASCII "
                "characters", code="bad_secret_name",
                remedy=f"1 to {MAX_TEXT} letters, digits, dots, dashes and underscores",
            )
    return path


def meta_of(rows: list[Row]) -> Meta | None:
    """The file's own row; None: there is no vault in it. Raises BadInput (``vault_damaged``, ``vault_newer``)."""
    if not rows:
        return None
    match rows[0]:
        case (str() as found, int() as generation, int() as sequence, bytes() as check, bytes() as mac):
            if found != FORMAT:
                raise BadInput(f"the vault has a format that this version does not know: {found[:40]!r}",
                               code="vault_newer", remedy="use the version of Ringwall that wrote it")
            if not 1 <= generation <= MAX_GENERATION or sequence < 1:
                raise damaged("the vault's own row")
            return Meta(found, generation, sequence, check, mac)
        case _:
            raise damaged("the vault's own row")


def damaged(what: str) -> BadInput:
    """The error for what does not authenticate."""
    return BadInput(
        f"{what} is not what Ringwall wrote", code="vault_damaged",
        remedy="somebody changed the vault's file, or its disk fails: stop Ringwall, keep a copy of the file, and "
               "restore a backup",
    )
