"""One use of a PKCS#11 token, in a process of its own (``keys.child``)."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from ringwall.keys.child import DOWN, Answer, serve

_NONCE_BYTES: Final = 12  # NIST SP 800-38D, section 8.2
_TAG_BITS: Final = 128
_PIN_FAULTS: Final = ("PinIncorrect", "PinInvalid", "PinLenRange")
_CONTENT_FAULTS: Final = ("EncryptedDataInvalid", "EncryptedDataLenRange", "GeneralError")
"""What tokens answer to a ciphertext that does not verify; SoftHSM says GeneralError."""


def main() -> None:
    """Read one question, answer it, end."""
    serve(_work)


def _work(question: dict[str, str]) -> bytes:
    try:
        pkcs11 = import_module("pkcs11")
    except ImportError:
        raise Answer("missing") from None
    act = {"seal": _seal, "unseal": _unseal, "forget": _forget}[question["act"]]
    try:
        token = pkcs11.lib(question["module"]).get_token(token_label=question["token"])
        with _opened(token, question["pin"], writes=question["act"] != "unseal") as session:
            return act(pkcs11, session, bytes.fromhex(question["id"]), base64.b64decode(question["data"]))
    except pkcs11.PKCS11Error as fault:
        raise Answer(DOWN, f"{type(fault).__name__} {fault}"[:200]) from None


def _opened(token: Any, pin: str, *, writes: bool) -> Any:
    try:
        return token.open(rw=writes, user_pin=pin)
    except RuntimeError as fault:
        if type(fault).__name__ in _PIN_FAULTS:
            raise Answer("pin") from None
        raise


def _seal(pkcs11: Any, session: Any, ident: bytes, data: bytes) -> bytes:
    named = pkcs11.Attribute
    key = session.generate_key(
        pkcs11.KeyType.AES, 256, id=ident, label=f"ringwall vault root {ident.hex()}", store=True,
        template={named.SENSITIVE: True, named.EXTRACTABLE: False, named.PRIVATE: True, named.MODIFIABLE: False,
                  named.ENCRYPT: True, named.DECRYPT: True, named.WRAP: False, named.UNWRAP: False,
                  named.SIGN: False, named.VERIFY: False, named.DERIVE: False})
    try:
        if not key[named.SENSITIVE] or key[named.EXTRACTABLE] or not key[named.TOKEN]:
            raise Answer(DOWN, "it made a key that can leave it, or does not stay")
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + bytes(_crypt(pkcs11, key.encrypt, ident, nonce, data))
    except BaseException:
        key.destroy()  # a key that sealed nothing must not stay behind
        raise


def _unseal(pkcs11: Any, session: Any, ident: bytes, data: bytes) -> bytes:
    found = _found(pkcs11, session, ident)
    if not found:
        raise Answer("no_key")
    try:
        return bytes(_crypt(pkcs11, found[0].decrypt, ident, data[:_NONCE_BYTES], data[_NONCE_BYTES:]))
    except pkcs11.PKCS11Error as fault:
        if type(fault).__name__ in _CONTENT_FAULTS:
            raise Answer("wrong") from None
        raise


def _forget(pkcs11: Any, session: Any, ident: bytes, data: bytes) -> bytes:
    for key in _found(pkcs11, session, ident):
        key.destroy()
    return data


def _found(pkcs11: Any, session: Any, ident: bytes) -> list[Any]:
    named = pkcs11.Attribute
    return list(session.get_objects({named.CLASS: pkcs11.ObjectClass.SECRET_KEY, named.ID: ident}))


def _crypt(pkcs11: Any, way: Callable[..., bytes], ident: bytes, nonce: bytes, data: bytes) -> bytes:
    return way(data, mechanism=pkcs11.Mechanism.AES_GCM,
               mechanism_param=pkcs11.GCMParams(nonce, b"ringwall pkcs11 v1" + ident, _TAG_BITS))


if __name__ == "__main__":
    main()
