"""What tests of envelopes and cards sign with: an authority of our own, keys of others, and tokens put together."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from tests.fakes import run
from tests.identity.svid.world import ANA, World

from ringwall.identity.svid import issue, jose
from ringwall.identity.svid.interface import Bundle
from ringwall.peers.envelope import Envelopes

SAM = "spiffe://example.org/tenant/acme/agent/sam/role/payer"
BOB = "spiffe://example.org/tenant/other/agent/bob/role/reader"
ELSEWHERE = "spiffe://partner.example/tenant/x/agent/y/role/z"
BODY = b'{"jsonrpc":"2.0"}'


def started(folder: Path, **more: Any) -> World:
    world = World(folder, **more)
    run(world.authority.start())
    return world


def envelopes(world: World) -> Envelopes:
    return Envelopes(
        sign=world.authority.sign, bundles=world.authority.bundles, trust_domain="example.org", clock=world.clock
    )


def seal(one: Envelopes, **other: Any) -> str:
    said: dict[str, Any] = {"sender": str(ANA), "receiver": SAM, "body": BODY, "label": "M private",
                            "chain": [BOB], "record": "acme/57", "trace": "0" * 32, **other}
    return one.seal(**said)[0]


def kid_of(world: World) -> str:
    return next(iter(world.authority.bundle().jwt_keys))


def private_of(world: World) -> ec.EllipticCurvePrivateKey:
    """The key that the authority signs with: for tokens that it would never make itself."""
    return next(key.private for key in world.authority._kept.keys if key.use == "jwt" and key.phase == "active")


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, payload, _ = token.split(".")
    return json.loads(jose.decode(header)), json.loads(jose.decode(payload))


def made(header: object, payload: object, key: ec.EllipticCurvePrivateKey) -> str:
    message = ".".join(encoded(one) for one in (header, payload))
    return f"{message}.{jose.encode(jose.sign(key, message.encode()))}"


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def stranger() -> tuple[ec.EllipticCurvePrivateKey, Bundle]:
    """Another trust domain and its key, whose name is ``theirs``."""
    key = issue.new_key()
    return key, Bundle(trust_domain="partner.example", jwt_keys={"theirs": key.public_key()})
