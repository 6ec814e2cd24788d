"""Envoy's secret discovery: what is given under which name, to whom, and when it is given anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import run
from tests.identity.workload.bench import Answer, Bench, Client, Failed, bench

from ringwall.errors import BadInput
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.workload import envoy, wire
from ringwall.identity.workload.proto import decode, encode
from ringwall.identity.workload.sds import MAX_NAMES

ALICE = "spiffe://acme.example/tenant/acme/agent/alice/role/caller"
BOB = ALICE.replace("alice", "bob")
PATH = "/envoy.service.secret.v3.SecretDiscoveryService/"


def asks(*names: str, **more: Any) -> bytes:
    return encode(envoy.REQUEST, {"resource_names": list(names), "type_url": envoy.SECRET_TYPE, **more})


def opened(client: Client, *requests: bytes, end: bool = False) -> Answer:
    return client.begin(PATH + "StreamSecrets", envoy.RESPONSE, list(requests), {}, end=end)


def more(client: Client, answer: Answer, data: bytes) -> None:
    client.h2.send_data(answer.stream, b"\0" + len(data).to_bytes(4, "big") + data)
    client.flush()


def ack(answer: dict[str, Any], *names: str, **with_: Any) -> bytes:
    return asks(*names, **{"version_info": answer["version_info"], "response_nonce": answer["nonce"], **with_})


def secrets(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    assert answer["type_url"] == envoy.SECRET_TYPE
    found = [decode(envoy.SECRET, one["value"]) for one in answer.get("resources", [])]
    return {one["name"]: one for one in found}


def leaf(secret: dict[str, Any]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(secret["tls_certificate"]["certificate_chain"]["inline_bytes"])


def trusted(secret: dict[str, Any]) -> dict[str, list[bytes]]:
    config = secret["validation_context"]["custom_validator_config"]
    assert config["name"] == "envoy.tls.cert_validator.spiffe"
    domains = decode(envoy.VALIDATOR, config["typed_config"]["value"])["trust_domains"]
    der = x509.load_pem_x509_certificates
    return {one["name"]: [found.public_bytes(Encoding.DER) for found in der(one["trust_bundle"]["inline_bytes"])]
            for one in domains}


def other(made: Bench, name: str = "partner.test") -> Bundle:
    return replace(made.authority.bundle(), trust_domain=name)


def test_the_names_of_spire_give_the_own_svid_the_own_bundle_and_all_bundles(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            made.foreign = {"partner.test": other(made), "empty.test": Bundle(trust_domain="empty.test")}
            client = await Client.connect(await made.launch("alice"))
            names = ("default", ALICE, "ROOTCA", "ALL", "spiffe://partner.test", "spiffe://nobody.test")
            answer = opened(client, asks(*names))
            found = secrets(await answer.next())
            assert set(found) == {*names} - {"spiffe://nobody.test"}
            own = list(made.authority.bundle().authorities)
            for name in ("default", ALICE):
                names_of = leaf(found[name]).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
                assert names_of.get_values_for_type(x509.UniformResourceIdentifier) == [ALICE]
                key = load_pem_private_key(found[name]["tls_certificate"]["private_key"]["inline_bytes"], None)
                assert key.public_key() == leaf(found[name]).public_key()
            assert trusted(found["ROOTCA"]) == {"acme.example": own}
            assert trusted(found["ALL"]) == {"acme.example": own, "partner.test": own}
            assert trusted(found["spiffe://partner.test"]) == {"partner.test": own}
            assert len(made.journal.of("intent")) == 2
            assert "PRIVATE KEY" not in repr(made.journal.log)
            await client.close()

    run(scenario())


def test_a_secret_is_sent_again_when_it_changed_and_not_for_being_acknowledged_or_rejected(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            answer = opened(client, asks("default"))
            first = await answer.next()
            more(client, answer, ack(first, "default"))
            made.clock.ahead = 451
            made.authority.changed()
            second = await answer.next()
            assert second["version_info"] != first["version_info"]
            assert second["nonce"] != first["nonce"]
            assert (leaf(secrets(first)["default"]).serial_number
                    != leaf(secrets(second)["default"]).serial_number)
            why = {"code": 13, "message": "cannot use it"}
            more(client, answer, ack(first, "default", version_info="", error_detail=why))  # old: no matter
            more(client, answer, ack(second, "default", version_info=first["version_info"], error_detail=why))
            more(client, answer, ack(second, "ALL"))  # other names: answered, though nothing changed
            third = await answer.next()
            assert set(secrets(third)) == {"ALL"}
            rejected = [event for event in made.journal.of("count") if event.type == "secret_rejected"]
            assert [event.body["why"] for event in rejected] == ["cannot use it"]
            made.foreign = {"partner.test": other(made)}
            made.authority.changed()
            assert set(trusted(secrets(await answer.next())["ALL"])) == {"acme.example", "partner.test"}
            made.foreign = {}
            made.authority.changed()
            assert set(trusted(secrets(await answer.next())["ALL"])) == {"acme.example"}
            await client.close()

    run(scenario())


def test_a_question_that_is_fetched_or_ended_at_once_is_answered_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            fetched = client.begin(PATH + "FetchSecrets", envoy.RESPONSE, [asks("ROOTCA")], {})
            assert set(secrets(await fetched.next())) == {"ROOTCA"}
            streamed = opened(client, asks("default"), end=True)
            assert set(secrets(await streamed.next())) == {"default"}
            for answer in (fetched, streamed):
                with pytest.raises(EOFError):
                    await answer.next()
            await client.close()

    run(scenario())


def test_nobody_gets_what_is_not_theirs(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            alice = await Client.connect(await made.launch("alice"))
            with pytest.raises(Failed, match="not_granted") as refused:
                await opened(alice, asks(BOB)).next()
            assert refused.value.code == wire.PERMISSION_DENIED
            tom = await Client.connect(await made.launch("tom"))  # has tokens only
            with pytest.raises(Failed, match="not_granted") as refused:
                await opened(tom, asks("default")).next()
            assert refused.value.code == wire.PERMISSION_DENIED
            for client in (alice, tom):
                await client.close()

    run(scenario())


def test_a_freeze_ends_the_stream_before_another_push(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            answer = opened(client, asks("default", "ALL"))
            await answer.next()
            made.frozen["alice"] = "suspect"
            made.foreign = {"partner.test": other(made)}
            made.authority.changed()
            with pytest.raises(Failed, match="frozen") as refused:
                await answer.next()
            assert refused.value.code == wire.PERMISSION_DENIED
            await client.close()

    run(scenario())


@pytest.mark.parametrize("request_", [
    asks("default", type_url="type.googleapis.com/envoy.config.cluster.v3.Cluster"),
    asks(*(f"spiffe://a.test/{number}" for number in range(MAX_NAMES + 1))),
    asks("x" * 2049), asks(""), b"\x1a\x05def", b"\x1a\x02\xff\xfe",
], ids=["another type", "too many", "too long", "empty", "truncated", "no UTF-8"])
def test_a_bad_request_ends_the_stream(tmp_path: Path, request_: bytes) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            for method in ("StreamSecrets", "FetchSecrets"):
                answer = client.begin(PATH + method, envoy.RESPONSE, [request_], {})
                with pytest.raises(Failed) as refused:
                    await answer.next()
                assert refused.value.code == wire.INVALID_ARGUMENT
            assert not made.journal.of("intent")
            await client.close()

    run(scenario())


def test_a_fetch_of_nothing_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            with pytest.raises(Failed, match="by name"):
                await client.begin(PATH + "FetchSecrets", envoy.RESPONSE, [asks()], {}).next()
            await client.close()

    run(scenario())


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    try:
        assert isinstance(decode(envoy.REQUEST, data), dict)
    except BadInput as fault:
        assert fault.code == "bad_protobuf"
