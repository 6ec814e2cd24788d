"""``ringwall init``, ``check`` and ``schema`` as a person or a script runs them."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from ringwall.cli.manifest import check, init, schema


def test_init_writes_a_starter_that_check_passes(tmp_path: Path) -> None:
    made = CliRunner().invoke(init, [str(tmp_path / "new")])
    assert made.exit_code == 0
    file = tmp_path / "new" / "ringwall.toml"
    assert made.stdout == f"wrote {file}\n"
    checked = CliRunner().invoke(check, [str(file)])
    assert (checked.exit_code, checked.stderr) == (0, "")
    assert checked.stdout == f"{file}: ok (1 tenant, 1 agent, 1 tool, 0 models, 0 secrets)\n"


def test_init_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "ringwall.toml").write_text("mine")
    made = CliRunner().invoke(init, [str(tmp_path)])
    assert made.exit_code == 1
    assert "is there already" in made.stderr
    assert (tmp_path / "ringwall.toml").read_text() == "mine"


def test_init_into_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made = CliRunner().invoke(init, [str(tmp_path / "file" / "below"), "--json"])
    assert made.exit_code == 1
    assert "cannot be written" in json.loads(made.stdout)["problems"][0]


def test_check_names_every_fault_on_stderr_and_ends_with_2(tmp_path: Path) -> None:
    file = tmp_path / "ringwall.toml"
    file.write_text('version = 1\ntrust_domain = "x"\ntols = {}\n[tenants.a.agents.b]\nrole = "c"\n')
    result = CliRunner().invoke(check, [str(file)])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert 'ringwall.toml: tols\n  no such key (did you mean "tools"?)' in result.stderr
    assert "there is no tenants.a.roles.c" in result.stderr


def test_check_judges_patterns_by_their_own_grammar(tmp_path: Path) -> None:
    file = tmp_path / "ringwall.toml"
    CliRunner().invoke(init, [str(tmp_path)])
    text = file.read_text().replace('[tools.echo]', '[tools.d]\npython = "d"\n[tools.d.ops.r]\neffect = "read"\n'
                                    'args = { p = "selector:path" }\n[tools.echo]')
    file.write_text(text.replace('"echo/echo" = []', '"d/r" = ["path:/srv/../etc/"]'))
    result = CliRunner().invoke(check, [str(file), "--json"])
    assert result.exit_code == 2
    answer = json.loads(result.stdout)
    assert answer["ok"] is False
    assert "climbs with '..'" in answer["problems"][0]


def test_check_refuses_a_manifest_where_an_agent_can_write(tmp_path: Path) -> None:
    CliRunner().invoke(init, [str(tmp_path)])
    file = tmp_path / "ringwall.toml"
    file.write_text(file.read_text() + 'work = "."\n')
    result = CliRunner().invoke(check, [str(file)])
    assert result.exit_code == 2
    assert "which an agent or tool server can write" in result.stderr


def test_check_answers_as_one_json_object(tmp_path: Path) -> None:
    CliRunner().invoke(init, [str(tmp_path)])
    answer = json.loads(CliRunner().invoke(check, [str(tmp_path / "ringwall.toml"), "--json"]).stdout)
    assert answer["ok"] is True
    assert (answer["agents"], answer["problems"]) == (1, [])
    assert len(answer["revision"]) == 64


def test_a_missing_manifest_says_how_to_write_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(check, [str(tmp_path / "ringwall.toml")])
    assert result.exit_code == 2
    assert "there is no such file" in result.stderr
    assert "ringwall init" in result.stderr


def test_schema_prints_one_json_object() -> None:
    for options in ([], ["--json"]):
        result = CliRunner().invoke(schema, options)
        assert result.exit_code == 0
        assert json.loads(result.stdout)["title"] == "ringwall.toml"


def test_schema_prints_the_reference_for_people() -> None:
    assert "## `[tools.NAME.ops.NAME]`" in CliRunner().invoke(schema, ["--markdown"]).stdout
    assert CliRunner().invoke(schema, ["--markdown", "--json"]).exit_code == 2
