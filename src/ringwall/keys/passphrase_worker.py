"""One encryption or decryption with a passphrase, in a process of its own (``keys.child``)."""

from __future__ import annotations

import base64
from importlib import import_module

from ringwall.keys.child import Answer, serve


def main() -> None:
    """Read one question, answer it, end."""
    serve(_work)


def _work(question: dict[str, str]) -> bytes:
    try:
        age = import_module("pyrage")
    except ImportError:
        raise Answer("missing") from None
    data = base64.b64decode(question["data"])
    if question["act"] == "seal":
        return bytes(age.passphrase.encrypt(data, question["phrase"]))
    try:
        return bytes(age.passphrase.decrypt(data, question["phrase"]))
    except age.DecryptError as fault:
        # made on a much faster machine: age refuses to take minutes
        raise Answer("slow" if "work" in str(fault).lower() else "wrong") from None


if __name__ == "__main__":
    main()
