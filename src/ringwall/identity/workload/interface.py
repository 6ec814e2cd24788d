"""What others need to know of SVIDs for agents: how they are called, and which audiences they never get."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable
from typing import Final

X509: Final = "svid/x509"
JWT: Final = "svid/jwt"
"""Targets of calls of kind "secret"."""

MAX_AUDIENCES: Final = 8  # in one token; the specification recommends one
MAX_AUDIENCE: Final = 256  # characters

# A token for one of these is exchanged for credentials. The core does that, and hands out what is short-lived and
# scoped instead.
_WORDS: Final = frozenset({"vault", "openbao", "ringwall", "azureadtokenexchange", "azureadtokenexchangeusgov",
                           "azureadtokenexchangechina", "kubernetes"})
_HOSTS: Final = ("amazonaws.com", "amazonaws.com.cn", "googleapis.com", "kubernetes.default.svc",
                 "microsoftonline.com", "oraclecloud.com", "aliyuncs.com", "openai.com", "anthropic.com")


def reserved(audience: str, models: Iterable[str], own: Iterable[str] = ()) -> str:
    """Why no agent may have a token for this audience; empty if it may.

    Args:
        audience: as it would stand in the token.
        models: URLs of the model upstreams.
        own: audiences of those who make credentials for Ringwall.

    """
    host, words = _host(audience), set(audience.lower().replace("//", "/").replace(":", "/").split("/"))
    if words & _WORDS:
        return "brokers and vaults are the core's alone"
    # A cluster's API server by any of its names; what a cluster's own domain is called, its owner chooses.
    if host == "kubernetes.default" or host.startswith("kubernetes.default.svc."):
        return "brokers and vaults are the core's alone"
    if any(host == one or host.endswith("." + one) for one in _HOSTS):
        return "clouds and model providers are the core's alone"
    if host and host in {_host(url) for url in models}:
        return "model upstreams are the core's alone"
    if _plain(audience) in map(_plain, own):
        return "those who make credentials are the core's alone"
    return ""


def _plain(audience: str) -> str:
    """As a recipient that is not strict may compare it."""
    return audience.lower().rstrip("/")


def _host(text: str) -> str:
    """The host of a URL, or of a text that is one without its scheme; in lower case, without a final dot."""
    try:
        url = urllib.parse.urlsplit(text if "//" in text else "//" + text)
        return (url.hostname or "").rstrip(".")
    except ValueError:
        return ""
