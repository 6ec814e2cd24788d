"""The AWS broker against token services that answer in every wrong way. What a right one enforces:
tests/conformance/test_rgw.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from tests.fakes import FakeClock
from tests.tools.builtins.places import http, service

from ringwall.clock import SystemClock
from ringwall.errors import Refused, RingwallError, Unavailable
from ringwall.manifest.details import Detail
from ringwall.manifest.types import Secret
from ringwall.vault.brokers import aws
from ringwall.vault.brokers.aws import AwsBroker
from ringwall.vault.brokers.interface import REFUSED, UNAVAILABLE, Order, unavailable
from ringwall.vault.brokers.network import Answer
from ringwall.vault.brokers.protocol import Aws

ROLE = "arn:aws:iam::123456789012:role/tenant-acme"
READ = Detail(identifier="store/get", actions=("read",), locations=("s3:reports/team-1/",))
TOKEN = "eyJ.the-agents.token"
SECRET = "the-secret-key-of-it"
Said = Callable[[Mapping[str, str]], Answer]


def order(*details: Detail, **changes: Any) -> Order:
    fields: dict[str, Any] = {"lease": "le1", "seconds": 900, "details": details or (READ,), "token": TOKEN,
                              "session": "acme-sam-le1"}
    return Order(**(fields | changes))


def credentials(ends: str = "1970-01-01T00:30:00Z", **more: str) -> str:
    usual = {"AccessKeyId": "ASIAX", "SecretAccessKey": SECRET, "SessionToken": "to/ken==", "Expiration": ends}
    parts = usual | more
    return "".join(f"<{name}>{value}</{name}>" for name, value in parts.items() if value)


def answer(inner: str, status: int = 200, packed: str = "6") -> Answer:
    size = f"<PackedPolicySize>{packed}</PackedPolicySize>" if packed else ""
    body = ("<AssumeRoleWithWebIdentityResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'>"
            f"<AssumeRoleWithWebIdentityResult><Credentials>{inner}</Credentials>{size}"
            "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>")
    return Answer(status, {"content-type": "text/xml"}, body.encode())


def error(status: int, code: str) -> Answer:
    body = f"<ErrorResponse><Error><Code>{code}</Code><Message>{TOKEN}</Message></Error></ErrorResponse>"
    return Answer(status, {}, body.encode())


class Network:
    """Says one thing after the other."""

    def __init__(self, *says: Answer | RingwallError) -> None:
        self.says = list(says)
        self.asked: list[tuple[str, dict[str, str]]] = []

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        assert method == "POST"
        assert not {name.lower() for name in headers} & {"authorization", "host", "x-amz-security-token"}
        form = parse_qs(body.decode(), strict_parsing=True)
        self.asked.append((url, {name: one for name, [one] in form.items()}))
        said = self.says.pop(0)
        if isinstance(said, RingwallError):
            raise said
        return said


@cache
def built(sts: str, region: str, role: str) -> AwsBroker:
    """Reading the description of a service takes botocore a quarter of a second."""
    return aws.make(Aws(role_arn=role, region=region, sts=sts), FakeClock())


def broker(network: Network, *, sts: str = "", region: str = "eu-central-1", role: str = ROLE) -> AwsBroker:
    made = built(sts, region, role)
    made._network = network  # type: ignore[assignment]
    return made


def refused(network: Network, one: Order | None = None, **where: str) -> str:
    with pytest.raises((Refused, Unavailable)) as caught:
        broker(network, **where).mint(one or order())
    assert caught.value.code in REFUSED | UNAVAILABLE
    shown = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in shown
    assert SECRET not in shown
    return caught.value.code


def test_it_asks_for_the_role_with_the_token_the_policy_and_900_seconds() -> None:
    network = Network(answer(credentials()))
    made = broker(network).mint(order())
    assert made.values == {"access_key_id": "ASIAX", "secret_access_key": SECRET, "session_token": "to/ken=="}
    assert made.expires_at == 1800.0
    assert made.handle == ""
    assert SECRET not in repr(made)
    [(url, form)] = network.asked
    assert url == "https://sts.eu-central-1.amazonaws.com/"
    policy = json.loads(form.pop("Policy"))
    assert policy["Statement"][0]["Resource"] == ["arn:aws:s3:::reports/team-1/*"]
    assert form == {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": ROLE,
                    "RoleSessionName": "acme-sam-le1", "WebIdentityToken": TOKEN, "DurationSeconds": "900"}


def test_moto_takes_the_request_and_its_answer_is_read() -> None:
    """The shape alone: moto verifies nothing."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        made = aws.make(Aws(role_arn=ROLE, region="us-east-1", sts=f"http://{host}:{port}"), SystemClock())
        got = made.mint(order())
    finally:
        server.stop()
    assert set(got.values) == {"access_key_id", "secret_access_key", "session_token"}
    assert 800 < got.expires_at - time.time() < 1000


