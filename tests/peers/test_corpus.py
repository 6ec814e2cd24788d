"""Every certificate of the corpus that TLS can carry, as a client's at the gate and as a server's to our client.

None passes as somebody it is not. What OpenSSL's own library cannot present goes past TLS: ``tests/identity``.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any

import pytest
from tests.fakes import FakeClock
from tests.identity.svid.corpus import Case, bundles, cases
from tests.identity.svid.workshop import NOW
from tests.peers.hostile import client, key_of, server
from tests.peers.support import Authority, Side, ask, code, go, json_answer

from ringwall.peers import tls

YEARS = 10 * 366 * 86_400.0
OURS = "spiffe://a.test/tenant/acme/agent/ana/role/reader"
REQUEST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"
pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The corpus has a date of its own; OpenSSL would ask the machine's clock."""
    made = FakeClock()
    made.seconds = NOW
    usual = tls._context

    def timeless(protocol: int, anchors: Sequence[bytes]) -> ssl.SSLContext:
        context = usual(protocol, anchors)
        context.verify_flags |= ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME
        return context

    monkeypatch.setattr(tls, "_context", timeless)
    monkeypatch.setattr("ringwall.runtime.sidecar.SystemClock", lambda: made)
    return made


def presentable() -> list[tuple[Case, bytes]]:
    """Cases with the key that belongs to the leaf."""
    found: list[tuple[Case, bytes]] = []
    for case in cases():
        key = key_of(case.chain[0]) if case.chain else None
        if key is not None:
            found.append((case, key))
    return found


async def equipped(clock: FakeClock) -> Side:
    side = Side(clock=clock)
    own = Authority.of("a.test", "timeless", now=NOW)
    side.bundles = {**bundles(), "a.test": own.bundle}
    await side.start()
    await side.equip(own.svid(OURS, seconds=YEARS, now=NOW))
    return side


def knock(port: int, case: Case, key: bytes) -> str:
    """What becomes of a client with this certificate: ``in``, ``out``, or ``not presented``."""
    try:
        wrapped = client(port, case.chain, key)
    except ssl.SSLError as fault:
        return "not presented" if fault.reason in {"INVALID_CERTIFICATE", "ASN1_LIB", None} else "out"
    except OSError:
        return "out"
    with wrapped:
        try:
            wrapped.sendall(REQUEST)
            data = wrapped.recv(1 << 16)
        except OSError:
            return "out"
    return "in" if data.startswith(b"HTTP/1.1 200 OK\r\n") else "out"


def test_no_certificate_of_the_corpus_gets_through_the_gate_as_somebody_else(clock: FakeClock) -> None:
    async def run() -> None:
        side = await equipped(clock)
        try:
            port, results = side.listener.getsockname()[1], dict[str, str]()
            every = presentable()
            for case, key in every:
                clock.seconds = case.at
                side.seen.clear()
                results[str(case)] = await asyncio.to_thread(knock, port, case, key)
                if results[str(case)] == "in":
                    assert side.seen == [case.id]
            wrong = {name: got for case, _ in every if (got := results[name := str(case)]) == "in" and case.code}
            shut = [name for case, _ in every if results[name := str(case)] != "in" and not case.code]
            assert wrong == {}
            assert shut == []
            assert len(every) >= 180
            assert sum(got == "not presented" for got in results.values()) <= 6
        finally:
            await side.stop()

    go(run())


def test_no_certificate_of_the_corpus_gets_a_byte_of_a_request_for_somebody_else(clock: FakeClock) -> None:
    async def run() -> None:
        side = await equipped(clock)
        got: list[bytes] = []

        def act(sock: ssl.SSLSocket) -> None:
            data = sock.recv(1 << 16)
            if data:
                got.append(data)
                sock.sendall(json_answer(b"1"))

        try:
            ran = 0
            for case, key in presentable():
                clock.seconds = case.at
                got.clear()
                try:
                    served: Any = server(case.chain, key, act)
                    with served as (port, _):
                        ran += 1
                        _, last = await ask(side, f"https://127.0.0.1:{port}/", case.id)
                except ssl.SSLError:
                    continue  # OpenSSL does not present it
                if case.code:
                    assert code(last) in {("failed", "peer_untrusted"), ("failed", "peer_unreachable")}, str(case)
                    assert got == [], str(case)
                else:
                    assert (code(last), len(got)) == (("done", ""), 1), str(case)
            assert ran >= 175
        finally:
            await side.stop()

    go(run())


def test_a_good_certificate_of_somebody_else_gets_no_byte_of_a_request(clock: FakeClock) -> None:
    async def run() -> None:
        side = await equipped(clock)
        got: list[bytes] = []
        good = [(case, key) for case, key in presentable() if not case.code]
        try:
            for case, key in good:
                clock.seconds = case.at
                with server(case.chain, key, lambda sock: got.append(sock.recv(1 << 16))) as (port, _):
                    for expected in ("spiffe://example.org", OURS, case.id[:-1]):
                        _, last = await ask(side, f"https://127.0.0.1:{port}/", expected)
                        assert code(last) == ("failed", "peer_untrusted"), str(case)
            assert not any(got)
            assert len(good) >= 20
        finally:
            await side.stop()

    go(run())
