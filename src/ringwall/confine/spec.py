"""What a confined process is to be: one frozen value, and its strict form on the zygote's wire.

A ``Confinement`` cannot be built wrong: every field is checked when the value is made, whoever makes it.
Standard library only, since the zygote imports this before anything else.
"""

from __future__ import annotations

import json
import os
import posixpath
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, NoReturn, TypeVar, cast, get_args

from ringwall.errors import BadInput

Layer = Literal["namespaces", "landlock", "seccomp"]
Profile = Literal["agent", "server", "guard", "sidecar"]
Network = Literal["none", "host"]
ProbeKind = Literal["open", "connect_tcp", "connect_unix", "kill", "ptrace"]

ALL_LAYERS: Final[frozenset[Layer]] = frozenset(get_args(Layer))

MAX_SPEC_BYTES: Final = 128 << 10  # one datagram; the default send buffer of a Unix socket holds 208 KiB
MAX_WORDS: Final = 4096  # arguments, and environment variables: far below what execve takes
MAX_BINDS: Final = 256  # each costs two system calls and a line of mountinfo
MAX_PROBES: Final = 64  # each runs before every launch
MAX_PATH: Final = 4095  # PATH_MAX without its NUL
MAX_NAME: Final = 64  # HOST_NAME_MAX: the name is the host name inside
MAX_TMP_MIB: Final = 64 << 10
MAX_UID: Final = (1 << 32) - 2  # (uid_t) -1 means "no change"
MIN_PORT: Final = 1024  # lower ones need a capability that no confined program has
MAX_PORT: Final = 65535
MAX_INSIDE: Final = 32  # one for each connection under way; with the door they fit into one control message
MAX_PORTS: Final = 16  # each is a rule of Landlock
MIN_OPEN_FILES: Final = 16  # below, not even an interpreter starts
MAX_OPEN_FILES: Final = 1 << 20  # the kernel's default fs.nr_open
MAX_AMOUNT: Final = (1 << 63) - 1  # RLIM_INFINITY is above
RESERVED_TARGETS: Final = ("/proc", "/dev")  # made by the launcher; nothing may be put over or into them
_NAME_CHARACTERS: Final = frozenset(string.ascii_letters + string.digits + "._-")

_T = TypeVar("_T")


def _wrong(what: str, remedy: str = "") -> NoReturn:
    raise BadInput(what, code="bad_confinement", remedy=remedy)


def _text(value: str, what: str) -> None:
    """Refuse what execve cannot carry: NUL, and characters without a byte form."""
    if "\0" in value:
        _wrong(f"{what} holds a NUL character")
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        _wrong(f"{what} holds a lone surrogate")


def _path(value: str, what: str) -> None:
    _text(value, what)
    if not value.startswith("/") or value.startswith("//") or posixpath.normpath(value) != value:
        _wrong(f"{what} {value[:80]!r} is not an absolute path in its shortest form")
    if len(os.fsencode(value)) > MAX_PATH:
        _wrong(f"{what} is longer than {MAX_PATH} bytes")


