"""HTTP to strangers: what they may answer, and everything else they do."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tools.strangers import Answer, Resolver, Stranger, certificate, raw, says, stranger

from ringwall.errors import BadInput
from ringwall.tools.answer import HttpAnswer, decode_answer, encode_answer
from ringwall.tools.echo import Echoes, of_headers
from ringwall.tools.outside import Outside, OutsideFault

SECRET = 'sk-"s\\ecret"/4711+x'
Use = Callable[[Stranger, Outside], Awaitable[object]]


def talk(answer: Answer, use: Use, *, timeout_s: float = 20.0, max_bytes: int = 4096) -> list[bytes]:
    """Let ``use`` talk to a stranger that answers so; what the stranger saw."""

    async def run() -> list[bytes]:
        async with stranger(answer) as server:
            client = Outside(literal=["127.0.0.1"], timeout_s=timeout_s, max_bytes=max_bytes)
            try:
                await use(server, client)
            finally:
                await client.close()
            return server.seen

    return asyncio.run(run())


def got(answer: Answer, method: str = "GET", body: bytes = b"", **headers: str) -> HttpAnswer:
    found: list[HttpAnswer] = []

    async def use(server: Stranger, client: Outside) -> None:
        found.append(await client.send(method, server.url("/a?b=c"), headers, body))

    talk(answer, use)
    return found[0]


def fault(
    answer: Answer,
    *,
    timeout_s: float = 20.0,
    secrets: tuple[str, ...] = (),
    path: str = "/",
    headers: dict[str, str] | None = None,
) -> str:
    found: list[str] = []

    async def use(server: Stranger, client: Outside) -> None:
        with pytest.raises(OutsideFault) as caught:
            await client.send("GET", server.url(path), headers or {}, secrets=secrets)
        found.append(caught.value.code)

    talk(answer, use, timeout_s=timeout_s)
    return found[0]


def test_an_answer_comes_back_with_the_headers_that_mean_something() -> None:
    answer = got(says(b'{"a":1}', headers=["Set-Cookie: a=b", "Retry-After: 3", "Server: x"]))
    assert answer == HttpAnswer(
        status=200, body=b'{"a":1}', headers={"content-type": "application/json", "retry-after": "3"}
    )
    assert answer.kind == "application/json"


def test_a_request_holds_nothing_but_what_was_asked_for() -> None:
    async def use(server: Stranger, client: Outside) -> None:
        for _ in range(2):
            await client.send("POST", server.url("/p%2Fq?x=%20"), {"X-Key": "k"}, b"body")
        assert server.connections == 1

    seen = talk(says(headers=["Set-Cookie: track=1"]), use)
    for request in seen:
        lines = request.decode().split("\r\n")
        assert lines[0] == "POST /p%2Fq?x=%20 HTTP/1.1"
        assert {line.partition(":")[0] for line in lines[1:-2]} == {
            "Host",
            "Accept-Encoding",
            "User-Agent",
            "X-Key",
            "Content-Length",
        }
        assert "Accept-Encoding: identity" in lines
        assert lines[-1] == "body"


@pytest.mark.parametrize("status", ["301 x", "302 x", "307 x", "404 x", "500 x"])
def test_a_redirect_is_an_answer_and_nothing_is_followed(status: str) -> None:
    async def use(server: Stranger, client: Outside) -> None:
        answer = await client.send("GET", server.url(), {})
        assert (answer.status, answer.headers["location"]) == (int(status[:3]), "http://169.254.169.254/latest/")

    assert len(talk(says(status=status, headers=["Location: http://169.254.169.254/latest/"]), use)) == 1


def test_a_head_has_no_body() -> None:
    assert got(says(b"hello"), "HEAD").body == b""


CHUNK = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", *[b"x" * 65536] * 64),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[CHUNK] * 64),
        raw(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 65536] * 64),
    ],
    ids=["long", "endless chunks", "endless"],
)
def test_a_body_that_is_too_long_is_given_up(answer: Answer) -> None:
    assert fault(answer) == "result_too_large"


@pytest.mark.parametrize(
    "answer",
    [
        raw(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\n", *[b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(200)], b"\r\n"),
        raw(
            b"HTTP/1.1 200 OK\r\n",
            *[b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(80)],
            b"Content-Length: 0\r\n\r\n",
        ),
    ],
    ids=["one header", "too many", "many"],
)
def test_headers_that_are_too_long_are_given_up(answer: Answer) -> None:
    assert fault(answer) in {"result_too_large", "upstream_broken"}


def slow(*parts: bytes) -> Answer:
    """These bytes, then one more now and then, for ever."""

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        slow(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n"),
        slow(b"HTTP/1.1 200 OK\r\nX: "),
        slow(),
        raw(b""),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"),
        raw(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 20),
    ],
    ids=["body", "header", "status", "silent", "stops", "only continues"],
)
def test_an_answer_that_takes_too_long_is_given_up_though_it_never_pauses(answer: Answer) -> None:
    assert fault(answer, timeout_s=0.2) == "upstream_slow"


@pytest.mark.parametrize(
    "answer",
    [
        raw(b"nonsense\r\n\r\n"),
        raw(b"", end=True),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", end=True),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nA\0B: c\r\n\r\n"),
        raw(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n"),
    ],
)
def test_an_answer_that_is_no_http_is_broken(answer: Answer) -> None:
    assert fault(answer) == "upstream_broken"


@pytest.mark.parametrize(
    "answer",
    [
        says(gzip.compress(b"0" * 10**7)[:2000], headers=["Content-Encoding: gzip"]),
        says(headers=["Content-Encoding: br"]),
        says(headers=["Location: /a", "Location: /b"]),
        says(headers=["Location: /\xe9"]),
        says(headers=["Location: /" + "a" * 9000]),
    ],
    ids=["bomb", "br", "two places", "not ascii", "long place"],
)
def test_an_answer_with_two_readings_is_refused(answer: Answer) -> None:
    assert fault(answer) == "bad_answer"


SPELLINGS = [
    SECRET,
    quote(SECRET, safe=""),
    json.dumps(SECRET),
    SECRET.encode().hex(),
    base64.b64encode(SECRET.encode()).decode(),
    base64.b64encode(b"user:" + SECRET.encode() + b"!").decode(),
    base64.urlsafe_b64encode(b"xy" + SECRET.encode()).decode(),
    json.dumps({"a": "".join(f"\\u{ord(c):04x}" for c in SECRET)}).replace("\\\\", "\\"),
]


@pytest.mark.parametrize("text", SPELLINGS)
def test_a_secret_that_comes_back_is_withheld_in_every_plain_spelling(text: str) -> None:
    whole = text if text.startswith("{") else f"... {text} ..."
    assert fault(says(whole.encode()), secrets=(SECRET,)) == "upstream_echoes_secret"


def test_a_secret_in_a_header_is_withheld_too() -> None:
    answer = says(status="302 x", headers=["Location: /?t=" + quote(SECRET)])
    assert fault(answer, secrets=(SECRET,)) == "upstream_echoes_secret"


@given(st.data())
@settings(max_examples=50)
def test_a_secret_is_found_across_the_pieces_of_a_stream(data: st.DataObject) -> None:
    text = b"before " + SECRET.encode() + b" after"
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    echoes = Echoes([SECRET])
    assert any(echoes.piece(text[a:b]) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True))
    assert not Echoes([SECRET]).piece(b"nothing of the kind")


def test_a_short_value_is_no_secret_and_a_scheme_is_no_part_of_one() -> None:
    assert not Echoes(["short"]).whole(b"short")
    assert Echoes(of_headers(["Bearer long-enough"])).whole(b"long-enough")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil"},
        {"content-length": "3"},
        {"Transfer-Encoding": "chunked"},
        {"a b": "c"},
        {"": "c"},
        {"X": "a\r\nY: b"},
        {"X": "a\nb"},
        {"X": "a\0"},
        {"X": "é"},
        {"X": "a\tb"},
        {"X-A": "1", "x-a": "2"},
        {"Accept-Encoding": "gzip"},
    ],
)
def test_a_header_that_is_not_plain_is_never_sent(headers: dict[str, str]) -> None:
    assert fault(says(), headers=headers) == "bad_arguments"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/",
        "https://",
        "https://a b/",
        "https://a/\n",
        "https://u@a/",
        "https://a:0/",
        "https://a:99999/",
        "https://a:/",
        "https://a/#x",
        "https://a\\b/",
        "//a/",
        "https://a/é",
        "https://[::1",
        "",
        "https://a/" + "a" * 17000,
    ],
)
def test_a_url_that_is_not_plain_is_never_sent(url: str) -> None:
    async def run() -> None:
        resolver = Resolver()
        client = Outside(timeout_s=5, max_bytes=10, resolve=resolver)
        with pytest.raises(OutsideFault) as caught:
            await client.send("GET", url, {})
        assert caught.value.code == "bad_arguments"
        assert not caught.value.sent
        assert resolver.asked == []
        await client.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "2130706433",
        "0177.0.0.1",
        "0x7f.1",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "localhost",
        "inside.example",
    ],
)
def test_no_spelling_of_this_machine_is_reached(host: str) -> None:
    async def run() -> None:
        resolver = Resolver(inside_example=[["127.0.0.1"]], localhost=[["127.0.0.1"]])
        async with stranger(says()) as server:
            client = Outside(timeout_s=5, max_bytes=4096, resolve=resolver)
            with pytest.raises(OutsideFault) as caught:
                await client.send("GET", server.url(host=host), {})
            await client.close()
            assert caught.value.code == "address_refused"
            assert not caught.value.sent
            assert server.connections == 0

    asyncio.run(run())


def test_a_name_that_changes_its_mind_is_judged_anew_for_each_connection() -> None:
    """DNS rebinding: the address that was judged is the one connected to, and the next answer is judged too."""

    async def run() -> None:
        resolver = Resolver(rebind_example=[["127.0.0.2"], ["127.0.0.1"]])
        async with stranger(
            raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", end=True)
        ) as server:
            # 127.0.0.2 stands for a public address: nobody listens there, and 127.0.0.1 is what must not be reached
            client = Outside(private=["127.0.0.2/32"], timeout_s=5, max_bytes=4096, resolve=resolver)
            codes: list[str] = []
            for _ in range(2):
                with pytest.raises(OutsideFault) as caught:
                    await client.send("GET", server.url(host="rebind.example"), {})
                codes.append(caught.value.code)
            await client.close()
            assert codes == ["upstream_unreachable", "address_refused"]
            assert server.connections == 0
            assert len(resolver.asked) == 2  # once for each connection, not again between judging and connecting

    asyncio.run(run())


def test_a_private_network_that_is_declared_is_reached_by_name() -> None:
    async def run() -> None:
        async with stranger(says(b"here")) as server:
            client = Outside(
                private=["127.0.0.0/8"],
                timeout_s=5,
                max_bytes=4096,
                resolve=Resolver(inside_example=[["127.0.0.3", "127.0.0.1"]]),
            )
            answer = await client.send("GET", server.url(host="inside.example"), {})
            await client.close()
            assert answer.body == b"here"
            assert f"Host: inside.example:{server.port}".encode() in server.seen[0]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("named", "trusted", "code"),
    [
        ("inside.example", True, ""),
        ("other.example", True, "upstream_unreachable"),
        ("inside.example", False, "upstream_unreachable"),
    ],
)
def test_a_server_proves_the_name_that_was_asked_for_not_the_address(
    tmp_path: Path, named: str, trusted: bool, code: str
) -> None:
    async def run() -> str:
        server_tls, client_tls = certificate(tmp_path, named)
        async with stranger(says(b"here"), server_tls) as server:
            client = Outside(
                private=["127.0.0.0/8"],
                timeout_s=5,
                max_bytes=4096,
                resolve=Resolver(inside_example=[["127.0.0.1"]]),
                tls=client_tls if trusted else None,
            )
            try:
                await client.send("GET", server.url(host="inside.example", scheme="https"), {})
            except OutsideFault as found:
                return found.code
            finally:
                await client.close()
            return ""

    assert asyncio.run(run()) == code


def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert got(says(b"direct")).body == b"direct"


def test_a_stream_comes_piece_by_piece_and_may_be_left_early() -> None:
    async def use(server: Stranger, client: Outside) -> None:
        async with client.stream("POST", server.url(), {"Accept": "text/event-stream"}, b"{}") as answer:
            assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
            async for piece in answer.pieces:
                assert piece
                break
        async with client.stream("GET", server.url(), {}) as again:
            assert b"".join([piece async for piece in again.pieces]) == b"onetwo"

    chunks = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    talk(raw(chunks, b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n"), use)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"), "upstream_slow"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", end=True), "upstream_broken"),
    ],
)
def test_a_stream_that_pauses_or_breaks_says_so(answer: Answer, code: str) -> None:
    async def use(server: Stranger, client: Outside) -> None:
        with pytest.raises(OutsideFault) as caught:
            async with client.stream("GET", server.url(), {}) as found:
                async for _ in found.pieces:
                    pass
        assert caught.value.code == code

    talk(answer, use, timeout_s=0.2)


@given(st.integers(100, 599), st.binary(max_size=200), st.text(max_size=50))
@settings(max_examples=100)
def test_an_answer_survives_the_way_to_the_core(status: int, body: bytes, kind: str) -> None:
    answer = HttpAnswer(status=status, headers={"content-type": kind}, body=body)
    assert decode_answer(encode_answer(answer)) == answer


@given(
    st.binary(max_size=100)
    | st.dictionaries(st.text(max_size=8), st.text(max_size=8) | st.integers()).map(
        lambda value: json.dumps(value).encode()
    )
)
@settings(max_examples=200)
def test_whatever_a_sidecar_says_is_an_answer_or_refused(text: bytes) -> None:
    try:
        assert isinstance(decode_answer(text), HttpAnswer)
    except BadInput as found:
        assert found.code == "bad_answer"


@pytest.mark.parametrize(
    "text",
    [
        '{"status":200,"headers":{}}',
        '{"status":200,"headers":{},"text":"a","base64":"YQ=="}',
        '{"status":200,"headers":{"set-cookie":"a"},"text":""}',
        '{"status":200,"headers":{},"base64":"???"}',
        '{"status":7,"headers":{},"text":""}',
        '{"status":200,"headers":{},"text":"","more":1}',
    ],
)
def test_an_answer_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        decode_answer(text.encode())
