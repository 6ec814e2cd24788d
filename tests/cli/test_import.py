"""``ringwall import openapi`` as a person uses it: what it prints loads, and only what was named is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tools.webapi.descriptions import SHOP, TEXT, single

from ringwall.cli.import_ import entries, import_
from ringwall.cli.manifest import check
from ringwall.errors import BadInput
from ringwall.manifest.load import parse
from ringwall.manifest.types import ArgumentRole, Manifest
from ringwall.tools.webapi.document import Document

FRAME = 'version = 1\ntrust_domain = "acme.example"\n\n{}\n\n[tenants.acme]\n'


def run(folder: Path, *options: str, spec: Any = SHOP) -> Result:
    (folder / "shop api.json").write_text(json.dumps(spec))
    return CliRunner().invoke(import_, ["openapi", str(folder / "shop api.json"), *options])


def loaded(folder: Path, text: str) -> Manifest:
    return parse(FRAME.format(text), folder / "ringwall.toml")


def test_without_op_everything_is_listed_and_nothing_printed_to_paste(tmp_path: Path) -> None:
    made = run(tmp_path)
    assert made.exit_code == 0
    assert made.stdout.splitlines()[:2] == ["getUser  GET /users/{id}", "putUser  PUT /users/{id}"]
    assert "[tools" not in made.stdout
    assert sorted(one.name for one in tmp_path.iterdir()) == ["shop api.json"]
    rows = json.loads(run(tmp_path, "--json").stdout)["operations"]
    assert {row["id"] for row in rows} == {"getUser", "putUser", "deleteUser", "listUsers", "login"}


def test_what_cannot_be_used_is_listed_with_its_reason(tmp_path: Path) -> None:
    made = run(tmp_path, spec=single(path="/a/{x}"))
    assert "cannot be used" in made.stdout


def test_what_it_prints_loads_and_holds_only_what_was_named(tmp_path: Path) -> None:
    made = run(tmp_path, "--op", "getUser", "--op", "DELETE /users/{id}", "--op", "listUsers", "--op", "putUser")
    assert made.exit_code == 0, made.stderr
    server = loaded(tmp_path, made.stdout).tools["shop_api"]
    assert (server.openapi, server.url) == (tmp_path / "shop api.json", "https://elsewhere.example")
    assert {name: op.effect for name, op in server.ops.items()} == {
        "getUser": "read",
        "deleteUser": "delete",
        "listUsers": "read",
        "putUser": "write",
    }
    assert server.ops["getUser"].args == {
        "id": ArgumentRole(role="selector", kind="id"),
        "fields": ArgumentRole(role="payload"),
        "X-Trace": ArgumentRole(role="payload"),
    }
    assert server.ops["listUsers"].args["limit"] == ArgumentRole(role="param")
    assert server.ops["listUsers"].args["q"] == ArgumentRole(role="payload")
    assert all(
        "review" in line or not line or line.startswith(("[", "operation", "openapi"))
        for line in made.stdout.splitlines()
    )


def test_a_manifest_with_it_passes_check_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    made = run(tmp_path, "--op", "getUser", "--name", "shop", "--url", "https://api.example/v1/")
    file = tmp_path / "ringwall.toml"
    file.write_text(FRAME.format(made.stdout))
    assert CliRunner().invoke(check, [str(file)]).exit_code == 0
    for old, new, said in (
        ('operation = "getUser"', 'operation = "gone"', "no operation"),
        ('id = "selector:id"', "", "requires 'id'"),
        ("X-Trace", "Trace", "has no argument"),
    ):
        assert old in made.stdout
        file.write_text(FRAME.format(made.stdout.replace(old, new)))
        checked = CliRunner().invoke(check, [str(file)])
        assert checked.exit_code == 2
        assert said in checked.stderr
    (tmp_path / "shop api.json").unlink()
    file.write_text(FRAME.format(made.stdout))
    assert CliRunner().invoke(check, [str(file)]).exit_code == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--op", "none"), "no operation"),
        (("--op", "getUser", "--url", "http://api.example"), "--url"),
        (("--op", "getUser", "--url", "nonsense"), "--url"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    made = run(tmp_path, *options)
    assert made.exit_code == 1
    assert made.stdout == ""
    assert said in made.stderr


def test_an_argument_without_a_name_for_the_manifest_is_left_out_or_refused(tmp_path: Path) -> None:
    spec = single({"name": "filter[x]", "in": "query", "schema": TEXT}, servers=None)
    del spec["paths"]["/a"]["post"]["servers"]
    made = run(tmp_path, "--op", "op", "--url", "https://a.example", spec=spec)
    assert "# filter[x] is left out" in made.stdout
    spec["paths"]["/a"]["post"]["parameters"][0]["required"] = True
    assert "no name in a manifest" in run(tmp_path, "--op", "op", "--url", "https://a.example", spec=spec).stderr


WILD = st.text(max_size=20) | st.sampled_from(
    ['a"]\n[tenants.evil]', "a\nb = 1", "\x7f", "\x1b[2J", "repos/get", "."]
)


@settings(max_examples=150, deadline=None)
@given(WILD, WILD, WILD, WILD)
def test_whatever_a_description_says_the_text_loads_and_says_no_more(
    name: str, summary: str, argument: str, member: str
) -> None:
    spec = single(
        {"name": argument, "in": "query", "schema": TEXT},
        body={"type": "object", "properties": {member: TEXT}},
        summary=summary,
    )
    spec["paths"]["/a"]["post"]["operationId"] = name
    document = Document(spec)
    try:
        text = "\n".join(entries(document, [document.operations[0]], Path("/a b.json"), "x", "https://a.example"))
    except BadInput as fault:
        assert fault.code == "bad_openapi"
        return
    made = loaded(Path("/tmp"), text)
    assert list(made.tools) == ["x"]
    assert list(made.tenants) == ["acme"]
    (op,) = made.tools["x"].ops.values()
    assert op.operation in {name, "POST /a"}
    assert document.find(op.operation) == document.operations[0]
    assert set(op.args) <= {argument, member, "body"}
