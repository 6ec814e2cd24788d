"""capability/resources: ARNs, buckets, tables, repositories and Kubernetes objects, with the checks that failed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.call import Resource
from ringwall.capability.resources import canonical, covers, parse_pattern
from ringwall.errors import BadInput

KINDS = ["arn", "s3", "gcs", "table", "git", "k8s"]


def resource(type_name: str, text: str) -> Resource:
    found = canonical(type_name, text)
    return Resource(type=type_name, id=found.id, key=found.key, action="read", argument="x")


# Pattern, value, covered? None: the value has no canonical form. First of each kind: the checks that looked right.
COVERAGE = [
    ("arn:aws:s3:::team-1/", "arn:aws:s3:::team-10/x", False),  # startswith
    ("arn:aws:s3:::team-1", "arn:aws:s3:::team-10", False),
    ("arn:aws:s3:::team-1/", "arn:aws:s3:::team-1/../payroll/x", None),  # startswith with a slash, glob **
    ("arn:aws:s3:::team-1/", "arn:aws:s3:::team-1/a.b/c.d", True),  # a glob's "*" stopped at "."
    ("arn:aws:s3:::team-1/", "arn:aws:s3:::team-1/*", None),  # IAM's "*" crosses "/"
    ("arn:aws:s3:::team-1/", "arn:aws:s3:::team-?/x", None),
    ("arn:aws:s3:::team-1/", "arn:aws:s3:::${aws:username}/x", None),
    ("arn:aws:s3:::team-1/", "arn:aws:s3:::team-1", False),  # the bucket is not its objects
    ("arn:aws:s3:::team-1", "arn:aws:s3:::team-1/x", False),
    ("arn:aws:s3:::team-1/a", "arn:aws:s3:::team-1/a/b", False),
    ("arn:aws:s3:::team-1/a/", "arn:aws:s3:::team-1/a/", True),
    ("arn:aws:s3:::team-1/", "arn:aws:s3:::team-1//x", None),
    ("arn:aws:s3:::team-1/", "arn:aws:s3:::team-1/./x", None),
    ("arn:aws:s3:::team-1/", "arn:aws:s3:::team-1/%2e%2e/x", None),
    ("arn:aws:s3:::team-1/", "arn:aws:s3:::team-1/x\\y", None),
    ("arn:aws:s3:::team-1/", "ARN:aws:s3:::team-1/x", None),
    ("arn:aws:s3:::team-1/", "arn:aws:S3:::team-1/x", None),
    ("arn:aws:s3:::team-1/", "arn:aws-cn:s3:::team-1/x", False),
    ("arn:aws:s3:::team-1/", "arn:evil:s3:::team-1/x", None),
    ("arn:aws:s3:::team-1/", "arn:aws:s3:eu-west-1::team-1/x", False),
    ("arn:aws:s3:::team-1/", "arn:aws:s3:::", None),
    ("arn:aws:s3:::team-1/", "arn:aws:s3::team-1/x", None),
    ("arn:aws:lambda:eu-1:123456789012:function:", "arn:aws:lambda:eu-1:123456789012:function:f", True),
    ("arn:aws:lambda:eu-1:123456789012:function:", "arn:aws:lambda:eu-1:123456789012:function:f:$LATEST", True),
    ("arn:aws:lambda:eu-1:123456789012:function:f", "arn:aws:lambda:eu-1:123456789012:function:f:1", False),
    ("arn:aws:lambda:eu-1:123456789012:function:f", "arn:aws:lambda:eu-1:123456789012:function:f:", None),
    ("arn:aws:lambda:eu-1:123456789012:function:f", "arn:aws:lambda:eu-1:123456789012:function::f", None),
    ("arn:aws:lambda:eu-1:123456789012:function:f", "arn:aws:lambda:eu-west-1:12345678901:function:f", None),
    ("arn:aws:iam::123456789012:role/", "arn:aws:iam::123456789012:role/ops", True),
    ("arn:aws:iam::123456789012:role/", "arn:aws:iam::210987654321:role/ops", False),
    ("arn:aws:apigateway:eu-west-1::/restapis/", "arn:aws:apigateway:eu-west-1::/restapis/a1", True),
    ("arn:aws:logs:eu-1:123456789012:log-group:/aws/", "arn:aws:logs:eu-1:123456789012:log-group:/aws/x", True),
    ("s3:reports/2026/", "reports/20260/x", False),
    ("s3:team-1/", "team-10/x", False),
    ("s3:team-1/", "team-1/../payroll/x", None),
    ("s3:team-1/", "team-1/a.b/c.d", True),
    ("s3:team-1/", "team-1/*", None),
    ("s3:team-1/", "team-1", False),
    ("s3:team-1", "team-1", True),
    ("s3:team-1", "team-1/x", False),
    ("s3:team-1", "team-1/", None),
    ("s3:reports/2026/", "s3://reports/2026/a.csv", True),
    ("s3:reports/2026/", "reports/2026/", True),
    ("s3:reports/2026/", "reports/2026", False),
    ("s3:reports/2026/", "S3://reports/2026/a", None),
    ("s3:reports/2026/", "gs://reports/2026/a", None),
    ("s3:reports/2026/", "s3://s3://reports/2026/a", None),
    ("s3:reports/2026/", "https://reports.s3.amazonaws.com/2026/a", None),
    ("s3:reports/2026/", "reports.s3.amazonaws.com/2026/a", None),
    ("s3:reports/2026/", "s3://reports/2026/a?versionId=1", None),
    ("s3:reports/2026/", "reports/2026//a", None),
    ("s3:reports/2026/", "reports//2026/a", None),
    ("s3:reports/2026/", "/reports/2026/a", None),
    ("s3:reports/2026/", "reports/2026%2fa", None),
    ("s3:reports/2026/", "reports/2026/a ", None),
    ("s3:reports/2026/", "reports/2026 /a", None),
    ("s3:reports/2026/", "Reports/2026/a", None),
    ("s3:reports/2026/", "re/2026/a", None),
    ("s3:reports/2026/", "127.0.0.1/2026/a", None),
    ("s3:reports/2026/", "re..ports/2026/a", None),
    ("s3:reports/2026/", "reports-abc123-s3alias/2026/a", None),
    ("s3:reports/2026/", "reports/2026/" + "a" * 1024, None),
    ("s3:reports/2026/", "reports/2026/é.csv", True),
    ("s3:reports/2026/", "reports/2026/e\u0301.csv", None),
    ("gcs:team-1/", "team-10/x", False),
    ("gcs:team-1/", "team-1/../payroll/x", None),
    ("gcs:team-1/", "gs://team-1/a.b/c", True),
    ("gcs:team-1/", "s3://team-1/a", None),
    ("gcs:team-1/", "gs://team-1/a#1700000000000", None),
    ("gcs:team-1/", "gs://team-1/**", None),
    ("gcs:team-1/", "gs://team-1", False),
    ("gcs:team_1/", "team_1/x", True),
    ("gcs:team-1/", "storage.googleapis.com/team-1/x", None),
    ("gcs:team-1/", "team-1.storage.googleapis.com/x", None),
    ("gcs:team-1/", "googreports/x", None),
    ("table:sales.", "sales2.orders", False),
    ("table:sales.", "salesx.orders", False),
    ("table:sales.", "sales.orders", True),
    ("table:sales.", "SALES.Orders", True),
    ("table:sales.", 'sales."orders"', True),
    ("table:sales.orders", 'SALES."orders"', True),
    ("table:sales.orders", 'sales."Orders"', False),
    ("table:sales.", '"Sales".orders', False),
    ("table:sales.", '"sales.orders".x', False),  # one name with a dot in it
    ("table:sales.", "sales.orders.x", False),  # a database called sales
    ("table:db.sales.", "db.sales.orders", True),
    ("table:db.sales.", "sales.orders", False),
    ("table:sales.", "orders", None),
    ("table:sales.", "a.b.c.d", None),
    ("table:sales.", "sales..orders", None),
    ("table:sales.", "sales.orders; drop table x", None),
    ("table:sales.", "sales.orders--", None),
    ("table:sales.", "sales.orders, hr.pay", None),
    ("table:sales.", "sales.orders o join hr.pay p", None),
    ("table:sales.", "sales .orders", None),
    ("table:sales.", "`sales`.orders", None),
    ("table:sales.", "[sales].orders", None),
    ("table:sales.", 'sales."or""ders"', None),
    ("table:sales.", 'sales."orders', None),
    ("table:sales.", 'sales."orders"x', None),
    ("table:sales.", 'U&"sales".orders', None),
    ("table:sales.", "sales.*", None),
    ("table:sales.", "sales.été", None),
    ("table:sales.", 'sales."été"', True),
    ("table:sales.", "sales." + "a" * 64, None),  # cut off by the server: another table's name
    ("git:github.com/acme/", "github.com/acme-evil/app", False),
    ("git:github.com/acme/", "github.com/acme/app", True),
    ("git:github.com/acme/", "https://github.com/acme/app", True),
    ("git:github.com/acme/", "https://github.com/acme/app.git", True),
    ("git:github.com/acme/", "https://github.com:443/acme/app/", True),
    ("git:github.com/acme/", "ssh://git@github.com/acme/app.git", True),
    ("git:github.com/acme/", "ssh://git@github.com:22/acme/app", True),
    ("git:github.com/acme/", "git@github.com:acme/app.git", True),
    ("git:github.com/acme/", "HTTPS://www.GitHub.com/Acme/App.git", True),
    ("git:github.com/acme/app", "github.com/acme/app@main", True),
    ("git:github.com/acme/app", "github.com/acme/app/sub", False),
    ("git:github.com/acme/app", "github.com/acme/app2", False),
    ("git:github.com/acme/app@v1", "https://github.com/acme/app.git@v1", True),
    ("git:github.com/acme/app@v1", "github.com/acme/app", False),
    ("git:github.com/acme/app@v1", "github.com/acme/app@v1.1", False),
    ("git:github.com/acme/app@v1", "github.com/acme/app@refs/tags/v1", None),
    ("git:github.com/acme/app@v1", "github.com/acme/app@HEAD", None),
    ("git:github.com/acme/", "github.com/acme/app@main..evil", None),
    ("git:github.com/acme/", "github.com/acme/app@-x", None),
    ("git:github.com/acme/", "github.com/acme/../evil/app", None),
    ("git:github.com/acme/", "https://github.com@evil.example/acme/app", None),
    ("git:github.com/acme/", "https://user:pass@github.com/acme/app", None),
    ("git:github.com/acme/", "https://github.com.evil.example/acme/app", False),
    ("git:github.com/acme/", "https://github.com:8443/acme/app", None),
    ("git:github.com/acme/", "git@github.com:22/acme/app", None),
    ("git:github.com/acme/", "http://github.com/acme/app", None),
    ("git:github.com/acme/", "git://github.com/acme/app", None),
    ("git:github.com/acme/", "ext::sh -c touch% /tmp/x", None),
    ("git:github.com/acme/", "--upload-pack=touch /tmp/x", None),
    ("git:github.com/acme/", "file:///srv/acme/app", None),
    ("git:github.com/acme/", "/srv/acme/app", None),
    ("git:github.com/acme/", "../acme/app", None),
    ("git:github.com/acme/", "work:acme/app", None),  # a name of somebody's ssh configuration
    ("git:github.com/acme/", "github.com/acme", None),
    ("git:github.com/acme/", "github.com/acme/app.git.git", None),
    ("git:github.com/acme/", "github.com/acme/a%70p", None),
    ("git:github.com/acme/", "https://github.com/acme/app?x=1", None),
    ("git:github.com/acme/", "https://github.com/acme/app#x", None),
    ("git:github.com/acme/", "github.com/аcme/app", None),  # Cyrillic
    ("k8s:team-1/", "team-10/pods/x", False),
    ("k8s:team-1/", "team-1/pods/x", True),
    ("k8s:team-1/pods/", "team-1/Pod/x", True),
    ("k8s:team-1/pods/", "team-1/po/x", True),
    ("k8s:team-1/pods/", "team-1/pods/x/exec", None),
    ("k8s:team-1/pods/", "team-1/podtemplates/x", False),
    ("k8s:team-1/deployments.apps/web", "team-1/deploy/web", True),
    ("k8s:team-1/deploy/web", "team-1/Deployment/web", True),
    ("k8s:team-1/deploy/web", "team-1/deployments.extensions/web", None),
    ("k8s:team-1/deploy/web", "team-1/deployments.v1.apps/web", None),
    ("k8s:team-1/events/", "team-1/events.events.k8s.io/x", True),
    ("k8s:team-1/ingresses/", "team-1/ingresses.networking.k8s.io/x", True),
    ("k8s:team-1/ingresses/", "team-1/ingresses.extensions/x", None),
    ("k8s:team-1/widgets.acme.example/", "team-1/widgets.acme.example/x", True),
    ("k8s:team-1/widgets.acme.example/", "team-1/Widget/x", None),
    ("k8s:team-1/widgets.acme.example/", "team-1/widgets.v1beta1.acme.example/x", None),
    ("k8s:-/nodes/", "-/no/n1", True),
    ("k8s:-/nodes/", "team-1/nodes/n1", None),
    ("k8s:team-1/pods/", "-/pods/x", None),
    ("k8s:team-1/pods/", "pods/x", None),
    ("k8s:team-1/pods/", "Team-1/pods/x", None),
    ("k8s:team-1/pods/", "team-1/../team-2/pods/x", None),
    ("k8s:team-1/pods/", "team-1/pods/..", None),
    ("k8s:team-1/pods/", "team-1/pods/*", None),
    ("k8s:team-1/pods/", "team-1/pods/a%2fb", None),
    ("k8s:team-1/roles/", "team-1/role/system:auth", True),
]


@pytest.mark.parametrize(("pattern", "value", "covered"), COVERAGE, ids=[f"{p} {v[:40]!a}" for p, v, _ in COVERAGE])
def test_a_pattern_covers_what_it_says_and_nothing_that_looks_like_it(
        pattern: str, value: str, covered: bool | None) -> None:
    type_name = pattern.partition(":")[0]
    if covered is None:
        with pytest.raises(BadInput) as caught:
            canonical(type_name, value)
        assert caught.value.code == "bad_argument"
        assert str(caught.value).isascii()
    else:
        assert covers(parse_pattern(pattern), resource(type_name, value)) is covered


@pytest.mark.parametrize("text", [
    "arn:", "arn:arn:aws:s3:::team-1/", "arn:aws:s3:::", "arn:aws:s3:::/", "arn:aws:s3:::team-1/*",
    "arn:aws:apigateway:eu-west-1::/", "arn:aws:lambda:eu-west-1:123456789012:", "arn:aws:", "arn:aws:s3:::a::",
    "s3:", "s3:/", "s3:s3://", "s3:team-1/*", "s3:team-1//", "s3:team-1/../", "gcs:/", "gcs:s3://team-1/",
    "table:", "table:.", "table:orders", "table:a.b.c.", "table:sales.*", "table:sales..",
    "git:github.com/", "git:github.com", "git:github.com/acme", "git:acme/", "git:github.com/acme/app@v1/",
    "k8s:", "k8s:/", "k8s:-/", "k8s:team-1", "k8s:team-1/pods", "k8s:team-1/x/", "k8s:team-1//",
    "k8s:team-1/pods/a/",
])
def test_a_pattern_that_says_anything_or_nothing_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_pattern(text)
    assert caught.value.code == "bad_pattern"


@pytest.mark.parametrize(("text", "spelled"), [
    ("arn:aws:s3:::team-1/", "arn:aws:s3:::team-1/"),
    ("s3:s3://reports/2026/", "s3:reports/2026/"),
    ("gcs:gs://reports/", "gcs:reports/"),
    ("table:SALES.", "table:sales."),
    ('table:sales."Orders"', 'table:sales."Orders"'),
    ("git:https://github.com/Acme/", "git:github.com/acme/"),
    ("git:git@github.com:acme/app.git", "git:github.com/acme/app"),
    ("k8s:staging/Deployment/", "k8s:staging/deployments.apps/"),
])
def test_a_pattern_is_named_by_its_canonical_spelling(text: str, spelled: str) -> None:
    assert parse_pattern(text).text == spelled
    assert parse_pattern(spelled) == parse_pattern(text)


@pytest.mark.parametrize(("kind", "text", "sent"), [
    ("s3", "s3://reports/2026/a", "s3://reports/2026/a"),
    ("s3", "reports/2026/a", "reports/2026/a"),
    ("gcs", "gs://reports/a", "gs://reports/a"),
    ("git", "HTTPS://www.GitHub.com:443/Acme/App.git", "https://github.com/acme/app"),
    ("git", "git@github.com:acme/app.git@main", "ssh://git@github.com/acme/app@main"),
    ("git", "github.com/acme/app", "github.com/acme/app"),
    ("table", 'Sales."orders"', "sales.orders"),
])
def test_a_tool_gets_the_judged_resource_in_the_notation_it_was_written_in(kind: str, text: str, sent: str) -> None:
    assert canonical(kind, text).sent == sent


PIECES = st.sampled_from([
    "/", "//", ":", "::", ".", "..", "%2e", "%41", "%", "a", "B", "é", "arn:", "aws", "s3", ":::", "s3://", "gs://",
    "https://", "ssh://git@", "git@", "github.com", "GITHUB.com", "/acme", "/app", ".git", "@main", "@", "reports",
    "sales", '"', '"Orders"', "orders", "-", "pods", "Pod", "deploy", "deployments.apps", "team-1", "x.example",
    "123456789012", "eu-west-1", "*", "?", " ", "\\", "\u200b", "．", "$", "#", "v1", "role/", "function:"])
SHAPED = st.one_of(
    st.lists(PIECES, max_size=10).map("".join),
    st.builds("{}{}/{}{}".format, st.sampled_from(["", "s3://", "gs://"]),
              st.sampled_from(["team-1", "a.b-c", "reports"]), st.text("ab/.é ", max_size=8),
              st.sampled_from(["", "/", ".git"])),
    st.builds("{}{}.{}".format, st.sampled_from(["", "db.", '"Db".']),
              st.sampled_from(["Sales", '"sales"', '"a b"']), st.sampled_from(["T1", '"t1"', '"T1"', "t$"])),
    st.builds("{}{}{}/{}{}".format, st.sampled_from(["https://", "ssh://git@", ""]),
              st.sampled_from(["github.com/", "GITHUB.COM/", "www.github.com/", "g.example:443/"]),
              st.sampled_from(["acme", "Acme", "a/b"]), st.sampled_from(["app", "App.git", "app/"]),
              st.sampled_from(["", "@v1", "@a/b"])),
    st.builds("{}/{}/{}".format, st.sampled_from(["team-1", "-"]), st.sampled_from(
        ["Pod", "po", "pods", "deploy", "Deployment.apps", "no", "nodes", "w.acme.example", "event"]),
        st.sampled_from(["x", "X", "a:b"])),
    st.builds("arn:aws:{}:{}:{}:{}".format, st.sampled_from(["s3", "iam", "apigateway"]),
              st.sampled_from(["", "eu-1"]), st.sampled_from(["", "123456789012"]), st.text("ab/:.", max_size=8)))


@given(st.sampled_from(KINDS), SHAPED)
@settings(max_examples=500, deadline=None)
def test_canonical_is_a_fixed_point_of_what_is_judged_and_of_what_is_sent(kind: str, text: str) -> None:
    try:
        once = canonical(kind, text)
    except BadInput as error:
        assert error.code == "bad_argument"
        return
    for again in (canonical(kind, once.id), canonical(kind, once.sent)):
        assert (again.id, again.key) == (once.id, once.key)
    assert canonical(kind, once.sent) == once


@given(st.sampled_from(KINDS), SHAPED, SHAPED)
@settings(max_examples=500, deadline=None)
def test_ids_and_keys_name_the_same_things_and_spellings_share_a_decision(kind: str, text: str, other: str) -> None:
    try:
        one, two = resource(kind, text), resource(kind, other)
    except BadInput:
        return
    assert (one.id == two.id) == (one.key == two.key)
    try:
        pattern = parse_pattern(f"{kind}:{other}".replace("arn:arn:", "arn:"))
    except BadInput:
        return
    assert covers(pattern, one) == covers(pattern, resource(kind, one.id))
    assert parse_pattern(pattern.text) == pattern


@given(st.sampled_from(KINDS), SHAPED, SHAPED)
@settings(max_examples=500, deadline=None)
def test_a_subtree_covers_only_what_begins_with_its_own_text(kind: str, text: str, other: str) -> None:
    try:
        pattern, found = parse_pattern(f"{kind}:{text}".replace("arn:arn:", "arn:")), resource(kind, other)
    except BadInput:
        return
    if covers(pattern, found):
        prefix = pattern.text if kind == "arn" else pattern.text.partition(":")[2]
        assert found.id.startswith(prefix)
