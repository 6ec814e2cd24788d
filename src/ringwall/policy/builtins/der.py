"""A strict reader of DER (X.690), as much of it as certificates have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringwall.policy.builtins.table import BuiltinError

MAX_BYTES: Final = 1 << 20  # of one structure: certificates have 1 to 4 kB
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTETS: Final = 0x04
OID: Final = 0x06
SEQUENCE: Final = 0x30
_TEXTS: Final = {0x0C: "utf-8", 0x12: "ascii", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1E: "utf-16-be"}


def bad(what: str) -> BuiltinError:
    """The error of bytes that are no such structure."""
    return BuiltinError(f"asn1: structure error: {what}")


@dataclass(frozen=True, slots=True)
class Item:
    """One value with its tag."""

    tag: int
    content: bytes
    whole: bytes  # with tag and length

    def expect(self, tag: int) -> Item:
        """Itself, if it is of this kind. Raises BuiltinError."""
        if self.tag != tag:
            raise bad("a value has another type")
        return self

    def items(self, tag: int = SEQUENCE) -> list[Item]:
        """What a sequence or set holds."""
        return items(self.expect(tag).content)

    def number(self) -> int:
        """An integer."""
        content = self.expect(INTEGER).content
        if not content or (len(content) > 1 and content[0] in (0, 255) and (content[0] ^ content[1]) < 128):
            raise bad("an integer is not in its shortest form")
        return int.from_bytes(content, "big", signed=True)

    def boolean(self) -> bool:
        """A boolean."""
        if self.expect(0x01).content not in (b"\x00", b"\xff"):
            raise bad("a boolean is neither true nor false")
        return self.content == b"\xff"

    def oid(self) -> list[int]:
        """An object identifier."""
        content = self.expect(OID).content
        if not content or content[-1] & 128 or len(content) > 64:
            raise bad("an object identifier is cut off")
        found: list[int] = []
        value = 0
        for byte in content:
            if value == 0 and byte == 0x80:
                raise bad("an object identifier is not in its shortest form")
            value = value << 7 | byte & 127
            if byte < 128:
                found += [min(value // 40, 2), value - 40 * min(value // 40, 2)] if not found else [value]
                value = 0
        return found

    def bits(self) -> bytes:
        """A bit string without unused bits."""
        content = self.expect(BIT_STRING).content
        if content[:1] != b"\x00":
            raise bad("a bit string has unused bits")
        return content[1:]

    def text(self) -> str | None:
        """A string of any of the kinds that names have; None for another kind."""
        kind = _TEXTS.get(self.tag)
        if kind is None:
            return None
        try:
            return self.content.decode(kind)
        except UnicodeDecodeError as error:
            raise bad("a string is not of its alphabet") from error


def items(raw: bytes) -> list[Item]:
    """The values that stand one after another."""
    found: list[Item] = []
    at = 0
    while at < len(raw):
        item = _item(raw, at)
        found.append(item)
        at += len(item.whole)
    return found


def one(raw: bytes) -> Item:
    """The one value that the bytes are."""
    found = items(raw)
    if len(found) != 1 or len(raw) > MAX_BYTES:
        raise bad("there is more or less than one value")
    return found[0]


def _item(raw: bytes, at: int) -> Item:
    if len(raw) - at < 2 or raw[at] & 31 == 31:
        raise bad("a value is cut off or has a long tag")
    size, start = raw[at + 1], at + 2
    if size >= 128:
        many = size - 128
        start += many
        encoded = raw[at + 2:start]
        size = int.from_bytes(encoded, "big")
        if not 0 < many <= 4 or len(encoded) != many or encoded[0] == 0 or size < 128:
            raise bad("a length is not in its shortest form")
    if start + size > len(raw):
        raise bad("a value is cut off")
    return Item(raw[at], raw[start:start + size], raw[at:start + size])
