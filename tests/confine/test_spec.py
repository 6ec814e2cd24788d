"""The specification cannot be wrong, and its wire form is read strictly."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.confine.spec import (
    ALL_LAYERS,
    MAX_INSIDE,
    MAX_SPEC_BYTES,
    Bind,
    Confinement,
    Loopback,
    Probe,
    ResourceLimits,
    parse_object,
)
from ringwall.errors import BadInput

BASE = Confinement(
    name="agent", argv=("python",), env={"PATH": "/usr/bin"}, cwd="/", tmp_mib=8, binds=(Bind("/usr", "/usr"),),
    network="none", uid=None, profile="agent", one_process=False,
)  # fmt: skip

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
paths = st.lists(
    st.text("abc.-_ é", min_size=1, max_size=6).filter(lambda s: s not in {".", ".."}), min_size=1, max_size=4
)
targets = paths.map(lambda parts: "/" + "/".join(parts)).filter(lambda p: p != "/tmp")
probes = st.one_of(
    st.builds(Probe, st.sampled_from(["open", "connect_unix"]), targets),
    st.builds(Probe, st.sampled_from(["kill", "ptrace"]), st.integers(1, (1 << 31) - 1).map(str)),
    st.builds(Probe, st.just("connect_tcp"), st.integers(1, 65535).map(lambda port: f"127.0.0.1:{port}")),
)
binds = st.builds(Bind, targets, targets, st.booleans())
ports = st.lists(st.integers(1025, 65535), max_size=4, unique=True).map(tuple)
loopbacks = st.builds(Loopback, door=st.none() | st.just(1024), inside=st.integers(0, MAX_INSIDE), bind=ports,
                      connect=ports)  # fmt: skip
amounts = st.none() | st.integers(1 << 20, (1 << 63) - 1)
confinements = st.builds(
    Confinement,
    name=st.text("abcXYZ019._-", min_size=1, max_size=64),
    argv=st.tuples(words.filter(bool), words),
    env=st.dictionaries(words.filter(lambda key: bool(key) and "=" not in key), words, max_size=4),
    cwd=targets,
    binds=st.lists(binds, max_size=4, unique_by=lambda b: b.target).map(tuple),
    tmp_mib=st.integers(1, 1 << 16),
    network=st.just("none"),
    uid=st.none() | st.integers(1, (1 << 32) - 2),
    profile=st.sampled_from(["agent", "server", "guard", "sidecar"]),
    one_process=st.booleans(),
    limits=st.builds(ResourceLimits, address_space=amounts, file_size=amounts, open_files=st.integers(16, 1 << 20),
                     processes=amounts, cpu_seconds=amounts),
    self_test=st.lists(probes, max_size=4).map(tuple),
    layers=st.sets(st.sampled_from(sorted(ALL_LAYERS))).map(frozenset),
    loopback=st.none(),
)  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(confinements, st.none() | loopbacks)
def test_the_wire_form_reads_back_as_the_same_value(spec: Confinement, loopback: Loopback | None) -> None:
    if spec.layers & {"namespaces", "landlock"}:
        spec = replace(spec, loopback=loopback)
    assert Confinement.from_json(spec.to_json()) == spec


@settings(max_examples=150, deadline=None)
@given(json_values | st.fixed_dictionaries(
    {"door": json_values | st.just(2000), "inside": json_values, "bind": json_values | st.just([1]),
     "connect": json_values}))  # fmt: skip
def test_a_loopback_of_any_other_form_is_read_strictly_or_refused(value: Any) -> None:
    tree = json.loads(BASE.to_json()) | {"loopback": value}
    try:
        made = Confinement.from_json(json.dumps(tree).encode())
    except BadInput:
        return
    again = json.loads(made.to_json())["loopback"]
    assert json.dumps(again, sort_keys=True) == json.dumps(value, sort_keys=True)


@pytest.mark.parametrize(
    "change",
    [
        {"door": 80}, {"door": 0}, {"door": 65536}, {"inside": -1}, {"inside": MAX_INSIDE + 1}, {"bind": (1023,)},
        {"connect": (65536,)}, {"bind": (4000, 4000)}, {"bind": (8080,)}, {"bind": tuple(range(2000, 2017))},
        {"connect": tuple(range(2000, 2017))},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_loopback_cannot_be_made(change: dict[str, Any]) -> None:
    good = Loopback(door=8080, inside=4, bind=(9090,), connect=(8080,))
    assert good.sockets == 5
    with pytest.raises(BadInput):
        replace(good, **change)


@pytest.mark.parametrize("change", [{"network": "host", "profile": "sidecar"}, {"layers": frozenset()},
                                    {"layers": frozenset({"seccomp"})}], ids=str)  # fmt: skip
def test_a_loopback_needs_a_network_of_its_own_or_landlock(change: dict[str, Any]) -> None:
    loopback = Loopback(door=8080, inside=0, bind=(), connect=(8080,))
    assert replace(BASE, layers=frozenset({"landlock"}), loopback=loopback).loopback == loopback
    with pytest.raises(BadInput, match="loopback"):
        replace(BASE, loopback=loopback, **change)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_bad_input(raw: bytes) -> None:
    with pytest.raises(BadInput):
        Confinement.from_json(raw)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(json.loads(BASE.to_json()))), json_values)
def test_a_field_of_any_other_value_is_read_strictly_or_refused(field: str, value: Any) -> None:
    tree = json.loads(BASE.to_json())
    tree[field] = value
    try:
        made = Confinement.from_json(json.dumps(tree).encode())
    except BadInput:
        return
    # What was accepted means exactly what was sent: nothing was coerced.
    again = json.loads(made.to_json())
    if field == "layers":
        assert set(again[field]) == set(value)
    else:
        assert json.dumps(again[field], sort_keys=True) == json.dumps(value, sort_keys=True)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_truncated_or_doubled_message_is_refused(data: st.DataObject) -> None:
    raw = BASE.to_json()
    cut = data.draw(st.integers(0, len(raw) - 1))

    with pytest.raises(BadInput):
        Confinement.from_json(raw[:cut])
    with pytest.raises(BadInput):
        Confinement.from_json(raw + raw[: cut + 1])


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b'{"a": 1, "a": 2}',
        b'{"a": 1.5}',
        b'{"a": NaN}',
        b'{"a": "\xc3\xa9"}',
        b"[" * 50_000,
        b'{"a": ' * 20_000,
        b'{"a": "' + b"x" * MAX_SPEC_BYTES + b'"}',
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
    ids=["list", "twice", "float", "nan", "not-ascii", "deep-list", "deep-object", "long", "huge-number"],
)
def test_json_outside_the_agreed_form_is_refused(raw: bytes) -> None:
    with pytest.raises(BadInput):
        parse_object(raw)


@pytest.mark.parametrize("missing", sorted(json.loads(BASE.to_json())))
def test_every_field_must_be_there(missing: str) -> None:
    tree = json.loads(BASE.to_json())
    del tree[missing]

    with pytest.raises(BadInput, match=missing):
        Confinement.from_json(json.dumps(tree).encode())


def test_an_unknown_field_is_refused() -> None:
    tree = json.loads(BASE.to_json()) | {"extra": 1}

    with pytest.raises(BadInput, match="extra"):
        Confinement.from_json(json.dumps(tree).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "a/b"},
        {"name": "x" * 65},
        {"argv": ()},
        {"argv": ("",)},
        {"argv": ("a\0b",)},
        {"argv": ("\ud800",)},
        {"env": {"A=B": "c"}},
        {"env": {"": "c"}},
        {"env": {"A": "b\0"}},
        {"cwd": "relative"},
        {"cwd": "/a/../b"},
        {"cwd": "//a"},
        {"tmp_mib": 0},
        {"uid": 0},
        {"uid": (1 << 32) - 1},
        {"network": "host"},
        {"binds": (Bind("/usr", "/a"), Bind("/bin", "/a"))},
        {"binds": tuple(Bind("/usr", f"/a{n}") for n in range(257))},
    ],
    ids=str,
)
def test_a_wrong_specification_cannot_be_made(change: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        replace(BASE, **change)


@pytest.mark.parametrize(
    "target", ["/", "/tmp", "/proc", "/proc/1", "/dev", "/dev/shm/x", "x", "/a/", "/a//b", "/./a"]
)
def test_nothing_is_bound_over_what_the_launcher_makes(target: str) -> None:
    with pytest.raises(BadInput):
        Bind("/usr", target)


@pytest.mark.parametrize(
    ("kind", "target"),
    [("open", "x"), ("kill", "0"), ("kill", "-1"), ("ptrace", "1x"), ("kill", "99999999999"), ("connect_tcp", "h"),
     ("connect_tcp", "h:0"), ("connect_tcp", ":80"), ("connect_tcp", "h:65536"), ("connect_unix", "a")],
)  # fmt: skip
def test_a_wrong_probe_cannot_be_made(kind: Any, target: str) -> None:
    with pytest.raises(BadInput):
        Probe(kind, target)


def test_a_specification_too_long_for_one_message_is_refused() -> None:
    with pytest.raises(BadInput, match="limit"):
        replace(BASE, argv=("x", "y" * MAX_SPEC_BYTES)).to_json()
