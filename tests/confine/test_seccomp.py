"""The filters, judged by an interpreter of the same small language, for both machines."""

from __future__ import annotations

import errno
import struct
from typing import Any, Literal

import pytest

from ringwall.confine import seccomp
from ringwall.confine.syscalls import FIRST_UNKNOWN, NUMBERS, Machine

MACHINES: tuple[Machine, ...] = ("x86_64", "aarch64")
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
EXEC_FD = 1024
ALLOW: Literal["allow"] = "allow"


def decide(code: bytes, machine: Machine, number: int, *arguments: int, audit: int | None = None) -> str | int:
    """What the kernel would do: allow, kill, or the errno. Fails on a jump out of the program."""
    ops = list(struct.iter_unpack("<HBBI", code))
    values = [value & (1 << 64) - 1 for value in (*arguments, 0, 0, 0, 0, 0, 0)][:6]
    data = struct.pack("<iIQ6Q", number, AUDIT[machine] if audit is None else audit, 0, *values)
    place, value = 0, 0
    while True:
        kind, yes, no, k = ops[place]
        place += 1
        match kind:
            case 0x20:
                value = struct.unpack_from("<I", data, k)[0]
            case 0x54:
                value &= k
            case 0x15:
                place += yes if value == k else no
            case 0x35:
                place += yes if value >= k else no
            case 0x45:
                place += yes if value & k else no
            case 0x06:
                return {0x7FFF0000: "allow", 0x80000000: "kill"}.get(k, k & 0xFFFF)
            case _:
                raise AssertionError(f"unknown instruction {kind:#x}")


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest) -> Machine:
    return request.param


def of(machine: Machine, profile: Any = "agent", *, one_process: bool = False) -> Any:
    """A function: name and arguments of a system call to the filter's decision."""
    code = seccomp.program(profile, one_process=one_process, exec_fd=EXEC_FD, machine=machine)
    return lambda name, *arguments: decide(code, machine, NUMBERS[machine][name], *arguments)


def test_a_system_call_of_another_machine_kills(machine: Machine) -> None:
    code = seccomp.program("agent", one_process=False, exec_fd=EXEC_FD, machine=machine)

    assert decide(code, machine, 1, audit=0x40000003) == "kill"  # 32-bit x86
    if machine == "x86_64":
        assert decide(code, machine, 1 | 0x40000000) == "kill"  # x32
        assert decide(code, machine, -1) == "kill"


def test_system_calls_newer_than_the_table_do_not_exist(machine: Machine) -> None:
    code = seccomp.program("agent", one_process=False, exec_fd=EXEC_FD, machine=machine)

    assert decide(code, machine, FIRST_UNKNOWN) == errno.ENOSYS
    assert decide(code, machine, FIRST_UNKNOWN - 1) == ALLOW


@pytest.mark.parametrize("profile", ["agent", "server", "guard", "sidecar"])
@pytest.mark.parametrize(
    "name",
    ["ptrace", "process_vm_readv", "pidfd_getfd", "mount", "umount2", "open_tree", "unshare", "setns", "keyctl",
     "bpf", "perf_event_open", "io_uring_setup", "userfaultfd", "shmget", "open_by_handle_at", "init_module"],
)  # fmt: skip
def test_the_kernel_s_dangerous_parts_are_denied_to_all(machine: Machine, profile: str, name: str) -> None:
    assert of(machine, profile)(name) == errno.EPERM


@pytest.mark.parametrize(
    "flag", [0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000]
)
def test_no_clone_makes_a_namespace(machine: Machine, flag: int) -> None:
    for one_process in (False, True):
        assert of(machine, one_process=one_process)("clone", flag | 0x10000) == errno.EPERM
    assert of(machine)("clone", 17) == ALLOW
    assert of(machine)("clone3") == errno.ENOSYS


def test_one_process_allows_threads_and_the_one_start(machine: Machine) -> None:
    judged = of(machine, one_process=True)

    assert judged("clone", 0x3D0F00) == ALLOW  # pthread_create
    assert judged("clone", 17) == errno.EPERM
    assert judged("execve") == errno.EPERM
    assert judged("execveat", EXEC_FD, 0, 0, 0, 0x1000) == ALLOW
    assert judged("execveat", EXEC_FD, 0, 0, 0, 0) == errno.EPERM
    assert judged("execveat", EXEC_FD - 1, 0, 0, 0, 0x1000) == errno.EPERM
    if machine == "x86_64":
        assert judged("fork") == judged("vfork") == errno.EPERM


ALL_PROFILES = ("agent", "server", "guard", "sidecar")
NETWORKED = ("agent", "server", "sidecar")


