"""The way out of a broker process: where it leads, and how long it may take."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from tests.vault.brokers.places import CA

from ringwall.errors import Refused, RingwallError, Unavailable
from ringwall.vault.brokers.network import Network


def leading(*addresses: str, asked: list[str] | None = None) -> Any:
    """A resolver; ``asked`` gets the names."""

    async def resolve(host: str) -> Sequence[str]:
        if asked is not None:
            asked.append(host)
        return addresses

    return resolve


@contextmanager
def listening(*pieces: bytes, forever: bool = False) -> Iterator[int]:
    """A server that says this to each connection once it was spoken to; ``forever``: then the last piece again and
    again, one each 10 ms."""
    server = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            try:
                sock, _ = server.accept()
            except OSError:
                return
            with sock:
                sock.settimeout(5)
                try:
                    sock.recv(65536)
                    for piece in pieces:
                        sock.sendall(piece)
                    while forever and not over.wait(0.01):
                        sock.sendall(pieces[-1])
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        over.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


def code(work: Any) -> str:
    with pytest.raises((Refused, Unavailable)) as fault:
        work()
    return fault.value.code


@pytest.mark.parametrize("address", [
    "10.0.0.7", "127.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "0.0.0.1",
    "100.100.100.200"])
def test_a_name_leads_nowhere_that_is_not_public(address: str) -> None:
    network = Network(["https://sts.example/"], resolve=leading(address))
    assert code(lambda: network.addresses("sts.example")) == "provider_address_refused"
    assert code(lambda: network.connect("sts.example", 443)) == "provider_address_refused"
    assert code(lambda: network.send("GET", "https://sts.example/", {})) == "provider_address_refused"


def test_a_listed_network_is_allowed_and_another_is_not() -> None:
    network = Network(["https://sts.example/"], private=["10.1.0.0/16"], resolve=leading("10.1.2.3", "10.2.2.3"))
    assert [str(one) for one in network.addresses("sts.example")] == ["10.1.2.3"]


def test_only_declared_hosts_are_asked_for() -> None:
    asked: list[str] = []
    network = Network(["https://sts.example/a", ""], resolve=leading("9.9.9.9", asked=asked))
    for host in ("evil.example", "", "sts.example.evil.example", "127.0.0.1"):
        assert code(lambda host=host: network.addresses(host)) == "provider_address_refused"
    assert code(lambda: network.send("GET", "https://evil.example/", {})) == "provider_address_refused"
    assert not asked
    assert network.addresses("sts.example")
    assert asked == ["sts.example"]


def test_an_address_in_the_url_is_allowed_as_it_stands() -> None:
    with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi") as port:
        network = Network([f"http://127.0.0.1:{port}/"])
        with network.connect("127.0.0.1", port) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)
            assert sock.gettimeout()
        assert network.send("GET", f"http://127.0.0.1:{port}/", {}).body == b"hi"


def test_a_connection_goes_to_the_address_that_was_judged() -> None:
    with listening(b"") as port:
        network = Network(["https://sts.example/"], private=["127.0.0.0/8"], resolve=leading("127.0.0.1"))
        with network.connect("sts.example", port) as sock:
            assert sock.getpeername()[0] == "127.0.0.1"


def test_nobody_there_is_unreachable() -> None:
    network = Network(["http://127.0.0.1:1/"])
    assert code(lambda: network.connect("127.0.0.1", 1)) == "provider_unreachable"
    assert code(lambda: network.send("GET", "http://127.0.0.1:1/", {})) == "provider_unreachable"
    nowhere = Network(["https://sts.example/"], resolve=leading())
    assert code(lambda: nowhere.addresses("sts.example")) == "provider_unreachable"


@pytest.mark.parametrize("pieces", [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"x"),  # a byte at a time
    (b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n"),
    (b"H", b""),
])
def test_a_server_that_drips_has_one_time_limit_for_all_of_it(pieces: tuple[bytes, ...]) -> None:
    with listening(*pieces, forever=True) as port:
        network = Network([f"http://127.0.0.1:{port}/"])
        found = code(lambda: network.send("GET", f"http://127.0.0.1:{port}/", {}, seconds=0.3))
        assert found in {"provider_slow", "provider_garbage"}  # headers have an end, too


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    b"SSH-2.0-OpenSSH_9.2\r\n", b"",
])
def test_what_is_no_answer_is_garbage(answer: bytes) -> None:
    with listening(answer) as port:
        network = Network([f"http://127.0.0.1:{port}/"])
        assert code(lambda: network.send("GET", f"http://127.0.0.1:{port}/", {}, seconds=5)) == "provider_garbage"


def test_a_header_that_could_end_a_line_is_not_sent() -> None:
    with listening(b"") as port:
        network = Network([f"http://127.0.0.1:{port}/"])
        headers = {"Authorization": "Bearer a\r\nX: 1"}
        with pytest.raises(RingwallError, match="bad_arguments"):
            network.send("GET", f"http://127.0.0.1:{port}/", headers)


def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi") as port:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
        network = Network([f"http://127.0.0.1:{port}/"], ca=CA)
        assert network.send("GET", f"http://127.0.0.1:{port}/", {}).status == 200
        assert len(network.tls.get_ca_certs()) == 1
