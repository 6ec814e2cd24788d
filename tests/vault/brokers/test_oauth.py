"""Exchanging tokens, against a strict authorization server of our own and servers that are wrong in every way."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import run
from tests.identity.endpoint.web import web_pem
from tests.identity.svid.world import ANA, ONE, World
from tests.vault.brokers.authorization_server import AuthorizationServer, serving
from tests.vault.brokers.places import CA

from ringwall.clock import SystemClock
from ringwall.errors import Refused, RingwallError, Unavailable
from ringwall.identity.svid import discovery
from ringwall.manifest.details import Detail
from ringwall.manifest.types import Secret
from ringwall.vault.brokers import oauth
from ringwall.vault.brokers.interface import REFUSED, UNAVAILABLE, Minted, Order
from ringwall.vault.brokers.network import Answer, Network
from ringwall.vault.brokers.oauth import OAuthBroker
from ringwall.vault.brokers.protocol import OAuth

LOGIN = "s3cret:of the client%"
READ = Detail(identifier="crm/read", actions=("read",), locations=("record:team-1/",), max={"rows": 10.0})
WRITE = Detail(identifier="crm/write", actions=("write",), locations=("record:team-1/7",), approval="always")


@dataclass
class Bench:
    server: AuthorizationServer
    world: World
    provider: OAuth

    def token(self, audience: str = "sts.example") -> str:
        return run(self.world.authority.jwt_svid(ANA, ONE, [audience])).token

    def order(self, *details: Detail, token: str | None = None, login: str = LOGIN) -> Order:
        return Order(lease="le1", seconds=900, details=details, login=login, session="acme-ana-le1",
                     token=self.token() if token is None else token)

    def broker(self, **changes: Any) -> OAuthBroker:
        fields = {name: getattr(self.provider, name) for name in self.provider.__struct_fields__}
        return oauth.make(OAuth(**{**fields, **changes}), SystemClock())

    def refused(self, order: Order | None = None, **changes: Any) -> str:
        with pytest.raises(RingwallError) as fault:
            self.broker(**changes).mint(order or self.order())
        return fault.value.code


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    world = World(tmp_path)
    world.clock.seconds = SystemClock().now()
    run(world.authority.start())
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    for file, text in zip((chain, key), web_pem(), strict=True):
        file.write_bytes(text)
    server = AuthorizationServer(
        jwks=json.loads(discovery.pages(world.authority.bundle(), "https://id.example.org")["/keys"]),
        audience="sts.example", clients={"ringwall": LOGIN, "open": ""},
        places={str(ANA): ("record:team-1/", "record:team-1/7", "record:team-10/")})
    with serving(server, chain, key) as up:
        yield Bench(up, world, OAuth(
            token_url=f"{up.url}/token", revoke_url=f"{up.url}/revoke", client_id="ringwall",
            resource="https://api.example", scopes=("read",), ca=CA, private=("127.0.0.0/8",)))


def test_an_exchanged_token_is_good_for_exactly_what_was_asked(bench: Bench) -> None:
    before = SystemClock().now()
    minted = bench.broker().mint(bench.order(READ, WRITE))
    seen = bench.server.introspect(minted.values["access_token"])
    assert seen["active"]
    assert (seen["sub"], seen["aud"], seen["scope"]) == (str(ANA), "https://api.example", "read")
    assert seen["authorization_details"] == [
        {"type": "urn:ringwall:tool", "identifier": "crm/read", "actions": ["read"],
         "locations": ["record:team-1/"], "max": {"rows": 10}},
        {"type": "urn:ringwall:tool", "identifier": "crm/write", "actions": ["write"],
         "locations": ["record:team-1/7"], "approval": "always"}]
    assert before + 300 <= minted.expires_at <= SystemClock().now() + 300
    assert set(minted.values) == {"access_token"}


def test_without_details_the_declared_scopes_and_resource_are_all_that_is_asked_for(bench: Bench) -> None:
    minted = bench.broker().mint(bench.order())
    assert "authorization_details" not in bench.server.forms[-1]
    assert bench.server.introspect(minted.values["access_token"])["scope"] == "read"


def test_a_public_client_says_its_name_only(bench: Bench) -> None:
    assert bench.broker(client_id="open").mint(bench.order(login=""))
    assert bench.server.forms[-1]["client_id"] == "open"


def test_the_server_refuses_who_is_not_the_agent_and_the_broker_says_so(bench: Bench) -> None:
    good = bench.order()
    bench.broker().mint(good)
    assert bench.refused(good) == "provider_denied"  # the same token twice
    assert bench.refused(bench.order(token=bench.token("somebody-else"))) == "provider_denied"
    head, body, sign = bench.token().split(".")
    flipped = ("B" if sign[0] != "B" else "C") + sign[1:]
    assert bench.refused(bench.order(token=f"{head}.{body}.{flipped}")) == "provider_denied"
    assert bench.refused(bench.order(login="wrong")) == "provider_denied"
    assert bench.refused(client_id="nobody") == "provider_denied"
    assert bench.refused(resource="https://other.example") == "provider_denied"
    assert bench.refused(scopes=("admin",)) == "provider_denied"
    assert bench.refused(bench.order(replace(READ, locations=("record:payroll/",)))) == "provider_denied"
    assert len(bench.server.tokens) == 1


def test_an_expired_token_of_ours_is_refused_by_the_server(bench: Bench) -> None:
    now = int(SystemClock().now())
    claims = {"sub": str(ANA), "aud": ["sts.example"], "iat": now - 600, "exp": now - 300, "jti": "j1"}
    key = bench.world.authority._active("jwt", now)
    token = jwt.encode(claims, key.private, algorithm="ES256", headers={"kid": key.name})
    assert bench.refused(bench.order(token=token)) == "provider_denied"
    fresh = jwt.encode({**claims, "exp": now + 60}, key.private, algorithm="ES256", headers={"kid": key.name})
    assert bench.broker().mint(bench.order(token=fresh))  # and for nothing else


def test_without_a_token_nobody_is_asked(bench: Bench) -> None:
    assert bench.refused(bench.order(token="")) == "broker_failed"
    assert not bench.server.forms


def test_a_revoked_token_is_dead_at_the_provider_and_may_be_revoked_again(bench: Bench) -> None:
    broker, order = bench.broker(), bench.order()
    minted = broker.mint(order)
    broker.revoke(order, minted.handle)
    assert not bench.server.introspect(minted.values["access_token"])["active"]
    broker.revoke(order, minted.handle)


def test_what_cannot_be_revoked_or_renewed_is_said(bench: Bench) -> None:
    order = bench.order()
    for broker, handle in ((bench.broker(revoke_url=""), "t"), (bench.broker(), "")):
        with pytest.raises(Refused) as fault:
            broker.revoke(order, handle)
        assert fault.value.code == "not_revocable"
    with pytest.raises(Refused) as fault:
        bench.broker().renew(order, "t")
    assert fault.value.code == "not_renewable"


def test_revoking_as_somebody_else_is_refused(bench: Bench) -> None:
    with pytest.raises(Refused) as fault:
        bench.broker().revoke(bench.order(login="wrong"), "t")
    assert fault.value.code == "provider_denied"


def changed(**fields: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda given: {name: value for name, value in {**given, **fields}.items() if value is not ...}


def granting(*details: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return changed(authorization_details=list(details))


def page(status: int, kind: str, body: bytes, **headers: str) -> Callable[[dict[str, Any]], Any]:
    return lambda _: (status, {"Content-Type": kind, **headers}, body)


ONE_READ = {"type": "urn:ringwall:tool", "identifier": "crm/read", "actions": ["read"],
            "locations": ["record:team-1/"], "max": {"rows": 10}}


@pytest.mark.parametrize(("tamper", "code"), [
    (changed(scope="read write"), "provider_wider"),
    (changed(scope="admin"), "provider_wider"),
    (changed(authorization_details=...), "provider_wider"),
    (granting(), "provider_wider"),
    (granting(ONE_READ, {**ONE_READ, "identifier": "crm/write"}), "provider_wider"),
    (granting({**ONE_READ, "actions": ["read", "write"]}), "provider_wider"),
    (granting({**ONE_READ, "actions": []}), "provider_wider"),
    (granting({**ONE_READ, "locations": []}), "provider_wider"),
    (granting({**ONE_READ, "locations": ["record:team-10/"]}), "provider_wider"),
    (granting({**ONE_READ, "locations": ["record:team-1"]}), "provider_wider"),
    (granting({**ONE_READ, "locations": ["record:team-1/../team-2/"]}), "provider_wider"),
    (granting({**ONE_READ, "locations": ["record:team-1/", "record:"]}), "provider_wider"),
    (granting({**ONE_READ, "max": {}}), "provider_wider"),
    (granting({**ONE_READ, "max": {"rows": 11}}), "provider_wider"),
    (granting({**ONE_READ, "more": "anything"}), "provider_wider"),
    (granting({**ONE_READ, "type": "other"}), "provider_wider"),
    (granting("crm/read"), "provider_wider"),
    (changed(authorization_details={}), "provider_garbage"),
    (changed(token_type="DPoP"), "provider_garbage"),
    (changed(token_type=...), "provider_garbage"),
    (changed(issued_token_type=...), "provider_garbage"),
    (changed(issued_token_type="urn:ietf:params:oauth:token-type:refresh_token"), "provider_garbage"),
    (changed(scope=["read"]), "provider_garbage"),
    (changed(expires_in=...), "provider_garbage"),
    (changed(expires_in=0), "provider_garbage"),
    (changed(expires_in=-1), "provider_garbage"),
    (changed(expires_in=True), "provider_garbage"),
    (changed(expires_in="300"), "provider_garbage"),
    (changed(expires_in=1e3), "provider_garbage"),
    (changed(expires_in=10**12), "provider_garbage"),
    (changed(access_token=...), "provider_garbage"),
    (changed(access_token=""), "provider_garbage"),
    (changed(access_token="a\r\nX-Admin: 1"), "provider_garbage"),
    (changed(access_token="a b"), "provider_garbage"),
    (changed(access_token="\u0430bc"), "provider_garbage"),
    (changed(access_token="x" * 40_000), "provider_garbage"),
    (changed(access_token=["x"]), "provider_garbage"),
    (page(200, "text/html", b"<html>please log in</html>"), "provider_garbage"),
    (page(200, "application/json", b"not json"), "provider_garbage"),
    (page(200, "application/json", b"[]"), "provider_garbage"),
    (page(200, "application/json", b'{"access_token":"a","access_token":"b"}'), "provider_garbage"),
    (page(200, "application/json", b"[" * 100_000), "provider_garbage"),
    (page(200, "application/json", b" " * 300_000 + b"{}"), "provider_garbage"),
    (page(200, "application/json", b""), "provider_garbage"),
    (page(201, "application/json", b"{}"), "provider_garbage"),
    (page(302, "text/html", b"", Location="https://localhost:1/token"), "provider_garbage"),
    (page(307, "application/json", b"{}", Location="/token"), "provider_garbage"),
    (page(400, "text/html", b"no"), "provider_garbage"),
    (page(400, "application/json", b'{"error":7}'), "provider_garbage"),
    (page(400, "application/json", b'{"error":"invalid_target"}'), "provider_denied"),
    (page(400, "application/json", b'{"error":"temporarily_unavailable"}'), "provider_unreachable"),
    (page(503, "text/html", b"<html>later</html>"), "provider_unreachable"),
    (page(429, "application/json", b"{}"), "provider_unreachable"),
])
def test_an_answer_that_is_not_as_it_must_be_gives_no_token(bench: Bench, tamper: Any, code: str) -> None:
    bench.server.tamper = tamper
    assert bench.refused(bench.order(READ)) == code
    assert sum("subject_token" in form for form in bench.server.forms) == 1  # a redirect is not followed


def test_a_token_that_is_good_for_too_much_is_given_back(bench: Bench) -> None:
    bench.server.tamper = changed(scope="read write")
    assert bench.refused() == "provider_wider"
    assert bench.server.tokens
    assert not bench.server.alive


@pytest.mark.parametrize("narrower", [
    changed(scope=...), changed(scope=""), changed(scope="read"), changed(token_type="bearer"),
    changed(refresh_token="never kept"),
    granting(ONE_READ), granting({**ONE_READ, "locations": ["record:team-1/7"]}),
    granting({**ONE_READ, "max": {"rows": 3, "bytes": 5}}), granting({**ONE_READ, "approval": "always"}),
])
def test_a_server_may_give_less(bench: Bench, narrower: Any) -> None:
    bench.server.tamper = narrower
    assert set(bench.broker().mint(bench.order(READ)).values) == {"access_token"}


def test_approval_that_was_asked_for_must_be_in_the_answer(bench: Bench) -> None:
    bench.server.tamper = lambda given: {**given, "authorization_details": [
        {k: v for k, v in one.items() if k != "approval"} for one in given["authorization_details"]]}
    assert bench.refused(bench.order(WRITE)) == "provider_wider"


def test_details_that_are_too_long_are_refused_before_anybody_is_asked(bench: Bench) -> None:
    long = replace(READ, locations=tuple(f"record:{n}/{'x' * 200}" for n in range(50)))
    assert bench.refused(bench.order(long)) == "scope_too_large"
    assert not bench.server.forms
    secret = Secret(name="crm", source="oauth")
    assert "at most 8192" in oauth.inexpressible(secret, [long])
    assert not oauth.inexpressible(secret, [READ, WRITE])


def test_another_authority_another_name_and_nobody_are_unreachable(bench: Bench) -> None:
    assert bench.refused(ca="") == "provider_unreachable"
    port = bench.server.url.rpartition(":")[2]
    assert bench.refused(token_url=f"https://127.0.0.2:{port}/token") == "provider_unreachable"
    assert bench.refused(token_url="https://localhost:1/token") == "provider_unreachable"
    with pytest.raises(Unavailable, match="ca_file"):
        bench.broker(ca="-----BEGIN CERTIFICATE-----\nnone")
    assert not bench.server.forms


def test_a_login_that_is_not_plain_ascii_travels_as_the_standard_says(bench: Bench) -> None:
    bench.server.clients = {"ringwall": "pässwort+&="}
    assert bench.broker().mint(bench.order(login="pässwort+&="))


def test_no_error_holds_anything_of_a_token_or_login(bench: Bench) -> None:
    order = bench.order(READ)
    for tamper in (changed(scope="admin"), page(200, "application/json", b'{"access_token":"PLANTED"}'),
                   page(400, "application/json", b'{"error":"PLANTED"}'), page(500, "text/html", b"PLANTED")):
        bench.server.tamper = tamper
        bench.server.seen.clear()
        with pytest.raises(RingwallError) as fault:
            bench.broker().mint(order)
        told = "".join(traceback.format_exception(fault.value)) + repr(fault.value) + repr(order)
        for value in (order.token, LOGIN, "PLANTED", *bench.server.tokens):
            assert value not in told


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10**6, 10**6) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=5),
    max_leaves=12)
DETAILS = st.fixed_dictionaries(
    {"type": st.sampled_from(["urn:ringwall:tool", "x"]), "identifier": st.sampled_from(["crm/read", "crm/write"]),
     "actions": st.lists(st.sampled_from(["read", "write"]), max_size=2)},
    optional={"locations": st.lists(st.sampled_from(
        ["record:team-1/", "record:team-1/7", "record:team-10/", "record:"]), max_size=2),
        "max": st.dictionaries(st.sampled_from(["rows", "bytes"]), st.integers(0, 20)),
        "approval": st.sampled_from(["never", "always"]), "extra": st.just(1)})
BODIES = st.fixed_dictionaries({
    "access_token": st.just("t") | JSON, "token_type": st.just("Bearer") | JSON,
    "issued_token_type": st.just("urn:ietf:params:oauth:token-type:access_token") | JSON,
    "expires_in": st.just(60) | JSON, "scope": st.sampled_from(["read", "", "read write"]) | JSON,
    "authorization_details": st.lists(DETAILS, max_size=2) | JSON})


class Telling(Network):
    """Answers with this, whatever is asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", *, seconds: float = 0,
             most: int = 0) -> Answer:
        return self.answer


