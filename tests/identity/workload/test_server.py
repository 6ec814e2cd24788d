"""The sockets: hostile and slow clients, and the services beside the Workload API."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from tests.fakes import FakeClock, run, until
from tests.identity.workload.bench import METHODS, Bench, Client, Failed, bench

from ringwall.call import LaunchId
from ringwall.identity.workload import companions, server, wire
from ringwall.identity.workload.allowance import Allowance
from ringwall.identity.workload.proto import encode
from ringwall.identity.workload.server import Exchange, WorkloadServer

CHECK, WATCH = companions.HEALTH.methods


def test_an_allowance_is_spent_and_comes_back_with_time() -> None:
    clock = FakeClock()
    allowance = Allowance(clock, burst=10, refill=2)
    assert allowance.pay(10)
    assert not allowance.pay(0.5)
    clock.seconds += 1
    assert allowance.pay(2)
    clock.seconds += 100
    assert not allowance.pay(11)
    assert allowance.pay(10)


def test_a_client_that_floods_is_cut_off_and_another_launch_does_not_notice(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            other = await Client.connect(await made.launch("tom"))
            for _ in range(6000):  # pings
                client.writer.write(b"\0\0\x08\6\0\0\0\0\0" + b"12345678")
            await client.gone()
            assert (await other.one("FetchJWTSVID", {"audience": ["billing.acme.example"]}))["svids"]
            await client.close()
            await other.close()

    run(scenario())


def test_calls_that_are_given_up_at_once_leave_nothing_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            for _ in range(100):
                client.call("FetchX509SVID").cancel()
            await client.call("FetchX509SVID").next()
            (protocol,) = _protocols(made, "alice")
            assert len(protocol._calls) == 1
            assert len(protocol._grpc._streams) == 1
            assert len(made.authority._callbacks) == 1
            await client.close()
            await until(lambda: not _protocols(made, "alice"))
            await until(lambda: not made.authority._callbacks)
            assert not made.registry._connections

    run(scenario())


def _protocols(made: Bench, name: str) -> set[server._Protocol]:
    return made.workload._server._open[LaunchId(name)][1]


def test_an_unknown_method_is_unimplemented_so_that_newer_profiles_can_be_told_apart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            with pytest.raises(Failed) as failed:
                await client.begin("/SpiffeWorkloadAPI/FetchWITSVID", CHECK.response, [b""], {}).next()
            assert failed.value.code == wire.UNIMPLEMENTED
            await client.close()

    run(scenario())


@pytest.mark.parametrize("messages", [[], [b"", b""]])
def test_a_method_wants_exactly_one_message(tmp_path: Path, messages: list[bytes]) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            header = {"workload.spiffe.io": "true"}
            answer = client.begin("/SpiffeWorkloadAPI/FetchX509SVID", CHECK.response, messages, header)
            with pytest.raises(Failed) as failed:
                await answer.next()
            assert failed.value.code == wire.INVALID_ARGUMENT
            await client.close()

    run(scenario())


def test_the_clients_own_deadline_ends_a_stream(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            stream = client.call("FetchX509Bundles", header={"workload.spiffe.io": "true", "grpc-timeout": "50m"})
            await stream.next()
            with pytest.raises(Failed) as failed:
                await stream.next()
            assert failed.value.code == wire.DEADLINE_EXCEEDED
            await client.close()

    run(scenario())


def test_a_reader_that_does_not_read_is_cut_off_and_nothing_piles_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        made = Bench(tmp_path)
        sent = 0

        async def much(exchange: Exchange) -> None:
            nonlocal sent
            await exchange.only()
            while True:
                sent += 1
                await exchange.reply(b"x" * 50_000)

        made.workload._server = WorkloadServer({"/much": much}, made.registry, made.clock, unread_seconds=0.05)
        client = await Client.connect(await made.launch("alice"))
        client.pump.cancel()  # from here on nobody reads
        client.begin("/much", CHECK.response, [b""], {})
        await until(lambda: sent)
        await until(lambda: not made.registry._connections)
        assert sent <= 3  # what one window takes, and the one that waits
        await client.close()
        await made.workload.close()

    run(scenario())


def test_messages_that_nobody_takes_end_their_call(tmp_path: Path) -> None:
    async def scenario() -> None:
        made = Bench(tmp_path)
        forever = asyncio.Event()

        async def deaf(exchange: Exchange) -> None:
            await forever.wait()

        made.workload._server = WorkloadServer({"/deaf": deaf}, made.registry, made.clock)
        client = await Client.connect(await made.launch("alice"))
        answer = client.begin("/deaf", CHECK.response, [b""] * (server.MAX_WAITING + 1), {}, end=False)
        with pytest.raises(Failed) as failed:
            await answer.next()
        assert failed.value.code == wire.RESOURCE_EXHAUSTED
        await client.close()
        await made.workload.close()

    run(scenario())


def test_a_fault_of_ours_is_internal_and_tells_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        made = Bench(tmp_path)

        async def broken(exchange: Exchange) -> None:
            raise ValueError("a secret")

        made.workload._server = WorkloadServer({"/broken": broken}, made.registry, made.clock)
        client = await Client.connect(await made.launch("alice"))
        with pytest.raises(Failed) as failed:
            await client.begin("/broken", CHECK.response, [b""], {}).next()
        assert failed.value.code == wire.INTERNAL
        assert "a secret" not in failed.value.message
        assert "a secret" in caplog.text
        await client.close()
        await made.workload.close()

    run(scenario())


def test_a_connection_without_a_call_is_closed_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(server, "FIRST_SECONDS", 0.05)
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            await client.gone()
            await client.close()

    run(scenario())


def test_a_request_that_does_not_come_ends_its_call_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(server, "FIRST_SECONDS", 0.05)
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            header = {"workload.spiffe.io": "true"}
            answer = client.begin("/SpiffeWorkloadAPI/FetchX509SVID", CHECK.response, [], header, end=False)
            with pytest.raises(Failed) as failed:
                await answer.next()
            assert failed.value.code == wire.DEADLINE_EXCEEDED
            await client.close()

    run(scenario())


def test_too_many_connections_of_one_launch_are_turned_away(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            made.registry._max = 2
            path = await made.launch("alice")
            clients = [await Client.connect(path) for _ in range(3)]
            await clients[2].gone()
            assert (await clients[0].one("FetchX509SVID"))["svids"]
            for client in clients:
                await client.close()

    run(scenario())


def test_health_says_whether_svids_can_be_had(tmp_path: Path) -> None:
    async def scenario() -> None:
        made = Bench(tmp_path)
        client = await Client.connect(await made.launch("alice"))

        async def check(service: str) -> int:
            asked = encode(CHECK.request, {"service": service})
            answer = client.begin("/grpc.health.v1.Health/Check", CHECK.response, [asked], {})
            return (await answer.next())["status"]

        assert await check("") == 2
        await made.authority.start()
        assert [await check(""), await check("SpiffeWorkloadAPI")] == [1, 1]
        with pytest.raises(Failed) as failed:
            await check("other")
        assert failed.value.code == wire.NOT_FOUND
        asked = encode(WATCH.request, {"service": "other"})
        watch = client.begin("/grpc.health.v1.Health/Watch", WATCH.response, [asked], {})
        assert (await watch.next())["status"] == 3
        await client.close()
        await made.workload.close()

    run(scenario())


@pytest.mark.parametrize("package", ["grpc.reflection.v1", "grpc.reflection.v1alpha"])
def test_reflection_describes_everything_on_the_socket(tmp_path: Path, package: str) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            client = await Client.connect(await made.launch("alice"))
            (method,) = next(one for one in companions.REFLECTION if one.package == package).methods
            questions = [{"list_services": ""}, {"file_containing_symbol": "SpiffeWorkloadAPI.FetchJWTSVID"},
                         {"file_by_filename": "google/protobuf/struct.proto"}, {"file_by_filename": "x.proto"},
                         {"file_containing_symbol": "JWTSVIDResponse"}, {}]
            stream = client.begin(f"/{package}.ServerReflection/{method.name}", method.response,
                                  [encode(method.request, one) for one in questions], {})
            found = [await stream.next() for _ in questions]
            names = [one["name"] for one in found[0]["list_services_response"]["service"]]
            assert {"SpiffeWorkloadAPI", "grpc.health.v1.Health", f"{package}.ServerReflection"} <= set(names)
            files = [descriptor_pb2.FileDescriptorProto.FromString(
                answer["file_descriptor_response"]["file_descriptor_proto"][0])
                for answer in (found[1], found[2], found[4])]
            assert [file.name for file in files] == ["workload.proto", "google/protobuf/struct.proto",
                                                     "workload.proto"]
            assert [one.name for one in files[0].service[0].method] == list(METHODS)
            for answer in (found[3], found[5]):
                assert answer["error_response"]["error_code"] == wire.NOT_FOUND
            with pytest.raises(EOFError):
                await stream.next()
            await client.close()

    run(scenario())


def test_one_launch_has_a_bounded_number_of_streams_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(server, "MAX_CALLS", 4)
        async with bench(tmp_path) as made:
            path = await made.launch("alice")
            one, two = await Client.connect(path), await Client.connect(path)
            other = await Client.connect(await made.launch("bob"))
            held = [client.call("FetchX509Bundles") for client in (one, one, two, two)]
            for answer in held:
                await answer.next()
            failed = await one.fails("FetchX509Bundles")
            assert (failed.code, failed.message.partition(":")[0]) == (wire.RESOURCE_EXHAUSTED, "too_many_calls")
            assert await other.one("FetchX509Bundles")
            held[2].cancel()
            await until(lambda: sum(len(each._calls) for each in _protocols(made, "alice")) == 3)
            assert await one.one("FetchX509Bundles")
            for client in (one, two, other):
                await client.close()

    run(scenario())


def test_what_another_process_writes_ends_the_connection_and_its_streams_and_the_next_one_is_served(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            told: list[str] = []
            made.registry.on_foreign = lambda connection, why: told.append(why.code)
            path = await made.launch("alice")
            client = await Client.connect(path)
            stream = client.call("FetchX509SVID")
            assert await stream.next()
            ping = "import os; os.write(1, bytes([0, 0, 8, 6, 0, 0, 0, 0, 0]) + b'borrowed')"
            stolen = client.writer.get_extra_info("socket").fileno()
            thief = await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", "-c", ping, stdout=stolen)
            await thief.wait()
            await client.gone()
            assert told == ["sender_foreign"]
            assert not made.registry._connections
            assert not made.authority._callbacks
            await client.close()
            again = await Client.connect(path)
            assert await again.one("FetchX509SVID")
            await again.close()

    run(scenario())
