"""Finding programs, rewriting without a view, the binds every program needs, and remedies."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from ringwall.confine import program
from ringwall.confine.remedies import remedy
from ringwall.confine.spec import Bind, Confinement
from ringwall.confine.system import network_binds, python_binds, system_binds

SPEC = Confinement(
    name="t", argv=("/workspace/run", "--in=/workspace/x", "/workspaces"), cwd="/workspace",
    env={"DOOR": "unix:/run/ringwall/door.sock", "TMPDIR": "/tmp", "PATH": "/tool/bin:/usr/bin"},
    binds=(Bind("/host/work", "/workspace", writable=True), Bind("/host/door", "/run/ringwall"),
           Bind("/host/tool", "/tool"), Bind("/host/inner", "/tool/bin")),
    tmp_mib=1, network="none", uid=None, profile="agent", one_process=False,
)  # fmt: skip


def test_without_a_view_targets_become_sources() -> None:
    made = program.without_view(SPEC, "/scratch")

    assert made.argv == ("/host/work/run", "--in=/workspace/x", "/workspaces")
    assert made.cwd == "/host/work"
    assert made.env == {
        "DOOR": "unix:/host/door/door.sock", "TMPDIR": "/scratch", "PATH": "/host/inner:/usr/bin",
    }  # fmt: skip
    assert made.binds[-1] == Bind("/scratch", "/scratch", writable=True)


def test_what_exists_in_the_host_s_tmp_is_not_turned_aside(tmp_path: Path) -> None:
    aim = Path("/tmp") / f"ringwall-aim-{os.getpid()}"
    aim.touch()
    try:
        made = program.without_view(replace(SPEC, argv=("cat", str(aim), str(aim) + "-no")), "/scratch")
    finally:
        aim.unlink()

    assert made.argv == ("cat", str(aim), f"/scratch/{aim.name}-no")


def _script(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_interpreter_lines_are_followed_with_their_one_argument(tmp_path: Path) -> None:
    inner = _script(tmp_path / "inner", "#!/bin/sh\n")
    outer = _script(tmp_path / "outer", f"#! {inner}  -a b \nrest")

    found = program.find([outer, "x"], {})
    os.close(found.fd)

    assert found.argv == ("/bin/sh", inner, "-a b", outer, "x")


def test_an_endless_chain_of_interpreters_ends(tmp_path: Path) -> None:
    path = tmp_path / "self"
    _script(path, f"#!{path}\n")

    with pytest.raises(OSError, match="too many interpreters"):
        program.find([str(path)], {})


def test_a_name_without_slash_is_looked_up_on_the_child_s_path(tmp_path: Path) -> None:
    _script(tmp_path / "tool", "")

    found = program.find(["tool"], {"PATH": f"/nowhere:{tmp_path}"})
    assert Path(f"/proc/self/fd/{found.fd}").readlink() == tmp_path / "tool"
    os.close(found.fd)
    with pytest.raises(FileNotFoundError):
        program.find(["tool"], {"PATH": "/usr/bin"})


def test_system_binds_are_read_only_real_and_public() -> None:
    binds = (*system_binds(), *network_binds())

    assert {"/usr", "/bin"} <= {bind.target for bind in binds}
    for bind in binds:
        assert not bind.writable
        assert os.path.realpath(bind.source) == bind.source
        assert Path(bind.source).stat().st_mode & stat.S_IROTH


def test_python_binds_show_an_installation_by_both_its_names(tmp_path: Path) -> None:
    real = tmp_path / "python-1"
    real.mkdir()
    (tmp_path / "python").symlink_to(real)

    assert python_binds([tmp_path / "python"]) == (
        Bind(str(real), str(tmp_path / "python")), Bind(str(real), str(real)),
    )  # fmt: skip


def test_python_binds_leave_out_what_the_system_shows_already() -> None:
    assert python_binds([Path("/usr"), Path("/usr/local")]) == ()


@pytest.mark.parametrize(
    ("step", "code"),
    [("clone3", "EPERM"), ("uid_map", "EPERM"), ("view", "ELOOP"), ("landlock", "EOPNOTSUPP"), ("exec", "EACCES"),
     ("view", "EROFS"), ("cwd", "ENOENT"), ("seccomp", "EINVAL"), ("landlock_scopes", "SUCCEEDED")],
)  # fmt: skip
def test_usual_failures_come_with_a_remedy(step: str, code: str) -> None:
    assert len(remedy(step, code)) > 10
