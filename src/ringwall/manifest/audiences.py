"""For whom the tokens are that Ringwall shows to those who make credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from ringwall.manifest.types import Manifest, OutsideVault, Secret

AWS_AUDIENCE: Final = "sts.amazonaws.com"  # what AWS's documentation has providers of web identities use


def audience_of(secret: Secret, vaults: Mapping[str, OutsideVault]) -> str:
    """For whom the token is that an order for this secret comes with; empty: its provider wants none."""
    if secret.source == "aws":
        return secret.audience or AWS_AUDIENCE
    if secret.source == "oauth":
        return secret.audience or secret.token_url
    if secret.source == "openbao":
        vault = vaults.get(secret.vault)
        return secret.audience or (vault.audience if vault is not None else "")
    return ""


def audiences(manifest: Manifest) -> frozenset[str]:
    """All whose tokens only Ringwall shows: an agent that had one would get there what no call was judged for."""
    return frozenset(audience for _, audience, _ in recipients(manifest))


def recipients(manifest: Manifest) -> list[tuple[tuple[str, str], str, str]]:
    """Where the manifest says so, the audience, and whose it is."""
    found: list[tuple[tuple[str, str], str, str]] = [
        (("vaults", name), vault.audience, _host(vault.url)) for name, vault in manifest.vaults.items()]
    for name, secret in manifest.secrets.items():
        vault = manifest.vaults.get(secret.vault)
        url = {"aws": secret.sts or f"https://{AWS_AUDIENCE}", "oauth": secret.token_url,
               "openbao": vault.url if vault is not None else ""}.get(secret.source, "")
        if url:
            found.append((("secrets", name), audience_of(secret, manifest.vaults), _host(url)))
    return found


def _host(url: str) -> str:
    return urlsplit(url).netloc.lower()
