"""Bundles for tests: the shipped policy packed by hand, so that no opa is needed."""

from __future__ import annotations

import functools
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ringwall.errors import PolicyError
from ringwall.policy.build import CAPABILITIES, SHIPPED, SOURCES, shipped
from ringwall.policy.bundle.make import contents
from ringwall.policy.bundle.signature import PublicKey, SigningKey

ROOTS = ["acme", "ringwall/decide", "ringwall/facts", "ringwall/grants", "ringwall/messages",
         "ringwall/site", "ringwall/subject"]


def plan() -> bytes:
    shipped_plan = json.loads((SOURCES / SHIPPED).read_bytes())["plan"]
    return json.dumps(shipped_plan, sort_keys=True, separators=(",", ":")).encode()


def files(*, data: Any = None, made: bytes | None = None) -> dict[str, bytes]:
    """The files of a bundle of the shipped policy, not signed."""
    return contents(modules=shipped(), data={"acme": {"x": 1}} if data is None else data,
                    plan=plan() if made is None else made,
                    capabilities=(SOURCES / CAPABILITIES).read_bytes(), owned=ROOTS)


def private(kind: str = "ed25519", number: int = 0) -> Any:
    """A key for tests; ``number`` tells several of one kind apart."""
    return _private(kind, number)


@functools.cache
def _private(kind: str, number: int) -> Any:
    match kind:
        case "ed25519":
            return Ed25519PrivateKey.generate()
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "rsa":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case _:
            return rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 (refused)


def signing(kind: str = "ed25519", number: int = 0) -> SigningKey:
    return SigningKey(private(kind, number))


def public(kind: str = "ed25519", number: int = 0) -> PublicKey:
    return PublicKey(private(kind, number).public_key())


def key_files(folder: Path, kind: str = "ed25519", number: int = 0) -> tuple[Path, Path]:
    """The key as PEM files: private, public."""
    key = private(kind, number)
    secret, known = folder / f"{kind}{number}.pem", folder / f"{kind}{number}.pub.pem"
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    known.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return secret, known


def tarred(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT, gz: bool = True) -> bytes:
    """An archive as other programs write it."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz" if gz else "w", format=form) as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def member(name: str, content: bytes = b"", **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A plain file, or with ``changes`` something else."""
    made = tarfile.TarInfo(name)
    made.size = len(content)
    for field, value in changes.items():
        setattr(made, field, value)
    return made, content


def code_of(run: Any, *arguments: Any, **named: Any) -> str:
    """The code of the PolicyError that a call raises; its cause names the trouble."""
    with pytest.raises(PolicyError) as caught:
        run(*arguments, **named)
    assert len(caught.value.cause) < 5000
    return caught.value.code
