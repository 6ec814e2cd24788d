"""The core behind an Envoy: who may connect, whom each request is from, which SVIDs Envoy gets."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from tests.envoy.front import SAM, Front, corpus, front, header, manifest
from tests.fakes import run
from tests.identity.workload.bench import Client
from tests.identity.workload.test_sds import asks, leaf, opened, secrets

from ringwall.errors import Refused, RingwallError
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.svid.verifier import X509Verifier
from ringwall.peers.forwarded import MAX_FORWARDED
from ringwall.runtime import callers

B = "spiffe://example.org/tenant/a/agent/b/role/c"
D = SpiffeId.parse("spiffe://example.org/tenant/a/agent/d/role/c")
PARTNER = "spiffe://partner.test/tenant/a/agent/b/role/c"
ROOT = os.geteuid() == 0


class Envoy:
    """Speaks to an agent's socket as Envoy does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, made: Front, who: str = "sam") -> Envoy:
        return cls(*await asyncio.open_unix_connection(str(made.folder / "peers" / "a" / f"{who}.sock")))

    async def post(self, *forwarded: bytes) -> tuple[int, str]:
        lines = [b"POST / HTTP/1.1", b"Host: sam", b"Content-Length: 2",
                 *(b"X-Forwarded-Client-Cert: " + one for one in forwarded)]
        self.writer.write(b"\r\n".join([*lines, b"", b"{}"]))
        return await self.answer()

    async def answer(self) -> tuple[int, str]:
        try:
            head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)).lower()
        except (asyncio.IncompleteReadError, ConnectionError):
            return 0, ""
        size = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
        return int(head.split(b" ")[1]), (await self.reader.readexactly(size)).decode()

    def close(self) -> None:
        self.writer.transport.abort()


async def once(made: Front, *forwarded: bytes) -> tuple[int, str]:
    envoy = await Envoy.connect(made)
    try:
        return await envoy.post(*forwarded)
    finally:
        envoy.close()


def of(spiffe_id: str = B, signer: object = None) -> bytes:
    return header(corpus().leaf(spiffe_id, signer))


