from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from tests.keys.holding import bound_to_its_generation, code_of, mark, told_when_damaged

from ringwall.errors import BadInput, Refused, Unavailable
from ringwall.keys import passphrase
from ringwall.keys.conformance import source_self_check
from ringwall.keys.passphrase import PassphraseSeal
from ringwall.keys.sealed import SealedSource

PHRASE = b"six random words are a passphrase"


def quickly(plain: bytes, phrase: str, cost: int = 10) -> bytes:
    """age-encryption.org/v1 with one scrypt recipient of a low cost: the library's own takes seconds."""
    def derived(key: bytes, salt: bytes, info: bytes) -> bytes:
        return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(key)

    def text(data: bytes) -> bytes:
        return base64.b64encode(data).rstrip(b"=")

    key, salt, nonce = (secrets.token_bytes(16) for _ in range(3))
    wrapping = hashlib.scrypt(phrase.encode(), salt=b"age-encryption.org/v1/scrypt" + salt, n=2**cost, r=8, p=1,
                              maxmem=2**28, dklen=32)
    head = (b"age-encryption.org/v1\n-> scrypt " + text(salt) + b" %d\n" % cost
            + text(ChaCha20Poly1305(wrapping).encrypt(bytes(12), key, None)) + b"\n---")
    proof = hmac.new(derived(key, b"", b"header"), head, "sha256").digest()
    body = ChaCha20Poly1305(derived(key, nonce, b"payload")).encrypt(bytes(11) + b"\x01", plain, None)
    return head + b" " + text(proof) + b"\n" + nonce + body


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = passphrase.ask

    def asked(module: str, question: dict[str, str], seconds: float) -> tuple[str, str]:
        if question["act"] == "unseal":
            return ask(module, question, seconds)
        return "done", base64.b64encode(quickly(base64.b64decode(question["data"]), question["phrase"])).decode()

    monkeypatch.setattr(passphrase, "ask", asked)


def source(folder: Path) -> SealedSource:
    return SealedSource(folder, PassphraseSeal())


@pytest.mark.usefixtures("quick")
def test_a_passphrase_keeps_every_promise_of_a_source(tmp_path: Path) -> None:
    source_self_check(source(tmp_path), [PHRASE])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_a_file_of_one_generation_does_not_pass_as_another_one(tmp_path: Path) -> None:
    bound_to_its_generation(source(tmp_path), tmp_path, [PHRASE])


@pytest.mark.usefixtures("quick")
def test_a_damaged_or_open_file_is_told(tmp_path: Path) -> None:
    told_when_damaged(source(tmp_path), tmp_path, [PHRASE])


def test_what_the_library_writes_opens_with_the_passphrase_alone(tmp_path: Path) -> None:
    keys, shown = source(tmp_path).create(1, [PHRASE])
    assert shown == ()
    assert mark(source(tmp_path).open(1, [PHRASE])) == mark(keys)
    kept = base64.b64decode((tmp_path / "root-1.passphrase").read_bytes().split(b"\n")[1])
    assert int(kept.split(b"\n")[1].split(b" ")[3]) >= 14  # 2^14: scrypt as slow as for a login, at least


@pytest.mark.usefixtures("quick")
def test_a_wrong_passphrase_is_refused_without_repeating_it(tmp_path: Path) -> None:
    source(tmp_path).create(1, [PHRASE])
    with pytest.raises(Refused) as found:
        source(tmp_path).open(1, [b"six random words are a passphrasf"])
    assert code_of(found) == "root_key_wrong"
    assert "random" not in str(found.value)
    with pytest.raises(Unavailable) as sealed:
        source(tmp_path).open(1, [])
    assert code_of(sealed) == "root_key_sealed"


def test_a_short_passphrase_is_refused_when_a_root_is_made(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as found:
        source(tmp_path).create(1, [b"hunter2hunt"])
    assert code_of(found) == "weak_passphrase"
    with pytest.raises(BadInput) as found:
        source(tmp_path).create(1, [])
    assert code_of(found) == "bad_answers"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answers", [
    [b""], [b"\xff" * 20], [b"with its line's end\n"], [b"x" * 1025], [PHRASE, PHRASE], [b"nul\x00" * 5],
])
def test_answers_that_are_no_passphrase_are_refused(tmp_path: Path, answers: list[bytes]) -> None:
    with pytest.raises(BadInput) as found:
        source(tmp_path).create(1, answers)
    assert code_of(found) == "bad_answers"


def test_a_file_that_would_take_minutes_here_is_told_apart_from_a_wrong_passphrase() -> None:
    blob = quickly(b"x" * 52, PHRASE.decode()).replace(b" 10\n", b" 40\n", 1)
    with pytest.raises(Unavailable, match="faster machine") as found:
        PassphraseSeal().unseal(blob, [PHRASE])
    assert code_of(found) == "keys_unavailable"


def test_too_little_memory_is_told_and_takes_the_core_not_down(tmp_path: Path) -> None:
    program = ("import resource, sys; from pathlib import Path\n"
               "from ringwall.errors import Unavailable\n"
               "from ringwall.keys.passphrase import PassphraseSeal\n"
               "resource.setrlimit(resource.RLIMIT_AS, (2**28, 2**28))\n"
               "try: PassphraseSeal().unseal(Path(sys.argv[1]).read_bytes(), [b'six random words'])\n"
               "except Unavailable as fault: print(fault.code, fault.remedy)\n")
    blob = quickly(b"x" * 52, "six random words").replace(b" 10\n", b" 20\n", 1)
    (tmp_path / "blob").write_bytes(blob)
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "blob")], check=False,
                          capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("keys_unavailable"), done.stderr
    assert "memory" in done.stdout


@pytest.mark.parametrize(("answer", "code"), [
    (("missing", ""), "keys_backend_missing"), (("down", "its process crashed"), "keys_unavailable"),
    (("done", "!!!"), "keys_unavailable"), (("what", "ever"), "keys_unavailable"),
])
def test_whatever_the_process_says_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: tuple[str, str], code: str
) -> None:
    monkeypatch.setattr(passphrase, "ask", lambda *_: answer)
    with pytest.raises(Unavailable) as found:
        source(tmp_path).create(1, [PHRASE])
    assert code_of(found) == code
    assert list(tmp_path.iterdir()) == []
