"""One build for both: the core executes the bundle, and the real OPA verifies and serves it."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.policy.bundle.support import code_of, key_files, public
from tests.policy.compile import the_opa
from tests.policy.support import CALL, data, document

from ringwall.policy.build import shipped
from ringwall.policy.bundle import archive
from ringwall.policy.bundle.folder import read_folder
from ringwall.policy.bundle.lint import Module
from ringwall.policy.bundle.make import make, roots
from ringwall.policy.bundle.reading import open_bundle
from ringwall.policy.bundle.signature import SigningKey

pytestmark = pytest.mark.needs_opa
HOSTILE = "a\u2028b\u2029<&>\u007f\u0001\b\t\"\\\u00e9\U0001f600\u00ad"
RULE = """package ringwall.site

deny contains {"code": "late", "reason": "too late", "rule": "late.rego: late"} if {
	input.time.now > data.acme.latest
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "policy"
    (made / "sub").mkdir(parents=True)
    (made / "sub" / "late.rego").write_text(RULE)
    (made / "data.json").write_text(json.dumps({"acme": {"latest": 5.0, "big": 2**60, HOSTILE: [HOSTILE, 1e-7]}}))
    (made / "late_test.rego").write_text("package late_test\n")
    (made / "late.calls.toml").write_text("")
    return made


@contextmanager
def serving(opa: str, *arguments: str, cwd: Path) -> Iterator[_Local]:
    """An opa with a bundle, on a Unix socket."""
    place = cwd / "opa.sock"
    process = subprocess.Popen([opa, "run", "--server", "--addr", f"unix://{place}", "--log-level", "error",
                                *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    local = _Local(str(place), process)
    try:
        yield local
    finally:
        local.close()
        process.kill()
        assert process.stdout is not None
        process.stdout.close()
        process.wait()


class _Local(http.client.HTTPConnection):
    """HTTP over a Unix socket that may not be there yet."""

    def __init__(self, path: str, process: subprocess.Popen[bytes]) -> None:
        super().__init__("opa", timeout=30)
        self._place = path
        self._process = process

    def connect(self) -> None:
        while self._process.poll() is None:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(30)
            try:
                self.sock.connect(self._place)
                return
            except OSError:
                self.sock.close()
        raise ConnectionError("opa ended")

    def json(self, method: str, path: str, body: Any = None) -> Any:
        self.request(method, path, json.dumps(body) if body is not None else None)
        return json.loads(self.getresponse().read() or b"null")


@pytest.mark.parametrize(("kind", "algorithm"), [("ed25519", "EdDSA"), ("p256", "ES256"), ("rsa", "RS256")])
def test_the_same_archive_serves_the_core_and_opa(kind: str, algorithm: str, folder: Path, tmp_path: Path) -> None:
    secret, known = key_files(tmp_path, kind)
    raw = make(the_opa(), read_folder(folder), key=SigningKey.load(secret))
    (tmp_path / "b.tar.gz").write_bytes(raw)
    bundle = open_bundle(raw, keys=[public(kind)])
    policy = bundle.policy(data())
    asked = [document(), document(target="docs/delete"), {**document(), "time": {"now": 7}}]
    with serving(the_opa(), "--bundle", "b.tar.gz", "--verification-key", str(known), "--signing-alg", algorithm,
                 cwd=tmp_path) as opa:
        for key, value in data()["ringwall"].items():
            opa.json("PUT", f"/v1/data/ringwall/{key}", value)
        for one in asked:
            answer = opa.json("POST", "/v1/data/ringwall/decide/call", {"input": one})
            assert answer["result"] == policy.evaluate(CALL, one)
        assert opa.json("GET", "/v1/data/acme")["result"] == bundle.data["acme"]
        assert opa.json("GET", "/v1/data/system/bundles")["result"]["b.tar.gz"]["manifest"]["revision"] == \
            bundle.revision
    assert policy.evaluate(CALL, asked[0])["allow"] is True
    assert [one["code"] for one in policy.evaluate(CALL, asked[2])["deny"]] == ["late"]


def test_opa_refuses_it_with_another_key_and_after_a_change(folder: Path, tmp_path: Path) -> None:
    secret, known = key_files(tmp_path)
    _, other = key_files(tmp_path, number=1)
    raw = make(the_opa(), read_folder(folder), key=SigningKey.load(secret))
    changed = archive.write({**archive.read(raw), "facts.rego": shipped()["facts.rego"] + b"\n"})
    assert code_of(open_bundle, changed, keys=[public()]) == "bundle_file_changed"
    for content, key, good in [(raw, known, True), (raw, other, False), (changed, known, False)]:
        (tmp_path / "b.tar.gz").write_bytes(content)
        done = subprocess.run([the_opa(), "build", "--bundle", "b.tar.gz", "--verification-key", str(key),
                               "--signing-alg", "EdDSA", "--signing-key", str(secret), "-o", "out.tar.gz"],
                              cwd=tmp_path, capture_output=True, check=False)
        assert (done.returncode == 0) is good, done


def test_opa_checks_the_scope(folder: Path, tmp_path: Path) -> None:
    secret, known = key_files(tmp_path)
    (tmp_path / "b.tar.gz").write_bytes(
        make(the_opa(), read_folder(folder), key=SigningKey.load(secret), scope="production"))
    for scope, good in [("production", True), ("staging", False)]:
        done = subprocess.run([the_opa(), "build", "--bundle", "b.tar.gz", "--verification-key", str(known),
                               "--scope", scope, "--signing-alg", "EdDSA", "--signing-key", str(secret),
                               "-o", "out.tar.gz"],
                              cwd=tmp_path, capture_output=True, check=False)
        assert (done.returncode == 0) is good, done


def test_the_same_folder_gives_the_same_bytes_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    other = (tmp_path / "elsewhere" / "x")
    folder.rename(other)
    once = make(the_opa(), read_folder(other))
    os.utime(other / "data.json", (1, 1))
    assert make(the_opa(), read_folder(other)) == once
    assert str(tmp_path).encode() not in gzip.decompress(once)


def test_only_the_policy_goes_in_and_places_name_the_users_file(folder: Path) -> None:
    found = archive.read(make(the_opa(), read_folder(folder)))
    assert set(found) == {".manifest", "capabilities.json", "data.json", "plan.json", "site/sub/late.rego",
                          *shipped()}
    plan = json.loads(found["plan.json"])
    assert {one["value"] for one in plan["static"]["files"]} == {"site/sub/late.rego", *shipped()}


def test_an_empty_folder_gives_the_shipped_policy(tmp_path: Path) -> None:
    bundle = open_bundle(make(the_opa(), read_folder(tmp_path)))
    assert bundle.policy(data()).evaluate(CALL, document())["allow"] is True


def test_a_built_in_that_policies_may_not_use_does_not_compile(folder: Path) -> None:
    (folder / "evil.rego").write_text('package ringwall.site\nx := time.parse_rfc3339_ns("2026-01-01T00:00:00Z")\n')
    assert code_of(make, the_opa(), read_folder(folder)) == "bad_policy"


def test_a_site_that_makes_a_set_a_value_does_not_compile(folder: Path) -> None:
    (folder / "evil.rego").write_text("package ringwall.site\ndeny := {}\n")
    assert code_of(make, the_opa(), read_folder(folder)) in {"bad_policy", "policy_lint"}


@pytest.mark.parametrize(("name", "content", "code"), [
    ("data.json", "[]", "policy_folder"), ("data.json", '{"a": 1, "a": 2}', "policy_folder"),
    ("data.json", '{"ringwall": {}}', "bundle_owns_ringwall"), ("data.json", '{"a/b": 1}', "policy_folder"),
    ("sub/data.json", "{}", "policy_folder"), ("data.yaml", "a: 1", "policy_folder"),
    ("plan.json", "{}", "policy_folder"),
])
def test_a_folder_with_odd_data_is_refused(name: str, content: str, code: str, folder: Path) -> None:
    (folder / name).write_text(content)
    assert code_of(read_folder, folder) == code


def test_links_and_special_files_in_a_folder_are_refused(folder: Path) -> None:
    (folder / "link.rego").symlink_to("/etc/passwd")
    assert code_of(read_folder, folder) == "policy_folder"
    (folder / "link.rego").unlink()
    os.mkfifo(folder / "pipe.rego")
    assert code_of(read_folder, folder) == "policy_folder"
    assert code_of(read_folder, folder / "none") == "policy_folder"


def test_a_file_whose_name_no_bundle_holds_is_refused(folder: Path) -> None:
    (folder / "a b.rego").write_text("package ringwall.site\n")
    assert code_of(make, the_opa(), read_folder(folder)) == "bundle_bad_name"


def test_roots_never_lie_below_each_other_and_leave_the_manifests_data_alone() -> None:
    modules = [Module(name=".".join(path), package=path, rules=(), imports=())
               for path in [("ringwall", "site"), ("ringwall", "site", "hours"), ("acme", "x"), ("acme", "xy")]]
    assert roots(modules, {"acme": {}, "more": 1}) == ["acme", "more", "ringwall/site"]
    assert roots(modules, {}) == ["acme/x", "acme/xy", "ringwall/site"]
