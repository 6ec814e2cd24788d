"""Kill -9 and a full disk at each step of what the vault writes: every secret is readable with the old root key or
the new one, never with neither, and a write is there whole or not at all."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.faults.dying_vault import SECRETS, STEPS, value
from tests.vault.safe import ANA, BEN, Safe, opened

from ringwall.errors import BadInput, Refused, RingwallError, Unavailable

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (compiler := shutil.which("cc")):
        pytest.skip("needs a C compiler")
    made = tmp_path_factory.mktemp("shim") / "kill_at.so"
    subprocess.run((compiler, "-shared", "-fPIC", "-O1", "-o", made, HERE / "kill_at.c", "-ldl"), check=True)
    return made


def tries(shim: Path, folder: Path, step: str, how: str) -> list[Path]:
    """Every folder in which the step ended so, at one of its calls."""
    done = subprocess.run(
        (sys.executable, "-m", "tests.faults.dying_vault", folder, step, how), capture_output=True, text=True,
        env={**os.environ, "LD_PRELOAD": str(shim)}, cwd=HERE.parent.parent, check=False, timeout=300,
    )
    assert done.returncode == 0, done.stderr
    total = int(done.stdout)
    assert 0 < total < 254
    return [folder / str(at) for at in range(1, total + 1)]


def reopened(folder: Path) -> Safe:
    """With whichever of the two root keys opens it."""
    safe = Safe(folder)
    opens = 0
    for generation in (1, 2):
        try:
            safe.vault.seal()
            safe.vault.unseal(safe.root(generation))
            assert safe.vault.generation == generation
            opens = generation
        except Refused as fault:
            assert fault.code == "root_key_wrong"
    assert opens
    safe.vault.seal()
    safe.vault.unseal(safe.root(opens))
    return safe


def others_readable(safe: Safe, but: str = "") -> None:
    for number in range(SECRETS):
        if f"s{number}" != but:
            assert safe.vault.read(ANA, f"s{number}") == value(number)


def check_put(safe: Safe) -> bool:
    others_readable(safe, "s0")
    newest = safe.vault.versions(ANA, "s0")[-1].version
    assert safe.vault.read(ANA, "s0") == {1: value(0), 2: b"new" * 4000}[newest]
    assert safe.vault.read(ANA, "s0", 1) == value(0)
    return newest == 2


def check_first(safe: Safe) -> bool:
    others_readable(safe)
    there = any(entry.name == "first" for entry in safe.vault.listed())
    assert not there or safe.vault.read(BEN, "first") == b"first"
    return there


def check_destroy(safe: Safe) -> bool:
    others_readable(safe, "s1")
    try:
        assert safe.vault.read(ANA, "s1") == value(1)
    except BadInput as fault:
        assert fault.code == "secret_destroyed"
        return True
    return False


def check_rotated(safe: Safe) -> bool:
    others_readable(safe)
    return safe.vault.generation == 2


CHECKS: dict[str, Callable[[Safe], bool]] = {
    "put": check_put, "first": check_first, "destroy": check_destroy, "root": check_rotated,
    "tenant": check_rotated, "restore": check_rotated,
}


@pytest.mark.parametrize("how", ["kill", "full", "once"])
@pytest.mark.parametrize("step", sorted(CHECKS))
def test_every_secret_survives_at_each_call_of(shim: Path, tmp_path: Path, step: str, how: str) -> None:
    folders = tries(shim, tmp_path, step, how)
    happened: list[bool] = []
    for folder in folders:
        safe = reopened(folder)
        happened.append(CHECKS[step](safe))
        assert not (happened[-1] and (folder / "refused").exists())  # what was refused does not come later
        assert safe.vault.put(BEN, "works", b"again") == 1
        safe.stop()
    if step not in ("tenant", "restore"):  # whose effect does not show
        assert not happened[0]
    if step in ("destroy", "root"):  # emptying the write-ahead log comes after the commit
        assert happened[-1]


@pytest.mark.parametrize("how", ["kill", "full"])
def test_a_vault_whose_making_failed_is_there_or_can_be_made(shim: Path, tmp_path: Path, how: str) -> None:
    for folder in tries(shim, tmp_path, "init", how):
        safe = Safe(folder)
        if safe.vault.state == "absent":
            safe.vault.init(safe.root(), 1)
        safe.vault.seal()
        safe.vault.unseal(safe.root())
        assert safe.vault.put(ANA, "works", b"x") == 1
        safe.stop()


def test_every_step_is_tried() -> None:
    assert set(STEPS) == {*CHECKS, "init"}


# --- a disk that is really full


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                os.write(file.fileno(), bytes(1 << 16))
        except OSError:
            return


@contextmanager
def no_space(path: Path) -> Generator[None]:
    """No file may grow beyond what this one has now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("step", ["put", "root", "tenant", "destroy"])
def test_without_space_writes_are_refused_reads_go_on_and_all_works_again_with_space(
    tmp_path: Path, step: str
) -> None:
    safe = opened(tmp_path)
    for number in range(SECRETS):
        safe.vault.put(ANA, f"s{number}", value(number))
    safe.root(2)
    sequence = safe.vault.sequence
    with no_space(safe.file.with_name("vault.db-wal")):
        with pytest.raises(Unavailable) as found:
            STEPS[step](safe)
        assert found.value.code == "store_unwritable"
        assert found.value.remedy
        others_readable(safe)
    assert (safe.vault.sequence, safe.vault.generation) == (sequence, 1)
    STEPS[step](safe)
    assert CHECKS[step](safe) is (step != "tenant")
    safe.again(safe.vault.generation)
    CHECKS[step](safe)
    safe.stop()


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_really_full_file_system_refuses_and_loses_nothing(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "ringwall-test", str(tmp_path)], check=True)
    try:
        safe = opened(tmp_path)
        for number in range(SECRETS):
            safe.vault.put(ANA, f"s{number}", value(number))
        safe.root(2)
        fill(tmp_path / "filler")
        done = 0
        try:
            while done < 1000:
                safe.vault.put(BEN, f"b{done}", bytes(60_000))
                done += 1
        except RingwallError as fault:
            assert fault.code == "store_unwritable"
        assert done < 1000
        try:
            safe.vault.rotate_root(safe.root(2), 2)
        except Unavailable:
            assert safe.vault.generation == 1
        (tmp_path / "filler").unlink()
        safe.again(safe.vault.generation)
        others_readable(safe)
        assert all(safe.vault.read(BEN, f"b{number}") == bytes(60_000) for number in range(done))
        safe.vault.put(BEN, "works", b"again")
        safe.stop()
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=False)
