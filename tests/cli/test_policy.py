"""``ringwall policy`` as a person or a script runs it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.policy.bundle.support import files, key_files
from tests.policy.compile import the_opa
from tests.policy.support import document

from ringwall.cli import common
from ringwall.cli.policy import policy
from ringwall.errors import Refused
from ringwall.policy.bundle import archive
from ringwall.policy.bundle.reading import load

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "policy"


def run(*arguments: str | Path, opa: str = "", stdin: bytes | None = None) -> Result:
    env = {"RINGWALL_OPA": opa or the_opa()}
    return CliRunner(env=env).invoke(policy, [str(one) for one in arguments], input=stdin)


@pytest.mark.needs_opa
def test_build_writes_a_signed_bundle_and_says_its_revision(tmp_path: Path) -> None:
    secret, known = key_files(tmp_path)
    out = tmp_path / "b.tar.gz"
    done = run("build", EXAMPLES / "amounts", "-o", out, "--key", secret, "--scope", "office", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    bundle = load(out, keys=[known], scope="office")
    assert json.loads(done.stdout) == {"file": str(out), "revision": bundle.revision, "signed": True,
                                       "bytes": out.stat().st_size}
    said = run("build", EXAMPLES / "amounts", "-o", out)
    assert bundle.revision[:12] in said.stdout and "not signed" in said.stdout
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.needs_opa
def test_build_keeps_the_old_file_when_the_new_policy_is_bad(tmp_path: Path) -> None:
    (tmp_path / "x.rego").write_text("package ringwall.site\nallow if input.x\n")
    out = tmp_path / "b.tar.gz"
    out.write_text("old")
    done = run("build", tmp_path, "-o", out)
    assert done.exit_code == 1
    assert "site/x.rego:2: a site's allow is asked by nobody" in done.stderr
    assert out.read_text() == "old"


@pytest.mark.needs_opa
def test_build_says_what_is_wrong_with_the_place_the_key_or_the_use(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("junk")
    assert "file_error" in run("build", EXAMPLES / "roles", "-o", tmp_path / "no" / "b").stderr
    good = ("build", EXAMPLES / "roles", "-o", tmp_path / "b")
    assert "bundle_bad_key" in run(*good, "--key", tmp_path / "key").stderr
    assert "bad_use" in run(*good, "--scope", "x").stderr


def test_without_opa_it_says_what_to_install(tmp_path: Path) -> None:
    done = run("build", EXAMPLES / "roles", "-o", tmp_path / "b", "--json", opa=str(tmp_path / "none"))
    assert done.exit_code == 1
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "no_compiler" and "1.21.3" in error["remedy"]


@pytest.mark.needs_opa
def test_lint_passes_or_names_each_line(tmp_path: Path) -> None:
    assert run("lint", EXAMPLES / "amounts").stdout == f"{EXAMPLES / 'amounts'}: ok\n"
    (tmp_path / "x.rego").write_text("package ringwall.site\nx if data.m[input.k]\n"
                                     'hide contains "a" if x\nhide contains "b" if not input.z == 1\n')
    done = run("lint", tmp_path)
    assert done.exit_code == 1
    assert "site/x.rego:4: a negated condition" in done.stderr
    (tmp_path / "x.rego").write_text('package ringwall.site\nx if data.m[input.k]\nhide contains "a" if x\n')
    assert "site/x.rego:2: a key into data" in run("lint", tmp_path).stderr
    (tmp_path / "x.rego").write_text("package ringwall.site\nx if {\n")
    assert "bad_policy" in run("lint", tmp_path).stderr


TABLE = """
manifest = "{manifest}"
[[call]]
name = "reading"
agent = "office/ana"
tool = "docs/read"
args = {{ path = "/srv/docs/a" }}
want = "{want}"
"""


@pytest.mark.needs_opa
def test_a_wrong_row_fails_with_a_diff(tmp_path: Path) -> None:
    table = tmp_path / "x.calls.toml"
    table.write_text(TABLE.format(manifest=EXAMPLES / "ringwall.toml", want="deny"))
    done = run("test", tmp_path)
    assert done.exit_code == 1
    assert done.stdout == ("x.calls.toml: reading: FAILED\n  wanted deny\n  got    allow\n"
                           "0 of 1 rows as wanted, 0 files of Rego tests\n")
    answer = json.loads(run("test", tmp_path, "--json").stdout)
    assert answer["ok"] is False
    assert answer["failed"] == [{"table": "x.calls.toml", "name": "reading",
                                 "difference": "  wanted deny\n  got    allow"}]
    table.write_text(TABLE.format(manifest=EXAMPLES / "ringwall.toml", want="allow"))
    assert run("test", tmp_path).exit_code == 0


@pytest.mark.needs_opa
@pytest.mark.parametrize(("old", "new", "says"), [
    ("office/ana", "office/eve", "no agent"), ("/srv/docs/a", "/srv/../a", "argument"),
    ("{manifest}", "/nowhere/ringwall.toml", "no such file"), ("docs/read", "", "needs one of"),
])
def test_a_table_that_cannot_be_used_is_an_error_and_no_pass(old: str, new: str, says: str, tmp_path: Path) -> None:
    text = TABLE.replace(old, new).format(manifest=EXAMPLES / "ringwall.toml", want="deny")
    (tmp_path / "x.calls.toml").write_text(text)
    done = run("test", tmp_path)
    assert done.exit_code == 1 and "bad_table" in done.stderr and says in done.stderr


@pytest.mark.needs_opa
def test_a_rego_test_that_fails_is_shown(tmp_path: Path) -> None:
    (tmp_path / "x_test.rego").write_text("package x_test\n\ntest_no if 1 == 2\n")
    done = run("test", tmp_path)
    assert done.exit_code == 1 and "data.x_test.test_no: FAIL" in done.stdout


@pytest.mark.needs_opa
def test_eval_prints_what_opa_eval_prints(tmp_path: Path) -> None:
    bundle = tmp_path / "b.tar.gz"
    run("build", EXAMPLES / "time-windows", "-o", bundle)
    asked = tmp_path / "input.json"
    for made in (document(), {}, {"call": {"target": "bank/pay"}, "time": {"now": 1767571200}}):
        asked.write_text(json.dumps(made))
        ours = run("eval", "--bundle", bundle, "--input", asked)
        theirs = subprocess.run([the_opa(), "eval", "--format", "raw", "--bundle", str(bundle), "--input",
                                 str(asked), "data.ringwall.decide.call"], capture_output=True, check=True)
        assert json.loads(ours.stdout) == json.loads(theirs.stdout)


def test_eval_takes_a_manifest_for_the_grants_and_standard_input(tmp_path: Path) -> None:
    bundle = tmp_path / "b.tar.gz"
    bundle.write_bytes(archive.write(files()))
    subject: dict[str, Any] = {"type": "process", "tenant": "office", "agent": "ana", "role": "clerk", "number": 0,
                               "id": "spiffe://office.example/tenant/office/agent/ana/role/clerk"}
    asked = json.dumps({"subject": subject, "targets": ["docs/read", "bank/pay", "deploy/release"]}).encode()
    options = ("eval", "--bundle", bundle, "--entrypoint", "ringwall/decide/list", "--input", "-")
    done = run(*options, "--manifest", EXAMPLES / "ringwall.toml", opa="/none", stdin=asked)
    assert json.loads(done.stdout) == {"targets": ["bank/pay", "docs/read"]}
    assert json.loads(run(*options, opa="/none", stdin=asked).stdout) == {"targets": []}
    for wrong in (b"", b"{", b'{"a":1,"a":2}'):
        assert run(*options, opa="/none", stdin=wrong).exit_code == 1
    other = run("eval", "--bundle", bundle, "--entrypoint", "x", "--input", "-", opa="/none", stdin=b"{}")
    assert "unknown_entry_point" in other.stderr


def test_reload_asks_the_core_and_says_what_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, Any]] = []
    answers: list[Any] = [{"revision": "b" * 64, "before": "a" * 64, "changed": True},
                          {"revision": "b" * 64, "before": "b" * 64, "changed": False}]

    class Client:
        def __init__(self, path: Path) -> None: ...

        def operate(self, verb: str, args: Any) -> Any:
            asked.append((verb, args))
            if not answers:
                raise Refused("the bundle has no signature", code="bundle_unsigned", record="system/7")
            return answers.pop(0)

    monkeypatch.setattr(common, "OperatorClient", Client)
    assert run("reload", "--state", tmp_path, opa="x").stdout == \
        f"policy revision {'b' * 12} serves (before: {'a' * 12})\n"
    assert run("reload", "--state", tmp_path, opa="x").stdout == f"policy revision {'b' * 12} serves as before\n"
    failed = run("reload", "--state", tmp_path, opa="x")
    assert failed.exit_code == 1 and "bundle_unsigned" in failed.stderr and "system/7" in failed.stderr
    assert asked == [("policy.reload", {})] * 3


