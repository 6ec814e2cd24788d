"""The open vault in memory: keys, and every secret's mark.

What is in memory counts. The file must agree with it, at opening through the MAC over all rows and afterwards at
each write: whoever puts an older row, mark or file back while the vault is open changes nothing that is believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ringwall.errors import Refused, Unavailable
from ringwall.keys.interface import RootKeys
from ringwall.store.interface import Row, Store, Value, Writer
from ringwall.vault.envelope import Macs, Tenant, of_mark, of_tenant, packed, same, unpacked
from ringwall.vault.schema import (
    DROP_VALUE,
    EMPTY,
    FORMAT,
    MAX_SECRETS,
    META,
    PUT_MARK,
    PUT_META,
    PUT_TENANT,
    PUT_VALUE,
    Mark,
    Meta,
    Path,
    damaged,
    meta_of,
)

_NO_TENANTS: Final[Mapping[str, Tenant]] = {}
_NO_MARKS: Final[Mapping[Path, Mark]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one write changes."""

    tenants: Mapping[str, Tenant] = field(default_factory=lambda: _NO_TENANTS)
    marks: Mapping[Path, Mark] = field(default_factory=lambda: _NO_MARKS)
    bodies: Mapping[tuple[Path, int], bytes] = field(default_factory=dict[tuple[Path, int], bytes], repr=False)
    gone: tuple[tuple[Path, int], ...] = ()


