"""Run by test_vault_faults.py with kill_at.c preloaded: one step of a vault, killed or refused a disk at each of
its calls to the file system in turn. Arguments: folder, step, ``kill`` or ``full`` or ``once``. Prints how many."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.vault.safe import ANA, BEN, Safe, opened

from ringwall.errors import Unavailable

SECRETS = 30  # several pages of marks
STEPS: dict[str, Callable[[Safe], object]] = {
    "init": lambda safe: safe.vault.init(safe.root(), 1),
    "put": lambda safe: safe.vault.put(ANA, "s0", b"new" * 4000),
    "first": lambda safe: safe.vault.put(BEN, "first", b"first"),
    "destroy": lambda safe: safe.vault.destroy(ANA, "s1", 1),
    "root": lambda safe: safe.vault.rotate_root(safe.root(2), 2),
    "tenant": lambda safe: safe.vault.rotate_tenant("acme"),
    "restore": lambda safe: safe.vault.restore((safe.folder / "backup").read_bytes()),
}


def value(number: int) -> bytes:
    return b"value-%d-" % number * 20


def prepare(folder: Path, step: str) -> None:
    """The folder that each try begins with."""
    folder.mkdir()
    if step == "init":
        safe = Safe(folder)
    else:
        safe = opened(folder)
        for number in range(SECRETS):
            safe.vault.put(ANA, f"s{number}", value(number))
        (folder / "backup").write_bytes(safe.vault.backup())
    safe.root(1), safe.root(2)
    safe.stop()


def run(folder: Path, step: str, shim: ctypes.CDLL, how: str, at: int) -> int:
    """In a child: how many calls the step made; 255: an error that may not be."""
    safe = Safe(folder)
    if step != "init":
        safe.vault.unseal(safe.root())
    ctypes.c_long.in_dll(shim, "fault_calls").value = 0
    ctypes.c_long.in_dll(shim, f"fault_{how}").value = at
    refused = False
    try:
        STEPS[step](safe)
    except Unavailable as fault:
        refused = fault.code == "store_unwritable"
        if not refused:
            print(fault, file=sys.stderr)
            return 255
    calls = ctypes.c_long.in_dll(shim, "fault_calls").value
    ctypes.c_long.in_dll(shim, "fault_full").value = ctypes.c_long.in_dll(shim, "fault_once").value = 0
    if refused:  # and goes on as if nothing had been
        if step == "init":
            assert safe.vault.state == "absent"
            safe.vault.init(safe.root(), 1)
        else:
            assert all(safe.vault.read(ANA, f"s{number}", 1) == value(number) for number in range(SECRETS))
            assert safe.vault.generation == 1
        if how == "once":
            (folder / "refused").touch()
        elif at % 2:  # half of them write again before they end
            safe.vault.put(BEN, "later", b"x")
    return min(calls, 254)


def main() -> None:
    folder, step, how = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
    prepare(folder / "made", step)
    at, total = 0, 0
    while at <= total:
        shutil.copytree(folder / "made", folder / str(at))
        if not (child := os.fork()):
            code = 255
            try:
                code = run(folder / str(at), step, shim, how, at)
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(code)  # as if it died: nothing is closed
        status = os.waitpid(child, 0)[1]
        if at == 0:
            total = os.waitstatus_to_exitcode(status)
        elif how == "kill":
            assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, (at, status)
        else:
            assert os.waitstatus_to_exitcode(status) in range(255), (at, status)
        at += 1
    print(total)


if __name__ == "__main__":
    main()
