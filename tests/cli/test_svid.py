"""``ringwall svid``: what it shows, and that its verdict is the verifier's."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.fakes import run
from tests.identity.svid.workshop import Ca as Authority
from tests.identity.svid.workshop import Leaf, uri
from tests.identity.svid.world import ANA, ONE, World

from ringwall.cli.svid import svid
from ringwall.identity.svid import bundle as documents
from ringwall.identity.svid.interface import Bundle


class Files:
    """What the authority of a moment ago issued, as files."""

    def __init__(self, folder: Path) -> None:
        world = World(folder)
        world.clock.seconds = time.time()
        run(world.authority.start())
        issued = run(world.authority.x509_svid(ANA, ONE))
        self.bundle = str(world.folder / "bundle.json")
        self.der, self.pem, self.jwt = (folder / name for name in ("a.der", "a.pem", "a.jwt"))
        self.der.write_bytes(issued.chain[0])
        self.pem.write_bytes(b"Subject: x\n" + b"".join(
            x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
            for der in (*issued.chain, *issued.authorities)))
        self.jwt.write_text(run(world.authority.jwt_svid(ANA, ONE, ["vault"])).token + "\n")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def call(*args: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(svid, [str(arg) for arg in args])
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("kind", ["der", "pem"])
def test_a_valid_chain_is_valid(files: Files, kind: str) -> None:
    code, out, _ = call("verify", getattr(files, kind), "--bundle", files.bundle, "--id", ANA)
    assert code == 0
    assert out.startswith(f"valid: {ANA}\n       until ")


def test_a_valid_token_is_valid_for_its_audience(files: Files) -> None:
    assert call("verify", files.jwt, "--bundle", files.bundle, "--audience", "vault")[0] == 0
    code, _, err = call("verify", files.jwt, "--bundle", files.bundle, "--audience", "other")
    assert (code, "token_audience" in err) == (1, True)
    assert call("verify", files.jwt, "--bundle", files.bundle)[0] == 2


def test_a_refusal_has_exit_code_1_a_code_and_a_cause(files: Files) -> None:
    code, out, err = call("verify", files.pem, "--bundle", files.bundle, "--id", str(ANA) + "x")
    assert (code, out) == (1, "")
    assert err.startswith("ringwall: svid_wrong_id: it belongs to ")
    code, out, _ = call("verify", files.pem, "--bundle", files.bundle, "--id", str(ANA) + "x", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "svid_wrong_id")


def test_a_changed_certificate_is_refused(files: Files) -> None:
    raw = files.der.read_bytes()
    files.der.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    code, _, err = call("verify", files.der, "--bundle", files.bundle)
    assert (code, "svid_untrusted" in err) == (1, True)


def test_the_bundle_must_say_whose_it_is_and_the_certificate_is_not_asked(tmp_path: Path) -> None:
    now = time.time()
    mine = Authority(name="mine", id="", begins=now - 60, ends=now + 60).by()
    (tmp_path / "leaf.der").write_bytes(Leaf(begins=now - 60, ends=now + 60).by(mine))
    (tmp_path / "b.json").write_bytes(
        documents.document(Bundle(trust_domain="x", authorities=(mine.certificate,))))
    ask = ("verify", tmp_path / "leaf.der", "--bundle", tmp_path / "b.json")
    code, _, err = call(*ask)
    assert (code, "svid_whose_bundle" in err) == (1, True)
    assert call(*ask, "--domain", "example.org")[0] == 0
    code, _, err = call(*ask, "--domain", "partner.test")
    assert (code, "svid_unknown_domain" in err) == (1, True)


@pytest.mark.parametrize("content", [
    b"", b"\xff" * 99, b"-----BEGIN CERTIFICATE-----\nMII", b"a.b.c", b"x" * (2 << 20),
    b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
])
def test_garbage_is_an_error_and_no_traceback(tmp_path: Path, files: Files, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    for words in (["show", tmp_path / "x"], ["verify", files.der, "--bundle", tmp_path / "x"],
                  ["verify", tmp_path / "x", "--bundle", files.bundle, "--audience", "a"]):
        code, _, err = call(*words)
        assert code == 1, words
        assert err.startswith("ringwall: ")


def test_show_says_what_stands_there_and_that_nothing_was_verified(files: Files) -> None:
    code, out, err = call("show", files.pem)
    assert code == 0
    for words in ("leaf\n", "certificate 2\n", str(ANA), "digital_signature", "server, client", "O=Ringwall"):
        assert words in out
    assert "Not verified" in err
    code, out, _ = call("show", files.jwt, "--json")
    assert (code, json.loads(out)["claims"]["tenant"]) == (0, "acme")
    assert len(json.loads(call("show", files.pem, "--json")[1])["certificates"]) == 2


def test_nothing_shown_can_steer_a_terminal(tmp_path: Path) -> None:
    mine = Authority(name="mine").by()
    (tmp_path / "x").write_bytes(Leaf(names=(uri("spiffe://x/\x1b[2J\x07"),), subject="a\x1b[1mb").by(mine))
    code, out, err = call("show", tmp_path / "x")
    assert code == 0
    assert all(c.isprintable() or c == "\n" for c in out + err)
