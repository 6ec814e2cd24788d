from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.keys.holding import bound_to_its_generation, code_of, mark, told_when_damaged

from ringwall.errors import Refused, Unavailable
from ringwall.keys import pkcs11
from ringwall.keys.conformance import source_self_check
from ringwall.keys.pkcs11 import Pkcs11Seal
from ringwall.keys.sealed import SealedSource

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN, OFFICER = "4711-abc", "87654321"
needs_softhsm = pytest.mark.skipif(
    shutil.which("softhsm2-util") is None or not MODULE.exists(), reason="needs_softhsm: apt-get install softhsm2")


class Token:
    """A token of SoftHSM in a folder of its own, and a PIN file."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = folder / "tokens"
        self.store.mkdir()
        self.keys = folder / "keys"
        self.keys.mkdir()
        self.pin_file = folder / "pin"
        self.write_pin(PIN)
        settings = folder / "softhsm2.conf"
        settings.write_text(f"directories.tokendir = {self.store}\nobjectstore.backend = file\nlog.level = ERROR\n")
        monkeypatch.setenv("SOFTHSM2_CONF", str(settings))
        self.add("ringwall")

    def add(self, label: str) -> None:
        subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN,
                        "--so-pin", OFFICER], check=True, capture_output=True, timeout=60)

    def write_pin(self, pin: str) -> None:
        self.pin_file.unlink(missing_ok=True)
        self.pin_file.touch(mode=0o600)
        self.pin_file.write_text(pin + "\n")

    def seal(self, module: Path = MODULE, label: str = "ringwall") -> Pkcs11Seal:
        return Pkcs11Seal(module=module, token=label, pin_file=self.pin_file, notes=self.keys)

    def source(self) -> SealedSource:
        return SealedSource(self.keys, self.seal())

    def objects(self) -> str:
        done = subprocess.run(
            ["pkcs11-tool", "--module", str(MODULE), "--token-label", "ringwall", "--login", "--pin", PIN,
             "--list-objects"], check=True, capture_output=True, text=True, timeout=60)
        return done.stdout

    def count(self) -> int:
        return len(list(self.store.glob("*/*.object"))) - 1  # one is the token itself


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Token]:
    yield Token(tmp_path, monkeypatch)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each act that the token's process was started for."""
    seen: list[str] = []
    ask = pkcs11.ask

    def watched(module: str, question: dict[str, str], seconds: float) -> tuple[str, str]:
        seen.append(question["act"])
        return ask(module, question, seconds)

    monkeypatch.setattr(pkcs11, "ask", watched)
    return seen


@needs_softhsm
def test_a_token_keeps_every_promise_of_a_source_and_nothing_afterwards(token: Token) -> None:
    source_self_check(token.source(), ())
    assert list(token.keys.iterdir()) == []
    assert token.count() == 0


@needs_softhsm
def test_a_file_of_one_generation_does_not_pass_as_another_one(token: Token) -> None:
    bound_to_its_generation(token.source(), token.keys, ())


@needs_softhsm
def test_a_damaged_or_open_file_is_told(token: Token) -> None:
    told_when_damaged(token.source(), token.keys)


@needs_softhsm
@pytest.mark.skipif(shutil.which("pkcs11-tool") is None, reason="needs_softhsm: apt-get install opensc")
def test_the_key_in_the_token_cannot_leave_it(token: Token) -> None:
    token.source().create(1, ())
    listed = token.objects()
    assert "AES length 32" in listed
    assert "never extractable" in listed
    assert "sensitive" in listed
    assert "encrypt, decrypt\n" in listed.lower()  # and neither wraps nor derives


@needs_softhsm
def test_a_dropped_generation_is_destroyed_in_the_token_alone(token: Token) -> None:
    token.source().create(1, ())
    keys, _ = token.source().create(2, ())
    assert token.count() == 2
    token.source().drop(1)
    assert token.count() == 1
    assert mark(token.source().open(2, ())) == mark(keys)


@needs_softhsm
def test_a_wrong_pin_is_tried_once_and_never_again_until_its_file_is_new(token: Token, asked: list[str]) -> None:
    keys, _ = token.source().create(1, ())
    token.write_pin("0000-wrong")
    asked.clear()
    for _ in range(3):
        with pytest.raises(Refused, match="not tried again") as found:
            token.source().open(1, ())  # a new source each time: as after a restart
        assert code_of(found) == "pin_refused"
        assert "0000" not in str(found.value)
    with pytest.raises(Refused):
        token.source().create(2, ())
    assert asked == ["unseal"]
    note = token.keys / "pkcs11.refused"
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert b"0000" not in note.read_bytes()
    token.write_pin("1111-wrong")
    with pytest.raises(Refused):
        token.source().open(1, ())
    assert asked == ["unseal"] * 2
    token.write_pin(PIN)
    assert mark(token.source().open(1, ())) == mark(keys)


@needs_softhsm
@pytest.mark.parametrize("label", ["nobody", "twice"])
def test_a_token_that_is_gone_or_there_twice_is_unavailable(token: Token, label: str) -> None:
    token.add("twice")
    token.add("twice")
    with pytest.raises(Unavailable, match=label) as found:
        SealedSource(token.keys, token.seal(label=label)).create(1, ())
    assert code_of(found) == "keys_unavailable"
    assert list(token.keys.iterdir()) == []


