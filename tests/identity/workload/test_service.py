"""What the Workload API gives, to whom, and when it gives it anew."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from asyncio.subprocess import PIPE
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key
from tests.fakes import run, until
from tests.identity.workload.bench import Bench, Client, Failed, bench

from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.verifier import X509Verifier
from ringwall.identity.workload import issuing, wire

ALICE = "spiffe://acme.example/tenant/acme/agent/alice/role/caller"
BILLING = "billing.acme.example"


def leaf(answer: dict[str, object]) -> x509.Certificate:
    return x509.load_der_x509_certificate(answer["svids"][0]["x509_svid"])  # type: ignore[index]


def test_a_launched_process_gets_its_svid_with_its_key_and_the_bundle(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            found = await client.one("FetchX509SVID")
            one = found["svids"][0]
            assert one["spiffe_id"] == ALICE
            assert one["bundle"] == b"".join(made.authority.bundle().authorities)
            key = load_der_private_key(one["x509_svid_key"], None)
            assert key.public_key() == leaf(found).public_key()
            seen = X509Verifier(made.authority.bundles, made.clock).verify([one["x509_svid"]])
            assert str(seen.spiffe_id) == ALICE
            assert len(made.journal.of("intent")) == 1
            assert one["x509_svid_key"].hex() not in repr(made.journal.log)
            await client.close()

    run(scenario())


def test_two_processes_of_one_agent_have_keys_and_serials_of_their_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            found = []
            for name in ("one", "two"):
                client = await Client.connect(await made.launch("alice", name=name))
                found.append(await client.one("FetchX509SVID"))
                await client.close()
            assert leaf(found[0]).serial_number != leaf(found[1]).serial_number
            assert leaf(found[0]).public_key() != leaf(found[1]).public_key()

    run(scenario())


def test_an_svid_is_renewed_at_half_its_life(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            stream = client.call("FetchX509SVID")
            first = await stream.next()
            made.authority.changed()
            made.clock.ahead = 300
            made.authority.changed()  # another look finds nothing new
            made.clock.ahead = 451
            made.authority.changed()
            second = await stream.next()
            assert leaf(second).serial_number != leaf(first).serial_number
            assert len(made.journal.of("intent")) == 2
            await client.close()

    run(scenario())


def test_a_change_of_bundles_is_pushed_to_every_stream(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            streams = [client.call(name) for name in ("FetchX509SVID", "FetchX509Bundles", "FetchJWTBundles")]
            for stream in streams:
                await stream.next()
            made.foreign["other.example"] = Bundle(trust_domain="other.example", authorities=(b"der",))
            made.authority.changed()
            svid, certificates, keys = [await stream.next() for stream in streams]
            assert svid["federated_bundles"] == {"spiffe://other.example": b"der"}
            assert certificates["bundles"]["spiffe://other.example"] == b"der"
            assert set(certificates["bundles"]) == {"spiffe://acme.example", "spiffe://other.example"}
            assert json.loads(keys["bundles"]["spiffe://other.example"]) == {"keys": []}
            own = json.loads(keys["bundles"]["spiffe://acme.example"])["keys"]
            assert own
            assert all(key["use"] == "jwt-svid" and key["kid"] for key in own)
            await client.close()

    run(scenario())


def test_a_frozen_agents_streams_end_and_it_gets_nothing_new(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            streams = [client.call(name) for name in ("FetchX509SVID", "FetchX509Bundles", "FetchJWTBundles")]
            for stream in streams:
                await stream.next()
            made.frozen["alice"] = "a test"
            made.authority.changed()
            for stream in streams:
                with pytest.raises(Failed, match="frozen") as failed:
                    await stream.next()
                assert failed.value.code == wire.PERMISSION_DENIED
            assert (await client.fails("FetchJWTSVID", {"audience": [BILLING]})).code == wire.PERMISSION_DENIED
            await client.close()

    run(scenario())


def test_a_withdrawn_launch_loses_its_connections(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            path = await made.launch("alice")
            client = await Client.connect(path)
            stream = client.call("FetchX509SVID")
            first = await stream.next()
            await made.withdraw("alice")
            await client.gone()
            assert made.authority.revoked(ALICE, f"{leaf(first).serial_number:x}")
            await client.close()
            with pytest.raises(OSError):
                await Client.connect(path)

    run(scenario())


def test_a_token_is_for_the_audiences_that_were_given(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            found = (await client.one("FetchJWTSVID", {"audience": [BILLING], "spiffe_id": ALICE}))["svids"][0]
            assert found["spiffe_id"] == ALICE
            judged = await client.one("ValidateJWTSVID", {"audience": BILLING, "svid": found["svid"]})
            assert judged["spiffe_id"] == ALICE
            wrong = await client.fails("ValidateJWTSVID", {"audience": "else.example", "svid": found["svid"]})
            assert (wrong.code, wrong.message.partition(":")[0]) == (wire.INVALID_ARGUMENT, "token_audience")
            refused = await client.fails("FetchJWTSVID", {"audience": [BILLING, "else.example"]})
            assert (refused.code, made.codes()) == (wire.PERMISSION_DENIED, ["audience_not_granted"])
            await client.close()

    run(scenario())


@pytest.mark.parametrize(("asked", "code"), [
    ({}, "bad_audience"),
    ({"audience": [""]}, "bad_audience"),
    ({"audience": [BILLING] * 2}, "bad_audience"),
    ({"audience": [f"a{n}" for n in range(9)]}, "bad_audience"),
    ({"audience": ["x" * 257]}, "bad_audience"),
    ({"audience": [BILLING], "spiffe_id": "spiffe://acme.example/x"}, "bad_spiffe_id"),
    ({"audience": ["\ud7ff\U0010ffff\x00"]}, "audience_not_granted"),
    ({"audience": [BILLING], "spiffe_id": ALICE.replace("alice", "bob")}, "not_granted"),
])
def test_a_wrong_request_for_a_token_is_refused_by_its_code(
    tmp_path: Path, asked: dict[str, object], code: str
) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            failed = await client.fails("FetchJWTSVID", asked)
            granted = wire.PERMISSION_DENIED if code.endswith("granted") else wire.INVALID_ARGUMENT
            assert (failed.message.partition(":")[0], failed.code) == (code, granted)
            assert not made.journal.of("intent")
            await client.close()

    run(scenario())


@pytest.mark.parametrize("header", [{}, {"workload.spiffe.io": "True"}, {"workload.spiffe.io": ""}])
def test_every_method_wants_the_header(tmp_path: Path, header: dict[str, str]) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            for method in ("FetchX509SVID", "FetchX509Bundles", "FetchJWTSVID", "FetchJWTBundles",
                           "ValidateJWTSVID"):
                assert (await client.fails(method, header=header)).code == wire.INVALID_ARGUMENT
            assert not made.journal.of("intent")
            await client.close()

    run(scenario())


def test_a_role_gets_only_the_kind_of_svid_it_was_given(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("tom"))
            assert (await client.fails("FetchX509SVID")).code == wire.PERMISSION_DENIED
            assert made.codes() == ["not_granted"]
            assert (await client.one("FetchJWTSVID", {"audience": [BILLING]}))["svids"]
            await client.close()

    run(scenario())


def test_a_role_without_the_capability_has_no_socket(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            assert not (await made.launch("pete")).exists()

    run(scenario())


def test_a_process_that_was_not_launched_gets_nothing_from_any_method(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            other = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=PIPE)
            client = await Client.connect(await made.launch("alice", pid=other.pid))
            for method, asked in (("FetchX509SVID", {}), ("FetchX509Bundles", {}), ("FetchJWTBundles", {}),
                                  ("FetchJWTSVID", {"audience": [BILLING]}), ("ValidateJWTSVID", {})):
                failed = await client.fails(method, asked)
                assert (failed.code, failed.message.partition(":")[0]) == (wire.PERMISSION_DENIED, "peer_foreign")
            assert made.codes() == ["peer_foreign"] * 2
            counted = made.journal.of("count")
            assert [event.body["code"] for event in counted] == ["peer_foreign"] * 3
            await client.close()
            await other.communicate(b"\n")

    run(scenario())


HANDS_OVER = """
import os, socket, sys, time
mine = socket.socket(socket.AF_UNIX); mine.connect(sys.argv[1])
theirs = socket.socket(socket.AF_UNIX); theirs.connect(sys.argv[2])
socket.send_fds(theirs, [b'x'], [mine.fileno()])
sys.stdin.readline()
"""


@pytest.mark.parametrize("reads", [True, False])
def test_a_connection_of_a_process_that_has_exited_gives_nothing_to_whoever_holds_it(
    tmp_path: Path, reads: bool
) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            made.registry.probe = replace(made.registry.probe, reads=reads)  # or a kernel that names no senders
            folder = tmp_path / "d" / "alice"
            meeting = socket.socket(socket.AF_UNIX)
            meeting.bind(str(tmp_path / "m.sock"))
            meeting.listen()
            thief = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "import sys; sys.stdin.readline()\n" + HANDS_OVER,
                str(folder / "svid.sock"), str(tmp_path / "m.sock"), stdin=PIPE)
            assert thief.stdin is not None
            path = await made.launch("alice", pid=thief.pid)
            assert path == folder / "svid.sock"
            thief.stdin.write(b"go\n")
            met, _ = await asyncio.to_thread(meeting.accept)
            _, fds, _, _ = await asyncio.to_thread(socket.recv_fds, met, 1, 1)
            await until(lambda: made.registry._connections)
            await thief.communicate(b"\n")
            client = Client(*await asyncio.open_unix_connection(sock=socket.socket(fileno=fds[0])))
            failed = await client.fails("FetchX509SVID")
            if reads:  # cut off before anything is looked at
                assert failed.code == wire.UNAVAILABLE
            else:
                assert (failed.code, failed.message.partition(":")[0]) == (wire.PERMISSION_DENIED, "peer_dead")
            await client.close()
            met.close()
            meeting.close()

    run(scenario())


def test_a_disk_that_is_full_issues_nothing_and_says_try_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            made.journal.broken = {"intent"}
            failed = await client.fails("FetchX509SVID")
            assert (failed.code, failed.message.partition(":")[0]) == (wire.UNAVAILABLE, "audit_unavailable")
            assert made.authority.status()["alive"] == 0
            await client.close()

    run(scenario())


def test_one_agent_cannot_take_all_that_may_be_issued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(issuing, "JWT_BURST", 3.0)
        monkeypatch.setattr(issuing, "JWT_REFILL", 0.0)
        async with bench(tmp_path) as made:
            clients = [await Client.connect(await made.launch(name)) for name in ("alice", "tom")]
            for _ in range(3):
                await clients[0].one("FetchJWTSVID", {"audience": [BILLING]})
            failed = await clients[0].fails("FetchJWTSVID", {"audience": [BILLING]})
            assert (failed.code, failed.message.partition(":")[0]) == (wire.UNAVAILABLE, "svid_too_many")
            assert [outcome.code for outcome in made.journal.of("outcome")][-1] == "svid_too_many"
            assert (await clients[1].one("FetchJWTSVID", {"audience": [BILLING]}))["svids"]
            for client in clients:
                await client.close()

    run(scenario())


def test_an_authority_without_keys_says_try_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        made = Bench(tmp_path)  # not started
        client = await Client.connect(await made.launch("alice"))
        for method in ("FetchX509SVID", "FetchX509Bundles"):
            failed = await client.fails(method)
            assert (failed.code, failed.message.partition(":")[0]) == (wire.UNAVAILABLE, "svid_not_ready")
        await client.close()
        await made.workload.close()

    run(scenario())


def test_five_hundred_clients_that_start_at_once_are_all_served(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            paths = [await made.launch("alice", name=f"a{n}") for n in range(20)]
            clients = [await Client.connect(paths[n % 20]) for n in range(500)]
            streams = [client.call("FetchX509SVID") for client in clients]
            first = [leaf(await stream.next()).serial_number for stream in streams]
            assert len(set(first)) == 500
            made.clock.ahead = 451
            made.authority.changed()
            second = [leaf(await stream.next()).serial_number for stream in streams]
            assert len({*first, *second}) == 1000
            await asyncio.gather(*(client.close() for client in clients))

    run(scenario())


def test_why_another_agent_is_frozen_is_not_told_to_who_validates_its_token(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            bob = await Client.connect(await made.launch("bob"))
            token = (await bob.one("FetchJWTSVID", {"audience": [BILLING]}))["svids"][0]["svid"]
            made.frozen["bob"] = "agent acme/bob: suspected of leaking the merger"
            alice = await Client.connect(await made.launch("alice"))
            failed = await alice.fails("ValidateJWTSVID", {"audience": BILLING, "svid": token})
            assert failed.code == wire.INVALID_ARGUMENT
            assert failed.message == "svid_revoked: it was revoked"
            for client in (alice, bob):
                await client.close()

    run(scenario())
