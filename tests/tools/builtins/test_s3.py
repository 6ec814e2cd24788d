"""The s3 tool against stores that answer anything. What a right one enforces: tests/conformance/test_rgw.py."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.tools.builtins.places import FAR, VALUES, Core, Service, handed, http, outlet, service

from ringwall.errors import RingwallError
from ringwall.tools.builtins import given, s3, tunnel
from ringwall.tools.builtins.given import Given
from ringwall.tools.builtins.s3 import MAX_OBJECT, S3
from ringwall.tools.builtins.serve import Place


class Bench:
    def __init__(self, here: Service, store: S3, core: Core, proxy: tuple[str, int]) -> None:
        self.here = here
        self.store = store
        self.core = core
        self.proxy = proxy

    def refused(self, act: Callable[[S3], Any]) -> str:
        with pytest.raises(RingwallError) as caught:
            act(self.store)
        shown = str(caught.value)
        assert not [value for value in VALUES.values() if value in shown]
        assert "secret-request-id" not in shown
        return caught.value.code


@contextmanager
def bench(
    folder: Path, says: Callable[[bytes], Any], *, seconds: float = 30.0, allowed: str = "",
) -> Generator[Bench]:
    with service(folder, says) as here, outlet(allowed or here.place) as proxy, handed() as (core, hand):
        store = S3(Place(url=here.url, ca=here.ca, proxy=proxy, seconds=seconds))
        core.give("le1")
        with given.during(hand.take("le1")):
            yield Bench(here, store, core, proxy)


def error(status: int, code: str) -> bytes:
    message = f"<Message>{VALUES['session_token']}</Message><RequestId>secret-request-id</RequestId>"
    return http(status, f"<Error><Code>{code}</Code>{message}</Error>".encode())


def test_a_request_is_signed_with_the_credential_and_goes_to_the_path_of_the_object(tmp_path: Path) -> None:
    with bench(tmp_path, lambda _: [http(200, "h\u00e9".encode())]) as at:
        assert at.store.get("s3://reports/team-1/a b+c.txt") == {
            "object": "reports/team-1/a b+c.txt", "bytes": 3, "text": "h\u00e9"}
        [request] = at.here.heard
        head = request.decode().split("\r\n")
        assert head[0] == "GET /reports/team-1/a%20b%2Bc.txt HTTP/1.1"
        assert f"Host: {at.here.place}" in head
        signed = next(line for line in head if line.startswith("Authorization: "))
        assert "Credential=AKIATEST/" in signed
        assert "/us-east-1/s3/aws4_request" in signed
        assert "X-Amz-Security-Token: t0ken" in head
        assert VALUES["secret_access_key"] not in request.decode()


@pytest.mark.parametrize(("said", "code"), [
    (error(403, "AccessDenied"), "s3_denied"), (error(401, "ExpiredToken"), "s3_denied"),
    (error(404, "NoSuchKey"), "s3_not_found"), (error(503, "SlowDown"), "s3_busy"), (error(429, ""), "s3_busy"),
    (error(500, "InternalError"), "s3_failed"), (error(400, "AuthorizationHeaderMalformed"), "s3_failed"),
    (error(400, "ExpiredToken"), "s3_failed"), (http(500, b"<html>"), "s3_failed"), (http(403), "s3_denied"),
    (http(301, b"", "Location: https://elsewhere.test/", "x-amz-bucket-region: mars-1"), "s3_failed"),
    (http(307, b"", "Location: https://169.254.169.254/"), "s3_failed"),
    (b"", "service_broken"), (b"nonsense\r\n\r\n", "service_broken"),
    (b"HTTP/1.1 200 OK\r\n\r\nabc", "service_broken"),  # nobody can say whether it is whole
    (b"HTTP/1.1 200 OK\r\nContent-Le", "service_broken"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "service_broken"),
    (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 500 + b"\r\n", "service_broken"),
    (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", "service_broken"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "service_broken"),
])
def test_each_wrong_answer_has_a_code_and_is_asked_for_once(tmp_path: Path, said: bytes, code: str) -> None:
    with bench(tmp_path, lambda _: [said]) as at:
        assert at.refused(lambda store: store.get("reports/a.txt")) == code
        assert len(at.here.heard) == 1


@pytest.mark.parametrize("pieces", [
    [f"HTTP/1.1 200 OK\r\nContent-Length: {MAX_OBJECT + 1}\r\n\r\n".encode(), None],
    [f"HTTP/1.1 200 OK\r\nContent-Length: {1 << 40}\r\n\r\n".encode(), None],
    [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"10000\r\n" + b"x" * 65536 + b"\r\n"] * 17, None],
    [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000000\r\n", *[b"x" * 65536] * 17, None],
])
def test_an_object_that_is_too_large_is_not_read_to_its_end(tmp_path: Path, pieces: list[bytes | None]) -> None:
    with bench(tmp_path, lambda _: pieces) as at:
        assert at.refused(lambda store: store.get("reports/a.txt")) == "result_too_large"


def test_the_largest_object_is_read_and_written_whole(tmp_path: Path) -> None:
    whole = b"\xff" * MAX_OBJECT
    with bench(tmp_path, lambda asked: [http(200, whole if asked.startswith(b"GET") else b"")]) as at:
        assert at.store.get("reports/a.bin")["bytes"] == MAX_OBJECT
        assert at.store.put("reports/a.txt", "x" * MAX_OBJECT)["bytes"] == MAX_OBJECT
        assert at.here.heard[1].endswith(b"\r\n\r\n" + b"x" * MAX_OBJECT)
        assert at.refused(lambda store: store.put("reports/a.txt", "x" * (MAX_OBJECT + 1))) == "bad_arguments"
        wide = "\u00fc" * (MAX_OBJECT // 2 + 1)
        assert at.refused(lambda store: store.put("reports/a.txt", wide)) == "bad_arguments"
        assert len(at.here.heard) == 2


@pytest.mark.parametrize("act", [
    lambda store: store.get("reports"), lambda store: store.get("reports/"), lambda store: store.get("/a"),
    lambda store: store.get("reports/a/"), lambda store: store.put("reports/", "x"),
    lambda store: store.put("reports/a", "no base64!", "base64"),
    lambda store: store.put("reports/a", "YQ", "base64"),
    lambda store: store.list("reports/team-1"), lambda store: store.put("reports/a", "\udc80"),
])
def test_what_names_no_object_is_not_asked(tmp_path: Path, act: Callable[[S3], Any]) -> None:
    with bench(tmp_path, lambda _: [http(200)]) as at:
        assert at.refused(act) == "bad_arguments"
        assert at.here.heard == []


def listing(count: int, more: bool) -> bytes:
    found = "".join(f"<Contents><Key>team-1/{n}</Key><Size>{n}</Size></Contents>" for n in range(count))
    return http(200, f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{found}"
                     "<NextContinuationToken>next</NextContinuationToken></ListBucketResult>".encode())


def test_a_listing_is_one_page_and_says_that_there_is_more(tmp_path: Path) -> None:
    with bench(tmp_path, lambda asked: [listing(2, b"team-1" in asked)]) as at:
        assert at.store.list("reports/team-1/") == {
            "objects": [{"object": "reports/team-1/0", "bytes": 0}, {"object": "reports/team-1/1", "bytes": 1}],
            "more": True}
        assert at.store.list("reports")["more"] is False
        lines = [request.split(b"\r\n")[0] for request in at.here.heard]
        assert b"prefix=team-1%2F" in lines[0]
        assert b"prefix=&" in lines[1] + b"&"  # said, though empty: the session policy looks at it
        assert all(b"max-keys=1000" in line for line in lines)


def test_a_store_that_lists_more_than_it_was_asked_for_is_cut(tmp_path: Path) -> None:
    with bench(tmp_path, lambda _: [listing(1500, False)]) as at:
        found = at.store.list("reports")
        assert len(found["objects"]) == 1000
        assert found["more"] is True


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"<ListBucketResult><Contents><Size>x</Size></Contents>",
                                  b"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>"])
def test_a_listing_that_is_none_is_refused(tmp_path: Path, body: bytes) -> None:
    with bench(tmp_path, lambda _: [http(200, body)]) as at:
        try:
            found = at.store.list("reports")
        except RingwallError as fault:
            assert fault.code in {"aws_unreadable", "s3_failed"}
        else:
            assert found == {"objects": [], "more": False}


def test_a_credential_that_is_dropped_ends_the_request_under_way(tmp_path: Path) -> None:
    with bench(tmp_path, lambda _: [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", None]) as at:
        def drop() -> None:
            assert at.here.waiting.wait(20)
            at.core.drop("le1")

        threading.Thread(target=drop, daemon=True).start()
        assert at.refused(lambda store: store.get("reports/a.txt")) == "credential_ended"
        assert at.refused(lambda store: store.get("reports/a.txt")) == "credential_ended"
        assert len(at.here.heard) == 1


def test_a_store_that_says_nothing_is_left(tmp_path: Path) -> None:
    with bench(tmp_path, lambda _: [None], seconds=0.3) as at:
        assert at.refused(lambda store: store.get("reports/a.txt")) == "service_broken"


def test_a_place_that_the_outlet_does_not_list_is_not_reached(tmp_path: Path) -> None:
    with bench(tmp_path, lambda _: [http(200)], allowed="elsewhere.test:443") as at:
        assert at.refused(lambda store: store.get("reports/a.txt")) == "service_unreachable"
        assert at.here.heard == []


def test_a_store_with_somebody_elses_certificate_is_told_nothing(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with bench(tmp_path, lambda _: [http(200)]) as at, service(tmp_path / "other", lambda _: []) as other:
        store = S3(Place(url=at.here.url, ca=other.ca, proxy=at.proxy))
        with pytest.raises(RingwallError, match="service_unreachable"):
            store.get("reports/a.txt")
        assert at.here.heard == []


def test_a_proxy_that_answers_anything_else_is_no_way_out() -> None:
    for said in (b"", b"HTTP/1.1 403 Forbidden\r\n\r\n", b"nonsense\r\n\r\n", b"x" * 20_000,
                 b"HTTP/1.1 2000 OK\r\n\r\n"):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def answer(what: bytes = said, at: socket.socket = listener) -> None:
                sock, _ = at.accept()
                with sock:
                    sock.recv(1024)
                    sock.sendall(what)

            thread = threading.Thread(target=answer)
            thread.start()
            with pytest.raises(RingwallError, match="service_unreachable"):
                tunnel.through(listener.getsockname(), "store.test", 443, 20.0)
            thread.join()


@pytest.mark.parametrize("url", ["http://store.test", "store.test", "", "https://", "https://a:b", "https://u@a",
                                 "https://a/?x", "ftp://a"])
def test_a_place_that_is_none_is_not_served(url: str) -> None:
    with pytest.raises(RingwallError, match="bad_place"):
        s3.operations(Place(url=url))


def test_a_credential_of_another_kind_is_no_use(tmp_path: Path) -> None:
    with bench(tmp_path, lambda _: [http(200)]) as at, given.during(Given({"password": "x"}, FAR)):
        assert at.refused(lambda store: store.get("reports/a.txt")) == "credential_missing"
