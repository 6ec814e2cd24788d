"""Whoever has a certificate of the trust domain, or none, and does at a listener what no honest sidecar does."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Generator

import pytest
from tests.faults.test_freeze import freeze, thaw
from tests.identity.svid.workshop import Ca, Ext, Leaf, ecdsa, uri, usage
from tests.impostor import Impostor, Line, http, rpc
from tests.peers import hostile
from tests.peers.support import pkcs8
from tests.stack import Puppet, Stack, wait_for
from tests.talking import Server, seen, send, spiffe

pytestmark = pytest.mark.confined

ANA, SAM, KIM = (spiffe(one) for one in ("acme/ana", "acme/sam", "globex/kim"))
EVIL = ANA.replace("acme.example", "evil.example")
BODY = rpc(message="never")
HEAD = b"POST / HTTP/1.1\r\nHost: sam\r\nContent-Type: application/json\r\n"


@pytest.fixture(autouse=True)
def nothing_else_arrives(ana: Puppet, sam: Server) -> Generator[None]:
    """Nothing that a test here sends gets to the receiver's server, and honest messages do afterwards."""
    before = len(seen(ana))
    yield
    after = seen(ana)
    assert not [one for one in after if one.startswith("never")]
    assert len(after) >= before


# --- HTTP


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in (*pieces, b""))


SMUGGLED = {
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + b"x" * 6,
    "a length twice in one": HEAD + b"Content-Length: 5, 5\r\n\r\n" + b"x" * 5,
    "a length and chunks": HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(BODY),
    "chunks and a length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + chunked(BODY),
    "chunks twice": HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + chunked(BODY),
    "chunks that are not last": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n" + chunked(BODY),
    "an unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + chunked(BODY),
    "a space before the colon": HEAD + b"Content-Length : 5\r\n\r\n" + b"x" * 5,
    "a folded header": HEAD + b"X-A: b\r\n c\r\nContent-Length: 5\r\n\r\n" + b"x" * 5,
    "a folded coding": HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + chunked(BODY),
    "bare line feeds": HEAD.replace(b"\r\n", b"\n") + b"Content-Length: 5\n\n" + b"x" * 5,
    "a bare line feed in a header": HEAD + b"X-A: b\nTransfer-Encoding: chunked\r\n\r\n" + chunked(BODY),
    "a bare return in a header": HEAD + b"X-A: b\rTransfer-Encoding: chunked\r\n\r\n" + chunked(BODY),
    "a zero byte in a header": HEAD + b"X-A: b\0c\r\nContent-Length: 5\r\n\r\n" + b"x" * 5,
    "a chunk size that is signed": HEAD + b"Transfer-Encoding: chunked\r\n\r\n+5\r\nxxxxx\r\n0\r\n\r\n",
    "a chunk size that wraps": HEAD + b"Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nxxxxx\r\n0\r\n\r\n",
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "a length with a sign": HEAD + b"Content-Length: +5\r\n\r\nxxxxx",
    "a length in hex": HEAD + b"Content-Length: 0x5\r\n\r\nxxxxx",
    "no version": b"POST /\r\n\r\n",
    "version 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version 1.2": HEAD.replace(b"1.1", b"1.2") + b"Content-Length: 5\r\n\r\nxxxxx",
    "an upgrade": HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}",
    "a tunnel": b"CONNECT sam:443 HTTP/1.1\r\nHost: sam\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\0\xa5\x01" * 20,
    "a huge header": HEAD + b"X-A: " + b"a" * 40_000 + b"\r\n\r\n",
    "many headers": HEAD + b"".join(b"X-%d: a\r\n" % n for n in range(4000)) + b"\r\n",
    "a huge target": b"POST /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: sam\r\n\r\n",
    "a length beyond all limits": HEAD + b"Content-Length: 99999999999\r\n\r\n",
    "a length beyond 64 bits": HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_what_two_readers_would_read_differently_ends_the_connection(
    sam: Server, impostor: Impostor, name: str
) -> None:
    envelope = impostor.sealed(BODY, sender=ANA, receiver=SAM)
    behind = http(BODY, envelope)
    with Line(sam.port, impostor.svid(ANA)) as line:
        answer = line.ask(SMUGGLED[name] + behind)
        assert answer.status == 0 or (answer.status >= 400 and answer.code), (answer.status, answer.body)
        assert b"HTTP/1.1 2" not in line.rest()


def test_of_pipelined_requests_only_the_first_counts(ana: Puppet, sam: Server, impostor: Impostor) -> None:
    first = rpc(message="first", parts=[{"text": "one"}])
    both = http(first, impostor.sealed(first, sender=ANA, receiver=SAM)) + http(
        BODY, impostor.sealed(BODY, sender=ANA, receiver=SAM))
    with Line(sam.port, impostor.svid(ANA)) as line:
        answer = line.ask(both)
        assert json.loads(answer.body)["result"]["message"]["parts"] == [{"text": "you said one"}]
        assert line.rest() == b""
    assert seen(ana)[-1] == "first"


