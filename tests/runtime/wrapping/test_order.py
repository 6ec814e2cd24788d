"""runtime/wrapping/order.py: what a server lists becomes a manifest, and nothing of its texts gets in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.capability.catalogue import hash_of
from ringwall.capability.resources import parse_pattern
from ringwall.errors import BadInput
from ringwall.manifest.load import load
from ringwall.manifest.types import Manifest
from ringwall.runtime.wrapping.order import MAX_NAME, Order, check_name, located, manifest, name_of

ORDER = Order(name="notes", command=("notes-mcp", "--dir", "/srv/no\u00eb \"x\"\\"), read_only=(Path("/srv/a b"),),
              network=("api.example:443",))


def tool(name: object, *arguments: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object", "properties": {one: {} for one in arguments}}, **more}


def loaded(folder: Path, text: str) -> Manifest:
    file = folder / "ringwall.toml"
    file.write_text(text)
    return load(file, check_pattern=parse_pattern)


def test_each_operation_is_declared_with_free_arguments_and_given_to_the_client(tmp_path: Path) -> None:
    made = loaded(tmp_path, manifest(ORDER, [
        tool("read", "name", annotations={"readOnlyHint": True}),
        tool("drop", annotations={"readOnlyHint": False, "destructiveHint": True}),
        tool("a.b", "x", "y"), tool("keep", annotations={"destructiveHint": False})]))
    server = made.tools["notes"]
    assert (server.command, server.read_only, server.network) == (ORDER.command, ORDER.read_only, ORDER.network)
    assert {name: op.effect for name, op in server.ops.items()} == {
        "read": "read", "drop": "delete", "a.b": "write", "keep": "write"}
    assert server.ops["keep"].definition == hash_of(tool("keep", annotations={"destructiveHint": False}))
    assert {name: role.role for name, role in server.ops["a.b"].args.items()} == {"x": "payload", "y": "payload"}
    tenant = made.tenants["local"]
    assert sorted(tenant.roles["client"].tools) == ["notes/a.b", "notes/drop", "notes/keep", "notes/read"]
    assert (tenant.agents["client"].attestation, tenant.agents["client"].role) == ("none", "client")


def test_only_what_is_allowed_is_given_and_it_must_exist(tmp_path: Path) -> None:
    order = Order(name="notes", command=("x",), allow=("read",))
    made = loaded(tmp_path, manifest(order, [tool("read"), tool("drop")]))
    assert sorted(made.tools["notes"].ops) == ["drop", "read"]
    assert list(made.tenants["local"].roles["client"].tools) == ["notes/read"]
    with pytest.raises(BadInput, match="no operation 'read'"):
        manifest(order, [tool("drop")])


@pytest.mark.parametrize("definitions", [[], [5, None, "x"], [tool("a b")], [tool(7)], [tool("x\n[tools.evil]")]])
def test_a_server_without_a_usable_operation_is_refused(definitions: list[Any]) -> None:
    with pytest.raises(BadInput) as caught:
        manifest(ORDER, definitions)
    assert caught.value.code == "no_operations"


HOSTILE = st.text('ab"\\\n\r]=[#.}\u2028\u202e\x00', max_size=12) | st.sampled_from(
    ["read", "a-b", "__proto__", 'x" = []\n"notes/evil', "é", "true", "x" * 300])


@given(st.lists(st.builds(lambda name, args, hints: tool(name, *args, annotations=hints, description=name), HOSTILE,
                          st.lists(HOSTILE, max_size=3),
                          st.none() | HOSTILE | st.dictionaries(HOSTILE, HOSTILE, max_size=2)), max_size=5))
@settings(max_examples=100, deadline=None)
def test_whatever_a_server_lists_the_manifest_is_one_that_says_nothing_else(
        tmp_path_factory: pytest.TempPathFactory, definitions: list[Any]) -> None:
    try:
        text = manifest(ORDER, definitions)
    except BadInput:
        return
    made = loaded(tmp_path_factory.mktemp("m"), text)
    listed = {one["name"] for one in definitions}
    assert list(made.tools) == ["notes"] and set(made.tools["notes"].ops) <= listed
    assert list(made.tenants) == ["local"] and list(made.tenants["local"].roles) == ["client"]
    assert set(made.tenants["local"].roles["client"].tools) == {f"notes/{op}" for op in made.tools["notes"].ops}


@pytest.mark.parametrize(("command", "name"), [
    (["python", "server.py"], "server"), (["python", "/srv/my_notes.py", "x"], "my-notes"),
    (["npx", "-y", "@scope/server-files@1.2.0"], "server-files"), (["uvx", "--from", "x", "y"], "x"),
    (["/usr/bin/notes-mcp"], "notes-mcp"), (["ringwall"], "server"), (["python", "é.py"], "server"),
    (["x", "a" * 60], "a" * MAX_NAME), (["python", ".hidden"], "hidden"), (["python", "-"], "python"),
])
def test_a_server_is_named_after_its_script_or_package(command: list[str], name: str) -> None:
    assert name_of(command) == name
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a/b", "..", "a" * 25, "ringwall", "a_b", "é"])
def test_a_name_that_could_be_no_folder_or_server_is_refused(name: str) -> None:
    with pytest.raises(BadInput):
        check_name(name)


@given(st.lists(st.text(max_size=12), min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_every_command_has_a_name(command: list[str]) -> None:
    assert check_name(name_of(command))


def test_files_of_the_command_are_found_from_anywhere_and_shown_and_nothing_else_is(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text("")
    (tmp_path / "notes").mkdir()
    command, files = located(["python", "server.py", "notes", "--x", "-server.py"], tmp_path)
    assert command == ("python", f"{tmp_path}/server.py", "notes", "--x", "-server.py")
    assert files == (tmp_path / "server.py",)
    assert located(["./run", "server.py", "server.py"], tmp_path)[0][0] == f"{tmp_path}/run"
    assert located(["./run", "server.py", "server.py"], tmp_path)[1] == (tmp_path / "server.py",)
