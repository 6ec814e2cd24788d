"""What verifiers that know OIDC and not SPIFFE get from us, and whether they believe our tokens by it."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path

import jwt
import pytest
from cryptography import x509
from tests.fakes import run
from tests.identity.endpoint.web import listening, web_ca, web_pem
from tests.identity.svid.world import ANA, ONE, World

from ringwall.clock import SystemClock
from ringwall.identity.endpoint.fetch import fetch
from ringwall.identity.endpoint.protocol import Fetch
from ringwall.identity.endpoint.serve import PageServer
from ringwall.identity.svid import bundle as documents
from ringwall.identity.svid import discovery
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.issue import BACKDATE_SECONDS
from ringwall.identity.svid.verifier import X509Verifier

CA = ssl.DER_cert_to_PEM_cert(web_ca().certificate)


def test_a_client_of_oidc_verifies_a_jwt_svid_through_discovery(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path)
        world.clock.seconds = SystemClock().now()
        await world.authority.start()
        token = (await world.authority.jwt_svid(ANA, ONE, ["billing"])).token
        sock = listening()
        issuer = f"https://127.0.0.1:{sock.getsockname()[1]}"
        server = PageServer(sock)
        await server.show(*web_pem(), discovery.pages(world.authority.bundle(), issuer))

        async def get(path: str) -> bytes:
            return await fetch(Fetch(id=1, url=issuer + path, ca=CA), SystemClock())

        found = json.loads(await get("/.well-known/openid-configuration"))
        client = jwt.PyJWKClient(found["jwks_uri"], ssl_context=ssl.create_default_context(cadata=CA))
        key = await asyncio.to_thread(client.get_signing_key_from_jwt, token)
        seen = jwt.decode(token, key, algorithms=found["id_token_signing_alg_values_supported"],
                          audience="billing", options={"verify_iss": False})
        assert seen["sub"] == str(ANA)
        assert found["issuer"] == issuer
        keys = json.loads(await get("/keys"))["keys"]
        assert keys
        assert all((one["use"], one["alg"]) == ("sig", "ES256") and "d" not in one for one in keys)
        assert documents.parse("example.org", await get("/bundle.json")) == world.authority.bundle()
        server.close()
        sock.close()

    run(scenario())


def test_pages_lie_below_the_issuers_own_path() -> None:
    pages = discovery.pages(Bundle(trust_domain="x"), "https://id.example.org/oidc")
    assert set(pages) == {"/bundle.json", "/oidc/.well-known/openid-configuration", "/oidc/keys"}


def test_our_endpoint_has_an_svid_that_no_agent_can_have(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path)
        await world.authority.start()
        svid = await world.authority.system_svid("bundle")
        assert str(svid.spiffe_id) == "spiffe://example.org/ringwall/bundle"
        world.clock.seconds += BACKDATE_SECONDS
        seen = world.verifier().verify(svid.chain, expected="spiffe://example.org/ringwall/bundle")
        assert seen.expires_at == svid.expires_at
        assert isinstance(world.verifier(), X509Verifier)
        assert [event.subject for event in world.journal.of("count")] == [str(svid.spiffe_id)]

    run(scenario())


@pytest.mark.parametrize(("issuer", "address", "names", "says"), [
    ("https://id.example.org", "10.0.0.5:443", ("id.example.org",), ""),
    ("https://id.example.org:8443", "10.0.0.5:8443", ("*.example.org",), ""),
    ("https://id.example.org", "10.0.0.5:8443", ("id.example.org",), "port 443"),
    ("https://id.example.org", "10.0.0.5:443", ("example.org",), "not for id.example.org"),
    ("https://a.id.example.org", "10.0.0.5:443", ("*.example.org",), "not for a.id.example.org"),
    ("https://id.example.org", "10.0.0.5:443", (), "publish_cert"),
])
def test_what_does_not_fit_the_issuer_is_said(issuer: str, address: str, names: tuple[str, ...], says: str) -> None:
    certificate = web_pem(*map(x509.DNSName, names))[0] if names else None
    found = discovery.misfits(issuer, address, certificate)
    assert says in "; ".join(found) if says else not found
