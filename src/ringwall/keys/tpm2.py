"""The vault's root key sealed by a TPM 2.0, through the programs of tpm2-tools.

The root goes to them and comes back over pipes, and to the TPM and back in encrypted parameters of a session that
is salted with the TPM's own key: who listens on the bus between processor and TPM reads nothing of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ringwall.errors import Unavailable
from ringwall.keys.blobs import damaged, wrong
from ringwall.keys.interface import Asks
from ringwall.keys.sealed import unreachable

_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin"  # they are given the root: not from anybody's PATH
_SECONDS: Final = 30  # for one program; a slow TPM takes about two to make the primary key
_DEFAULT_TCTI: Final = "device:/dev/tpmrm0"
_MAX_PART: Final = 1024  # bytes of a TPM2B structure; a sealed root's have 82 and 180
_BANKS: Final = ("sha256", "sha384", "sha512")
_REGISTERS: Final = 24  # TCG PC Client Platform: PCR 0 to 23
# Bound to this TPM and this parent; no dictionary attack lock-out, because there is nothing to guess.
_FREE: Final = "fixedtpm|fixedparent|noda|userwithauth"
_BOUND: Final = "fixedtpm|fixedparent|noda|adminwithpolicy"  # only the policy opens it


class Tpm2Seal:
    """Seals under a primary key of the owner's hierarchy, which the TPM makes anew from its seed each time.

    Args:
        tcti: how the TPM is reached, as tpm2-tools spell it; empty: the kernel's resource manager.
        pcrs: the registers that must then have the values they have now, "sha256:0,7"; empty: none. An existing
            file keeps the registers that it was made with.

    """

    kind = "tpm2"
    asks: Asks = "nothing"

    def __init__(self, tcti: str, pcrs: str) -> None:
        self._tcti = tcti or _DEFAULT_TCTI
        self._pcrs = pcrs

    def seal(self, plain: bytes, answers: Sequence[bytes]) -> bytes:
        """See ``Seal``."""
        if not _good_pcrs(self._pcrs):
            raise unreachable(f'[vault] pcrs is "{self._pcrs}"', 'write it as "sha256:0,7", or leave it out')
        with _work(self._tcti) as tpm:
            tpm.primary()
            policy = tpm.policy(self._pcrs) if self._pcrs else []
            with tpm.session("--hmac-session") as session:
                tpm.run("tpm2_create", "-Q", "-C", "primary", "-P", session, "-i", "-", "-u", "public",
                        "-r", "private", *policy, "-a", _BOUND if policy else _FREE, given=plain)
            registers = self._pcrs.encode()
            return bytes([len(registers)]) + registers + tpm.file("public") + tpm.file("private")

    def unseal(self, blob: bytes, answers: Sequence[bytes]) -> bytes:
        """See ``Seal``."""
        pcrs, public, private = _parts(blob)
        with _work(self._tcti) as tpm:
            tpm.keep("public", public)
            tpm.keep("private", private)
            tpm.primary()
            tpm.run("tpm2_load", "-Q", "-C", "primary", "-u", "public", "-r", "private", "-c", "sealed")
            with tpm.session("--policy-session" if pcrs else "--hmac-session") as session:
                if pcrs:
                    tpm.run("tpm2_policypcr", "-Q", "-S", "session", "-l", pcrs)
                return tpm.run("tpm2_unseal", "-c", "sealed", "-p", session)

    def forget(self, blob: bytes) -> None:
        """See ``Seal``: a TPM keeps nothing of what it seals."""


class _Work:
    """One use of the TPM: a private folder for contexts, and programs started in it."""

    def __init__(self, folder: Path, tcti: str) -> None:
        self._folder = folder
        self._tcti = tcti
        # A resource manager ends what a connection made. Without one, it fills the TPM's few places.
        self._managed = tcti.startswith(("tabrmd", "device:/dev/tpmrm"))

    def run(self, program: str, *arguments: str, given: bytes = b"", checked: bool = True) -> bytes:
        found = shutil.which(program, path=_PATH)
        if found is None:
            raise Unavailable(f"the program {program} of tpm2-tools is not installed", code="keys_backend_missing",
                              remedy="apt-get install tpm2-tools")
        try:
            done = subprocess.run(
                [found, *arguments], input=given, capture_output=True, cwd=self._folder, check=False,
                timeout=_SECONDS,
                env={"PATH": _PATH, "TPM2TOOLS_TCTI": self._tcti, "LC_ALL": "C", "TMPDIR": str(self._folder)})
        except subprocess.TimeoutExpired:
            raise unreachable(f"the TPM did not answer {program} within {_SECONDS} s", "check the TPM") from None
        except OSError as fault:
            raise unreachable(f"{found} cannot be started: {fault.strerror}", "check tpm2-tools") from None
        if done.returncode != 0 and checked:
            raise _failure(program, done.stderr.decode("utf-8", "replace"))
        if not self._managed and program != "tpm2_flushcontext":
            self.run("tpm2_flushcontext", "-t", checked=False)
        return done.stdout

    def primary(self) -> None:
        self.run("tpm2_createprimary", "-Q", "-C", "o", "-G", "ecc256", "-g", "sha256", "-c", "primary")

    def policy(self, pcrs: str) -> list[str]:
        """The arguments that bind an object to the registers as they are now."""
        self.run("tpm2_startauthsession", "-Q", "-S", "trial")
        try:
            self.run("tpm2_policypcr", "-Q", "-S", "trial", "-l", pcrs, "-L", "policy")
        finally:
            self.run("tpm2_flushcontext", "trial", checked=False)
        return ["-L", "policy"]

    @contextmanager
    def session(self, kind: str) -> Generator[str]:
        """A session whose parameters are encrypted; how an authorisation names it."""
        self.run("tpm2_startauthsession", "-Q", kind, "--tpmkey-context", "primary", "-S", "session")
        try:
            self.run("tpm2_sessionconfig", "session", "--enable-encrypt", "--enable-decrypt")
            yield "session:session"
        finally:
            self.run("tpm2_flushcontext", "session", checked=False)

    def keep(self, name: str, content: bytes) -> None:
        (self._folder / name).write_bytes(content)

    def file(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()


@contextmanager
def _work(tcti: str) -> Generator[_Work]:
    try:
        with tempfile.TemporaryDirectory(prefix="ringwall-tpm-") as folder:  # mode 0700
            yield _Work(Path(folder), tcti)
    except OSError as fault:
        raise unreachable(f"no temporary folder can keep the TPM's contexts: {os.strerror(fault.errno or 0)}",
                          "free space there, or set TMPDIR") from None


def _failure(program: str, said: str) -> Exception:
    lines = [line.partition("ERROR: ")[2] for line in said.splitlines() if line.startswith("ERROR: ")]
    cause = (lines[0] if lines else said.strip())[:200]
    if program == "tpm2_load" and "tpm:parameter" in cause:
        return wrong(f"this TPM did not seal the root key, or the file was changed ({cause})",
                     "use the machine it was sealed on; after the TPM was cleared only a backup of the vault helps")
    if program == "tpm2_unseal" and "policy check failed" in cause:
        return wrong("the TPM's registers are not as they were when the root key was sealed",
                     "start what was started then; after a wanted change: docs/root-keys.md")
    return unreachable(f"the TPM refused {program}: {cause}",
                       "check [vault] tcti, and that this user may use the TPM")


def _good_pcrs(text: str) -> bool:
    """Whether it is empty, or a bank and registers in it."""
    bank, _, numbers = text.partition(":")
    return not text or (bank in _BANKS and all(
        one.isascii() and one.isdigit() and len(one) <= 2 and int(one) < _REGISTERS for one in numbers.split(",")))


def _parts(blob: bytes) -> tuple[str, bytes, bytes]:
    """The registers, the public and the private part. Raises BadInput (``bad_root_key``)."""
    at = 1 + (blob[0] if blob else 0)
    pcrs = blob[1:at].decode("ascii", "replace")
    public, after = _part(blob, at)
    private, end = _part(blob, after)
    if not public or not private or end != len(blob) or not _good_pcrs(pcrs):
        raise damaged("the file of the root key is not what a TPM sealed")
    return pcrs, public, private


def _part(blob: bytes, at: int) -> tuple[bytes, int]:
    """A TPM2B structure, its two bytes of length included; and where it ends. Nothing where there is none."""
    size = int.from_bytes(blob[at:at + 2], "big")
    end = at + 2 + size
    return (blob[at:end], end) if 0 < size <= _MAX_PART and end <= len(blob) else (b"", at)
