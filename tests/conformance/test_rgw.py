"""AWS's side of a credential, verified by Ceph RGW: it checks the token, the role and the session policy itself.

The role is wide on purpose: all that is refused here is refused because of what the broker asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric import ec
from tests.conformance.rgw import peer
from tests.conformance.rgw.peer import AUDIENCE, MIN_SECONDS, Peer
from tests.tools.builtins.places import handed, outlet

from ringwall.clock import SystemClock
from ringwall.errors import RingwallError
from ringwall.manifest.details import Detail
from ringwall.tools.builtins import given
from ringwall.tools.builtins.s3 import S3
from ringwall.tools.builtins.serve import Place
from ringwall.vault.brokers import aws
from ringwall.vault.brokers.aws import AwsBroker
from ringwall.vault.brokers.interface import Minted, Order
from ringwall.vault.brokers.protocol import Aws

pytestmark = pytest.mark.skipif(bool(peer.missing()), reason=peer.missing() or "it is here")

SECONDS = 20.0  # to look on while a credential ends by itself


@pytest.fixture(scope="module")
def rgw() -> Generator[Peer]:
    with peer.running() as running:
        yield running


def broker(rgw: Peer, **changes: Any) -> AwsBroker:
    fields = {"role_arn": rgw.wide, "region": rgw.region, "sts": rgw.url, "ca": rgw.ca.read_text()}
    return aws.make(Aws(**(fields | changes)), SystemClock())


def order(rgw: Peer, *details: Detail, seconds: int = 900, token: str = "") -> Order:
    return Order(lease="le1", seconds=seconds, details=details, session="acme-sam-le1",
                 token=token or rgw.issuer.token(AUDIENCE))


def read(*places: str) -> Detail:
    return Detail(identifier="store/get", actions=("read",), locations=places)


def write(*places: str) -> Detail:
    return Detail(identifier="store/put", actions=("write",), locations=places)


def listing(*places: str) -> Detail:
    return Detail(identifier="store/list", actions=("read",), locations=places)


def minted(rgw: Peer, *details: Detail, seconds: int = 900) -> Minted:
    return broker(rgw).mint(order(rgw, *details, seconds=seconds))


def denied(act: Callable[[], Any]) -> bool:
    """Whether the gateway itself said no, and said so with 403."""
    try:
        act()
    except ClientError as fault:
        status = fault.response["ResponseMetadata"]["HTTPStatusCode"]
        assert status == 403, fault
        return True
    return False


@contextmanager
def tool(rgw: Peer, values: Mapping[str, str], expires_at: float) -> Generator[S3]:
    """The built-in over the outlet's proxy, in a call that was given this credential."""
    with outlet(rgw.url.removeprefix("https://")) as proxy, handed() as (core, hand):
        store = S3(Place(url=rgw.url, region=rgw.region, ca=rgw.ca, proxy=proxy))
        core.give("le1", values, expires_at)
        with given.during(hand.take("le1")):
            yield store


def refusal(act: Callable[[], Any]) -> str:
    with pytest.raises(RingwallError) as caught:
        act()
    return caught.value.code


def test_the_role_alone_may_do_everything(rgw: Peer) -> None:
    """The control: without a session policy the gateway refuses nothing of what the next tests see refused."""
    wide = rgw.as_session(peer.assumed(rgw, policy=None))
    for bucket in peer.BUCKETS:
        for name in peer.OBJECTS:
            assert wide.get_object(Bucket=bucket, Key=name)["Body"].read() == f"{bucket}/{name}".encode()
        wide.put_object(Bucket=bucket, Key="team-1/new", Body=b"x")
        wide.delete_object(Bucket=bucket, Key="team-1/new")
        for prefix in ("", "team-1", "team-1/", "team-10/"):
            assert wide.list_objects_v2(Bucket=bucket, Prefix=prefix)["KeyCount"] > 0


