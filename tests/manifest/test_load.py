"""What a right manifest becomes, and that nothing else becomes one."""

from __future__ import annotations

import hashlib
import os
import string
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.manifest.samples import FULL

from ringwall.capability.resources import parse_pattern
from ringwall.errors import BadInput, ManifestError
from ringwall.manifest.load import load, parse
from ringwall.manifest.text import MAX_BYTES
from ringwall.manifest.types import (
    VERBS,
    ArgumentRole,
    Grant,
    Injection,
    Limits,
    Manifest,
    NamedOperator,
    Operators,
    OutputLabel,
    Rate,
)

HERE = Path("/etc/office/ringwall.toml")


def test_every_part_of_a_full_manifest_is_read() -> None:
    manifest = parse(FULL, HERE, check_pattern=parse_pattern)
    assert (manifest.version, manifest.trust_domain, manifest.path) == (1, "acme.example", HERE)
    assert manifest.revision == hashlib.sha256(FULL.encode()).hexdigest()
    assert dict(manifest.guard.block_at) == {"tool_result": 0.9, "response": 0.8}
    assert manifest.flow.clean_waiver is False
    assert manifest.audit.quota_mib == 64
    model = manifest.models["main"]
    assert (model.name, model.url, model.secret, model.clearance) == (
        "main", "https://llm.acme.example/v1", "llm-key", "private")
    assert manifest.secrets["llm-key"].inject == Injection(header="X-Key", format="{}")
    assert manifest.secrets["llm-key"].file == Path("/etc/ringwall/llm-key")


def test_operators_are_named_by_uid_and_get_the_verbs_of_their_roles() -> None:
    operators = parse(FULL, HERE).operators
    assert operators.named["alice"] == NamedOperator(name="alice", uid=1000, roles=("responder", "launcher"))
    assert operators.verbs("alice", 1000) == {
        "run", "stop", "status", "freeze", "thaw", "vault.seal", "leases.list", "leases.revoke"}
    assert operators.verbs("bob", 1001) == set(VERBS)
    assert operators.verbs("alice", 1001) == operators.verbs("root", 0) == frozenset()
    assert (operators.two_person, operators.socket) == (("thaw",), Path("/run/ringwall/operator.sock"))
    assert Operators().verbs("root", 0) == set(VERBS)


def test_a_tool_server_keeps_its_operations_roles_and_labels() -> None:
    docs = parse(FULL, HERE).tools["docs"]
    assert docs.command == ("docs-mcp", "/srv/docs", "/srv/docs")
    assert docs.read_only == (Path("/srv/docs"), Path("/etc/office/shared"))
    assert docs.system_of_record
    assert docs.ops["read"].args == {"path": ArgumentRole(role="selector", kind="path")}
    assert docs.ops["read"].returns == {"id": OutputLabel(integrity="T"), "owner": OutputLabel(integrity="C"),
                                        "*": OutputLabel(integrity="U", confidentiality="private")}


def test_roles_grants_and_limits_are_typed() -> None:
    tenant = parse(FULL, HERE).tenants["acme"]
    assert tenant.limits == Limits(calls=Rate(count=600, seconds=60.0, burst=600))
    role = tenant.roles["analyst"]
    assert role.limits == Limits(calls=Rate(count=60, seconds=60.0, burst=10), tokens_per_session=200_000,
                                 concurrent=4)
    assert role.tools["docs/read"] == Grant(tool="docs/read", resources=("path:/srv/docs/public/",))
    assert role.tools["pay/send"] == Grant(tool="pay/send", resources=("iban:DE89370400440532013000",),
                                           approval="always", max=MappingProxyType({"amount": 200.0}))
    assert role.tools["echo/echo"] == Grant(tool="echo/echo")
    agent = tenant.agents["ana"]
    assert (agent.name, agent.role, agent.processes, agent.work) == ("ana", "analyst", "tree", Path("/srv/work"))


def test_a_url_argument_has_the_kind_url_and_a_builtin_brings_its_operation() -> None:
    manifest = parse(FULL, HERE)
    assert manifest.tools["pay"].ops["send"].args["link"] == ArgumentRole(role="url", kind="url")
    assert manifest.tools["echo"].ops["echo"].args == {"text": ArgumentRole(role="payload")}
    assert manifest.tools["echo"].ops["echo"].effect == "read"


def test_nobody_can_change_a_loaded_manifest() -> None:
    manifest = parse(FULL, HERE)
    with pytest.raises(TypeError):
        manifest.tenants["acme"].roles["analyst"].tools["pay/other"] = Grant(tool="pay/other")  # type: ignore[index]


def test_the_pattern_check_is_asked_about_every_pattern_and_its_refusal_is_a_problem() -> None:
    asked: list[str] = []

    def refuse(text: str) -> None:
        asked.append(text)
        raise BadInput("not like this", remedy="write it otherwise")

    with pytest.raises(ManifestError) as caught:
        parse(FULL, HERE, check_pattern=refuse)
    assert asked == ["path:/srv/docs/public/", "iban:DE89370400440532013000"]
    assert 'ringwall.toml: tenants.acme.roles.analyst.tools."docs/read"\n' in str(caught.value)
    assert "not like this\n  write it otherwise" in str(caught.value)


def test_a_file_is_read_once_with_its_folder_as_the_start_of_relative_paths(tmp_path: Path) -> None:
    file = tmp_path / "ringwall.toml"
    file.write_text(FULL)
    assert load(file).tools["docs"].read_only[1] == tmp_path / "shared"


