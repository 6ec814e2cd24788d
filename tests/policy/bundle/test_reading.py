"""A bundle is taken apart only if all of it is of one build, and what it owns is its own."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.bundle.support import code_of, files, key_files, plan, public, signing
from tests.policy.compile import by_hand
from tests.policy.support import CALL, data, document

from ringwall.errors import PolicyError
from ringwall.policy.build import SHIPPED, SOURCES
from ringwall.policy.bundle import archive, signature
from ringwall.policy.bundle.reading import load, open_bundle
from ringwall.policy.embedded import EmbeddedPolicy


def opened(found: dict[str, bytes], **named: Any) -> Any:
    return open_bundle(archive.write(found), **named)


def manifest(found: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    """The files with other values in ``.manifest``."""
    tree = json.loads(found[".manifest"])
    tree.update(changes)
    return {**found, ".manifest": json.dumps(tree).encode()}


def test_a_bundle_of_the_shipped_policy_decides_as_the_shipped_policy() -> None:
    policy = opened(files(data={})).policy(data())
    shipped = EmbeddedPolicy.default(data())
    assert policy.revision == shipped.revision
    assert policy.evaluate(CALL, document()) == shipped.evaluate(CALL, document())


def test_its_own_data_stand_beside_the_manifests_and_count_for_the_revision() -> None:
    one, other = opened(files(data={"acme": {"x": 1}})), opened(files(data={"acme": {"x": 2}}))
    assert one.data == {"acme": {"x": 1}} and one.signed_by == ""
    assert len({one.revision, other.revision, json.loads((SOURCES / SHIPPED).read_bytes())["revision"]}) == 3


def test_with_keys_a_signature_is_required_and_named() -> None:
    plain = files()
    good = {**plain, signature.FILE: signing().sign(plain)}
    assert opened(good, keys=[public()]).signed_by == public().name
    assert code_of(opened, plain, keys=[public()]) == "bundle_unsigned"
    assert code_of(opened, {**good, "z.rego": b"package z\n"}, keys=[public()]) == "bundle_file_unlisted"


def test_the_signature_is_checked_before_anything_else_is_read() -> None:
    plain = files()
    broken = {**plain, ".manifest": b"junk", signature.FILE: signing().sign(plain)}
    assert code_of(opened, broken, keys=[public()]) == "bundle_file_changed"


@pytest.mark.parametrize("name", [".manifest", "plan.json", "data.json", "capabilities.json"])
def test_a_bundle_that_lacks_a_part_is_refused(name: str) -> None:
    assert code_of(opened, {k: v for k, v in files().items() if k != name}) == "bundle_incomplete"


def test_a_file_that_no_bundle_has_is_refused() -> None:
    assert code_of(opened, {**files(), "site/data.json": b"{}"}) == "bundle_bad_member"
    assert code_of(opened, {**files(), "run.sh": b""}) == "bundle_bad_member"


def test_a_plan_of_another_opa_is_refused() -> None:
    how = {"ringwall": {"opa": "1.20.0", "plan": "x"}}
    assert code_of(opened, manifest(files(), metadata=how)) == "wrong_compiler"


@pytest.mark.parametrize("revision", ["", "0" * 64, "x"])
def test_a_manifest_with_another_revision_is_refused(revision: str) -> None:
    assert code_of(opened, manifest(files(), revision=revision)) == "bundle_wrong_revision"


def test_a_plan_of_another_revision_is_refused() -> None:
    assert code_of(opened, {**files(), "plan.json": by_hand()}) == "bundle_wrong_revision"


def test_sources_or_data_of_another_revision_are_refused() -> None:
    assert code_of(opened, {**files(), "facts.rego": b"package ringwall.facts\n"}) == "bundle_wrong_revision"
    assert code_of(opened, {**files(), "data.json": b'{"acme":{"x":3}}'}) == "bundle_wrong_revision"
    assert code_of(opened, {**files(), "more.rego": b"package more\n"}) == "bundle_wrong_revision"


def test_a_plan_with_an_unsupported_builtin_is_refused_when_it_is_loaded() -> None:
    made = by_hand(builtins=("http.send",))
    assert code_of(opened(files(made=made)).policy, {}) == "unsupported_builtin"


def test_a_bundle_cannot_allow_itself_a_clock() -> None:
    found = files()
    capabilities = json.loads(found["capabilities.json"])
    capabilities["builtins"].append({"name": "time.now_ns"})
    more = {**found, "capabilities.json": json.dumps(capabilities).encode()}
    assert code_of(opened, more) == "unsupported_builtin"


def test_a_damaged_plan_is_refused_when_it_is_loaded() -> None:
    for made in (b"", b"{}", b"[]", b'{"static": 1}', b"\xff", plan()[:-1]):
        assert code_of(opened(files(made=made)).policy, {}) == "bad_plan"


@pytest.mark.parametrize("roots", [[""], ["ringwall"], ["/ringwall/"], ["acme", "/"]])
def test_what_comes_from_the_manifest_of_ringwall_is_no_bundles_own(roots: list[str]) -> None:
    assert code_of(opened, manifest(files(), roots=roots)) == "bundle_owns_ringwall"


def test_data_under_ringwall_are_refused() -> None:
    assert code_of(opened, {**files(), "data.json": b'{"ringwall": {"tenants": {}}}'}) == "bundle_owns_ringwall"


@pytest.mark.parametrize("content", [b"", b"[]", b"1", b"{", b'{"a":1,"a":2}', b'{"a/b":1}', b'{"":1}', b"\xff",
                                     b'{"a":' + b"[" * 100 + b"]" * 100 + b"}"])
def test_bad_data_are_refused(content: bytes) -> None:
    assert code_of(opened, {**files(), "data.json": content}) == "bundle_bad_data"


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"revision": 1}', b"\xff", b"[" * 1000])
def test_a_bad_manifest_is_refused(content: bytes) -> None:
    assert code_of(opened, {**files(), ".manifest": content}) == "bundle_bad_manifest"
    assert code_of(opened, {**files(), "capabilities.json": content}) == "bundle_bad_manifest"


def test_unknown_keys_in_the_manifest_are_refused() -> None:
    assert code_of(opened, manifest(files(), wasm=[])) == "bundle_bad_manifest"


@settings(max_examples=25)
@given(st.dictionaries(st.sampled_from([".manifest", "data.json", "capabilities.json", "plan.json"]),
                       st.binary(max_size=200), min_size=1), st.binary(max_size=200), st.booleans())
def test_any_content_is_refused_as_a_policy_error(changes: dict[str, bytes], token: bytes, asked: bool) -> None:
    with pytest.raises(PolicyError):
        opened({**files(), **changes, signature.FILE: token}, keys=[public()] if asked else []).policy({})


def test_a_bundle_is_read_from_a_plain_file_only(tmp_path: Path) -> None:
    _, known = key_files(tmp_path)
    found = files()
    path = tmp_path / "p.tar.gz"
    path.write_bytes(archive.write({**found, signature.FILE: signing().sign(found, scope="office")}))
    assert load(path, keys=[known], scope="office").revision == load(path).revision
    assert code_of(load, path, keys=[known]) == "bundle_wrong_scope"
    assert code_of(load, path, keys=[tmp_path / "none"]) == "bundle_bad_key"
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path, tmp_path / "none", tmp_path / "pipe"):
        assert code_of(load, other) == "bundle_unreadable"


def test_a_device_is_refused_before_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some act when they are opened."""
    def opened(*_: object, **__: object) -> int:
        raise AssertionError("it was opened")
    monkeypatch.setattr(os, "open", opened)
    assert code_of(load, Path("/dev/null")) == "bundle_unreadable"


def test_the_hash_of_the_plan_is_part_of_the_manifest() -> None:
    found = json.loads(files()[".manifest"])
    assert found["metadata"]["ringwall"]["plan"] == hashlib.sha256(plan()).hexdigest()
