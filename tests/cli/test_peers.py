"""``ringwall peers envoy-config``: a file for Envoy, or a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ringwall.cli.peers import peers

MANIFEST = """
version = 1
trust_domain = "acme.example"
[a2a]
terminator = "envoy"
[tenants.acme.roles.plain]
[tenants.acme.agents.ana]
role = "plain"
send = { sam = ["quote"] }
[tenants.acme.agents.sam]
role = "plain"
listen = "127.0.0.1:7443"
serve = 9000
receive = { ana = ["quote"] }
skills = { quote = {} }
"""


def written(folder: Path, text: str) -> str:
    file = folder / "ringwall.toml"
    file.write_text(text)
    return str(file)


def test_it_writes_a_whole_file_that_names_the_sockets_below_the_state_folder(tmp_path: Path) -> None:
    out = tmp_path / "envoy.json"
    out.write_text("old")
    done = CliRunner().invoke(peers, ["envoy-config", written(tmp_path, MANIFEST), "--out", str(out),
                                      "--state", str(tmp_path / "state")])
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    pipes = [str(one) for one in (tmp_path / "state/peers/sds.sock", tmp_path / "state/peers/acme/sam.sock")]
    assert [json.dumps(one).count(pipe) for one, pipe in
            zip(found["static_resources"]["clusters"], pipes, strict=True)] == [1, 1]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["envoy.json", "ringwall.toml"]
    shown = CliRunner().invoke(peers, ["envoy-config", str(tmp_path / "ringwall.toml"), "--state",
                                       str(tmp_path / "state")])
    assert json.loads(shown.stdout) == found


@pytest.mark.parametrize(("before", "after", "code"), [
    ('terminator = "envoy"', "", "envoy_not_in_front"),
    ("127.0.0.1:7443", "sam.acme.example:7443", "envoy_host_name"),
    ('listen = "127.0.0.1:7443"\nserve = 9000\nreceive = { ana = ["quote"] }', "", "manifest"),
    ('send = { sam = ["quote"] }\n', "", ""),
])
def test_what_envoy_cannot_do_is_refused_with_a_remedy(tmp_path: Path, before: str, after: str, code: str) -> None:
    assert before in MANIFEST
    done = CliRunner().invoke(peers, ["envoy-config", written(tmp_path, MANIFEST.replace(before, after)),
                                      "--out", str(tmp_path / "out")])
    assert (done.exit_code == 0) == (code == ""), done.output
    if code.startswith("envoy"):
        assert code in done.stderr
    assert (tmp_path / "out").exists() == (code == "")


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    done = CliRunner().invoke(peers, ["envoy-config", written(tmp_path, MANIFEST), "--out",
                                      str(tmp_path / "nowhere" / "envoy.json")])
    assert done.exit_code == 1
    assert "file_error" in done.stderr