def test_each_certificate_of_the_corpus_gets_the_verdict_of_the_strict_verifier(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with front(tmp_path, manifest(tmp_path)) as made:
            await made.launch()
            judge = X509Verifier(lambda: made.trusted, made.clock)
            for case in corpus().cases:
                made.seen.clear()
                status, said = await once(made, header(case.chain))
                try:
                    proved, code = str(judge.verify(case.chain).spiffe_id), ""
                except Refused as fault:
                    proved, code = "", fault.code
                if len(header(case.chain)) > MAX_FORWARDED - 1024:
                    assert status in {431, 403}, str(case)
                elif proved:
                    assert (status, said) == (200, proved), str(case)
                else:
                    assert status == 403, str(case)
                    assert made.codes()[-1] in {code, "bad_forwarded"}, str(case)
                assert [who for who, _ in made.seen] == ([proved] if status == 200 else []), str(case)
            assert len(corpus().cases) >= 120

    run(scenario())


@pytest.mark.parametrize("forwarded", [
    (), (of, of), (b"",), (b"By=x",),
    ("another listener",),
], ids=["none", "two", "empty", "malformed", "another listener's"])
def test_a_request_without_exactly_one_certificate_is_refused_and_recorded(
    tmp_path: Path, forwarded: Sequence[object]
) -> None:
    async def scenario() -> None:
        async with front(tmp_path, manifest(tmp_path)) as made:
            await made.launch()
            other = header(corpus().leaf(B), receiver=str(D))
            fields = [of() if one is of else other if one == "another listener" else one for one in forwarded]
            status, said = await once(made, *fields)  # type: ignore[arg-type]
            assert status == 403
            assert "bad_forwarded" in said
            assert made.codes() == ["bad_forwarded"]
            assert not made.seen

    run(scenario())


def test_each_request_over_one_connection_is_from_whom_its_own_certificate_says(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with front(tmp_path, manifest(tmp_path)) as made:
            place = await made.launch()
            envoy = await Envoy.connect(made)
            theirs = of(PARTNER, corpus().partner)
            for _ in range(2):
                assert await envoy.post(of()) == (200, B)
                assert await envoy.post(theirs) == (200, PARTNER)
            assert {name for _, fields in made.seen for name, _ in fields} == {b"host", b"content-length"}
            assert not made.callers.count(place.launch)
            assert (await envoy.post(of(B, corpus().partner)))[0] == 403
            del made.trusted["partner.test"]  # withdrawn while the connection stands
            made.authority.changed()
            assert (await envoy.post(theirs))[0] == 403
            assert await envoy.post(of()) == (200, B)
            assert made.codes() == ["svid_untrusted", "svid_unknown_domain"]
            made.clock.ahead = 601
            assert (await envoy.post(of()))[0] == 403
            assert made.codes()[-1] == "svid_expired"
            envoy.close()

    run(scenario())


def test_one_peer_does_not_take_all_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "MAX_OF_ONE", 2)

    async def scenario() -> None:
        async with front(tmp_path, manifest(tmp_path)) as made:
            place = await made.launch()
            proved = made.callers.judge(place, corpus().leaf(B))
            for _ in range(2):
                made.callers.admit(place, proved, corpus().leaf(B))
            status, said = await once(made, of())
            assert status == 403
            assert "too_many_connections" in said
            assert await once(made, of(PARTNER, corpus().partner)) == (200, PARTNER)

    run(scenario())


def test_when_the_launch_is_over_its_socket_is_gone_and_what_stands_is_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with front(tmp_path, manifest(tmp_path)) as made:
            place = await made.launch()
            envoy = await Envoy.connect(made)
            assert (await envoy.post(of()))[0] == 200
            made.registry.withdraw(place.launch)
            assert "launch_withdrawn" in (await envoy.post(of()))[1]
            other = await Envoy.connect(made)
            assert (await other.post(of()))[0] == 403
            await made.fronting.close(place.launch)
            assert await other.answer() == (0, "")
            with pytest.raises(OSError, match="No such file"):
                await Envoy.connect(made)
            for one in (envoy, other):
                one.close()

    run(scenario())


@pytest.fixture
def folder() -> Generator[Path]:
    """One that other users can enter."""
    with tempfile.TemporaryDirectory(prefix="rw", dir="/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.mark.skipif(not ROOT, reason="giving a file away needs root")
def test_only_the_uid_of_envoy_gets_in_and_not_even_root(tmp_path: Path, folder: Path) -> None:
    settings = f'envoy_uid = 12345\nenvoy_folder = "{folder}"'

    async def scenario() -> None:
        async with front(tmp_path, manifest(tmp_path, settings=settings)) as made:
            await made.launch()
            agent, sds = folder / "a" / "sam.sock", folder / "sds.sock"
            for one in (agent, sds):
                assert stat.S_IMODE(one.stat().st_mode) == 0o600
                assert one.stat().st_uid == 12345
            reader, writer = await asyncio.open_unix_connection(str(agent))
            assert "not_envoy" in (await Envoy(reader, writer).answer())[1]
            writer.transport.abort()
            client = await Client.connect(sds)
            await client.gone()
            assert made.codes() == ["not_envoy", "not_envoy"]
            await client.close()
            script = "s=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])"
            tried = {}
            for uid in (12345, 12346):
                done = await asyncio.to_thread(_as, uid, script, str(agent))
                tried[uid] = done
            assert tried == {12345: "", 12346: "PermissionError"}

    run(scenario())


def _as(uid: int, script: str, *args: str) -> str:
    """Run a script as another user; the name of the exception it ended with."""
    whole = f"import os, socket, sys\nos.setuid({uid})\n{script}"
    done = subprocess.run([sys.executable, "-c", whole, *args], check=False, capture_output=True, text=True,
                          timeout=20)
    return done.stderr.strip().rpartition("\n")[2].partition(":")[0]


def test_envoy_gets_the_svid_of_a_launched_agent_by_its_id_and_of_no_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with front(tmp_path, manifest(tmp_path)) as made:
            client = await Client.connect(tmp_path / "peers" / "sds.sock")
            answer = opened(client, asks(str(SAM), str(D), "default"))
            place = await made.launch()
            first = secrets(await answer.next())
            assert set(first) == {str(SAM)}
            again = opened(client, asks(str(SAM)))
            assert leaf(secrets(await again.next())[str(SAM)]) == leaf(first[str(SAM)])  # issued once
            made.registry.withdraw(place.launch)
            await made.fronting.close(place.launch)
            await made.launch()
            second = secrets(await answer.next())
            assert leaf(second[str(SAM)]).serial_number != leaf(first[str(SAM)]).serial_number
            names = leaf(second[str(SAM)]).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(SAM)]
            await client.close()

    run(scenario())


@pytest.mark.parametrize(("settings", "mode", "remedy"), [
    ('envoy_folder = "{0}/sockets"', 0o777, "mode 755"),
    ('envoy_folder = "{0}/nowhere"', 0o755, "mkdir"),
    ("envoy_uid = 12345", 0o755, "envoy_folder = "),
])
def test_sockets_that_envoy_could_not_use_or_others_could_replace_are_refused(
    tmp_path: Path, settings: str, mode: int, remedy: str
) -> None:
    (tmp_path / "sockets").mkdir()
    (tmp_path / "sockets").chmod(mode)

    async def scenario() -> None:
        with pytest.raises(RingwallError) as refused:
            async with front(tmp_path, manifest(tmp_path, settings=settings.format(tmp_path))):
                pass
        assert refused.value.code == "envoy_folder"
        assert remedy in refused.value.remedy

    run(scenario())