def _range(value: int | None, low: int, high: int, what: str) -> None:
    if value is not None and not low <= value <= high:
        _wrong(f"{what} is {value}, not between {low} and {high}")


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of the host shown inside.

    Args:
        source: real path on the host: a symbolic link at any component refuses the launch (ELOOP), so that
            nobody can swap a folder for a link between composing and launching.
        target: where it appears inside.
        writable: False mounts it, and all mounts below it, read-only.

    """

    source: str
    target: str
    writable: bool = False

    def __post_init__(self) -> None:
        _path(self.source, "the source of a bind")
        _path(self.target, "the target of a bind")
        if self.target in {"/", "/tmp"}:
            _wrong(f"nothing can be bound at {self.target}: the launcher makes it itself")
        if any(self.target == top or self.target.startswith(top + "/") for top in RESERVED_TARGETS):
            _wrong(f"the target {self.target!r} lies in a part of the view that the launcher makes itself")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceLimits:
    """Limits per process, None for no limit of ours. Core dumps are always off.

    Args:
        address_space: bytes.
        file_size: bytes any one file may grow to; 0 silences a standard error that goes to a file.
        open_files: descriptors; also the first number the program can never open.
        processes: processes and threads of this child's uid in its user namespace.
        cpu_seconds: seconds of processor time, then SIGKILL.

    """

    address_space: int | None = None
    file_size: int | None = None
    open_files: int = 1024
    processes: int | None = None
    cpu_seconds: int | None = None

    def __post_init__(self) -> None:
        _range(self.address_space, 1 << 20, MAX_AMOUNT, "address_space")
        _range(self.file_size, 0, MAX_AMOUNT, "file_size")
        _range(self.open_files, MIN_OPEN_FILES, MAX_OPEN_FILES, "open_files")
        _range(self.processes, 1, MAX_AMOUNT, "processes")
        _range(self.cpu_seconds, 1, MAX_AMOUNT, "cpu_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loopback:
    """What a child's own network namespace has on 127.0.0.1. Ports are from MIN_PORT on.

    Args:
        door: made listening before the program starts, and handed out; None: no such door.
        inside: how many unconnected TCP sockets that can reach the child's ports are handed out.
        bind: ports the program may listen on, exactly these.
        connect: ports the program may connect to, exactly these.

    """

    door: int | None
    inside: int
    bind: tuple[int, ...]
    connect: tuple[int, ...]

    def __post_init__(self) -> None:
        _range(self.inside, 0, MAX_INSIDE, "inside")
        for port in (self.door, *self.bind, *self.connect):
            _range(port, MIN_PORT, MAX_PORT, "a port of the loopback")
        if len(self.bind) > MAX_PORTS or len(self.connect) > MAX_PORTS:
            _wrong(f"more than {MAX_PORTS} ports")
        if len(set(self.bind)) != len(self.bind) or self.door in self.bind:
            _wrong("a port of the loopback is given twice", "give the door and each server a port of its own")

    @property
    def sockets(self) -> int:
        """How many descriptors are handed out."""
        return self.inside + (self.door is not None)


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing that the launch self-test tries inside, after all layers, before the program starts.

    ``target``: a path for open and connect_unix, ``address:port`` for connect_tcp, a process number as the
    *core* counts for kill (signal 0) and ptrace.
    """

    kind: ProbeKind
    target: str

    def __post_init__(self) -> None:
        if self.kind in {"open", "connect_unix"}:
            _path(self.target, f"the target of a probe {self.kind}")
        elif self.kind == "connect_tcp":
            host, _, port = self.target.rpartition(":")
            _text(host, "the host of a probe")
            if not host or not _decimal(port) or not 0 < int(port) < 1 << 16:
                _wrong(f"{self.target[:80]!r} is not address:port")
        elif not _decimal(self.target) or not 0 < int(self.target) < 1 << 31:
            _wrong(f"{self.target[:80]!r} is not a process number")

    @property
    def name(self) -> str:
        """The key of its result: ``open /srv/state``."""
        return f"{self.kind} {self.target}"


