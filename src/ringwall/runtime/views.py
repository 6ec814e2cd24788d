"""What each kind of process may see: agents, tool servers, the guard, sidecars. All layers, always."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import ringwall
from ringwall.confine.spec import Bind, Confinement, Loopback, Probe, Profile, ResourceLimits
from ringwall.confine.system import network_binds, python_binds, system_binds
from ringwall.errors import RingwallError
from ringwall.manifest.types import Agent, ToolServer

DOOR: Final = "/run/ringwall"
SPIRE: Final = "/run/spire"
DOOR_URL: Final = "RINGWALL_DOOR_URL"
GIB: Final = 1 << 30

# Host processes, devices and daemons' sockets: a read-only view is no obstacle to connecting to a socket.
_KERNEL: Final = tuple(Path(name) for name in ("/proc", "/sys", "/dev", "/run"))
_SHARED: Final = frozenset({Path("/tmp"), Path("/var/tmp"), Path("/var"), Path("/home")})  # noqa: S108 (refused)
_PARTS: Final = ("bin", "sbin", "lib", "lib64", "libexec")  # of an installation; what lies beside may be private
_SYSTEM: Final = tuple(Path(name) for name in ("/usr", "/bin", "/sbin", "/lib", "/lib64"))  # always shown
_NO_HOME: Final[Mapping[str, str]] = MappingProxyType({"HOME": "/"})
WORKER: Final = "ringwall.tools.builtins.serve"
_MAX_LINKS: Final = 4  # from a virtual environment to the interpreter behind it
_MAX_CONFIG: Final = 64 << 10  # bytes of a pyvenv.cfg

# Addresses are no memory: a WebAssembly module reserves 8 GiB of them, and Node's own HTTP client is such a module.
AGENT_LIMITS: Final = ResourceLimits(
    address_space=32 * GIB, file_size=2 * GIB, open_files=1024, processes=512, cpu_seconds=None
)
SERVER_LIMITS: Final = ResourceLimits(
    address_space=4 * GIB, file_size=1 * GIB, open_files=512, processes=128, cpu_seconds=None
)
# Two descriptors for each peer's connection to a gate, one for each to a peer, and each launch's inside sockets.
SIDECAR_LIMITS: Final = ResourceLimits(
    address_space=4 * GIB, file_size=1 * GIB, open_files=4096, processes=128, cpu_seconds=None
)
# The scanners with their tables need 60 MB; a scanner that wants more is being attacked.
GUARD_LIMITS: Final = ResourceLimits(
    address_space=1 * GIB, file_size=0, open_files=64, processes=None, cpu_seconds=None
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the core knows of its machine and keeps out of every view."""

    state: Path
    core_pid: int
    manifest: Path
    secret_files: tuple[Path, ...] = ()

    def probes(self) -> tuple[Probe, ...]:
        """What a launch tries in vain before the program starts."""
        return (
            Probe(kind="open", target=str(self.state)),
            Probe(kind="open", target=str(self.state / "root.key")),
            Probe(kind="open", target=f"/proc/{self.core_pid}/environ"),
            Probe(kind="connect_unix", target=str(self.state / "operator.sock")),
            Probe(kind="connect_tcp", target="127.0.0.1:1"),
            Probe(kind="kill", target=str(self.core_pid)),
            Probe(kind="ptrace", target=str(self.core_pid)),
        )

    def check(self, folder: Path) -> Path:
        """A folder that may be shown: no part of the state, no secret's file, no system folder."""
        if not folder.is_absolute():
            raise RingwallError(f"{folder} is not an absolute path", code="bad_folder")
        real = folder.resolve()
        state = self.state.resolve()
        if real in _SHARED or any(real.is_relative_to(system) for system in _KERNEL):
            raise RingwallError(
                f"{folder} would show the machine's own processes, devices or sockets",
                code="system_in_view",
                remedy="start from the folder of your project",
            )
        if real == Path("/") or state.is_relative_to(real) or real.is_relative_to(state):
            raise RingwallError(
                f"{folder} would show the state folder {state}",
                code="state_in_view",
                remedy="start from the folder of your project, or keep the state elsewhere (--state)",
            )
        for secret in self.secret_files:
            if secret.resolve().is_relative_to(real):
                raise RingwallError(
                    f"{folder} would show the secret file {secret}",
                    code="secret_in_view",
                    remedy="move the secret's file out of that folder",
                )
        return real

    def check_writable(self, folder: Path) -> Path:
        """A folder that may be written: in addition, the manifest does not lie in it."""
        real = self.check(folder)
        if self.manifest.resolve().is_relative_to(real):
            raise RingwallError(
                f"the manifest {self.manifest} lies in {folder}, which could be written",
                code="manifest_writable",
                remedy="keep the manifest outside every writable folder",
            )
        return real


