"""Session policies: a second opinion of what IAM makes of them, written from its grammar and not from ours."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringwall.errors import Refused
from ringwall.manifest.details import Detail
from ringwall.vault.brokers import session_policy
from ringwall.vault.brokers.session_policy import MAX_POLICY


def detail(op: str, *locations: str, **more: object) -> Detail:
    actions = ("write",) if op == "put" else ("read",)
    fields: dict[str, Any] = {"identifier": f"store/{op}", "actions": actions, "locations": locations}
    return Detail(**(fields | more))


def code_of(*details: Detail, partition: str = "aws") -> str:
    with pytest.raises(Refused) as caught:
        session_policy.compile(details, partition)
    return caught.value.code


# --- IAM, as its user guide has it: Allow only, `*` and `?` in resources and in StringLike

def like(pattern: str, text: str) -> bool:
    parts = [".*" if one == "*" else "." if one == "?" else re.escape(one) for one in pattern]
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def allows(policy: str, action: str, resource: str, prefix: str | None = None) -> bool:
    for statement in json.loads(policy)["Statement"]:
        assert statement.keys() <= {"Effect", "Action", "Resource", "Condition"}
        assert statement["Effect"] == "Allow"
        if action not in as_list(statement["Action"]):
            continue
        if not any(like(one, resource) for one in as_list(statement["Resource"])):
            continue
        conditions = statement.get("Condition", {})
        assert conditions.keys() <= {"StringLike"}
        wanted = conditions.get("StringLike", {})
        assert wanted.keys() <= {"s3:prefix"}
        if all(prefix is not None and any(like(one, prefix) for one in as_list(values))
               for values in wanted.values()):
            return True
    return False


ACTION = {"get": "s3:GetObject", "put": "s3:PutObject"}


def may(policy: str, op: str, bucket: str, key: str, partition: str = "aws") -> bool:
    if op == "list":
        return allows(policy, "s3:ListBucket", f"arn:{partition}:s3:::{bucket}", key)
    return allows(policy, ACTION[op], f"arn:{partition}:s3:::{bucket}/{key}")


def declared(details: list[Detail], op: str, bucket: str, key: str) -> bool:
    """What the details say, read plainly."""
    for one in details:
        for place in one.locations if one.identifier == f"store/{op}" else ():
            name = place.removeprefix("s3:")
            asked = f"{bucket}/{key}" if key or op != "list" else bucket
            if name == asked or (name.endswith("/") and f"{bucket}/{key}".startswith(name)):
                return True
    return False


PARTS = st.sampled_from(["team-1", "team-10", "team", "a", "a.txt", "ü b", "+", "$", "{x}", "'\"", "%41", "\u4e2d"])
KEYS = st.builds(lambda parts, slash: "/".join(parts) + slash, st.lists(PARTS, min_size=1, max_size=3),
                 st.sampled_from(["", "/"]))
BUCKETS = st.sampled_from(["reports", "reports-2", "rep", "payroll"])
OBJECTS = st.builds(lambda b, k: f"s3:{b}/{k}", BUCKETS, KEYS | st.just(""))
LISTED = st.builds(lambda b, k: f"s3:{b}{k}", BUCKETS, st.just("") | st.just("/") | KEYS.map(
    lambda k: f"/{k.rstrip('/')}/"))
DETAILS = st.lists(st.one_of(
    st.builds(lambda op, places: detail(op, *places), st.sampled_from(["get", "put"]),
              st.lists(OBJECTS, min_size=1, max_size=3)),
    st.lists(LISTED, min_size=1, max_size=3).map(lambda places: detail("list", *places))), min_size=1, max_size=3)


def near(details: list[Detail]) -> set[str]:
    """Keys that are named, and those that only look like them: siblings, parents, children."""
    found = {""}
    for one in details:
        for place in one.locations:
            key = place.removeprefix("s3:").partition("/")[2]
            bare = key.rstrip("/")
            found |= {key, bare, f"{bare}/", f"{bare}/x", f"{bare}0", f"{bare}0/x", f"{key}x", bare[:-1],
                      bare.rpartition("/")[0], f"x/{key}"}
    return found


@given(DETAILS)
def test_it_allows_exactly_what_the_details_say(details: list[Detail]) -> None:
    try:
        policy = session_policy.compile(details, "aws")
    except Refused as fault:
        assert fault.code == "scope_too_large"
        return
    assert len(policy) <= MAX_POLICY
    assert policy.isascii()
    assert " " not in policy
    for bucket in ("reports", "reports-2", "rep", "payroll"):
        for key in near(details):
            for op in ("get", "put", "list"):
                if key or op == "list":
                    assert may(policy, op, bucket, key) == declared(details, op, bucket, key), (op, bucket, key)
            for other in ("s3:DeleteObject", "s3:GetObjectVersion", "s3:PutObjectAcl", "s3:ListBucketVersions",
                          "s3:ListAllMyBuckets", "iam:CreateUser", "sts:AssumeRole"):
                assert not allows(policy, other, f"arn:aws:s3:::{bucket}/{key}", key)


def test_a_prefix_covers_no_sibling_that_begins_like_it() -> None:
    both = [detail("get", "s3:reports/team-1/"), detail("list", "s3:reports/team-1/")]
    policy = session_policy.compile(both, "aws")
    assert may(policy, "get", "reports", "team-1/a")
    assert may(policy, "list", "reports", "team-1/")
    for key in ("team-10/a", "team-1", "team-1x", "a"):
        assert not may(policy, "get", "reports", key)
    for key in ("team-10/", "team-1", "team", ""):
        assert not may(policy, "list", "reports", key)
    assert not allows(policy, "s3:ListBucket", "arn:aws:s3:::reports")  # a listing that says no prefix


def test_it_is_grouped_by_action_and_short() -> None:
    places = [f"s3:reports/{n}.txt" for n in range(5)]
    details = [detail("get", *places), detail("put", *places), detail("list", "s3:reports")]
    policy = json.loads(session_policy.compile(details, "aws"))
    assert [one["Action"] for one in policy["Statement"]] == [["s3:GetObject", "s3:PutObject"], "s3:ListBucket"]


def test_over_the_limit_is_refused_and_never_widened() -> None:
    fits = [f"s3:reports/{n:03}" for n in range(60)]
    assert len(session_policy.compile([detail("get", *fits)], "aws")) <= MAX_POLICY
    assert code_of(detail("get", *(f"s3:reports/{n:03}" for n in range(80)))) == "scope_too_large"
    assert code_of(detail("get", "s3:reports/" + "\u4e2d" * 400)) == "scope_too_large"  # as it is sent: escaped


def test_the_limit_is_exact() -> None:
    empty = len(session_policy.compile([detail("get", "s3:abc/x")], "aws")) - 1
    assert len(session_policy.compile([detail("get", "s3:abc/" + "x" * (MAX_POLICY - empty))], "aws")) == MAX_POLICY
    assert code_of(detail("get", "s3:abc/" + "x" * (MAX_POLICY - empty + 1))) == "scope_too_large"


@pytest.mark.parametrize("key", ["*", "a*", "a?", "${aws:username}/x", "a${x", "a\\b", "a\nb", "a\u202eb"])
def test_what_iam_does_not_take_literally_is_inexpressible(key: str) -> None:
    for op, tail in (("get", ""), ("put", ""), ("list", "/")):
        assert code_of(detail(op, f"s3:reports/{key}{tail}")) == "scope_inexpressible"


@pytest.mark.parametrize("place", ["s3:*", "s3:r*", "s3:Reports/a", "s3:re/a", "s3:reports:x/a",
                                   "arn:arn:aws-cn:s3:::r/a",
                                   "arn:arn:aws:s3:::reports/a", "path:/reports", "reports/a", "s3:", "s3:/a"])
def test_what_is_no_plain_bucket_is_inexpressible(place: str) -> None:
    assert code_of(detail("get", place)) == "scope_inexpressible"
    assert code_of(detail("get", "s3:reports/a", place)) == "scope_inexpressible"


def test_nothing_named_is_refused_and_not_everything() -> None:
    assert code_of() == "scope_empty"
    assert code_of(detail("get")) == "scope_empty"
    assert code_of(detail("get", "s3:reports/a"), detail("list")) == "scope_empty"


@pytest.mark.parametrize("one", [
    detail("delete", "s3:reports/a"), detail("get", "s3:reports/a", actions=("write",)),
    detail("put", "s3:reports/a", actions=("read",)), detail("get", "s3:reports/a", max={"bytes": 5.0}),
    detail("get", "s3:reports"), detail("list", "s3:reports/team-1"),
])
def test_what_a_policy_would_say_more_with_is_inexpressible(one: Detail) -> None:
    assert code_of(one) == "scope_inexpressible"


def test_a_whole_bucket_is_its_objects_and_its_listing_each_alone() -> None:
    policy = session_policy.compile([detail("get", "s3:reports/")], "aws")
    assert may(policy, "get", "reports", "any/thing")
    assert not may(policy, "list", "reports", "")
    policy = session_policy.compile([detail("list", "s3:reports")], "aws")
    assert may(policy, "list", "reports", "")
    assert not may(policy, "list", "reports", "team-1/")
    assert not may(policy, "get", "reports", "a")


def test_another_partition_has_its_own_names() -> None:
    policy = session_policy.compile([detail("get", "s3:reports/a")], "aws-cn")
    assert may(policy, "get", "reports", "a", "aws-cn")
    assert not may(policy, "get", "reports", "a")
