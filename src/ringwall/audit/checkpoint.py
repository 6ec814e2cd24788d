"""Checkpoints: the C2SP tlog-checkpoint text in an Ed25519 C2SP signed note, and the verifier key line.

The text that is signed is ``origin\\nsize\\nbase64(root)\\n``; an empty line and the signature lines follow.
Extension lines are refused: no Ringwall log writes any.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ringwall.audit.merkle import HASH_BYTES
from ringwall.errors import BadInput

MAX_NOTE_BYTES: Final = 8192  # ours have about 200; room for a crowd of witnesses
MAX_SIGNATURES: Final = 16  # signed-note: parsers limit the number of signatures
MAX_NAME_BYTES: Final = 512
MAX_SIZE_DIGITS: Final = 18  # tree sizes stay below 2^63
_ED25519: Final = b"\x01"  # signed-note, signature types
_KEY_ID_BYTES: Final = 4
_DASH: Final = "— "


def _bad(cause: str) -> BadInput:
    return BadInput(cause, code="bad_checkpoint")


def _name(text: str) -> str:
    if not text or len(text.encode()) > MAX_NAME_BYTES or "+" in text or not text.isprintable() or " " in text:
        raise _bad(f"{text[:60]!r} is no name for a log: it is empty, too long, or has a space or plus sign")
    return text


def _unbase64(text: str, what: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise _bad(f"the {what} is not base64") from None
    if base64.b64encode(raw).decode() != text:
        raise _bad(f"the {what} is not canonical base64")
    return raw


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with the name of the log it signs for: ``name+hash+base64`` (signed-note, verifier keys)."""

    name: str
    public: bytes  # 32 bytes, raw Ed25519

    @property
    def id(self) -> bytes:
        """The 4 bytes that stand before each signature."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Parse one line without its newline. Raises BadInput (``bad_checkpoint``)."""
        parts = text.split("+", 2)  # base64 may have further plus signs
        if len(parts) != 3:
            raise _bad("a verifier key is name+hash+base64")
        raw = _unbase64(parts[2], "verifier key")
        if len(raw) != 1 + HASH_BYTES or raw[:1] != _ED25519:
            raise _bad("the verifier key is not an Ed25519 key")
        key = cls(_name(parts[0]), raw[1:])
        if parts[1] != key.id.hex():
            raise _bad("the verifier key's hash does not match its name and key")
        return key


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log's key signs: the log's name, its size in records, and its root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> bytes:
        """The bytes that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()


@dataclass(frozen=True, slots=True)
class Signature:
    name: str
    key_id: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint with its signatures. Nothing is believed before :meth:`verify`."""

    checkpoint: Checkpoint
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, note: bytes) -> SignedCheckpoint:
        """Parse a whole signed note. Raises BadInput (``bad_checkpoint``)."""
        if len(note) > MAX_NOTE_BYTES:
            raise _bad(f"a checkpoint of {len(note)} bytes is longer than {MAX_NOTE_BYTES}")
        try:
            text = note.decode()
        except UnicodeDecodeError:
            raise _bad("the checkpoint is not UTF-8") from None
        if any((ord(c) < 32 and c != "\n") or ord(c) == 127 for c in text):
            raise _bad("the checkpoint holds control characters")
        body, blank, signed = text.partition("\n\n")
        if not blank or not signed.endswith("\n"):
            raise _bad("the checkpoint has no signature lines, or its end is cut off")
        lines = signed[:-1].split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise _bad(f"the checkpoint has more than {MAX_SIGNATURES} signatures")
        return cls(_parse_body(body), tuple(_parse_signature(line) for line in lines))

    def signature(self, key: VerifierKey) -> bytes:
        """The one signature of this key. Raises BadInput if it is missing or there are two."""
        found = [s.value for s in self.signatures if s.name == key.name and s.key_id == key.id]
        if len(found) != 1:
            raise _bad(f"the checkpoint is not signed by the key of {key.name}")
        return found[0]

    def verify(self, key: VerifierKey) -> Checkpoint:
        """The checkpoint, if ``key`` signed it for the log it names. Raises BadInput (``bad_checkpoint``)."""
        if self.checkpoint.origin != key.name:
            raise _bad(f"the checkpoint is for {self.checkpoint.origin!r}, not for {key.name!r}")
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(self.signature(key), self.checkpoint.text)
        except (InvalidSignature, ValueError):
            raise _bad("the checkpoint's signature does not verify") from None
        return self.checkpoint


def _parse_body(body: str) -> Checkpoint:
    lines = body.split("\n")
    if len(lines) != 3:
        raise _bad("a checkpoint has three lines: origin, size, root")
    size = lines[1]
    if not size.isascii() or not size.isdigit() or len(size) > MAX_SIZE_DIGITS or str(int(size)) != size:
        raise _bad("the checkpoint's size is not a plain number")
    root = _unbase64(lines[2], "root")
    if len(root) != HASH_BYTES:
        raise _bad("the checkpoint's root has not 32 bytes")
    return Checkpoint(_name(lines[0]), int(size), root)


def _parse_signature(line: str) -> Signature:
    name, space, value = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space:
        raise _bad("a signature line is '— name base64'")
    raw = _unbase64(value, "signature")
    if len(raw) <= _KEY_ID_BYTES:
        raise _bad("a signature is too short")
    return Signature(_name(name), raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES:])


class Signer:
    """Signs one log's checkpoints.

    Args:
        origin: the log's name: printable, no space, no plus sign.
        key: its Ed25519 key.

    """

    def __init__(self, origin: str, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.verifier = VerifierKey(_name(origin), key.public_key().public_bytes_raw())

    def sign(self, size: int, root: bytes) -> bytes:
        """The signed note of a checkpoint."""
        text = Checkpoint(self.verifier.name, size, root).text
        value = base64.b64encode(self.verifier.id + self._key.sign(text)).decode()
        return text + f"\n{_DASH}{self.verifier.name} {value}\n".encode()
