"""What is shown to whom: nothing of Ringwall's or the machine's own, no more of a program than it needs."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import pytest

from ringwall.confine.spec import Confinement, Loopback
from ringwall.errors import RingwallError
from ringwall.manifest.types import Agent, ToolServer
from ringwall.runtime import loopback
from ringwall.runtime.helper_views import guard_view, sidecar_view
from ringwall.runtime.views import (
    DOOR_URL,
    Surroundings,
    agent_view,
    find_program,
    program_prefixes,
    server_view,
)


class Place:
    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        for name in ("state", "project", "config", "keys", "opt/bin", "opt/lib", "opt/private", "home/bin"):
            (self.root / name).mkdir(parents=True)
        (self.root / "config/ringwall.toml").touch()
        (self.root / "keys/key").touch()
        self.around = Surroundings(state=self.root / "state", core_pid=os.getpid(),
                                   manifest=self.root / "config/ringwall.toml",
                                   secret_files=(self.root / "keys/key",))

    def program(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return path

    def view(self, program: Path, agent: Agent | None = None, cwd: str = "project") -> Confinement:
        return agent_view(agent=agent or Agent(name="ana", role="r"), command=["x", "arg"], program=program,
                          cwd=self.root / cwd, workspace=self.root / "state/work", door=self.root / "state/door",
                          uid=None, around=self.around,
                          loopback=loopback.of_agent(agent) if agent is not None else None)

    def shown(self, found: Confinement) -> set[str]:
        """What of this place is shown, relative to it."""
        root = str(self.root) + "/"
        return {bind.target.removeprefix(root) for bind in found.binds if bind.target.startswith(root)}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def code(place: Place, folder: Path, *, writable: bool = False) -> str:
    with pytest.raises(RingwallError) as fault:
        (place.around.check_writable if writable else place.around.check)(folder)
    return fault.value.code


def test_no_part_of_the_state_is_shown(place: Place) -> None:
    for folder in (place.root / "state", place.root / "state/work", place.root, Path("/")):
        assert code(place, folder) in {"state_in_view", "system_in_view"}
    (place.root / "project/link").symlink_to(place.root / "state")
    assert code(place, place.root / "project/link") == "state_in_view"
    assert code(place, place.root / "project/../state") == "state_in_view"


def test_no_secrets_file_is_shown(place: Place) -> None:
    assert code(place, place.root / "keys") == "secret_in_view"
    (place.root / "project/link").symlink_to(place.root / "keys")
    assert code(place, place.root / "project/link") == "secret_in_view"


@pytest.mark.parametrize("folder", ["/proc", "/proc/1", "/sys", "/dev", "/run", "/run/user", "/tmp", "/var/tmp",
                                    "/home", "/var", "/proc/self/root/run"])
def test_no_processes_devices_or_sockets_of_the_machine_are_shown(place: Place, folder: str) -> None:
    assert code(place, Path(folder)) in {"system_in_view", "state_in_view"}


def test_a_relative_folder_means_nothing_here(place: Place) -> None:
    assert code(place, Path("project")) == "bad_folder"


def test_the_manifest_may_be_shown_but_not_written(place: Place) -> None:
    assert place.around.check(place.root / "config") == place.root / "config"
    assert code(place, place.root / "config", writable=True) == "manifest_writable"
    assert place.around.check_writable(place.root / "project") == place.root / "project"


def test_an_agent_sees_its_program_its_folder_its_door_and_writes_its_workspace(place: Place) -> None:
    found = place.view(place.program("opt/bin/tool"))
    assert place.shown(found) == {"project", "opt/bin", "opt/lib"}
    assert {bind.target for bind in found.binds if bind.writable} == {"/workspace"}
    assert "/run/ringwall" in {bind.target for bind in found.binds}
    assert found.network == "none"
    assert found.argv[1:] == ("arg",)
    assert not {name for name in found.env if name in os.environ and found.env[name] == os.environ[name]} - {
        "LANG", "PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "TMPDIR"}


def test_of_a_program_in_somebodys_home_nothing_but_itself_is_shown(place: Place) -> None:
    assert place.shown(place.view(place.program("home/tool"))) == {"project", "home/tool"}
    assert place.shown(place.view(place.program("home/bin/tool"))) == {"project", "home/bin"}


def test_a_program_in_the_current_folder_needs_nothing_besides(place: Place) -> None:
    assert place.shown(place.view(place.program("project/agent.sh"))) == {"project"}


def test_a_link_to_a_program_is_shown_with_what_it_leads_to(place: Place) -> None:
    place.program("opt/bin/tool")
    (place.root / "home/bin/tool").symlink_to(place.root / "opt/bin/tool")
    found = place.view(place.root / "home/bin/tool")
    assert place.shown(found) == {"project", "opt/bin", "opt/lib", "home/bin/tool"}


def test_a_virtual_environment_is_shown_with_the_interpreter_behind_it(place: Place) -> None:
    place.program("opt/bin/python3")
    program = place.program("venv/bin/python")
    (place.root / "venv/pyvenv.cfg").write_text(f"home = {place.root}/opt/bin\n")
    assert place.shown(place.view(program)) == {"project", "venv", "opt/bin", "opt/lib"}


@pytest.mark.parametrize("config", ["", "home =", "home = ../x", "nonsense", "home = {venv}/bin", "\x00" * 100_000])
def test_an_odd_environment_file_ends_the_search(place: Place, config: str) -> None:
    program = place.program("venv/bin/python3")
    (place.root / "venv/pyvenv.cfg").write_text(config.format(venv=place.root / "venv"))
    found = program_prefixes(program)
    assert all(part.is_relative_to(place.root / "venv") for part in found)


def test_bytes_that_are_no_text_in_an_environment_file_are_no_fault(place: Place) -> None:
    program = place.program("venv/bin/python3")
    (place.root / "venv/pyvenv.cfg").write_bytes(b"\xff\xfe home = x")
    assert program_prefixes(program) == (place.root / "venv",)


@pytest.mark.parametrize("name", ["work/bin/tool", "work/tool", "work/venv/bin/python"])
def test_an_agent_does_not_choose_its_next_view_by_its_own_program(place: Place, name: str) -> None:
    agent = Agent(name="ana", role="r", work=place.root / "work")
    with pytest.raises(RingwallError) as fault:
        place.view(place.program(name), agent)
    assert fault.value.code == "program_writable"


def test_what_an_agent_is_shown_besides_is_checked_too(place: Place) -> None:
    for extra in ("state", "keys"):
        with pytest.raises(RingwallError):
            place.view(place.program("opt/bin/tool"), Agent(name="a", role="r", read_only=(place.root / extra,)))
    with pytest.raises(RingwallError):
        place.view(place.program("opt/bin/tool"), cwd="state")


def test_a_program_is_found_as_the_operators_shell_would(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = place.program("opt/bin/tool")
    assert find_program("./tool", place.root / "opt/bin", "") == tool
    assert find_program("tool", place.root, str(place.root / "opt/bin")) == tool
    monkeypatch.chdir(place.root / "opt/bin")
    wrong = (("tool", "."), ("tool", ""), ("tool", ":"), ("none", "/usr/bin"), ("./lib", "/"), ("tool", "bin"))
    for name, path in wrong:
        with pytest.raises(RingwallError) as fault:
            find_program(name, place.root / "opt", path)
        assert fault.value.code == "no_such_program"


def test_a_tool_server_sees_its_own_folders_only(place: Place) -> None:
    tool = place.program("opt/bin/server")
    server = ToolServer(name="docs", command=(str(tool),), read_only=(place.root / "config",),
                        writable=(place.root / "project",))
    found = server_view(server=server, uid=7, around=place.around)
    assert place.shown(found) == {"opt/bin", "opt/lib", "config", "project"}
    assert [bind.target for bind in found.binds if bind.writable] == [str(place.root / "project")]
    assert (found.network, found.uid) == ("none", 7)
    wrong = dataclasses.replace(server, writable=(place.root / "config",))
    with pytest.raises(RingwallError):
        server_view(server=wrong, uid=7, around=place.around)


def test_a_tool_servers_program_does_not_bring_the_state_with_it(place: Place) -> None:
    around = dataclasses.replace(place.around, state=place.root / "opt/lib/state")
    server = ToolServer(name="docs", command=(str(place.program("opt/bin/server")),))
    with pytest.raises(RingwallError) as fault:
        server_view(server=server, uid=None, around=around)
    assert fault.value.code == "state_in_view"


def test_guard_and_sidecar_see_ringwalls_code_and_nothing_of_anybodys(place: Place) -> None:
    guard = guard_view(uid=None, around=place.around)
    sidecar = sidecar_view(tenant="acme", uid=None, around=place.around)
    for found in (guard, sidecar):
        assert place.shown(found) == set()
        assert not any(bind.writable for bind in found.binds)
        assert str(Path(sys.prefix)) in {bind.target for bind in found.binds}
    assert (guard.network, sidecar.network) == ("none", "host")


def test_a_launch_tries_the_state_the_core_and_the_network_in_vain(place: Place) -> None:
    tried = {(probe.kind, probe.target) for probe in place.view(place.program("opt/bin/x")).self_test}
    assert {("open", str(place.root / "state")), ("connect_tcp", "127.0.0.1:1"), ("kill", str(os.getpid())),
            ("connect_unix", str(place.root / "state/operator.sock"))} <= tried


def test_an_agent_without_ports_has_no_loopback_and_may_start_processes(place: Place) -> None:
    found = place.view(place.program("opt/bin/tool"), Agent(name="ana", role="r"))
    assert (found.loopback, found.one_process) == (None, False)
    assert DOOR_URL not in found.env


def test_a_door_over_tcp_is_named_to_the_agent_and_lets_it_connect_there_only(place: Place) -> None:
    found = place.view(place.program("opt/bin/tool"), Agent(name="ana", role="r", door=8080, processes="tree"))
    assert found.loopback == Loopback(door=8080, inside=0, bind=(), connect=(8080,))
    assert found.env[DOOR_URL] == "http://127.0.0.1:8080"
    assert found.one_process is False


def test_where_only_one_process_may_call_a_door_over_tcp_means_only_one_process_is(place: Place) -> None:
    assert place.view(place.program("opt/bin/tool"), Agent(name="ana", role="r", door=8080)).one_process is True
    assert place.view(place.program("opt/bin/tool"), Agent(name="ana", role="r", serve=9000)).one_process is False


def test_what_it_serves_it_may_bind_and_is_reached_through_sockets(place: Place) -> None:
    found = place.view(place.program("opt/bin/tool"), Agent(name="ana", role="r", serve=9000, push=9001))
    assert found.loopback == Loopback(door=None, inside=loopback.INSIDE, bind=(9000, 9001), connect=())
    assert DOOR_URL not in found.env


def test_an_unconfined_agent_has_no_loopback_since_the_hosts_is_everybodys(place: Place) -> None:
    agent = Agent(name="ana", role="r", door=8080, serve=9000)
    found = loopback.unconfined(place.view(place.program("opt/bin/tool"), agent))
    assert (found.loopback, found.layers) == (None, frozenset())
    assert DOOR_URL not in found.env
    assert "RINGWALL_DOOR" in found.env
