"""What any provider of root keys must do, as a check that ships: tests run it, and so can an operator."""

from __future__ import annotations

import secrets

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ringwall.errors import BadInput, RingwallError
from ringwall.keys.interface import KEY_BYTES, RootKeys


def self_check(keys: RootKeys) -> None:
    """Exercise every promise of ``RootKeys``.

    Raises:
        RingwallError: ``keys_nonconforming``, naming the first promise that does not hold.

    """
    _need(len(keys.derive("self-check/a")) == KEY_BYTES, "derive gives 32 bytes")
    _need(keys.derive("self-check/a") == keys.derive("self-check/a"), "derive is stable")
    _need(keys.derive("self-check/a") != keys.derive("self-check/b"), "purposes give different keys")
    _check_wrapping(keys)
    _check_signing(keys)


def _check_wrapping(keys: RootKeys) -> None:
    key = secrets.token_bytes(KEY_BYTES)
    blob = keys.wrap(b"self-check/a", key)
    _need(keys.unwrap(b"self-check/a", blob) == key, "unwrap gives back what was wrapped")
    _need(key not in blob, "a wrapped key is not readable")
    _need(keys.wrap(b"self-check/a", key) != blob, "wrapping twice gives different bytes")
    _need(_refuses(keys, b"self-check/b", blob), "another context is refused")
    for place in (0, len(blob) // 2, len(blob) - 1):
        changed = bytearray(blob)
        changed[place] ^= 1
        _need(_refuses(keys, b"self-check/a", bytes(changed)), "changed bytes are refused")
    _need(_refuses(keys, b"self-check/a", blob[:-1]), "cut bytes are refused")
    _need(_refuses(keys, b"self-check/a", b""), "no bytes are refused")


def _check_signing(keys: RootKeys) -> None:
    def public(name: str) -> bytes:
        return keys.signing_key(name).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    _need(public("self-check/a") == public("self-check/a"), "a signing key is stable")
    _need(public("self-check/a") != public("self-check/b"), "names give different signing keys")
    seed = keys.derive("self-check/a")
    private = keys.signing_key("self-check/a").private_bytes_raw()
    _need(seed != private, "a signing key is not a derived key of the same name")


def _refuses(keys: RootKeys, context: bytes, blob: bytes) -> bool:
    try:
        keys.unwrap(context, blob)
    except BadInput:
        return True
    return False


def _need(held: bool, promise: str) -> None:
    if not held:
        raise RingwallError(
            f"this provider of root keys breaks a promise: {promise}", code="keys_nonconforming",
            remedy="do not use it",
        )
