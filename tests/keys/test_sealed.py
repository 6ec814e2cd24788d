from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.keys.holding import bound_to_its_generation, code_of, mark, told_when_damaged

from ringwall.errors import BadInput, Refused, RingwallError, Unavailable
from ringwall.keys.blobs import Blobs, pack, unpack
from ringwall.keys.conformance import source_self_check
from ringwall.keys.file_source import PlainSeal
from ringwall.keys.sealed import SealedSource, optional
from ringwall.keys.sources import source
from ringwall.manifest.types import VaultSettings


def plain(folder: Path) -> SealedSource:
    return SealedSource(folder, PlainSeal())


class Forgetful(PlainSeal):
    """Gives something else back, and notes what it was told to forget."""

    def __init__(self) -> None:
        self.forgotten: list[bytes] = []

    def unseal(self, blob: bytes, answers: Sequence[bytes]) -> bytes:
        return blob[:-1]

    def forget(self, blob: bytes) -> None:
        self.forgotten.append(blob)


def test_a_file_of_mode_0600_keeps_every_promise_of_a_source(tmp_path: Path) -> None:
    source_self_check(plain(tmp_path), ())
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_one_generation_does_not_pass_as_another_one(tmp_path: Path) -> None:
    bound_to_its_generation(plain(tmp_path), tmp_path, ())


def test_a_damaged_or_open_file_is_told(tmp_path: Path) -> None:
    told_when_damaged(plain(tmp_path), tmp_path)


def test_two_generations_are_kept_side_by_side_under_their_names(tmp_path: Path) -> None:
    keys = [plain(tmp_path).create(number, ())[0] for number in (1, 2)]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["root-1.file", "root-2.file"]
    assert [mark(plain(tmp_path).open(number, ())) for number in (1, 2)] == [mark(one) for one in keys]


def test_answers_that_nobody_asked_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as found:
        plain(tmp_path).create(1, [b"phrase"])
    assert code_of(found) == "bad_answers"
    plain(tmp_path).create(1, ())
    with pytest.raises(BadInput):
        plain(tmp_path).open(1, [b"phrase"])


@pytest.mark.parametrize("number", [0, -1, 2**32])
def test_a_number_that_is_no_generation_is_a_mistake(tmp_path: Path, number: int) -> None:
    for act in (lambda: plain(tmp_path).create(number, ()), lambda: plain(tmp_path).open(number, ()),
                lambda: plain(tmp_path).drop(number)):
        with pytest.raises(ValueError, match="generation"):
            act()


def test_what_gives_other_bytes_back_never_keeps_a_root(tmp_path: Path) -> None:
    seal = Forgetful()
    with pytest.raises(Unavailable) as found:
        SealedSource(tmp_path, seal).create(1, ())
    assert code_of(found) == "keys_unavailable"
    assert len(seal.forgotten) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_dropped_file_of_another_generation_does_not_say_what_is_destroyed_elsewhere(tmp_path: Path) -> None:
    plain(tmp_path).create(1, ())
    (tmp_path / "root-1.file").rename(tmp_path / "root-2.file")
    seal = Forgetful()
    SealedSource(tmp_path, seal).drop(2)
    assert seal.forgotten == []
    assert list(tmp_path.iterdir()) == []


def test_drafts_of_a_killed_process_are_dropped_too(tmp_path: Path) -> None:
    plain(tmp_path).create(1, ())
    plain(tmp_path).create(11, ())
    (tmp_path / ".root-1.file.0123456789abcdef").write_bytes(b"a root, perhaps")
    plain(tmp_path).drop(1)
    assert [one.name for one in tmp_path.iterdir()] == ["root-11.file"]


def test_to_drop_from_a_folder_that_is_not_there_is_no_fault(tmp_path: Path) -> None:
    plain(tmp_path / "none").drop(1)


def test_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as found:
        plain(tmp_path / "none").create(1, ())
    assert code_of(found) == "root_key_unwritable"


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    done = _limited(tmp_path)
    assert done.stdout.strip() == "root_key_unwritable", done.stderr
    assert list(tmp_path.iterdir()) == []


def _limited(folder: Path) -> subprocess.CompletedProcess[str]:
    """Create a root where no file may grow beyond eight bytes."""
    program = ("import resource, signal, sys; from pathlib import Path\n"
               "from ringwall.errors import Unavailable\n"
               "from ringwall.keys.file_source import PlainSeal; from ringwall.keys.sealed import SealedSource\n"
               "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
               "resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))\n"
               "try: SealedSource(Path(sys.argv[1]), PlainSeal()).create(1, ())\n"
               "except Unavailable as fault: print(fault.code)\n")
    return subprocess.run([sys.executable, "-c", program, str(folder)], check=False, capture_output=True, text=True,
                          timeout=60)


