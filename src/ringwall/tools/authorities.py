"""The certificate authorities that the machine trusts, whatever the environment says."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

_FILES: Final = (
    "/etc/ssl/cert.pem",  # Alpine
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Arch
    "/etc/ssl/ca-bundle.pem",  # SUSE
)
"""Where distributions keep them, for an OpenSSL that was built elsewhere."""


def machine() -> ssl.SSLContext:
    """A client's context: certificates and names are checked.

    ``ssl.create_default_context`` would let ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` have a say; the paths that
    OpenSSL was built with do not.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    paths = ssl.get_default_verify_paths()
    built = paths.openssl_cafile if Path(paths.openssl_cafile).is_file() else None
    folder = paths.openssl_capath if _hashed(Path(paths.openssl_capath)) else None
    if built is None and folder is None:
        built = next((file for file in _FILES if Path(file).is_file()), None)
    if built is not None or folder is not None:
        context.load_verify_locations(built, folder)
    return context


def _hashed(folder: Path) -> bool:
    """Whether OpenSSL finds certificates there: by names such as ``3513523f.0``."""
    return folder.is_dir() and any(file.suffix[1:].isdigit() for file in folder.iterdir())
