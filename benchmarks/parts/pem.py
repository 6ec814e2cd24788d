"""An SVID as the files that TLS servers and clients read."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path


def write(folder: Path, *, chain: Iterable[bytes], key: bytes, trust: Iterable[bytes] = ()) -> None:
    """Chain, key, both in one, and whom to trust. All are DER."""
    leaf = "".join(_pem("CERTIFICATE", one) for one in chain)
    private = _pem("PRIVATE KEY", key)
    files = {"chain.pem": leaf, "key.pem": private, "both.pem": leaf + private,
             "trust.pem": "".join(_pem("CERTIFICATE", one) for one in trust)}
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def _pem(label: str, der: bytes) -> str:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n"