@pytest.mark.parametrize(("make", "says"), [
    (lambda p: None, "there is no such file"),
    (lambda p: p.mkdir(), "cannot be read: Is a directory"),
    (os.mkfifo, "is not a regular file"),
    (lambda p: p.write_bytes(b"version = 1 \xff"), "byte 12\n  is not UTF-8"),
    (lambda p: p.write_bytes(b"#" * (MAX_BYTES + 1)), "is larger than 256 KiB"),
])
def test_a_file_that_cannot_be_a_manifest_is_refused(tmp_path: Path, make: object, says: str) -> None:
    file = tmp_path / "ringwall.toml"
    make(file)  # type: ignore[operator]
    with pytest.raises(ManifestError) as caught:
        load(file)
    assert says in str(caught.value)


def test_depth_is_bounded_for_lists_and_for_tables() -> None:
    for deep in ("x = " + "[" * 4_000, "x = " + "[\n" * 50_000, "x = " + "[" * 40 + "]" * 40,
                 ".".join("a" * 500) + " = 1"):
        with pytest.raises(ManifestError) as caught:
            parse(deep, HERE)
        assert "nested too deeply" in str(caught.value)


def test_a_line_is_bounded_because_long_dotted_keys_cost_their_square() -> None:
    with pytest.raises(ManifestError) as caught:
        parse("\n" + ".".join("a" * 3000) + " = 1", HERE)
    assert caught.value.problems == ("ringwall.toml: line 2\n  is longer than 4096 characters",)


_LINES = FULL.splitlines()
_INSIDE = st.sampled_from(["[", "]", "{", "}", '"', "=", ".", "'''", "1e999", "nan", "-0x1", "9" * 5000, "\\u202e",
                           "\u200b", "\x00", "é", "\ud7ff", "1979-05-27", "true", "[[", "]]", "\r", "\ufeff"])


@st.composite
def _mutated(draw: st.DrawFn) -> str:
    """The full manifest after a few edits: lines dropped, doubled, swapped; pieces put in or replaced."""
    lines = list(_LINES)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        cut = draw(st.integers(0, len(line)))
        match draw(st.integers(0, 4)):
            case 0:
                lines[at] = ""
            case 1:
                lines.insert(at, line)
            case 2:
                lines[at] = line[:cut] + draw(_INSIDE) + line[cut:]
            case 3:
                other = draw(st.integers(0, len(lines) - 1))
                lines[at], lines[other] = lines[other], lines[at]
            case _:
                lines[at] = line[:cut] + draw(st.text(alphabet=string.printable, max_size=8))
    return "\n".join(lines)


def _manifest_or_error(text: str) -> None:
    try:
        made = parse(text, HERE, check_pattern=parse_pattern)
    except ManifestError as error:
        assert error.problems
        assert str(error).isprintable() or "\n" in str(error)
    else:
        assert isinstance(made, Manifest)


@given(_mutated())
def test_an_edited_manifest_is_a_manifest_or_a_manifest_error(text: str) -> None:
    _manifest_or_error(text)


@given(st.text(max_size=200))
def test_any_text_is_a_manifest_or_a_manifest_error(text: str) -> None:
    _manifest_or_error(text)


def _inline(items: dict[str, str]) -> str:
    return "{ " + ", ".join(f"{key} = {value}" for key, value in items.items()) + " }"


_VALUES = st.recursive(
    st.one_of(st.sampled_from(['"main"', '"x y"', "1", "-1", "1.5", "true", "nan", "1979-05-27", '""', '"../x"'])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
        st.dictionaries(st.sampled_from(["a", "calls", "resources", '"docs/read"', "ops", "effect", "name"]), inner,
                        max_size=3).map(_inline)),
    max_leaves=6)
_TABLES = st.sampled_from(["", "[guard]", "[flow]", "[audit]", "[models.main]", "[tools.docs]",
                           "[tools.docs.ops.a]",
                           "[secrets.a]", "[tenants.acme]", "[tenants.acme.roles.a]", "[tenants.acme.agents.a]",
                           "[tenants.acme.roles.a.tools]"])
_KEYS = st.sampled_from(["version", "trust_domain", "block_at", "wire", "url", "secret", "command", "python", "ops",
                         "builtin", "effect", "args", "returns", "from", "file", "inject", "limits", "roles",
                         "role",
                         "models", "tools", '"docs/a"', "read_only", "work", "tenants"])


@given(st.lists(st.tuples(_TABLES, st.lists(st.tuples(_KEYS, _VALUES), max_size=4, unique_by=lambda p: p[0])),
                max_size=5, unique_by=lambda p: p[0]))
def test_any_tables_of_known_names_are_a_manifest_or_a_manifest_error(
        document: list[tuple[str, list[tuple[str, str]]]]) -> None:
    ordered = sorted(document, key=lambda part: part[0] != "")
    _manifest_or_error("\n".join(line for table, pairs in ordered
                                 for line in [table, *(f"{key} = {value}" for key, value in pairs)]))


@pytest.mark.parametrize("to", ["http://127.0.0.1:9000/held", "http://[::1]:9000", "unix:/run/held.sock"])
def test_held_calls_may_be_told_to_somebody_on_this_machine(to: str) -> None:
    text = f'[approvals]\ndeadline_s = 30\nwebhook = "{to}"\nwebhook_secret = "llm-key"\n[models.main]'
    found = parse(FULL.replace("[models.main]", text, 1), HERE).approvals
    assert (found.deadline_s, found.per_agent, found.webhook, found.webhook_secret) == (30, 16, to, "llm-key")