def test_a_request_that_is_cut_off_never_happened(stack: Stack, sam: Server, impostor: Impostor) -> None:
    whole = http(BODY, impostor.sealed(BODY, sender=ANA, receiver=SAM))
    kinds = ("intent", "refused", "refused_before_call")
    before = len(stack.records("acme", *kinds))
    for cut in (1, 20, len(whole) - len(BODY) - 1, len(whole) - len(BODY), len(whole) - 1):
        with Line(sam.port, impostor.svid(ANA)) as line:
            line.sock.sendall(whole[:cut])
    wait_for("their end", lambda: stack.status()["messages"]["listening"][SAM]["connections"] < 2)
    assert len(stack.records("acme", *kinds)) == before


def test_a_connection_that_dribbles_keeps_nobody_out(ana: Puppet, sam: Server, impostor: Impostor) -> None:
    svid = impostor.svid(KIM)
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(Line(sam.port, svid)) for _ in range(20)]
        for line in lines:
            line.sock.sendall(b"POST / HT")
        assert "result" in send(ana, "meanwhile")
        for line in lines:
            line.sock.sendall(b"T")
        assert "result" in send(ana, "meanwhile")


def test_one_peer_does_not_take_all_connections(ana: Puppet, stack: Stack, sam: Server, impostor: Impostor) -> None:
    svid = impostor.svid(KIM)
    with contextlib.ExitStack() as many:
        lines = [many.enter_context(Line(sam.port, svid)) for _ in range(70)]
        answers = [line.ask(http(BODY)).status for line in lines]
        assert set(answers) <= {0, 200, 403}, answers
        assert 0 < answers.count(200) <= 64, answers
        assert "result" in send(ana, "meanwhile")
    wait_for("their end", lambda: stack.status()["messages"]["listening"][SAM]["connections"] < 5)


@pytest.mark.parametrize(("method", "path", "version", "code"), [
    ("POST", "/x", "1.0", "unknown_path"), ("POST", "//", "1.0", "unknown_path"),
    ("POST", "/%2F", "1.0", "unknown_path"), ("POST", "/?a=1", "1.0", "unknown_path"),
    ("GET", "/", "1.0", "unknown_path"), ("PUT", "/", "1.0", "unknown_path"),
    ("POST", "/", "0.3", "unknown_path"), ("POST", "/", "2.0", "unknown_path"),
    ("POST", "/.well-known/agent-card.json", "1.0", "unknown_path"),
    ("POST", "/rest/message:send", "1.0", "envelope_missing"),
    ("POST", "/rest/message%3Asend", "1.0", "a2a_bad_path"),
    ("POST", "/rest/../", "1.0", "a2a_unknown_path"), ("GET", "/rest/tasks/x", "1.0", "a2a_bad_body"),
    ("POST", "/push/0123", "1.0", "unknown_path"),
])  # fmt: skip
def test_a_wrong_path_method_or_version_is_refused(
    sam: Server, impostor: Impostor, method: str, path: str, version: str, code: str
) -> None:
    envelope = impostor.sealed(BODY, sender=ANA, receiver=SAM)
    body = BODY if not path.startswith("/rest/message:") else json.dumps(json.loads(BODY)["params"]).encode()
    with Line(sam.port, impostor.svid(ANA)) as line:
        answer = line.ask(http(body, envelope, method=method, path=path, version=version))
        assert answer.code == code, (answer.status, answer.body)


def test_two_envelopes_are_none(sam: Server, impostor: Impostor) -> None:
    made = impostor.sealed(BODY, sender=ANA, receiver=SAM)
    with Line(sam.port, impostor.svid(ANA)) as line:
        assert line.ask(http(BODY, made, more=f"Ringwall-Envelope: {made}\r\n")).code == "envelope_missing"


# --- TLS


def said(port: int, context: ssl.SSLContext) -> bytes:
    """The first line of the answer to an honest request; empty: nobody is let in, now or, as 1.3 has it, later."""
    try:
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10)) as line:
            line.sendall(http(BODY))
            return line.recv(4096).partition(b"\r\n")[0]
    except (ssl.SSLError, ConnectionError):
        return b""


