"""Rotation: every data key under a new tenant key, of the same root or of another. Values stay as they are.

All of it is one transaction, and the vault in memory is swapped after it. Who reads meanwhile has the old keys with
the old marks, or the new with the new: both open the same values.
"""

from __future__ import annotations

from ringwall.errors import Refused
from ringwall.keys.interface import RootKeys
from ringwall.vault.contents import Change, Contents
from ringwall.vault.envelope import Macs, Tenant, same
from ringwall.vault.schema import Mark, Path


def under(root: RootKeys, generation: int, old: Contents) -> tuple[Contents, int]:
    """The same vault under another root, unwritten, and how many data keys were wrapped again.

    Args:
        root: the new root.
        generation: its number.
        old: the open vault; unchanged.

    Raises:
        BadInput: ``vault_damaged``. Unavailable: the root does not answer.

    """
    made = Contents(root, generation, old.sequence + 1)
    tenants = {name: Tenant.new(root, name, tenant.keep) for name, tenant in old.tenants.items()}
    marks, count = _moved(old, tenants)
    made.hold(tenants, marks)
    return made, count


def tenant_moved(old: Contents, name: str) -> tuple[Change, int]:
    """One tenant's data keys under a new key of the same root: the change, and how many. Raises like :func:`under`,
    and Refused (``no_such_tenant``)."""
    if name not in old.tenants:
        raise Refused(f"the vault holds nothing of a tenant {name[:64]!r}", code="no_such_tenant",
                      remedy="`ringwall vault list` names those it has")
    tenants = {name: Tenant.new(old.root, name, old.tenants[name].keep)}
    marks, count = _moved(old, tenants)
    return Change(tenants=tenants, marks=marks), count


def check_new(root: RootKeys, generation: int, old: Contents) -> None:
    """A rotation must lead to another root of a later generation. Raises Refused (``root_key_same``,
    ``generation_conflict``)."""
    if generation <= old.generation:
        raise Refused(f"the vault is at generation {old.generation} of its root key, and {generation} is not later",
                      code="generation_conflict", remedy="rotate to a later generation")
    if same(Macs(root).check(old.generation), old.macs.check(old.generation)):
        raise Refused("the new root key is the old one", code="root_key_same", remedy="make a new root key")


def _moved(old: Contents, tenants: dict[str, Tenant]) -> tuple[dict[Path, Mark], int]:
    made: dict[Path, Mark] = {}
    count = 0
    for path, mark in old.marks.items():
        if (new := tenants.get(path.tenant)) is None:
            continue
        before = old.tenants[path.tenant]
        versions = tuple(new.moved(path, version, before) for version in mark.versions)
        count += sum(1 for version in versions if version.wrapped)
        made[path] = Mark(high=mark.high, versions=versions)
    return made, count