@pytest.mark.parametrize("step", ["fsync", "link", "write", "fchmod"])
def test_a_disk_that_fails_at_any_step_leaves_nothing_and_the_next_try_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, step, failing)
    with pytest.raises(Unavailable, match="Input/output") as found:
        plain(tmp_path).create(1, ())
    monkeypatch.undo()
    assert code_of(found) == "root_key_unwritable"
    assert list(tmp_path.iterdir()) == []
    assert plain(tmp_path).create(1, ())


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_a_process_killed_at_a_step_leaves_a_whole_root_or_none(tmp_path: Path, step: str) -> None:
    program = ("import os, signal, sys; from pathlib import Path\n"
               "from ringwall.keys.file_source import PlainSeal; from ringwall.keys.sealed import SealedSource\n"
               "before = getattr(os, sys.argv[2])\n"
               "def die(*given, **named):\n"
               "    before(*given, **named); os.kill(os.getpid(), signal.SIGKILL)\n"
               "setattr(os, sys.argv[2], die)\n"
               "SealedSource(Path(sys.argv[1]), PlainSeal()).create(1, ())\n")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path), step], check=False, timeout=60)
    assert done.returncode == -9
    if step == "link":
        assert plain(tmp_path).open(1, ())
    else:
        with pytest.raises(Unavailable, match="there is no root key"):
            plain(tmp_path).open(1, ())
    plain(tmp_path).drop(1)
    assert list(tmp_path.iterdir()) == []
    assert plain(tmp_path).create(1, ())


@given(content=st.binary(max_size=200), kept=st.booleans())
def test_no_bytes_in_the_place_of_a_key_open_anything(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, kept: bool
) -> None:
    folder = tmp_path_factory.mktemp("keys")
    path = folder / "root-1.file"
    path.touch(mode=0o600)
    path.write_bytes((b"ringwall-root-v1 file 1\n" if kept else b"") + content)
    with pytest.raises((BadInput, Refused)) as found:
        plain(folder).open(1, ())
    assert found.value.code in {"bad_root_key", "root_key_wrong"}


@given(blob=st.binary(max_size=3000), generation=st.integers(1, 2**32 - 1))
def test_what_is_written_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, blob: bytes, generation: int
) -> None:
    blobs = Blobs(tmp_path_factory.mktemp("keys"), "age")
    blobs.write(generation, blob)
    assert blobs.read(generation) == blob


@given(plain=st.binary(max_size=80))
def test_only_what_was_packed_is_unpacked(plain: bytes) -> None:
    with pytest.raises(Refused):
        unpack(1, plain)
    assert unpack(7, pack(7, b"r" * 32)) == b"r" * 32
    with pytest.raises(Refused, match="generation 7"):
        unpack(8, pack(7, b"r" * 32))


def test_a_library_that_is_not_installed_is_named_with_what_to_install() -> None:
    with pytest.raises(Unavailable, match=r"pip install 'ringwall\[age\]'") as found:
        optional("no_such_library_here", "age")
    assert code_of(found) == "keys_backend_missing"


@pytest.mark.parametrize(("settings", "key"), [
    (VaultSettings(root="age"), "identity"), (VaultSettings(root="transit"), "transit"),
    (VaultSettings(root="pkcs11"), "module"), (VaultSettings(root="pkcs11", module=Path("/x")), "token"),
    (VaultSettings(root="pkcs11", module=Path("/x"), token="t"), "pin_file"),
])
def test_settings_that_lack_something_name_it(tmp_path: Path, settings: VaultSettings, key: str) -> None:
    with pytest.raises(Unavailable, match=key) as found:
        source(settings, tmp_path, None)
    assert code_of(found) == "keys_unavailable"


def test_the_settings_choose_the_source(tmp_path: Path) -> None:
    made = [source(VaultSettings(root=kind, identity=Path("/i")), tmp_path, None)
            for kind in ("file", "passphrase", "age", "keyring", "tpm2", "shamir")]
    assert [(one.kind, one.asks) for one in made] == [
        ("file", "nothing"), ("passphrase", "passphrase"), ("age", "nothing"), ("keyring", "nothing"),
        ("tpm2", "nothing"), ("shamir", "shares")]


class Overwriting(SealedSource):
    def create(self, generation: int, answers: Sequence[bytes]):
        self.drop(generation)
        return super().create(generation, answers)


def test_the_conformance_check_finds_a_source_that_overwrites(tmp_path: Path) -> None:
    with pytest.raises(RingwallError, match="overwritten") as found:
        source_self_check(Overwriting(tmp_path, PlainSeal()), ())
    assert found.value.code == "keys_nonconforming"
    assert list(tmp_path.iterdir()) == []