def program_prefixes(program: Path, *, links: int = _MAX_LINKS) -> tuple[Path, ...]:
    """What a program needs to see of its installation: its virtual environment and the interpreter behind that.

    Of anything but a virtual environment, only the folders of programs and libraries are taken, and of a program
    that lies in no ``bin`` only itself: the folder above it may be somebody's home.
    """
    folder = program.parent.parent
    config = folder / "pyvenv.cfg"
    if config.is_file() and links:
        home = _home(config)
        return (folder, *(program_prefixes(home / "python3", links=links - 1) if home is not None else ()))
    real = program.resolve()
    if real != program and links:
        return tuple(dict.fromkeys((*_itself(program), *program_prefixes(real, links=links - 1))))
    if any(real.is_relative_to(system) for system in _SYSTEM):
        return ()
    if real.parent.name not in {"bin", "sbin"}:
        return _itself(real)
    return tuple(part for name in _PARTS if (part := real.parent.parent / name).is_dir())


def _itself(program: Path) -> tuple[Path, ...]:
    shown = any(program.is_relative_to(system) for system in _SYSTEM)
    return (program,) if program.is_file() and not shown else ()


def _home(config: Path) -> Path | None:
    """The folder of the interpreter that a virtual environment was made from (PEP 405)."""
    with config.open("rb") as file:
        text = file.read(_MAX_CONFIG).decode(errors="replace")
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "home":
            home = Path(value.strip())
            return home if home.is_absolute() else None
    return None


def find_program(name: str, cwd: Path, path: str) -> Path:
    """``argv[0]`` as the operator's shell would find it. Raises RingwallError."""
    if "/" in name:
        found = cwd / name
        if found.is_file() and os.access(found, os.X_OK):
            return found
    else:
        # A relative entry means a folder of the operator's shell, and would be looked up from ours.
        absolute = os.pathsep.join(entry for entry in path.split(os.pathsep) if entry.startswith("/"))
        hit = shutil.which(name, path=absolute) if absolute else None
        if hit:
            return Path(hit)
    raise RingwallError(
        f"there is no program {name}", code="no_such_program", remedy="give a path, or a name found on PATH"
    )


def _refuse_own_program(agent: Agent, program: Path) -> None:
    """Its place decides what is shown besides: an agent that can write there would choose its own next view."""
    if agent.work is None:
        return
    work = agent.work.resolve()
    if program.parent.resolve().is_relative_to(work) or program.resolve().is_relative_to(work):
        raise RingwallError(
            f"the program {program} lies in {agent.work}, which the agent can write",
            code="program_writable",
            remedy="keep the program and its environment outside the agent's folder",
        )


def package() -> Bind:
    """The folder that holds Ringwall's package (``src`` or site-packages), so that ``import ringwall`` works in an
    editable installation too. The folder and not the package: Python lists it to find the package."""
    here = str(Path(ringwall.__file__).parent.parent)
    return Bind(here, here)


def real(folder: Path, target: Path | str, *, writable: bool = False) -> Bind:
    """A bind's source has no symbolic link in it: the zygote follows none."""
    return Bind(str(folder.resolve()), str(target), writable)


def own_python() -> tuple[Bind, ...]:
    """The interpreter and packages that run Ringwall itself, for its own children."""
    return (*python_binds([Path(sys.prefix), Path(sys.base_prefix)]), package())


def _environment(**more: str) -> Mapping[str, str]:
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",  # noqa: S108 (its own tmpfs)
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


def _distinct(binds: Sequence[Bind]) -> tuple[Bind, ...]:
    """One bind a target; the last wins, so that a writable folder stays writable.

    A program's file is left out where its folder is shown: there it may be a link, which nothing can lie upon.
    """
    found = {bind.target: bind for bind in binds}
    return tuple(
        bind
        for target, bind in found.items()
        if not (Path(bind.source).is_file() and any(str(above) in found for above in Path(target).parents))
    )


