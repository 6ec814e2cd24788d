from __future__ import annotations

from pathlib import Path
from typing import Any

import keyring
import pytest
from keyring.backends import SecretService, chainer, fail, libsecret, null
from keyring.errors import KeyringLocked
from tests.keys.holding import bound_to_its_generation, code_of, mark, told_when_damaged

from ringwall.errors import Refused, RingwallError, Unavailable
from ringwall.keys.conformance import source_self_check
from ringwall.keys.keyring_ import KeyringSeal
from ringwall.keys.sealed import SealedSource


class Desktop(SecretService.Keyring):
    """Secret Service, without a desktop behind it."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise KeyringLocked("locked")
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.locked:
            raise ConnectionRefusedError("no session bus")
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


class PlaintextKeyring(fail.Keyring):
    """Like the one of keyrings.alt: it would take a secret."""

    def set_password(self, service: str, username: str, password: str) -> None:
        raise AssertionError("a secret reached it")


def source(folder: Path, ring: Any) -> SealedSource:
    return SealedSource(folder, KeyringSeal(lambda: ring))


def test_a_desktops_keyring_keeps_every_promise_of_a_source(tmp_path: Path) -> None:
    ring = Desktop()
    source_self_check(source(tmp_path, ring), ())
    assert list(tmp_path.iterdir()) == []
    assert ring.kept == {}


def test_a_file_of_one_generation_does_not_pass_as_another_one(tmp_path: Path) -> None:
    bound_to_its_generation(source(tmp_path, Desktop()), tmp_path, ())


def test_a_damaged_or_open_file_is_told(tmp_path: Path) -> None:
    ring = Desktop()
    told_when_damaged(source(tmp_path, ring), tmp_path)
    assert len(ring.kept) == 1


@pytest.mark.parametrize("ring", [fail.Keyring(), null.Keyring(), PlaintextKeyring()])
def test_a_keyring_that_keeps_nothing_or_keeps_it_in_plain_is_refused_and_given_nothing(
    tmp_path: Path, ring: Any
) -> None:
    with pytest.raises(Unavailable, match="Keyring") as found:
        source(tmp_path, ring).create(1, ())
    assert code_of(found) == "keyring_unfit"
    assert list(tmp_path.iterdir()) == []
    desktop = Desktop()
    source(tmp_path, desktop).create(1, ())
    with pytest.raises(Unavailable) as found:
        source(tmp_path, ring).open(1, ())
    assert code_of(found) == "keyring_unfit"


def test_the_keyring_that_the_library_chooses_is_judged_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring.core, "_keyring_backend", fail.Keyring())
    with pytest.raises(Unavailable, match=r"keyring\.backends\.fail\.Keyring") as found:
        SealedSource(tmp_path, KeyringSeal()).create(1, ())
    assert code_of(found) == "keyring_unfit"


def test_a_chain_is_as_good_as_its_worst_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = chainer.ChainerBackend()
    for parts, fits in (([Desktop()], True), ([Desktop(), PlaintextKeyring()], False), ([], False)):
        monkeypatch.setattr(chainer.ChainerBackend, "backends", parts)
        seal = KeyringSeal(lambda: chain)
        if fits:
            assert seal.unseal(seal.seal(b"x", ()), ()) == b"x"
        else:
            with pytest.raises(Unavailable) as found:
                seal.seal(b"x", ())
            assert code_of(found) == "keyring_unfit"


def test_libsecret_is_trusted() -> None:
    class Quiet(libsecret.Keyring):
        def set_password(self, service: str, username: str, password: str) -> None:
            return

    assert KeyringSeal(Quiet).seal(b"x", ())


def test_a_locked_keyring_opens_nothing_and_loses_nothing(tmp_path: Path) -> None:
    ring = Desktop()
    keys, _ = source(tmp_path, ring).create(1, ())
    ring.locked = True
    with pytest.raises(Unavailable, match="KeyringLocked") as found:
        source(tmp_path, ring).open(1, ())
    assert code_of(found) == "keys_unavailable"
    with pytest.raises(Unavailable):
        source(tmp_path, ring).drop(1)
    with pytest.raises(Unavailable, match="ConnectionRefused"):
        source(tmp_path, ring).create(2, ())
    ring.locked = False
    assert mark(source(tmp_path, ring).open(1, ())) == mark(keys)


@pytest.mark.parametrize(("entry", "code"), [
    (None, "root_key_missing"), ("", "root_key_wrong"), ("not base64!", "root_key_wrong"),
    ("QUFB", "root_key_wrong"), ("A" * 43 + "=", "root_key_wrong"),
])
def test_an_entry_that_is_gone_or_changed_opens_nothing(tmp_path: Path, entry: str | None, code: str) -> None:
    ring = Desktop()
    source(tmp_path, ring).create(1, ())
    ((name, _),) = ring.kept.items()
    if entry is None:
        ring.kept.clear()
    else:
        ring.kept[name] = entry
    with pytest.raises((Refused, Unavailable)) as found:
        source(tmp_path, ring).open(1, ())
    assert code_of(found) == code


def test_two_state_folders_of_one_user_share_no_entry(tmp_path: Path) -> None:
    ring = Desktop()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        source(tmp_path / name, ring).create(1, ())
    assert len(ring.kept) == 2
    source(tmp_path / "a", ring).drop(1)
    assert source(tmp_path / "b", ring).open(1, ())
    assert len(ring.kept) == 1


def test_a_short_file_is_damaged() -> None:
    with pytest.raises(RingwallError) as found:
        KeyringSeal(Desktop).unseal(b"x" * 28, ())
    assert found.value.code == "bad_root_key"