def test_what_is_declared_works_and_all_else_is_refused_by_the_gateway(rgw: Peer) -> None:
    s3 = rgw.as_session(minted(rgw, read("s3:reports/team-1/")).values)
    assert s3.get_object(Bucket="reports", Key="team-1/a.txt")["Body"].read() == b"reports/team-1/a.txt"
    for bucket, name in (("payroll", "team-1/a.txt"), ("reports", "team-10/a.txt"), ("reports", "team-2/a.txt"),
                         ("payroll", "team-10/a.txt")):
        assert denied(lambda b=bucket, n=name: s3.get_object(Bucket=b, Key=n))
    assert denied(lambda: s3.put_object(Bucket="reports", Key="team-1/a.txt", Body=b"x"))
    assert denied(lambda: s3.put_object(Bucket="reports", Key="team-1/new", Body=b"x"))
    assert denied(lambda: s3.delete_object(Bucket="reports", Key="team-1/a.txt"))
    assert denied(lambda: s3.copy_object(Bucket="reports", Key="team-1/c", CopySource="reports/team-1/a.txt"))
    assert denied(lambda: s3.list_objects_v2(Bucket="reports", Prefix="team-1/"))
    assert denied(lambda: s3.list_objects_v2(Bucket="reports"))
    assert denied(s3.list_buckets)
    assert denied(lambda: s3.create_bucket(Bucket="another"))
    assert denied(lambda: s3.put_object_acl(Bucket="reports", Key="team-1/a.txt", ACL="public-read"))
    assert denied(lambda: s3.get_bucket_policy(Bucket="reports"))


def test_one_object_is_one_object(rgw: Peer) -> None:
    s3 = rgw.as_session(minted(rgw, read("s3:reports/team-1/a.txt")).values)
    assert s3.get_object(Bucket="reports", Key="team-1/a.txt")["Body"].read()
    assert denied(lambda: s3.get_object(Bucket="reports", Key="team-1/b.txt"))
    s3 = rgw.as_session(minted(rgw, write("s3:reports/team-1/made.txt")).values)
    s3.put_object(Bucket="reports", Key="team-1/made.txt", Body=b"made")
    assert denied(lambda: s3.get_object(Bucket="reports", Key="team-1/made.txt"))
    assert denied(lambda: s3.put_object(Bucket="reports", Key="team-1/made.txt2", Body=b"x"))
    assert denied(lambda: s3.delete_object(Bucket="reports", Key="team-1/made.txt"))


def test_a_listing_shows_what_is_below_and_no_sibling_that_begins_like_it(rgw: Peer) -> None:
    s3 = rgw.as_session(minted(rgw, listing("s3:reports/team-1/")).values)
    shown = [one["Key"] for one in s3.list_objects_v2(Bucket="reports", Prefix="team-1/")["Contents"]]
    assert {"team-1/a.txt", "team-1/b.txt"} <= set(shown)
    for prefix in ("team-1", "team-10/", "team", "", "team-2/"):
        assert denied(lambda p=prefix: s3.list_objects_v2(Bucket="reports", Prefix=p))
    assert denied(lambda: s3.list_objects_v2(Bucket="payroll", Prefix="team-1/"))
    assert denied(lambda: s3.get_object(Bucket="reports", Key="team-1/a.txt"))


def test_names_that_a_form_could_bend_arrive_as_they_are(rgw: Peer) -> None:
    name = "team-1/a b+c %41 \u00fc'\".txt"
    others = ("team-1/a b c A \u00fc'\".txt", "team-1/a+b+c %41 \u00fc'\".txt", "team-1/a b+c A \u00fc'\".txt")
    for one in (name, *others):
        rgw.client("s3").put_object(Bucket="reports", Key=one, Body=b"odd")
    s3 = rgw.as_session(minted(rgw, read(f"s3:reports/{name}")).values)
    assert s3.get_object(Bucket="reports", Key=name)["Body"].read() == b"odd"
    for other in (*others, "team-1/a.txt"):
        assert denied(lambda n=other: s3.get_object(Bucket="reports", Key=n))