def minted(answer: Answer) -> Minted | str:
    """What comes of it, or the code of the refusal."""
    provider = OAuth(token_url="https://as.example/token", scopes=("read",))
    broker = OAuthBroker(provider, Telling(answer), SystemClock())
    try:
        return broker.mint(Order(lease="l", seconds=60, details=(READ,), token="jwt"))
    except RingwallError as fault:
        return fault.code


answered = partial(Answer, 200, {"content-type": "application/json"})


@settings(max_examples=300, deadline=None)
@given(body=BODIES)
def test_whatever_is_granted_is_within_what_was_asked(body: dict[str, Any]) -> None:
    found = minted(answered(json.dumps(body).encode()))
    if isinstance(found, str):
        assert found in {"provider_wider", "provider_garbage"}
        return
    assert set(body["scope"].split()) <= {"read"}
    assert body["authorization_details"]
    for one in body["authorization_details"]:
        assert (one["type"], one["identifier"], one["actions"]) == ("urn:ringwall:tool", "crm/read", ["read"])
        assert one["locations"]
        assert set(one["locations"]) <= {"record:team-1/", "record:team-1/7"}
        assert one["max"]["rows"] <= 10
        assert "extra" not in one


@settings(max_examples=200, deadline=None)
@given(status=st.sampled_from([200, 204, 301, 400, 401, 403, 404, 429, 500, 503]),
       kind=st.sampled_from(["application/json", "text/html", "", "application/json; charset=utf-8"]),
       body=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_answer_ends_in_a_known_code(status: int, kind: str, body: bytes) -> None:
    found = minted(Answer(status, {"content-type": kind}, body))
    assert found in REFUSED | UNAVAILABLE