class Contents:
    """An open vault's keys and marks. Build it with :meth:`new`, or :meth:`loaded` from rows.

    Not safe by itself: one thread changes it at a time. Others may read ``tenants`` and ``marks`` meanwhile.
    """

    def __init__(self, root: RootKeys, generation: int, sequence: int) -> None:
        self.root = root
        self.generation = generation
        self.sequence = sequence
        self.macs = Macs(root)
        self.tenants: dict[str, Tenant] = {}
        self.marks: dict[Path, Mark] = {}
        self._terms: dict[str | Path, int] = {}  # of each row, by its tenant or path
        self._total = 0  # their sum

    def __repr__(self) -> str:
        return f"<open vault, generation {self.generation}, {len(self.marks)} secrets>"

    @classmethod
    def loaded(cls, root: RootKeys, meta: Meta, tenants: list[Row], marks: list[Row]) -> Contents:
        """Check the rows of a vault and take them over.

        Raises:
            Refused: ``root_key_wrong``: this root never opened it.
            BadInput: ``vault_damaged``.
            Unavailable: the root does not answer.

        """
        made = cls(root, meta.generation, meta.sequence)
        if not same(made.macs.check(meta.generation), meta.root_check):
            raise Refused("this root key is not the one of the vault", code="root_key_wrong",
                          remedy="bring the root key that the vault was made or last rotated with")
        for row in tenants:
            made._take_tenant(row)
        for row in marks:
            made._take_mark(row)
        if not same(made.meta.mac, meta.mac):
            raise damaged("the set of the vault's secrets")  # a row is missing, or an older one was put back
        return made

    @property
    def meta(self) -> Meta:
        """The vault's own row as it must be stored."""
        mac = self.macs.state(self.generation, self.sequence, self._total)
        return Meta(FORMAT, self.generation, self.sequence, self.macs.check(self.generation), mac)

    def hold(self, tenants: Mapping[str, Tenant], marks: Mapping[Path, Mark]) -> None:
        """Take keys and marks into an empty one, unwritten."""
        self._settle(Change(tenants=tenants, marks=marks), self._new_terms(tenants, marks))

    def write(self, store: Store, change: Change) -> None:
        """Make a change durable, then true here.

        Raises:
            BadInput: ``vault_damaged``: the file is not the one this vault wrote last.
            Unavailable: ``store_unwritable``, ``vault_full``; nothing was changed.

        """
        if len(self.marks.keys() | change.marks.keys()) > MAX_SECRETS:
            raise Unavailable(f"the vault holds {MAX_SECRETS} secrets already", code="vault_full",
                              remedy="keep further ones in an OpenBao or Vault ([vaults])")
        known, terms = self.meta, self._new_terms(change.tenants, change.marks)
        after = Meta(FORMAT, self.generation, self.sequence + 1, known.root_check,
                     self.macs.state(self.generation, self.sequence + 1, self._sum_with(terms)))

        def work(writer: Writer) -> None:
            expect(writer, known)
            self._put(writer, change)
            writer.execute(PUT_META, after)

        store.write(work)
        self.sequence += 1
        self._settle(change, terms)

    def replace(self, store: Store, known: Meta | None, bodies: Mapping[tuple[Path, int], bytes] | None) -> None:
        """Make all of this, as it is here, what the file has.

        Args:
            store: the database.
            known: what the file must say of itself now; None: there is no vault in it.
            bodies: all values; None: the values that are there stay.

        Raises:
            BadInput: ``vault_damaged``. Unavailable: ``store_unwritable``; nothing was changed.

        """
        def work(writer: Writer) -> None:
            expect(writer, known)
            if bodies is not None:
                for sql in EMPTY:
                    writer.execute(sql)
            self._put(writer, Change(tenants=self.tenants, marks=self.marks, bodies=bodies or {}))
            writer.execute(PUT_META, self.meta)

        store.write(work)

    def rows(self) -> tuple[list[tuple[Value, ...]], list[tuple[Value, ...]]]:
        """Tenants and marks as they are stored."""
        return [self._tenant_row(one) for one in self.tenants.values()], self._mark_rows(self.marks)

    def _put(self, writer: Writer, change: Change) -> None:
        for tenant in change.tenants.values():
            writer.execute(PUT_TENANT, self._tenant_row(tenant))
        writer.executemany(PUT_MARK, self._mark_rows(change.marks))
        writer.executemany(PUT_VALUE, [(*path, number, body) for (path, number), body in change.bodies.items()])
        writer.executemany(DROP_VALUE, [(*path, number) for path, number in change.gone])

    def _tenant_row(self, one: Tenant) -> tuple[Value, ...]:
        return one.name, one.salt, one.keeping, self.macs.row(of_tenant(one))

    def _mark_rows(self, marks: Mapping[Path, Mark]) -> list[tuple[Value, ...]]:
        made: list[tuple[Value, ...]] = []
        for path, mark in marks.items():
            stored = packed(mark)
            made.append((*path, stored, self.macs.row(of_mark(path, stored))))
        return made

    def _new_terms(self, tenants: Mapping[str, Tenant], marks: Mapping[Path, Mark]) -> dict[str | Path, int]:
        made: dict[str | Path, int] = {name: self.macs.term(of_tenant(one)) for name, one in tenants.items()}
        for path, mark in marks.items():
            made[path] = self.macs.term(of_mark(path, packed(mark)))
        return made

    def _sum_with(self, terms: Mapping[str | Path, int]) -> int:
        return self._total + sum(term - self._terms.get(key, 0) for key, term in terms.items())

    def _settle(self, change: Change, terms: Mapping[str | Path, int]) -> None:
        self._total = self._sum_with(terms)
        self._terms.update(terms)
        self.tenants.update(change.tenants)
        self.marks.update(change.marks)

    def _take_tenant(self, row: Row) -> None:
        match row:
            case (str() as name, bytes() as salt, bytes() as keeping, bytes() as mac):
                tenant = Tenant.stored(self.root, name, salt, keeping)
                if not same(self.macs.row(of_tenant(tenant)), mac):
                    raise damaged(f"the key of tenant {name}")
                self._settle(Change(tenants={name: tenant}), {name: self.macs.term(of_tenant(tenant))})
            case _:
                raise damaged("a tenant's key")

    def _take_mark(self, row: Row) -> None:
        match row:
            case (str() as tenant, str() as agent, str() as role, str() as name, bytes() as stored, bytes() as mac):
                path = Path(tenant, agent, role, name)
                text = of_mark(path, stored)
                if not same(self.macs.row(text), mac) or tenant not in self.tenants:
                    raise damaged(f"the mark of {path}")
                self._settle(Change(marks={path: unpacked(path, stored)}), {path: self.macs.term(text)})
            case _:
                raise damaged("a secret's mark")


def expect(writer: Writer, known: Meta | None) -> None:
    """The file is still the one that was written last. Raises BadInput (``vault_damaged``)."""
    if meta_of(writer.rows(META)) != known:
        raise damaged("the vault's file, which changed while the vault was open,")