@needs_softhsm
def test_a_token_that_was_removed_and_comes_back_opens_again(token: Token) -> None:
    keys, _ = token.source().create(1, ())
    inside = next(token.store.iterdir())
    inside.rename(token.keys.parent / "drawer")
    with pytest.raises(Unavailable) as found:
        token.source().open(1, ())
    assert code_of(found) == "keys_unavailable"
    with pytest.raises(Unavailable):
        token.source().drop(1)
    (token.keys.parent / "drawer").rename(inside)
    assert mark(token.source().open(1, ())) == mark(keys)


@needs_softhsm
def test_another_token_of_the_same_name_does_not_have_the_key(token: Token) -> None:
    token.source().create(1, ())
    shutil.rmtree(next(token.store.iterdir()))
    token.add("ringwall")
    with pytest.raises(Unavailable, match="does not hold the key") as found:
        token.source().open(1, ())
    assert code_of(found) == "root_key_missing"


@needs_softhsm
def test_a_library_that_is_no_token_or_hangs_is_unavailable(
    token: Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    junk = tmp_path / "junk.so"
    junk.write_bytes(b"\x7fELF nothing")
    for module in (junk, tmp_path / "none.so"):
        with pytest.raises(Unavailable) as found:
            token.seal(module).seal(b"x", ())
        assert code_of(found) == "keys_unavailable"
    monkeypatch.setattr(pkcs11, "_SECONDS", 0.001)
    with pytest.raises(Unavailable, match="did not answer") as found:
        token.seal().seal(b"x", ())
    assert code_of(found) == "keys_unavailable"


@pytest.mark.parametrize(("said", "code"), [
    (b"", 0), (b"done\n", 0), (b"done\n!!!\n", 0), (b"done\nAAAA\nmore\n", 0), (b"what\never\n", 0),
    (b"\xff" * 99, 0), (b"done\nAAAA\n", 1), (b"done\nAAAA\n", -11)])
def test_a_process_that_crashes_or_answers_garbage_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes, code: int
) -> None:
    pin = tmp_path / "pin"
    pin.touch(mode=0o600)
    pin.write_text("1234")
    run = subprocess.run

    def lying(command: list[str], **how: object) -> object:
        end = f"os.kill(os.getpid(), {-code})" if code < 0 else f"sys.exit({code})"
        program = f"import os, sys; sys.stdin.read(); sys.stdout.buffer.write({said!r}); sys.stdout.flush(); {end}"
        return run([sys.executable, "-c", program], **how)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", lying)
    with pytest.raises(Unavailable) as found:
        Pkcs11Seal(module=MODULE, token="t", pin_file=pin, notes=tmp_path).unseal(b"x" * 60, ())
    assert code_of(found) == "keys_unavailable"


@pytest.mark.parametrize(("content", "mode", "code"), [
    (b"1234\n", 0o644, "root_key_exposed"), (b"", 0o600, "keys_unavailable"), (b"\n", 0o600, "keys_unavailable"),
    (b"12\n34\n", 0o600, "keys_unavailable"), (b"\xff\xff", 0o600, "keys_unavailable"),
    (b"1" * 300, 0o600, "keys_unavailable"), (b"12\x0034", 0o600, "keys_unavailable"),
    (None, 0o600, "keys_unavailable"),
])
def test_a_file_that_holds_no_pin_of_ours_reaches_no_token(
    tmp_path: Path, asked: list[str], content: bytes | None, mode: int, code: str
) -> None:
    pin = tmp_path / "pin"
    if content is not None:
        pin.write_bytes(content)
        pin.chmod(mode)
    with pytest.raises(Unavailable) as found:
        Pkcs11Seal(module=MODULE, token="t", pin_file=pin, notes=tmp_path).seal(b"x", ())
    assert code_of(found) == code
    assert asked == []


@needs_softhsm
def test_the_pin_is_in_no_argument_of_the_process(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    run, seen = subprocess.run, []

    def watched(command: list[str], **how: object) -> object:
        seen.extend([*command, *map(str, dict(how["env"]).values())])  # type: ignore[call-overload]
        return run(command, **how)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", watched)
    token.source().create(1, ())
    assert seen
    assert not any(PIN in word for word in seen)


def test_without_its_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin = tmp_path / "pin"
    pin.touch(mode=0o600)
    pin.write_text("1234")
    monkeypatch.setattr(pkcs11, "ask", lambda *_: ("missing", ""))
    with pytest.raises(Unavailable, match=r"ringwall\[pkcs11\]") as found:
        Pkcs11Seal(module=MODULE, token="t", pin_file=pin, notes=tmp_path).seal(b"x", ())
    assert code_of(found) == "keys_backend_missing"


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_a_pin_file_of_another_user_is_refused(tmp_path: Path, asked: list[str]) -> None:
    pin = tmp_path / "pin"
    pin.touch(mode=0o600)
    os.chown(pin, 12345, 12345)
    with pytest.raises(Unavailable, match="12345"):
        Pkcs11Seal(module=MODULE, token="t", pin_file=pin, notes=tmp_path).seal(b"x", ())
    assert asked == []
