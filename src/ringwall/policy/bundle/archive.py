"""Gzipped tar archives, read strictly: plain files with plain names and nothing else (POSIX.1-1988 ustar).

The reader is our own and not ``tarfile``: an archive comes from outside, and links, devices, extended headers and
sparse files are formats that no bundle needs. It never touches the disk.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import Final

from ringwall.errors import PolicyError

MAX_PACKED: Final = 8 << 20  # bytes of the file; the default policy packs to 20 KiB
MAX_UNPACKED: Final = 48 << 20  # bytes of the tar: a plan of the largest size, data and sources
MAX_MEMBER: Final = 16 << 20  # bytes of one file: the largest plan
MAX_MEMBERS: Final = 1000  # files; a policy somebody reviews has a few dozen
BLOCK: Final = 512  # bytes (ustar)
_STEP: Final = 1 << 20  # bytes unpacked at once, so that a bomb is seen before it is in memory
_NAME: Final = 100  # bytes of the name field; the prefix field is not used
_GZIP: Final = 31  # zlib's window bits for one gzip member (RFC 1952), checksum and length verified
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_OCTAL: Final = re.compile(rb" *[0-7]+[ \0]*")
_MAGIC: Final = (b"ustar\x0000", b"ustar  \x00")  # POSIX, and what GNU tar writes for plain files too


def _bad(cause: str, code: str, remedy: str = "build it again with `ringwall policy build`") -> PolicyError:
    return PolicyError(f"the bundle {cause}", code=code, remedy=remedy)


def read(raw: bytes) -> dict[str, bytes]:
    """The files of an archive, by name.

    Args:
        raw: the whole ``.tar.gz``.

    Raises:
        PolicyError: ``bundle_too_large``, ``bundle_bomb``, ``bundle_truncated``, ``bundle_damaged``,
            ``bundle_member_too_large``, ``bundle_too_many_files``, ``bundle_symlink``, ``bundle_hardlink``,
            ``bundle_device``, ``bundle_bad_member``, ``bundle_absolute_name``, ``bundle_climbing_name``,
            ``bundle_bad_name`` or ``bundle_duplicate``.

    """
    tar = _unpack(raw)
    files: dict[str, bytes] = {}
    at = 0
    while True:
        head = tar[at:at + BLOCK]
        if len(head) < BLOCK:
            raise _bad("ends in the middle of a header", "bundle_truncated")
        if not any(head):
            break
        name, size = _header(head)
        if len(files) >= MAX_MEMBERS:
            raise _bad(f"has more than {MAX_MEMBERS} files", "bundle_too_many_files")
        if name in files:
            raise _bad(f"has {name} twice", "bundle_duplicate")
        at += BLOCK
        content = tar[at:at + size]
        if len(content) < size:
            raise _bad(f"ends in the middle of {name}", "bundle_truncated")
        files[name] = content
        at += -(-size // BLOCK) * BLOCK
    if any(tar[at:]):
        raise _bad("has something after its end", "bundle_damaged")
    return files


def write(files: Mapping[str, bytes]) -> bytes:
    """An archive of these files: the same files give the same bytes.

    Raises:
        PolicyError: a name or content that :func:`read` would refuse.

    """
    if len(files) > MAX_MEMBERS:
        raise _bad(f"has more than {MAX_MEMBERS} files", "bundle_too_many_files")
    parts: list[bytes] = []
    for name in sorted(files):
        _check_name(name)
        _check_size(name, len(files[name]))
        parts += [_make_header(name, len(files[name])), files[name], bytes(-len(files[name]) % BLOCK)]
    parts.append(bytes(2 * BLOCK))
    packer = zlib.compressobj(level=9, wbits=_GZIP)  # its header has no time and no name
    packed = packer.compress(b"".join(parts)) + packer.flush()
    if len(packed) > MAX_PACKED:
        raise _bad(f"has {len(packed)} bytes, more than {MAX_PACKED}", "bundle_too_large", "keep less data in it")
    return packed


def _unpack(raw: bytes) -> bytes:
    if len(raw) > MAX_PACKED:
        raise _bad(f"has {len(raw)} bytes, more than {MAX_PACKED}", "bundle_too_large", "keep less data in it")
    unpacker = zlib.decompressobj(wbits=_GZIP)
    found = bytearray()
    rest = raw
    try:
        while not unpacker.eof:
            piece = unpacker.decompress(rest, _STEP)
            found += piece
            rest = unpacker.unconsumed_tail
            if len(found) > MAX_UNPACKED:
                raise _bad(f"unpacks to more than {MAX_UNPACKED} bytes", "bundle_bomb")
            if not piece and not rest and not unpacker.eof:
                raise _bad("ends too early", "bundle_truncated")
    except zlib.error as error:
        raise _bad(f"is not gzip: {error}", "bundle_damaged") from error
    if unpacker.unused_data:
        raise _bad("has something after its end", "bundle_damaged")
    return bytes(found)


def _header(head: bytes) -> tuple[str, int]:
    """Name and size of one plain file. Raises PolicyError."""
    if head[257:265] not in _MAGIC:
        raise _bad("is not a tar archive", "bundle_damaged")
    if _octal(head[148:156]) != _checksum(head):
        raise _bad("has a header whose checksum is wrong", "bundle_damaged")
    _check_type(head)
    try:
        name = head[:_NAME].rstrip(b"\0").decode("ascii")
    except UnicodeDecodeError:
        raise _bad("has a file whose name is not ASCII", "bundle_bad_name") from None
    if any(head[345:500]):
        raise _bad(f"has a file whose name is longer than {_NAME} characters", "bundle_bad_name")
    _check_name(name)
    size = _octal(head[124:136])
    _check_size(name, size)
    return name, size


def _check_type(head: bytes) -> None:
    kind = head[156:157]
    if kind == b"2":
        raise _bad("has a symbolic link in it", "bundle_symlink")
    if kind == b"1":
        raise _bad("has a hard link in it", "bundle_hardlink")
    if kind in {b"3", b"4", b"6"}:
        raise _bad("has a device or a pipe in it", "bundle_device")
    if kind not in {b"0", b"\0"} or any(head[157:257]):
        raise _bad(f"has a member of type {kind!r} in it, which is no plain file", "bundle_bad_member")


def _check_name(name: str) -> None:
    if name.startswith("/"):
        raise _bad(f"has the absolute name {name[:80]!r}", "bundle_absolute_name")
    if ".." in name.split("/"):
        raise _bad(f"has the name {name[:80]!r}, which climbs out", "bundle_climbing_name")
    if len(name) > _NAME or not _PLAIN.fullmatch(name) or "." in name.split("/"):
        raise _bad(f"has the name {name[:120]!r}: letters, digits, '.', '_', '-' and '/' only, at most {_NAME}",
                   "bundle_bad_name", "rename the file")


def _check_size(name: str, size: int) -> None:
    if size > MAX_MEMBER:
        raise _bad(f"says that {name} has {size} bytes, more than {MAX_MEMBER}", "bundle_member_too_large")


def _octal(field: bytes) -> int:
    if not _OCTAL.fullmatch(field):
        raise _bad("has a header with a number that is none", "bundle_damaged")
    return int(field.strip(b" \0"), 8)


def _checksum(head: bytes) -> int:
    return sum(head[:148]) + sum(head[156:]) + 8 * ord(" ")


def _make_header(name: str, size: int) -> bytes:
    head = bytearray(BLOCK)
    head[:len(name)] = name.encode()
    head[100:108], head[108:116], head[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    head[124:136], head[136:148] = b"%011o\0" % size, b"%011o\0" % 0
    head[156:157], head[257:265] = b"0", b"ustar\x0000"
    head[148:156] = b"%06o\0 " % _checksum(bytes(head))
    return bytes(head)
