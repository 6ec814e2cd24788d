"""Whether a provider can give a credential for just what a grant says: asked before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

from ringwall.manifest.details import Detail
from ringwall.manifest.types import Secret


def inexpressible(secret: Secret, details: Sequence[Detail]) -> str:
    """Why no credential of this secret can be good for exactly these; empty: one can.

    Args:
        secret: minted. Each provider's own file judges; it is loaded only where a manifest has such a secret.
        details: a whole grant, or what is left of it for one call.

    """
    match secret.source:
        case "aws":
            from ringwall.vault.brokers import aws

            return aws.inexpressible(secret, details)
        case "postgres":
            from ringwall.vault.brokers import postgres_scope

            return postgres_scope.inexpressible(secret, details)
        case "oauth":
            from ringwall.vault.brokers import oauth

            return oauth.inexpressible(secret, details)
        case "openbao":
            from ringwall.vault.brokers import openbao

            return openbao.inexpressible(secret, details)
        case "file" | "vault":
            return "it is kept, not made"
