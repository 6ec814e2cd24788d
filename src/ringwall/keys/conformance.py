"""What any provider of root keys must do, as a check that ships: tests run it, and so can an operator."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ringwall.errors import BadInput, RingwallError
from ringwall.keys.interface import KEY_BYTES, RootKeys, RootSource

# Generations that no vault gets to: a source in use can be checked.
_ONE = 2**32 - 2
_TWO = 2**32 - 1


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


def source_self_check(source: RootSource, answers: Sequence[bytes]) -> None:
    """Exercise every promise of ``RootSource``, under two generations that are dropped again.

    Args:
        source: may be in use.
        answers: the passphrase to try, where it asks for one; else nothing.

    Raises:
        RingwallError: ``keys_nonconforming``, naming the first promise that does not hold; or what the source
            itself raises, if it cannot work at all.

    """
    try:
        _check_source(source, answers)
    finally:
        source.drop(_ONE)
        source.drop(_TWO)


def _check_source(source: RootSource, answers: Sequence[bytes]) -> None:
    _need(_code(lambda: source.open(_ONE, answers)) == "root_key_missing", "what was never made is missing")
    one, shown = source.create(_ONE, answers)
    self_check(one)
    _need(bool(shown) == (source.asks == "shares"), "only shares are shown")
    opens = [text.encode() for text in shown] or list(answers)
    _need(_mark(source.open(_ONE, opens)) == _mark(one), "a created root opens as the same")
    _need(_code(lambda: source.create(_ONE, answers)) == "root_key_exists", "a root is never overwritten")
    two, others = source.create(_TWO, answers)
    _need(_mark(two) != _mark(one), "each generation has a root of its own")
    if source.asks != "nothing":
        wrong = [text.encode() for text in others] or [b"another " + answers[0]]
        _need(_code(lambda: source.open(_ONE, ())) == "root_key_sealed", "without answers it stays sealed")
        _need(_code(lambda: source.open(_ONE, wrong)) == "root_key_wrong", "wrong answers open nothing")
    source.drop(_TWO)
    source.drop(_TWO)  # to forget twice is no fault
    _need(_code(lambda: source.open(_TWO, opens)) == "root_key_missing", "a dropped root is gone")
    _need(_mark(source.open(_ONE, opens)) == _mark(one), "dropping one generation leaves the other")


def _mark(keys: RootKeys) -> bytes:
    return keys.derive("self-check/mark")


def _code(act: Callable[[], object]) -> str:
    try:
        act()
    except RingwallError as fault:
        return fault.code
    return ""


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