def test_only_tls_1_3_with_a_certificate_of_the_trust_domain_gets_in(
    stack: Stack, sam: Server, impostor: Impostor
) -> None:
    good = impostor.svid(ANA)
    begins = good.issued_at
    stranger = Ca(name="stranger", id="spiffe://acme.example", begins=begins - 60, ends=begins + 3600).by()
    elsewhere = Ca(name="elsewhere", id="spiffe://evil.example", begins=begins - 60, ends=begins + 3600).by()

    def context(
        chain: tuple[bytes, ...] = (), key: bytes = b"", version: ssl.TLSVersion | None = None
    ) -> ssl.SSLContext:
        made = hostile.careless(ssl.PROTOCOL_TLS_CLIENT)
        if chain:
            hostile.load(made, chain, key)
        if version is not None:
            made.maximum_version = version
        return made

    key = pkcs8(ecdsa("thief"))
    leaf = Leaf(names=(uri(ANA),), key=ecdsa("thief"), begins=begins - 30, ends=begins + 600)
    assert said(sam.port, context()) == b""
    assert said(sam.port, context((leaf.by(stranger),), key)) == b""
    assert said(sam.port, context((leaf.by(stranger), stranger.certificate), key)) == b""
    assert said(sam.port, context((leaf.by(elsewhere),), key)) == b""
    assert said(sam.port, context(tuple(good.chain), good.key, ssl.TLSVersion.TLSv1_2)) == b""
    assert said(sam.port, context(tuple(good.chain), good.key)) == b"HTTP/1.1 200 OK"


def test_a_certificate_of_the_authority_that_is_no_svid_is_refused_and_counted(
    stack: Stack, sam: Server, impostor: Impostor
) -> None:
    """What OpenSSL lets through, the strict verifier in the core does not; and the log tells of it."""
    signer, now = impostor.signer(), float(int(time.time()))
    cases = {
        "expired": Leaf(names=(uri(ANA),), begins=now - 900, ends=now - 100),
        "not yet": Leaf(names=(uri(ANA),), begins=now + 100, ends=now + 900),
        "two names": Leaf(names=(uri(ANA), uri(KIM)), begins=now - 30, ends=now + 600),
        "another trust domain": Leaf(names=(uri(EVIL),), begins=now - 30, ends=now + 600),
        "a look-alike": Leaf(names=(uri(ANA.replace("/ana/", "/%61na/")),), begins=now - 30, ends=now + 600),
        "a dot": Leaf(names=(uri(ANA.replace("/ana/", "/./ana/")),), begins=now - 30, ends=now + 600),
        "no name": Leaf(names=(), begins=now - 30, ends=now + 600),
        "signs others": Leaf(names=(uri(ANA),), begins=now - 30, ends=now + 600,
                             key_usage=Ext(value=usage("digital_signature", "key_cert_sign"), critical=True)),
    }
    for name, leaf in cases.items():
        context = hostile.careless(ssl.PROTOCOL_TLS_CLIENT)
        hostile.load(context, (leaf.by(signer),), pkcs8(ecdsa("leaf")))
        assert said(sam.port, context) in {b"", b"HTTP/1.1 403 Forbidden"}, name
    codes = [one.body["code"] for one in wait_for(
        "the counted refusals", lambda: stack.records("acme", "peer_refused") or None)]
    assert codes, "what only the core can see is told in the log"


def test_a_session_cannot_be_resumed(sam: Server, impostor: Impostor) -> None:
    svid = impostor.svid(ANA)
    with Line(sam.port, svid) as line:
        line.ask(http(b"{}"))
        assert line.sock.version() == "TLSv1.3"
        assert line.sock.session is None or not line.sock.session.has_ticket


# --- who was let in and must go


def test_a_frozen_receiver_takes_nothing_more_over_an_open_connection(
    stack: Stack, ana: Puppet, sam: Server, impostor: Impostor
) -> None:
    with Line(sam.port, impostor.svid(ANA)) as line:
        body = rpc(message="before-freeze")
        assert line.ask(http(body, impostor.sealed(body, sender=ANA, receiver=SAM))).code == ""
        freeze(stack, "agent", "acme/sam")
        try:
            answer = line.ask(http(BODY, impostor.sealed(BODY, sender=ANA, receiver=SAM)))
            assert answer.status in {0, 403} or answer.code == "frozen", answer.body
            assert "code" in send(ana, "x", message_id="never-2")
        finally:
            thaw(stack, "agent", "acme/sam")
    wait_for("the way to be open again", lambda: "result" in send(ana, "again"))


def test_a_frozen_senders_open_connection_takes_nothing_more(
    stack: Stack, ana: Puppet, sam: Server, impostor: Impostor
) -> None:
    with Line(sam.port, impostor.svid(ANA)) as line:
        body = rpc(message="before-this-freeze")
        assert line.ask(http(body, impostor.sealed(body, sender=ANA, receiver=SAM))).code == ""
        freeze(stack, "agent", "acme/ana")
        try:
            answer = line.ask(http(BODY, impostor.sealed(BODY, sender=ANA, receiver=SAM)))
            assert answer.status in {0, 403} or answer.code, answer.body
            with contextlib.suppress(OSError), Line(sam.port, impostor.svid(ANA)) as fresh:
                again = fresh.ask(http(BODY, impostor.sealed(BODY, sender=ANA, receiver=SAM)))
                assert again.status in {0, 403} or again.code, again.body
        finally:
            thaw(stack, "agent", "acme/ana")
    wait_for("the way to be open again", lambda: "result" in send(ana, "again"))