@pytest.mark.parametrize(
    ("family", "kind", "protocol", "allowed_to"),
    [
        (1, 1, 0, ALL_PROFILES),
        (1, 2, 0, ALL_PROFILES),
        (2, 1, 0, NETWORKED),
        (2, 1 | 0x80800, 6, NETWORKED),  # SOCK_CLOEXEC | SOCK_NONBLOCK
        (10, 1, 0, NETWORKED),
        (2, 1, 132, ()),  # SCTP
        (2, 1, 262, ()),  # multipath TCP
        (2, 1, 256, ()),  # SMC
        (2, 2, 0, ("sidecar",)),
        (10, 2, 17, ("sidecar",)),
        (2, 2, 136, ()),  # UDP-Lite
        (2, 3, 1, ()),  # raw
        (2, 5, 132, ()),  # SOCK_SEQPACKET
        (16, 3, 0, NETWORKED),  # route netlink
        (16, 3, 9, ()),  # audit netlink
        (17, 3, 0, ()),  # packet
        (40, 1, 0, ()),  # vsock
        (38, 5, 0, ()),  # kernel cryptography
    ],
)
def test_sockets_are_of_the_named_kinds_only(
    machine: Machine, family: int, kind: int, protocol: int, allowed_to: tuple[str, ...]
) -> None:
    for profile in ALL_PROFILES:
        said = of(machine, profile)("socket", family, kind, protocol)

        assert (said == ALLOW) == (profile in allowed_to), profile
        assert said in {ALLOW, errno.EPERM, errno.EAFNOSUPPORT}


def test_a_terminal_cannot_be_typed_into_with_high_bits_set_either(machine: Machine) -> None:
    judged = of(machine)

    assert judged("ioctl", 0, 0x5412) == judged("ioctl", 0, 0x5412 | 1 << 32) == errno.EPERM
    assert judged("ioctl", 0, 0x5413) == ALLOW


def test_no_file_gets_the_right_to_run_as_its_owner_for_whoever_finds_it_on_the_host(machine: Machine) -> None:
    judged = of(machine)

    for name, at in (("fchmod", 1), ("fchmodat", 2), ("fchmodat2", 2), ("mknodat", 2)):
        assert [judged(name, *[0] * at, mode) for mode in (0o755, 0o1777, 0o4755, 0o2755)] == [
            ALLOW, ALLOW, errno.EPERM, errno.EPERM]
    create, temporary, read = 0o100, 0o20200000, 0
    assert [judged("openat", 3, 0, flags, 0o4755) for flags in (create, temporary, read)] == [
        errno.EPERM, errno.EPERM, ALLOW]
    assert judged("openat", 3, 0, create, 0o644) == ALLOW
    assert judged("openat2", 3) == errno.ENOSYS
    if machine == "x86_64":
        assert [judged(name, 0, 0o4755) for name in ("chmod", "creat", "mknod")] == [errno.EPERM] * 3
        assert (judged("open", 0, create, 0o4755), judged("open", 0, read, 0o4755)) == (errno.EPERM, ALLOW)


def test_limits_and_parent_death_of_itself_only(machine: Machine) -> None:
    judged = of(machine)

    assert (judged("prlimit64", 0), judged("prlimit64", 7)) == (ALLOW, errno.EPERM)
    assert (judged("prctl", 1), judged("prctl", 15)) == (errno.EPERM, ALLOW)


def test_the_second_filter_leaves_reading_and_threads(machine: Machine) -> None:
    code = seccomp.second_program(machine)

    def judged(name: str, *arguments: int) -> str | int:
        return decide(code, machine, NUMBERS[machine][name], *arguments)

    assert judged("clone", 0x3D0F00) == judged("openat", -100, 0, 0o2000000) == ALLOW
    for name in ("execve", "execveat", "socket", "connect", "unlinkat", "renameat2", "openat2", "fchmodat2"):
        assert judged(name) == errno.EPERM
    for flags in (0o1, 0o2, 0o100, 0o1000, 0o20200000 | 0o2):
        assert judged("openat", -100, 0, flags) == errno.EPERM
    assert judged("clone", 17) == errno.EPERM


def test_a_jump_that_is_too_far_is_an_error_and_not_a_hole() -> None:
    op = seccomp._Op
    far = [op(0x15, 0, yes="end"), *[op(0x20, 0)] * 300, "end", op(6, 0)]

    with pytest.raises(Exception, match="out of reach"):
        seccomp.assemble(far)


def test_both_machines_know_the_same_new_system_calls() -> None:
    """From 424 on all machines share their numbers."""
    new = [{name: nr for name, nr in NUMBERS[machine].items() if nr >= 424} for machine in MACHINES]

    assert new[0] == new[1]
