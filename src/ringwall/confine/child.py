"""What a child does between clone and exec: build its view, become nobody, give everything up, test, wait, start.

Runs in the zygote's copy, single-threaded. Each step has a name, and a step that fails ends the child with that
name and the errno: there is no continuing with less.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from ringwall.confine import landlock, loopback, program, seccomp, shed, syscalls, view
from ringwall.confine.selftest import run_probes
from ringwall.confine.spec import Confinement

OOM_SCORE: Final = "oom_score_adj"  # beside the probes' results: its value, or the errno's name
FAILED: Final = 125  # the child's exit status when it could not be set up; only the zygote sees it
_NEWUSER: Final = 0x10000000
_SET_PDEATHSIG, _SET_NO_NEW_PRIVS = 1, 38
_JOIN_SESSION_KEYRING: Final = 1
_TOP_DESCRIPTOR: Final = 0x7FFFFFFF
_WORD_BYTES: Final = 16  # "mapped" and "go"


class StepFailed(Exception):
    """A step of the set-up failed: its name, errno's name, what it was about."""

    def __init__(self, step: str, code: str, about: str = "") -> None:
        super().__init__(f"{step}: {code}")
        self.step = step
        self.code = code
        self.about = about


@dataclass(frozen=True, slots=True)
class Start:
    """What the zygote hands to a new child.

    Args:
        spec: what to become.
        control: the child's end, a sequenced-packet socket.
        fds: the program's number -> our descriptor.
        scratch: without namespaces, the folder that stands in for /tmp.

    """

    spec: Confinement
    control: socket.socket
    fds: Mapping[int, int]
    scratch: str = ""


def run(start: Start) -> NoReturn:
    """Never returns: becomes the program, or reports what failed and exits."""
    control = start.control
    try:
        with _step("descriptors"):
            control = _arrange(start)
        _set_up(start, control)
    except StepFailed as failed:
        _tell(control, {"failed": [failed.step, failed.code, failed.about]})
    except Exception as fault:  # noqa: BLE001 (reported as a refusal; a child must never unwind into the zygote)
        _tell(control, {"failed": ["set-up", type(fault).__name__, str(fault)[:400]]})
    finally:
        os._exit(FAILED)


def _set_up(start: Start, control: socket.socket) -> None:
    spec, as_root, own_view = start.spec, os.geteuid() == 0, "namespaces" in start.spec.layers
    _calm_signals()
    oom_score = shed.volunteer(spec.profile)
    if own_view:
        _enter_namespaces(spec, control, as_root=as_root)
    else:
        spec = program.without_view(spec, start.scratch)
        if as_root:
            with _step("identity"):
                os.setgroups([])
                shed.become(spec.uid or shed.INSIDE_ID)
        _hand_out_sockets(spec, control)
    with _step("setsid"):
        os.setsid()
    with _step("keyring"):
        syscalls.call("keyctl", _JOIN_SESSION_KEYRING, None)
    with _step("cwd"):
        os.chdir(spec.cwd)
    with _step("program"):
        found = program.find(spec.argv, spec.env)
    words = program.words(found.argv, spec.env)
    with _step("rlimits"):
        exec_fd = shed.limit(spec.limits, found.fd, own_count=own_view)
    _give_up(spec, exec_fd, keep_search=as_root and not own_view)
    _tell(control, {"ready": {**run_probes(spec.self_test), OOM_SCORE: oom_score}})
    _await(control, b"go")
    with _step("rlimits"):
        shed.limit_late(spec.limits)
    with _step("exec"):
        syscalls.call("execveat", exec_fd, b"", *words, seccomp.AT_EMPTY_PATH)


