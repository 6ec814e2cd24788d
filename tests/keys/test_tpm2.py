from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.keys.holding import bound_to_its_generation, code_of, mark, told_when_damaged

from ringwall.errors import BadInput, Refused, Unavailable
from ringwall.keys import tpm2
from ringwall.keys.conformance import source_self_check
from ringwall.keys.sealed import SealedSource
from ringwall.keys.tpm2 import Tpm2Seal

needs_swtpm = pytest.mark.skipif(
    shutil.which("swtpm") is None or shutil.which("tpm2_unseal") is None,
    reason="needs_swtpm: apt-get install swtpm tpm2-tools")


class Tpm:
    """A TPM of its own: swtpm, on a socket in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tcti = f"swtpm:path={folder}/s"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        """The sockets listen before the process is there: nobody has to wait for it."""
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as control:
            for one, name in ((server, "s"), (control, "s.ctrl")):
                (self.folder / name).unlink(missing_ok=True)
                one.bind(str(self.folder / name))
                one.listen()
            self._process = subprocess.Popen(
                ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder}", "--flags",
                 "not-need-init,startup-clear", "--server", f"type=unixio,fd={server.fileno()}",
                 "--ctrl", f"type=unixio,fd={control.fileno()}", *more],
                pass_fds=[server.fileno(), control.fileno()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def tool(self, *command: str) -> str:
        return subprocess.run(command, env={**os.environ, "TPM2TOOLS_TCTI": self.tcti}, check=True, text=True,
                              capture_output=True, timeout=60).stdout

    def source(self, folder: Path, pcrs: str = "") -> SealedSource:
        return SealedSource(folder, Tpm2Seal(self.tcti, pcrs))

    def restart(self) -> None:
        """Like a machine that is switched off and on."""
        self.stop()
        self.start()


@pytest.fixture
def tpm() -> Iterator[Tpm]:
    with tempfile.TemporaryDirectory(prefix="tpm-") as folder:  # short: the path of a socket
        made = Tpm(Path(folder))
        made.start()
        try:
            yield made
        finally:
            made.stop()


@needs_swtpm
@pytest.mark.parametrize("pcrs", ["", "sha256:0,7"])
def test_a_tpm_keeps_every_promise_of_a_source(tpm: Tpm, tmp_path: Path, pcrs: str) -> None:
    source_self_check(tpm.source(tmp_path, pcrs), ())
    assert list(tmp_path.iterdir()) == []
    for kind in ("handles-transient", "handles-loaded-session", "handles-saved-session"):
        assert tpm.tool("tpm2_getcap", kind).strip() == "", f"{kind}: its few places are left full"


@needs_swtpm
def test_a_file_of_one_generation_does_not_pass_as_another_one(tpm: Tpm, tmp_path: Path) -> None:
    bound_to_its_generation(tpm.source(tmp_path), tmp_path, ())


@needs_swtpm
def test_a_damaged_or_open_file_is_told(tpm: Tpm, tmp_path: Path) -> None:
    told_when_damaged(tpm.source(tmp_path), tmp_path)


@needs_swtpm
def test_it_opens_after_a_restart_and_not_with_another_tpm_or_a_cleared_one(tpm: Tpm, tmp_path: Path) -> None:
    keys, shown = tpm.source(tmp_path).create(1, ())
    assert shown == ()
    tpm.restart()
    assert mark(tpm.source(tmp_path).open(1, ())) == mark(keys)
    tpm.tool("tpm2_clear")
    with pytest.raises(Refused, match="did not seal") as found:
        tpm.source(tmp_path).open(1, ())
    assert code_of(found) == "root_key_wrong"


@needs_swtpm
def test_registers_that_changed_open_nothing_until_they_are_as_they_were(tpm: Tpm, tmp_path: Path) -> None:
    bound, free = tmp_path / "bound", tmp_path / "free"
    bound.mkdir()
    free.mkdir()
    keys, _ = tpm.source(bound, "sha256:7,11").create(1, ())
    tpm.source(free).create(1, ())
    assert mark(tpm.source(bound).open(1, ())) == mark(keys)  # the file says which registers
    tpm.tool("tpm2_pcrextend", f"11:sha256={'ab' * 32}")
    with pytest.raises(Refused, match="registers") as found:
        tpm.source(bound, "sha256:7,11").open(1, ())
    assert code_of(found) == "root_key_wrong"
    assert tpm.source(free).open(1, ())
    tpm.restart()
    assert mark(tpm.source(bound, "sha256:7,11").open(1, ())) == mark(keys)


@needs_swtpm
def test_a_file_that_leaves_its_registers_out_opens_nothing(tpm: Tpm, tmp_path: Path) -> None:
    tpm.source(tmp_path, "sha256:7").create(1, ())
    path = tmp_path / "root-1.tpm2"
    first, kept, _ = path.read_bytes().split(b"\n")
    blob = base64.b64decode(kept)
    path.write_bytes(first + b"\n" + base64.b64encode(b"\0" + blob[1 + blob[0]:]) + b"\n")
    with pytest.raises(Unavailable) as found:
        tpm.source(tmp_path).open(1, ())
    assert code_of(found) == "keys_unavailable"


@needs_swtpm
def test_a_tpm_that_is_gone_or_hangs_is_unavailable(
    tpm: Tpm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, _ = tpm.source(tmp_path).create(1, ())
    assert tpm._process is not None
    monkeypatch.setattr(tpm2, "_SECONDS", 0.5)
    tpm._process.send_signal(signal.SIGSTOP)
    with pytest.raises(Unavailable, match="did not answer") as found:
        tpm.source(tmp_path).open(1, ())
    assert code_of(found) == "keys_unavailable"
    tpm._process.send_signal(signal.SIGCONT)
    monkeypatch.undo()
    tpm.stop()
    with pytest.raises(Unavailable) as found:
        tpm.source(tmp_path).open(1, ())
    assert code_of(found) == "keys_unavailable"
    tpm.start()
    assert mark(tpm.source(tmp_path).open(1, ())) == mark(keys)


@needs_swtpm
def test_a_tpm_whose_owner_has_a_password_says_so(tpm: Tpm, tmp_path: Path) -> None:
    tpm.tool("tpm2_changeauth", "-c", "owner", "secret")
    with pytest.raises(Unavailable, match="authorization failure") as found:
        tpm.source(tmp_path).create(1, ())
    assert code_of(found) == "keys_unavailable"
    assert list(tmp_path.iterdir()) == []


@needs_swtpm
def test_the_root_is_in_no_argument_and_no_file_and_crosses_the_bus_encrypted(
    tpm: Tpm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, seen, files = b"fifty-two bytes that nobody else may see, never ever", [], []
    run = subprocess.run

    def watched(command: list[str], **how: object) -> object:
        seen.append([*command, *map(str, dict(how["env"]).values())])  # type: ignore[call-overload]
        done = run(command, **how)  # type: ignore[call-overload]
        files.extend(one.read_bytes() for one in Path(str(how["cwd"])).iterdir())
        assert Path(str(how["cwd"])).stat().st_mode & 0o077 == 0
        return done

    tpm.stop()
    log = tpm.folder / "log"
    tpm.start("--log", f"file={log},level=4")  # what is read from the bus, and written to it
    monkeypatch.setattr(subprocess, "run", watched)
    seal = Tpm2Seal(tpm.tcti, "sha256:7")
    assert seal.unseal(seal.seal(plain, ()), ()) == plain
    monkeypatch.undo()
    assert len(seen) > 10
    assert not any("nobody else" in word for command in seen for word in command)
    assert files
    assert not any(b"nobody else" in content for content in files)
    assert b"nobody else" not in _bus(log)
    (tmp_path / "naive").write_bytes(plain)
    primary, naive = str(tmp_path / "primary"), str(tmp_path / "naive")
    tpm.tool("tpm2_createprimary", "-Q", "-C", "o", "-c", primary)
    tpm.tool("tpm2_flushcontext", "-t")
    tpm.tool("tpm2_create", "-Q", "-C", primary, "-i", naive)
    assert b"nobody else" in _bus(log)  # without our session it would have been seen


def _bus(log: Path) -> bytes:
    lines = (line.replace(" ", "") for line in log.read_text().splitlines() if line.startswith(" "))
    return b"".join(bytes.fromhex(line) for line in lines if set(line) <= set("0123456789ABCDEF"))


@pytest.mark.parametrize("pcrs", ["sha256", "sha256:", "sha256:24", "sha1:7", "sha256:7,", "sha256:7+sha384:1",
                                  "-T x", "sha256:٧"])
def test_registers_that_there_are_not_are_refused(tmp_path: Path, pcrs: str) -> None:
    with pytest.raises(Unavailable, match="pcrs") as found:
        SealedSource(tmp_path, Tpm2Seal("", pcrs)).create(1, ())
    assert code_of(found) == "keys_unavailable"


def test_programs_that_are_not_installed_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tpm2, "_PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="tpm2-tools") as found:
        SealedSource(tmp_path, Tpm2Seal("", "")).create(1, ())
    assert code_of(found) == "keys_backend_missing"


@given(blob=st.binary(max_size=400))
def test_no_bytes_in_the_place_of_a_sealed_object_reach_the_tpm_in_the_wrong_form(blob: bytes) -> None:
    try:
        pcrs, public, private = tpm2._parts(blob)
    except BadInput as fault:
        assert fault.code == "bad_root_key"
    else:
        assert bytes([len(pcrs)]) + pcrs.encode() + public + private == blob
        assert int.from_bytes(public[:2], "big") == len(public) - 2
