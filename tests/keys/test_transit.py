from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.keys.holding import bound_to_its_generation, code_of, mark, told_when_damaged

from ringwall.errors import BadInput, Refused, RingwallError, Unavailable
from ringwall.keys.conformance import source_self_check
from ringwall.keys.interface import RootSource, Transit
from ringwall.keys.sources import source
from ringwall.manifest.types import VaultSettings


class Engine:
    """A transit engine in memory."""

    def __init__(self) -> None:
        self._key = AESGCM(secrets.token_bytes(32))
        self.fault: RingwallError | None = None
        self.says: bytes | None = None
        self.answer: str | None = None

    def encrypt(self, plain: bytes) -> str:
        if self.fault:
            raise self.fault
        nonce = secrets.token_bytes(12)
        sealed = base64.b64encode(nonce + self._key.encrypt(nonce, plain, None)).decode()
        return f"vault:v1:{sealed}" if self.answer is None else self.answer

    def decrypt(self, blob: str) -> bytes:
        if self.fault:
            raise self.fault
        if self.says is not None:
            return self.says
        try:
            data = base64.b64decode(blob.removeprefix("vault:v1:"), validate=True)
            return self._key.decrypt(data[:12], data[12:], None)
        except (ValueError, InvalidTag):
            raise Refused("the service refused it", code="root_key_wrong", remedy="look at its log") from None


def sealed(folder: Path, transit: Transit) -> RootSource:
    return source(VaultSettings(root="transit", transit="bao", key="ringwall"), folder, transit)


def test_an_engine_keeps_every_promise_of_a_source(tmp_path: Path) -> None:
    source_self_check(sealed(tmp_path, Engine()), ())
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_one_generation_does_not_pass_as_another_one(tmp_path: Path) -> None:
    bound_to_its_generation(sealed(tmp_path, Engine()), tmp_path, ())


def test_a_damaged_or_open_file_is_told(tmp_path: Path) -> None:
    told_when_damaged(sealed(tmp_path, Engine()), tmp_path)


@pytest.mark.parametrize("code", ["broker_unavailable", "provider_unreachable", "provider_slow"])
def test_an_engine_that_does_not_answer_opens_nothing_and_loses_nothing(tmp_path: Path, code: str) -> None:
    engine = Engine()
    keys, _ = sealed(tmp_path, engine).create(1, ())
    engine.fault = Unavailable("nobody is there", code=code)
    for act in (lambda: sealed(tmp_path, engine).open(1, ()), lambda: sealed(tmp_path, engine).create(2, ())):
        with pytest.raises(Unavailable, match="nobody is there") as found:
            act()
        assert code_of(found) == "keys_unavailable"
    engine.fault = None
    assert mark(sealed(tmp_path, engine).open(1, ())) == mark(keys)
    assert [one.name for one in tmp_path.iterdir()] == ["root-1.transit"]


def test_what_the_engine_refuses_stays_refused(tmp_path: Path) -> None:
    engine = Engine()
    sealed(tmp_path, engine).create(1, ())
    engine.fault = Refused("permission denied", code="provider_denied")
    with pytest.raises(Refused) as found:
        sealed(tmp_path, engine).open(1, ())
    assert found.value.code == "provider_denied"


@pytest.mark.parametrize("says", [b"", b"x", b"r" * 32, b"r" * 52, b"r" * 100_000])
def test_an_engine_that_gives_other_bytes_back_opens_nothing(tmp_path: Path, says: bytes) -> None:
    engine = Engine()
    sealed(tmp_path, engine).create(1, ())
    engine.says = says
    with pytest.raises(Refused) as found:
        sealed(tmp_path, engine).open(1, ())
    assert code_of(found) == "root_key_wrong"
    with pytest.raises(Unavailable) as lost:
        sealed(tmp_path, engine).create(2, ())
    assert code_of(lost) == "keys_unavailable"
    assert not (tmp_path / "root-2.transit").exists()


@pytest.mark.parametrize("answer", ["", "vault:v1:é", "vault:v1:\n", "x" * 8193])
def test_what_is_no_ciphertext_is_not_kept(tmp_path: Path, answer: str) -> None:
    engine = Engine()
    engine.answer = answer
    with pytest.raises(Unavailable) as found:
        sealed(tmp_path, engine).create(1, ())
    assert code_of(found) == "keys_unavailable"
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_holds_no_text_is_damaged(tmp_path: Path) -> None:
    engine = Engine()
    sealed(tmp_path, engine).create(1, ())
    path = tmp_path / "root-1.transit"
    path.write_bytes(b"ringwall-root-v1 transit 1\n" + base64.b64encode(b"\xff\xfe") + b"\n")
    with pytest.raises(BadInput) as found:
        sealed(tmp_path, engine).open(1, ())
    assert code_of(found) == "bad_root_key"


class Bao:
    """The transit engine of a real OpenBao, over plain HTTP on this machine."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, path: str, **body: str) -> dict[str, dict[str, str]]:
        line = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            line.request("POST", f"/v1/{path}", json.dumps(body), {"X-Vault-Token": "root"})
            answer = line.getresponse()
            content = answer.read()
        except OSError as fault:
            raise Unavailable(str(fault), code="provider_unreachable", remedy="start it") from None
        finally:
            line.close()
        if answer.status >= 400:
            raise Refused(f"it answered {answer.status}", code="root_key_wrong", remedy="look at its log")
        return json.loads(content or b"{}")

    def encrypt(self, plain: bytes) -> str:
        sent = base64.b64encode(plain).decode()
        return self.ask("transit/encrypt/ringwall", plaintext=sent)["data"]["ciphertext"]

    def decrypt(self, blob: str) -> bytes:
        return base64.b64decode(self.ask("transit/decrypt/ringwall", ciphertext=blob)["data"]["plaintext"])


@pytest.fixture
def bao(tmp_path: Path) -> Iterator[Bao]:
    program = os.environ.get("RINGWALL_BAO")
    if not program:
        pytest.skip("needs_bao: RINGWALL_BAO does not name an OpenBao")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [program, "server", "-dev", f"-dev-listen-address=127.0.0.1:{port}", "-dev-root-token-id=root",
         "-dev-no-store-token"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if b"Development mode should NOT" in line:
                break
        made = Bao(port)
        made.ask("sys/mounts/transit", type="transit")
        made.ask("transit/keys/ringwall")
        yield made
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()


def test_openbao_keeps_every_promise_and_its_keys_may_be_rotated(bao: Bao, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    source_self_check(sealed(folder, bao), ())
    keys, _ = sealed(folder, bao).create(1, ())
    bao.ask("transit/keys/ringwall/rotate")
    newer, _ = sealed(folder, bao).create(2, ())
    assert mark(sealed(folder, bao).open(1, ())) == mark(keys)
    assert mark(sealed(folder, bao).open(2, ())) == mark(newer)
    bao.ask("transit/keys/ringwall/config", min_decryption_version="2")
    with pytest.raises(Refused):
        sealed(folder, bao).open(1, ())
    assert mark(sealed(folder, bao).open(2, ())) == mark(newer)