def _enter_namespaces(spec: Confinement, control: socket.socket, *, as_root: bool) -> None:
    """Own host name, own view, own user namespace.

    As root the user namespace comes last: all others then belong to the host's, and even a full set of
    capabilities in the child's own would give it nothing over its mounts, its network or its processes.
    An ordinary user needs the user namespace to make the others, so ``clone3`` made it already.
    """
    if not as_root:
        _map(control)
    with _step("hostname"):
        socket.sethostname(spec.name)
    if spec.loopback is not None:
        with _step("loopback"):
            loopback.bring_up()
    _hand_out_sockets(spec, control)
    with _step("view"):
        view.build(spec.binds, spec.tmp_mib)
    if as_root:
        with _step("setgroups"):
            os.setgroups([])
        with _step("unshare"):
            syscalls.call("unshare", _NEWUSER)
        _map(control)
    with _step("identity"):
        shed.become(shed.INSIDE_ID)


def _hand_out_sockets(spec: Confinement, control: socket.socket) -> None:
    """Make what leads into this network namespace and give it away: none may be left when the program starts."""
    if spec.loopback is None:
        return
    with _step("loopback"):
        made = loopback.open_sockets(spec.loopback)
        try:
            socket.send_fds(control, [b'{"loopback": true}'], [each.fileno() for each in made])
        finally:
            for each in made:
                each.close()


def _give_up(spec: Confinement, exec_fd: int, *, keep_search: bool) -> None:
    with _step("no_new_privs"):
        syscalls.prctl(_SET_NO_NEW_PRIVS, 1)
    if "landlock" in spec.layers:
        allowed = view.rules(spec.binds, with_view="namespaces" in spec.layers)
        bind, connect = (spec.loopback.bind, spec.loopback.connect) if spec.loopback is not None else ((), ())
        with _step("landlock"):
            landlock.restrict(allowed, connect_tcp=spec.network == "host", bind=bind, connect=connect)
    with _step("capabilities"):
        shed.drop_capabilities(keep_search=keep_search)
    with _step("pdeathsig"):  # after all changes of credentials, which clear it; before seccomp, which denies it
        syscalls.prctl(_SET_PDEATHSIG, signal.SIGKILL)
    if "seccomp" in spec.layers:
        with _step("seccomp"):
            seccomp.install(seccomp.program(spec.profile, one_process=spec.one_process, exec_fd=exec_fd))


@contextlib.contextmanager
def _step(name: str) -> Generator[None]:
    try:
        yield
    except OSError as fault:
        about = fault.filename if isinstance(fault.filename, str) else ""
        raise StepFailed(name, errno.errorcode.get(fault.errno or 0, "EIO"), about) from fault


def _tell(control: socket.socket, message: Mapping[str, Any]) -> None:
    try:
        control.sendall(json.dumps(message).encode("ascii"))
    except OSError:
        os._exit(FAILED)  # the zygote is gone, and with it every reason to go on


def _await(control: socket.socket, word: bytes) -> None:
    """Block until the zygote says so. Its death is the end."""
    if control.recv(_WORD_BYTES) != word:
        os._exit(FAILED)


def _map(control: socket.socket) -> None:
    """Have the zygote write our user and group map."""
    _tell(control, {"map": True})
    _await(control, b"mapped")


def _calm_signals() -> None:
    """What the zygote ignores or blocks must not be inherited."""
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.umask(0o022)


def _arrange(start: Start) -> socket.socket:
    """Put the program's descriptors at their numbers and close all others but the control socket."""
    above = max([2, *start.fds]) + 1
    wanted = dict(start.fds)
    for target in {0, 1, 2} - set(wanted):
        wanted[target] = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    moved = {target: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above) for target, fd in wanted.items()}
    control = socket.socket(fileno=fcntl.fcntl(start.control.detach(), fcntl.F_DUPFD_CLOEXEC, above))
    for target, fd in moved.items():
        os.dup2(fd, target)
    low = 0
    for fd in sorted({*moved, control.fileno()}):
        if low < fd:  # os.closerange(0, 0) would close everything
            os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, _TOP_DESCRIPTOR)
    return control
