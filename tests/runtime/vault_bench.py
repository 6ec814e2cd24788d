"""A real vault with its acts, as the core puts them together, and an operator who uses them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tests.fakes import FakeClock, FakeJournal, call

from ringwall.audit.journal import AuditJournal
from ringwall.call import Json, Operator
from ringwall.errors import Refused, Unavailable
from ringwall.keys.derived import DerivedRootKeys
from ringwall.keys.interface import Asks, RootKeys
from ringwall.manifest.types import Agent, Manifest, ReadGrant, Role, Secret, Tenant, VaultSettings
from ringwall.runtime.uploads import Uploads
from ringwall.runtime.vaulting import Vaulting
from ringwall.store.sqlite import SqliteStore
from ringwall.vault.embedded import EmbeddedVault

ROOT = Operator(name="root", uid=0, connection=1)
BOB = Operator(name="bob", uid=1001, connection=2)
VALUE = b"hunter2-hunter2"
ROLES = {"reader": Role(name="reader", secrets=("key",)), "clerk": Role(name="clerk"),
         "looker": Role(name="looker", read=ReadGrant(secrets=("key",)))}
AGENTS = {"ana": Agent(name="ana", role="reader"), "ben": Agent(name="ben", role="clerk"),
          "cy": Agent(name="cy", role="looker")}
MANIFEST = Manifest(
    version=1, trust_domain="example.org", path=Path("/nowhere/ringwall.toml"),
    tenants={"acme": Tenant(name="acme", roles=ROLES, agents=AGENTS), "other": Tenant(name="other")},
    secrets={"key": Secret(name="key", source="vault"), "old": Secret(name="old", file=Path("/nowhere/old")),
             "cloud": Secret(name="cloud", source="aws")},
    vault=VaultSettings(threshold=2),
)


class Source:
    """Root keys in memory. ``shares``: any two of the three that were shown open it."""

    def __init__(self, asks: Asks) -> None:
        self.asks: Asks = asks
        self.kind = {"nothing": "file", "passphrase": "passphrase", "shares": "shamir"}[asks]
        self.kept: dict[int, tuple[bytes, frozenset[bytes]]] = {}
        self.down = False

    def create(self, generation: int, answers: Sequence[bytes]) -> tuple[RootKeys, tuple[str, ...]]:
        if generation in self.kept:
            raise Refused("kept already", code="root_key_exists")
        root = bytes([generation]) * 32
        shown = tuple(f"share {generation} {n}" for n in range(3)) if self.asks == "shares" else ()
        self.kept[generation] = (root, frozenset(one.encode() for one in shown) or frozenset(answers))
        return DerivedRootKeys(root), shown

    def open(self, generation: int, answers: Sequence[bytes]) -> RootKeys:
        if self.down or generation not in self.kept:
            raise Unavailable("no root key", code="root_key_missing")
        root, good = self.kept[generation]
        if not set(answers) <= good:
            raise Refused("wrong", code="root_key_wrong")
        if len(answers) < {"nothing": 0, "passphrase": 1, "shares": 2}[self.asks]:
            raise Unavailable("too few", code="root_key_sealed")
        return DerivedRootKeys(root)

    def drop(self, generation: int) -> None:
        if self.down:
            raise Unavailable("it does not answer", code="keys_unavailable")
        self.kept.pop(generation, None)


@dataclass
class _Record:
    type: str
    body: Json


class Bench:
    """One core's vault over a file; ``again`` is the next core over the same file, log and root keys."""

    def __init__(self, file: Path, asks: Asks = "nothing", before: Bench | None = None) -> None:
        self.file = file
        self.clock = before.clock if before else FakeClock()
        self.journal = before.journal if before else FakeJournal()
        self.source = before.source if before else Source(asks)
        self.uploads = Uploads(self.clock, lambda _, __: None)
        self.store = SqliteStore(file)
        self.vault = EmbeddedVault(self.store, self.clock)
        self.files: dict[str, bytes] = {"old": b"from-a-file"}
        self.vaulting = Vaulting(vault=self.vault, source=self.source, uploads=self.uploads, journal=self.journal,
                                 clock=self.clock, manifest=MANIFEST, files=self.files.__getitem__)
        self.acts = self.vaulting.acts()

    async def again(self) -> Bench:
        self.store.close()
        made = Bench(self.file, before=self)
        made.vaulting.restore(cast("AuditJournal", made))
        await made.vaulting.open_at_start()
        return made

    def records(self, log: str, types: frozenset[str]) -> list[_Record]:
        """The log, as ``AuditJournal`` gives it back."""
        assert log == "system"
        return [_Record(one.type, one.body) for one in self.journal.of("note") if one.type in types]

    def hand_in(self, data: bytes, who: Operator = ROOT) -> str:
        return self.uploads.inward.put(who, data[:1 << 16]) if len(data) <= 1 << 16 else self._pieces(data, who)

    def _pieces(self, data: bytes, who: Operator) -> str:
        name = self.uploads.inward.put(who, data[:1 << 16])
        self.uploads.inward.add(who, name, data[1 << 16:])
        return name

    def fetch(self, name: str, who: Operator = ROOT) -> bytes:
        return self.uploads.outward.take(who, name, limit=1 << 30)

    async def ask(self, verb: str, who: Operator = ROOT, /, **args: Any) -> Any:
        return await self.acts[verb](call(verb, args, kind="operate", subject=who, session=None))

    async def put(self, value: bytes = VALUE, /, **more: Any) -> Any:
        where = more or {"agent": "ana"}
        return await self.ask("vault.put", tenant="acme", name="key", upload=self.hand_in(value), **where)

    def types(self) -> list[str]:
        return [event.type for event in self.journal.of("note")]