def test_a_shorter_life_is_asked_of_others_and_never_of_aws() -> None:
    network = Network(answer(credentials()))
    broker(network).mint(order(seconds=60))
    assert network.asked[0][1]["DurationSeconds"] == "900"
    network = Network(error(400, "InvalidArgument"), answer(credentials()))
    broker(network, sts="https://sts.test").mint(order(seconds=60))
    assert [form["DurationSeconds"] for _, form in network.asked] == ["60", "900"]
    assert network.asked[0][1]["Policy"] == network.asked[1][1]["Policy"]
    network = Network(error(403, "AccessDenied"))
    assert refused(network, order(seconds=60), sts="https://sts.test") == "provider_denied"


def test_without_details_or_a_token_nobody_is_asked() -> None:
    network = Network()
    assert refused(network, order(details=())) == "scope_empty"
    assert refused(network, order(token="")) == "provider_denied"
    many = Detail(identifier="store/get", actions=("read",), locations=tuple(f"s3:reports/{n}" for n in range(200)))
    assert refused(network, order(many)) == "scope_too_large"
    assert network.asked == []


@pytest.mark.parametrize(("said", "code"), [
    (error(403, "AccessDenied"), "provider_denied"), (error(400, "InvalidIdentityToken"), "provider_denied"),
    (error(400, "ExpiredTokenException"), "provider_denied"), (error(403, ""), "provider_denied"),
    (error(400, "PackedPolicyTooLarge"), "scope_too_large"),
    (error(400, "MalformedPolicyDocument"), "scope_inexpressible"),
    (error(400, "IDPCommunicationError"), "provider_unreachable"), (error(429, "Slow"), "provider_unreachable"),
    (error(503, "SlowDown"), "provider_unreachable"), (error(500, ""), "provider_unreachable"),
    (Answer(302, {"location": "https://elsewhere.test/"}, b""), "provider_garbage"),
    (Answer(307, {"location": "https://elsewhere.test/"}, b"x"), "provider_garbage"),
    (Answer(200, {}, b""), "provider_garbage"), (Answer(200, {}, b"<html>"), "provider_garbage"),
    (Answer(200, {}, b"{}"), "provider_garbage"), (Answer(204, {}, b""), "provider_garbage"),
    (Answer(200, {}, b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"), "provider_garbage"),
    (Answer(400, {}, b"<a>" * 30000 + b"</a>" * 30000), "provider_denied"),
    (answer(credentials(SessionToken="")), "provider_garbage"), (answer(""), "provider_garbage"),
    (answer(credentials(SecretAccessKey="a b")), "provider_garbage"),
    (answer(credentials(AccessKeyId="\u00fc")), "provider_garbage"),
    (answer(credentials(SessionToken="x" * 40000)), "provider_garbage"),
    (answer(credentials("soon")), "provider_garbage"), (answer(credentials("")), "provider_garbage"),
    (answer(credentials("1970-01-01T00:16:40Z")), "provider_garbage"),  # now
    (answer(credentials("99999-01-01T00:00:00Z")), "provider_garbage"),
    (answer(credentials(), packed="101"), "scope_too_large"),
    (answer(credentials(), packed="?"), "provider_garbage"),
    (unavailable("provider_slow", "x"), "provider_slow"),
])
def test_whatever_it_answers_has_a_code(said: Answer | RingwallError, code: str) -> None:
    network = Network(said)
    assert refused(network) == code
    assert len(network.asked) == 1


@settings(max_examples=60)
@given(status=st.integers(200, 599),
       body=st.binary(max_size=300) | st.text("<>/&;acErodCnti", max_size=60).map(str.encode))
def test_no_answer_is_a_credential_but_one(status: int, body: bytes) -> None:
    assert refused(Network(Answer(status, {"content-type": "text/xml"}, body)))


def test_a_life_that_is_longer_than_asked_is_told_as_it_is() -> None:
    made = broker(Network(answer(credentials("1970-01-02T00:00:00Z")))).mint(order())
    assert made.expires_at == 86400.0  # the core takes the earlier of it and its own


def test_it_cannot_renew_and_says_so_when_asked_to_revoke() -> None:
    for act, code in ((lambda b: b.renew(order(), ""), "not_renewable"),
                      (lambda b: b.revoke(order(), ""), "not_revocable")):
        with pytest.raises(Refused) as caught:
            act(broker(Network()))
        assert caught.value.code == code


@pytest.mark.parametrize(("role", "region", "fits"), [
    (ROLE, "eu-central-1", True), (ROLE.replace("aws", "aws-cn", 1), "cn-north-1", True),
    (ROLE.replace("aws", "aws-us-gov", 1), "us-gov-west-1", True),
    (ROLE, "cn-north-1", False), (ROLE, "us-gov-west-1", False), (ROLE, "", False), (ROLE, "eu.evil.test/", False),
    (ROLE.replace("aws", "aws-cn", 1), "eu-central-1", False), (ROLE.replace("aws", "aws-moon", 1), "x", False),
    ("arn:aws:iam::123456789012:user/ana", "eu-central-1", False), ("tenant-acme", "eu-central-1", False),
    ("arn:aws:sts::123456789012:role/x", "eu-central-1", False),
])
def test_role_and_region_are_of_one_partition(role: str, region: str, fits: bool) -> None:
    secret = Secret(name="store", source="aws", role_arn=role, region=region)
    assert (aws.inexpressible(secret, [READ]) == "") is fits
    if not fits:
        with pytest.raises(Refused, match="scope_inexpressible"):
            aws.make(Aws(role_arn=role, region=region), FakeClock())


def test_check_is_told_what_a_policy_cannot_say() -> None:
    secret = Secret(name="store", source="aws", role_arn=ROLE, region="eu-central-1")
    listing = Detail(identifier="s/list", actions=("read",), locations=("s3:abc/x",))
    assert "slash" in aws.inexpressible(secret, [listing])
    assert aws.inexpressible(secret, [])


def test_check_needs_no_client_library() -> None:
    code = ("import sys, ringwall.vault.brokers.aws as a\n"
            "assert not [one for one in sys.modules if one.startswith(('botocore', 'boto3'))]")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_neither_environment_nor_files_have_a_say(tmp_path: Path) -> None:
    """A home and an environment full of other places, credentials, proxies and plugins, in a process of its own."""
    ours, trap = tmp_path / "ours", tmp_path / "trap"
    (tmp_path / ".aws" / "models").mkdir(parents=True)
    ours.mkdir()
    trap.mkdir()
    (tmp_path / "evilplugin.py").write_text("import os; os._exit(9)")
    with service(trap, lambda _: [http(200)]) as elsewhere, service(ours, lambda _: [http(403)]) as here:
        (tmp_path / ".aws" / "config").write_text(
            f"[default]\nendpoint_url = {elsewhere.url}\nregion = mars-1\ncredential_process = /bin/false\n"
            f"web_identity_token_file = /etc/passwd\nrole_arn = {ROLE}\nplugins = x\n")
        (tmp_path / ".aws" / "credentials").write_text("[default]\naws_access_key_id=A\naws_secret_access_key=B\n")
        env = {"HOME": str(tmp_path), "AWS_ENDPOINT_URL": elsewhere.url, "AWS_ENDPOINT_URL_STS": elsewhere.url,
               "AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "S", "AWS_PROFILE": "default",
               "AWS_CONFIG_FILE": str(tmp_path / ".aws" / "config"), "HTTPS_PROXY": elsewhere.url,
               "https_proxy": elsewhere.url, "AWS_CA_BUNDLE": str(elsewhere.ca), "REQUESTS_CA_BUNDLE": "/nowhere",
               "AWS_DEFAULT_REGION": "mars-1", "AWS_STS_REGIONAL_ENDPOINTS": "legacy",
               "AWS_USE_FIPS_ENDPOINT": "true",
               "BOTOCORE_EXPERIMENTAL__PLUGINS": "x=evilplugin", "AWS_DATA_PATH": str(tmp_path),
               "AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": "/etc/passwd", "AWS_MAX_ATTEMPTS": "9",
               "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
        code = (
            "import sys\n"
            "from ringwall.clock import SystemClock\nfrom ringwall.errors import RingwallError\n"
            "from ringwall.manifest.details import Detail\nfrom ringwall.vault.brokers import aws\n"
            "from ringwall.vault.brokers.interface import Order\nfrom ringwall.vault.brokers.protocol import Aws\n"
            f"b = aws.make(Aws(role_arn={ROLE!r}, region='r', sts={here.url!r}, ca=open({str(here.ca)!r}).read()), "
            "SystemClock())\n"
            "d = Detail(identifier='s/get', actions=('read',), locations=('s3:abc/x',))\n"
            "try:\n    b.mint(Order(lease='l', seconds=900, details=(d,), token='t', session='abc'))\n"
            "except RingwallError as fault:\n    print(fault.code)\n")
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60,
                              check=False)
        assert (done.stdout.strip(), done.stderr) == ("provider_denied", "")
        assert elsewhere.heard == []
        [request] = here.heard
        assert b"authorization" not in request.lower()
        assert b"AKIAENV" not in request