@pytest.mark.parametrize("wrong", ["forged", "audience", "expired", "issuer", "nothing", "no token"])
def test_a_token_that_is_not_the_issuers_for_it_and_now_gets_nothing(rgw: Peer, wrong: str) -> None:
    token = {
        "forged": lambda: rgw.issuer.token(AUDIENCE, key=ec.generate_private_key(ec.SECP256R1())),
        "audience": lambda: rgw.issuer.token("openbao"),
        "expired": lambda: rgw.issuer.token(AUDIENCE, seconds=-30),
        "issuer": lambda: rgw.issuer.token(AUDIENCE, iss="http://other.ringwall.test"),
        "nothing": lambda: "a.b.c",
        "no token": lambda: "not-a-jwt",
    }[wrong]()
    one = order(rgw, read("s3:reports/team-1/"), token=token)
    assert refusal(lambda: broker(rgw).mint(one)) == "provider_denied"


def test_a_role_that_does_not_trust_the_issuer_is_refused(rgw: Peer) -> None:
    other = broker(rgw, role_arn="arn:aws:iam:::role/nobody")
    assert refusal(lambda: other.mint(order(rgw, read("s3:reports/team-1/")))) == "provider_denied"


def test_it_ends_by_itself_on_the_gateways_own_clock(rgw: Peer) -> None:
    made = minted(rgw, read("s3:reports/team-1/"), seconds=MIN_SECONDS)
    assert made.expires_at <= time.time() + MIN_SECONDS + 1
    s3 = rgw.as_session(made.values)
    assert not denied(lambda: s3.get_object(Bucket="reports", Key="team-1/a.txt"))
    until = time.monotonic() + SECONDS
    while not denied(lambda: s3.get_object(Bucket="reports", Key="team-1/a.txt")):
        assert time.monotonic() < until, "it is still good"
        time.sleep(0.2)
    assert time.time() >= made.expires_at - 1


def test_a_life_that_is_too_short_for_it_becomes_its_shortest_that_everybody_has(rgw: Peer) -> None:
    made = minted(rgw, read("s3:reports/team-1/"), seconds=MIN_SECONDS - 1)
    assert 800 < made.expires_at - time.time() < 901


def test_the_tool_uses_it_and_says_shortly_what_it_may_not(rgw: Peer) -> None:
    made = minted(rgw, read("s3:reports/team-1/"), listing("s3:reports/team-1/"),
                  write("s3:reports/team-1/out.bin"))
    with tool(rgw, made.values, made.expires_at) as store:
        assert store.get("reports/team-1/a.txt") == {
            "object": "reports/team-1/a.txt", "bytes": 20, "text": "reports/team-1/a.txt"}
        assert store.put("s3://reports/team-1/out.bin", "/wA=", "base64") == {
            "object": "reports/team-1/out.bin", "bytes": 2}
        assert store.get("reports/team-1/out.bin")["base64"] == "/wA="
        shown = store.list("reports/team-1/")
        assert {"object": "reports/team-1/a.txt", "bytes": 20} in shown["objects"]
        assert shown["more"] is False
        for act in (lambda: store.get("reports/team-10/a.txt"), lambda: store.get("payroll/team-1/a.txt"),
                    lambda: store.put("reports/team-1/a.txt", "x"), lambda: store.list("reports/team-10/"),
                    lambda: store.list("reports")):
            assert refusal(act) == "s3_denied"
        assert refusal(lambda: store.get("reports/team-1/none.txt")) in {"s3_denied", "s3_not_found"}


def test_twenty_calls_take_one_exchange(rgw: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore's own credentials would be exchanged anew at each call when they live for 900 s."""
    asked: list[str] = []
    send = aws.Network.send
    monkeypatch.setattr(aws.Network, "send", lambda *args, **named: (asked.append("sts"), send(*args, **named))[1])
    made = minted(rgw, read("s3:reports/team-1/"))
    with tool(rgw, made.values, made.expires_at) as store:
        for _ in range(20):
            assert store.get("reports/team-1/a.txt")["bytes"] == 20
    assert asked == ["sts"]
