"""A backup of the vault: its rows, encrypted as they are at rest, with one MAC over the whole.

It is no use without the root key of its generation, which is not in it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ringwall.errors import BadInput, Unavailable
from ringwall.keys.interface import MAX_GENERATION, RootKeys
from ringwall.store.interface import Row, Store
from ringwall.vault.contents import Contents
from ringwall.vault.envelope import Macs, same
from ringwall.vault.rotation import under
from ringwall.vault.schema import FORMAT, VALUES, Meta, Path, damaged

MAX_BACKUP: Final = 256 << 20  # bytes: it is whole in memory once when it is made and once when it comes back
_FIRST_LINE: Final = b"ringwall-vault-backup-v1\n"
_GENERATION_BYTES: Final = 8  # big endian, after the first line: which root key it needs
_MAC_BYTES: Final = 32
_HEAD: Final = len(_FIRST_LINE) + _GENERATION_BYTES


class _Rows(msgspec.Struct, array_like=True, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What lies between head and MAC, as MessagePack."""

    sequence: int
    root_check: bytes
    mac: bytes
    tenants: list[tuple[str, bytes, bytes, bytes]]
    marks: list[tuple[str, str, str, str, bytes, bytes]]
    values: list[tuple[str, str, str, str, int, bytes]]


def made(contents: Contents, store: Store) -> bytes:
    """The backup of an open vault.

    Raises:
        BadInput: ``vault_damaged``: a version does not open, and a backup would not bring it back.
        Unavailable: ``backup_too_large``, ``store_unreadable``.

    """
    bodies = dict(_body(row) for row in store.rows(VALUES))
    kept: list[tuple[str, str, str, str, int, bytes]] = []
    for path, mark in contents.marks.items():
        for version in mark.versions:
            if version.wrapped:
                body = bodies.get((path, version.number), b"")
                contents.tenants[path.tenant].unseal(path, version, body)
                kept.append((path.tenant, path.agent, path.role, path.name, version.number, body))
    tenants, marks = contents.rows()
    meta = contents.meta
    rows = (meta.sequence, meta.root_check, meta.mac, tenants, marks, kept)  # as in _Rows
    blob = _FIRST_LINE + contents.generation.to_bytes(_GENERATION_BYTES) + msgspec.msgpack.encode(rows)
    if len(blob) + _MAC_BYTES > MAX_BACKUP:
        raise Unavailable(f"a backup of this vault is larger than {MAX_BACKUP >> 20} MiB", code="backup_too_large",
                          remedy="stop Ringwall and copy the vault's file instead")
    return blob + contents.macs.backup(blob)


def generation_of(blob: bytes) -> int:
    """Which generation of the root key a backup needs. Raises BadInput (``bad_backup``)."""
    if not _HEAD + _MAC_BYTES < len(blob) <= MAX_BACKUP or not blob.startswith(_FIRST_LINE):
        raise _bad("this is no backup of a vault")
    generation = int.from_bytes(blob[len(_FIRST_LINE):_HEAD])
    if not 1 <= generation <= MAX_GENERATION:
        raise _bad("this backup names a generation of the root key that there cannot be")
    return generation


def opened(blob: bytes, root: RootKeys) -> tuple[Contents, dict[tuple[Path, int], bytes]]:
    """Check a backup whole; what it holds, with all ciphertexts.

    Raises:
        BadInput: ``bad_backup``: no backup, cut, changed, or of another root key, which looks the same.
        Unavailable: the root does not answer.

    """
    generation = generation_of(blob)
    rest, mac = blob[:-_MAC_BYTES], blob[-_MAC_BYTES:]
    if not same(Macs(root).backup(rest), mac):
        raise _bad(f"this backup is damaged, or the root key is not the one of its generation {generation}")
    try:
        rows = msgspec.msgpack.decode(rest[_HEAD:], type=_Rows)
    except msgspec.DecodeError:
        raise _bad("this backup is of a form that this version does not know") from None
    meta = Meta(FORMAT, generation, rows.sequence, rows.root_check, rows.mac)
    contents = Contents.loaded(root, meta, list(rows.tenants), list(rows.marks))
    return contents, {(Path(*row[:4]), row[4]): row[5] for row in rows.values}


def joined(current: Contents, restored: Contents) -> Contents:
    """What the vault holds after a restore, unwritten: the backup's secrets under the current root.

    What was kept elsewhere with :meth:`EmbeddedVault.keep` since the backup stays readable: the current tenants'
    keys for it stay.
    """
    if not same(restored.macs.check(current.generation), current.macs.check(current.generation)):
        restored, _ = under(current.root, current.generation, restored)
    tenants = dict(current.tenants)
    for name, tenant in restored.tenants.items():
        tenants[name] = tenant.keeping_of(current.tenants[name]) if name in current.tenants else tenant
    after = Contents(current.root, current.generation, max(current.sequence, restored.sequence) + 1)
    after.hold(tenants, restored.marks)
    return after


def _body(row: Row) -> tuple[tuple[Path, int], bytes]:
    match row:
        case (str() as tenant, str() as agent, str() as role, str() as name, int() as number, bytes() as body):
            return (Path(tenant, agent, role, name), number), body
        case _:
            raise damaged("a row of a secret's value")


def _bad(cause: str) -> BadInput:
    return BadInput(cause, code="bad_backup", remedy="take another backup, with the root key of its time")