def _decimal(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """Everything the zygote needs to start one untrusted program.

    Args:
        name: for messages, and the host name inside.
        argv: program and arguments as seen inside; without a slash the program is looked up in ``env["PATH"]``.
        env: the whole environment, nothing is added.
        cwd: working folder inside.
        binds: what of the host is visible, besides /dev, /proc, /tmp and /dev/shm made by the launcher.
        tmp_mib: size of /tmp and of /dev/shm each, MiB.
        network: ``none``: an own namespace without a working interface; ``host``: the host's, outbound TCP and
            name look-ups only. Only the profile ``sidecar`` may have the host's.
        uid: outer user and group number to become; needed as root, None as ordinary user.
        profile: which system calls: see ``seccomp.program``.
        one_process: no new process and no other program after the start; threads are allowed.
        limits: see ResourceLimits.
        self_test: what to try before the program starts.
        loopback: what its own network has; None: nothing, not even ``lo`` is up. Not with the host's network.
            Without the layer ``namespaces`` its sockets are of the host's network, where Landlock alone keeps
            the program to its ports: so one of the two must be there.
        layers: always ALL_LAYERS at run time. Only redteam's ablation leaves one out. Without ``namespaces``
            there is no view: targets are rewritten to their sources in argv, env and cwd, and as root the
            child keeps CAP_DAC_READ_SEARCH, since sources may lie in folders only root may cross; then
            Landlock alone stands between it and the files.

    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    binds: tuple[Bind, ...]
    tmp_mib: int
    network: Network
    uid: int | None
    profile: Profile
    one_process: bool
    limits: ResourceLimits = field(default_factory=ResourceLimits)
    self_test: tuple[Probe, ...] = ()
    loopback: Loopback | None = None
    layers: frozenset[Layer] = ALL_LAYERS

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= MAX_NAME or not set(self.name) <= _NAME_CHARACTERS:
            _wrong(f"the name {self.name[:80]!r} is not 1 to {MAX_NAME} letters, digits, '.', '_' or '-'")
        self._check_words()
        _path(self.cwd, "the working folder")
        _range(self.tmp_mib, 1, MAX_TMP_MIB, "tmp_mib")
        _range(self.uid, 1, MAX_UID, "uid")
        if self.network == "host" and self.profile != "sidecar":
            _wrong(f"profile {self.profile} may not have the host's network", "use the profile sidecar")
        if self.loopback is not None and (self.network == "host" or not self.layers & {"namespaces", "landlock"}):
            _wrong("a loopback needs a network of its own, or Landlock to keep its ports")
        if len(self.binds) > MAX_BINDS or len(self.self_test) > MAX_PROBES:
            _wrong(f"more than {MAX_BINDS} binds or {MAX_PROBES} probes")
        targets = [bind.target for bind in self.binds]
        if len(set(targets)) != len(targets):
            twice = next(target for target in targets if targets.count(target) > 1)
            _wrong(f"two binds have the target {twice!r}", "bind each target once")

    def _check_words(self) -> None:
        if not self.argv or not self.argv[0]:
            _wrong("argv is empty", "name a program")
        if len(self.argv) > MAX_WORDS or len(self.env) > MAX_WORDS:
            _wrong(f"more than {MAX_WORDS} arguments or environment variables")
        for word in self.argv:
            _text(word, "an argument")
        for key, value in self.env.items():
            _text(key, "the name of an environment variable")
            _text(value, f"the environment variable {key[:80]!r}")
            if not key or "=" in key:
                _wrong(f"{key[:80]!r} cannot name an environment variable")

    def to_json(self) -> bytes:
        """Its form on the wire. Raises BadInput when it is longer than MAX_SPEC_BYTES."""
        tree: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        tree["env"] = dict(self.env)
        tree["layers"] = sorted(self.layers)
        tree["binds"] = [[bind.source, bind.target, bind.writable] for bind in self.binds]
        tree["self_test"] = [[probe.kind, probe.target] for probe in self.self_test]
        tree["limits"] = {each.name: getattr(self.limits, each.name) for each in fields(self.limits)}
        if self.loopback is not None:
            tree["loopback"] = {each.name: getattr(self.loopback, each.name) for each in fields(self.loopback)}
        raw = json.dumps(tree).encode("ascii")
        if len(raw) > MAX_SPEC_BYTES:
            _wrong(
                f"the specification has {len(raw)} bytes, over the limit of {MAX_SPEC_BYTES}",
                "shorten the arguments or the environment",
            )
        return raw

    @classmethod
    def from_json(cls, raw: bytes) -> Confinement:
        """The exact inverse of :meth:`to_json`; anything else raises BadInput."""
        tree = _record(parse_object(raw), cls)
        limits = _record(_mapping(tree["limits"], "limits"), ResourceLimits)
        for key, value in limits.items():
            if value is not None or key == "open_files":
                _typed(value, int, key)
        uid = tree["uid"]
        return cls(
            name=_typed(tree["name"], str, "name"),
            argv=tuple(_list(tree["argv"], "argv", lambda word: _typed(word, str, "an argument"))),
            env=string_map(tree["env"], "env"),
            cwd=_typed(tree["cwd"], str, "cwd"),
            binds=tuple(_list(tree["binds"], "binds", _bind)),
            tmp_mib=_typed(tree["tmp_mib"], int, "tmp_mib"),
            network=_one_of(tree["network"], Network, "network"),
            uid=None if uid is None else _typed(uid, int, "uid"),
            profile=_one_of(tree["profile"], Profile, "profile"),
            one_process=_typed(tree["one_process"], bool, "one_process"),
            limits=ResourceLimits(**limits),
            self_test=tuple(_list(tree["self_test"], "self_test", _probe)),
            loopback=_loopback(tree["loopback"]),
            layers=frozenset(_list(tree["layers"], "layers", lambda item: _one_of(item, Layer, "layers"))),
        )


def parse_object(raw: bytes) -> dict[str, Any]:
    """One JSON object: no duplicate keys, no numbers but integers, at most MAX_SPEC_BYTES. Raises BadInput."""
    if len(raw) > MAX_SPEC_BYTES:
        _wrong(f"a message of {len(raw)} bytes is over the limit of {MAX_SPEC_BYTES}")
    try:
        tree = json.loads(
            raw.decode("ascii"), object_pairs_hook=_unique, parse_float=_no_number, parse_constant=_no_number
        )
    except (ValueError, RecursionError) as fault:
        raise BadInput("a message is not JSON of the expected form", code="bad_confinement") from fault
    return _mapping(tree, "the message")


def string_map(value: Any, what: str) -> dict[str, str]:
    """A JSON object of strings. Raises BadInput."""
    return {key: _typed(text, str, what) for key, text in _mapping(value, what).items()}


def numbers(value: Any, what: str) -> list[int]:
    """A JSON list of integers. Raises BadInput."""
    return _list(value, what, lambda item: _typed(item, int, what))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        _wrong("a key occurs twice")
    return made


def _no_number(text: str) -> NoReturn:
    _wrong(f"the number {text[:40]!r} is not an integer")


def _record(tree: dict[str, Any], cls: type) -> dict[str, Any]:
    names = {each.name for each in fields(cls)}
    if set(tree) != names:
        _wrong(f"missing or unknown fields: {', '.join(sorted(set(tree) ^ names))[:200]}")
    return tree


def _typed(value: Any, kind: type[_T], what: str) -> _T:
    if type(value) is not kind:  # not isinstance: True is an int
        _wrong(f"{what} is not of type {kind.__name__}")
    return value


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _wrong(f"{what} is not an object")
    return cast("dict[str, Any]", value)


def _list(value: Any, what: str, each: Callable[[Any], _T]) -> list[_T]:
    return [each(item) for item in cast("Sequence[Any]", _typed(value, list, what))]


def _one_of(value: Any, choices: Any, what: str) -> Any:
    if not isinstance(value, str) or value not in get_args(choices):
        _wrong(f"{what} is not one of {', '.join(get_args(choices))}")
    return value


def _bind(value: Any) -> Bind:
    match value:
        case [str(source), str(target), bool(writable)]:
            return Bind(source, target, writable)
        case _:
            _wrong("a bind is not [source, target, writable]")


def _loopback(value: Any) -> Loopback | None:
    if value is None:
        return None
    tree = _record(_mapping(value, "loopback"), Loopback)
    door = tree["door"]
    return Loopback(
        door=None if door is None else _typed(door, int, "door"),
        inside=_typed(tree["inside"], int, "inside"),
        bind=tuple(numbers(tree["bind"], "bind")),
        connect=tuple(numbers(tree["connect"], "connect")),
    )


def _probe(value: Any) -> Probe:
    match value:
        case [str(kind), str(target)]:
            return Probe(_one_of(kind, ProbeKind, "the kind of a probe"), target)
        case _:
            _wrong("a probe is not [kind, target]")