def confinement(
    *,
    name: str,
    argv: Sequence[str],
    binds: Sequence[Bind],
    uid: int | None,
    profile: Profile,
    limits: ResourceLimits,
    self_test: tuple[Probe, ...],
    tmp_mib: int,
    cwd: str = "/",
    env: Mapping[str, str] = _NO_HOME,
    loopback: Loopback | None = None,
    one_process: bool = False,
) -> Confinement:
    """What all views have in common: the system's programs to read, and no network but for a sidecar."""
    network = network_binds() if profile == "sidecar" else ()
    return Confinement(
        name=name,
        argv=tuple(argv),
        env=_environment(**env),
        cwd=cwd,
        binds=_distinct([*system_binds(), *network, *binds]),
        tmp_mib=tmp_mib,
        network="host" if profile == "sidecar" else "none",
        uid=uid,
        profile=profile,
        one_process=one_process,
        limits=limits,
        self_test=self_test,
        loopback=loopback,
    )


def agent_view(
    *,
    agent: Agent,
    command: Sequence[str],
    program: Path,
    cwd: Path,
    workspace: Path,
    door: Path,
    uid: int | None,
    around: Surroundings,
    workload: str = "",
    loopback: Loopback | None = None,
    familiar: Mapping[str, str] = MappingProxyType({}),
) -> Confinement:
    """An agent: its program and current folder to read, /workspace and /tmp to write, its door, nothing else.

    ``workload``: the name of its Workload API's socket, beside the door; empty: it has none.
    ``loopback``: of its own network. A door over TCP cannot tell the processes behind it apart: where only one may
    call, only one can be.
    ``familiar``: what programs that know no Ringwall are told of that door, see ``loopback.familiar``.
    """
    door_port = loopback.door if loopback is not None else None
    _refuse_own_program(agent, program)
    shown = [around.check(folder) for folder in (cwd, *agent.read_only, *program_prefixes(program))]
    folders = [real(folder, folder) for folder in dict.fromkeys((*shown, cwd))]
    return confinement(
        name="agent",
        argv=(str(program), *command[1:]),
        env={
            "HOME": "/workspace",
            "RINGWALL_DOOR": f"{DOOR}/door.sock",
            **familiar,
            **({DOOR_URL: f"http://127.0.0.1:{door_port}"} if door_port is not None else {}),
            **({"SPIFFE_ENDPOINT_SOCKET": f"unix://{DOOR}/{workload}"} if workload else {}),
            "PATH": f"{program.parent}:/usr/local/bin:/usr/bin:/bin",
        },
        cwd=str(cwd),
        binds=[
            *python_binds(program_prefixes(program)),
            package(),
            *folders,
            real(door, DOOR),
            real(workspace, "/workspace", writable=True),
        ],
        tmp_mib=256,
        uid=uid,
        profile="agent",
        limits=AGENT_LIMITS,
        self_test=around.probes(),
        loopback=loopback,
        one_process=agent.processes == "one" and door_port is not None,
    )


def worker_arguments(server: ToolServer) -> tuple[str, ...]:
    """What a built-in with a process of its own is told: where to ask, and nothing secret."""
    return (
        server.builtin, server.url,
        *(("--region", server.region) if server.region else ()),
        *(("--ca", str(server.ca_file)) if server.ca_file is not None else ()),
        "--seconds", str(server.timeout_s),
    )  # fmt: skip


def server_view(*, server: ToolServer, uid: int | None, around: Surroundings) -> Confinement:
    """A tool server: its own folders, no network, no environment of anybody's."""
    readable = [around.check(folder) for folder in server.read_only]
    writable = [around.check_writable(folder) for folder in server.writable]
    if server.worker:
        command: tuple[str, ...] = (sys.executable, "-m", WORKER, *worker_arguments(server))
        prefixes = own_python()
        readable += [server.ca_file] if server.ca_file is not None else []
    elif server.python:
        command = (sys.executable, "-m", "ringwall.tools.serve", server.python)
        prefixes = own_python()
    else:
        program = find_program(server.command[0], Path("/"), os.environ.get("PATH", os.defpath))
        command = (str(program), *server.command[1:])
        installation = program_prefixes(program)
        for part in installation:
            around.check(part)
        prefixes = python_binds(installation)
    path = [str(folder) for folder in readable] if server.python else []
    return confinement(
        name=f"server-{server.name}",
        argv=command,
        env={"HOME": "/tmp", **({"PYTHONPATH": ":".join(path)} if path else {})},  # noqa: S108
        cwd=str(writable[0]) if writable else "/",
        binds=[
            *prefixes,
            *(real(folder, folder) for folder in readable),
            *(real(folder, folder, writable=True) for folder in writable),
        ],
        tmp_mib=64,
        uid=uid,
        profile="server",
        limits=SERVER_LIMITS,
        self_test=around.probes(),
    )
