"""``ringwall up`` against Ceph RGW: it fetches the keys that Ringwall publishes, and refuses what was not declared.

Its role may do everything, and what it refuses is seen in its own log.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.postgres.server import free_port
from tests.conformance.rgw import peer
from tests.conformance.rgw.front import ISSUER
from tests.conformance.rgw.peer import Peer
from tests.stack import RINGWALL, Puppet, Stack, wait_for

from ringwall.redteam.attack import Barrier
from ringwall.redteam.liars import command

pytestmark = pytest.mark.skipif(bool(peer.missing()), reason=peer.missing() or "it is here")
ROLE = "arn:aws:iam:::role/ringwall"
MANIFEST = """
version = 1
trust_domain = "office.example"
[identity]
issuer = "{issuer}"
publish = "127.0.0.1:{publish}"
publish_cert = "{certificate}"
publish_key = "{key}"
[secrets.cloud]
from = "aws"
role_arn = "{role}"
region = "{region}"
sts = "{url}"
ca_file = "{ca}"
[tools.store]
builtin = "s3"
url = "{url}"
region = "{region}"
ca_file = "{ca}"
secret = "cloud"
clearance = "private"
[tenants.office.roles.clerk]
secrets = ["cloud"]
limits = {{ calls = "6000/min burst 1000" }}
[tenants.office.roles.clerk.tools]
"store/get" = ["s3:reports/team-1/"]
"store/put" = ["s3:reports/team-1/out/"]
"store/list" = ["s3:reports/team-1/"]
[tenants.office.agents.sam]
role = "clerk"
"""
SIBLINGS = ("payroll/team-1/a.txt", "reports/team-10/a.txt", "reports/team-2/a.txt")
_ASKED = re.compile(r'beast: .*"([A-Z]+) (\S+) HTTP/1\.1" (\d+) ')


class Place:
    """One installation and the gateway. ``lying`` starts it again with liars in it; its keys stay."""

    def __init__(self, rgw: Peer) -> None:
        self.rgw = rgw
        self._log = rgw.folder / "client.rgw.log"
        self._marks = 0
        rgw.front.upstream = free_port()
        self.stack = Stack(self._manifest)

    def _manifest(self, folder: Path) -> str:
        front = self.rgw.front
        return MANIFEST.format(issuer=ISSUER, publish=front.upstream, certificate=front.certificate, key=front.key,
                               role=ROLE, region=self.rgw.region, url=self.rgw.url, ca=self.rgw.ca)

    @contextmanager
    def lying(self, *liars: Barrier) -> Generator[Puppet]:
        """An agent, while these lie."""
        self.stack.stop()
        self.stack.up = command(*liars) if liars else (*RINGWALL, "up")
        self.stack.start()
        with self.stack.puppet("office/sam") as sam:
            yield sam

    def mark(self) -> int:
        """Where its log ends now: behind a request of the gateway's own administrator."""
        self._marks += 1
        name = f"prefix=mark-{self._marks}&"
        self.rgw.client("s3").list_objects_v2(Bucket="reports", Prefix=f"mark-{self._marks}", EncodingType="url")
        return wait_for("the gateway's log", lambda: self._end(name) or None)

    def _end(self, name: str) -> int:
        text = self._log.read_text(errors="replace")
        found = text.find(name)
        return text.find("\n", found) + 1 if found >= 0 else 0

    def asked(self, since: int) -> list[tuple[str, str, int]]:
        """What the gateway was asked since, and what it answered: method, path, status."""
        end = self.mark()
        text = self._log.read_text(errors="replace")[since:end]
        every = [(method, path.partition("?")[0], int(status)) for method, path, status in _ASKED.findall(text)]
        return every[:-1]  # the mark itself

    def published(self) -> bool:
        return self.stack.status()["svid"]["published"]["fault"] == ""

    def leases(self) -> list[Any]:
        return self.stack.client.operate("leases.list", {})["leases"]


@pytest.fixture(scope="module")
def place() -> Generator[Place]:
    with peer.running() as rgw:
        place = Place(rgw)
        with place.stack:
            wait_for("the published keys", lambda: place.published() or None)
            assert peer.trusting(rgw, ISSUER, rgw.front.certificates(), "ringwall") == ROLE
            yield place


def refused(answer: Any) -> str:
    assert "error" in answer, answer
    return answer["code"]


def by_the_store(answer: Any) -> bool:
    """Whether the tool says that the store refused."""
    assert refused(answer) == "tool_error", answer
    return answer["reason"].startswith("s3_denied")


def test_a_declared_object_is_read_with_one_exchange_for_twenty_calls(place: Place) -> None:
    with place.stack.puppet("office/sam") as sam:
        since = place.mark()
        for _ in range(20):
            answer = sam.call("store/get", object="reports/team-1/a.txt")
            assert "reports/team-1/a.txt" in json.dumps(answer["result"]), answer
        asked = place.asked(since)
        assert asked.count(("POST", "/", 200)) == 1, asked  # AssumeRoleWithWebIdentity
        assert asked.count(("GET", "/reports/team-1/a.txt", 200)) == 20, asked
        assert len(asked) == 21, asked
        assert "/.well-known/openid-configuration" in place.rgw.front.asked  # of ours, and nobody else's
        assert len(place.leases()) == 1


def test_a_listing_and_writing_are_credentials_of_their_own(place: Place) -> None:
    with place.stack.puppet("office/sam", task="Write team-1/out/made.txt.") as sam:
        since = place.mark()
        assert "result" in sam.call("store/put", object="reports/team-1/out/made.txt", content="made")
        shown = sam.call("store/list", prefix="reports/team-1/")
        assert "reports/team-1/out/made.txt" in json.dumps(shown["result"])
        asked = place.asked(since)
        assert asked.count(("POST", "/", 200)) == 2, asked


def test_after_revoking_the_next_use_is_a_new_exchange_and_after_a_freeze_there_is_none(place: Place) -> None:
    with place.stack.puppet("office/sam") as sam:
        assert "result" in sam.call("store/get", object="reports/team-1/a.txt")
        [before] = [one["lease"] for one in place.leases()]
        since = place.mark()
        done = place.stack.client.operate("leases.revoke", {"lease": before})
        assert [one["state"] for one in done["leases"]] == ["ended"]
        assert place.leases() == []
        assert "result" in sam.call("store/get", object="reports/team-1/a.txt")
        assert place.asked(since) == [("POST", "/", 200), ("GET", "/reports/team-1/a.txt", 200)]
        assert [one["lease"] for one in place.leases()] != [before]
        since = place.mark()
        place.stack.client.operate("freeze", {"scope": "agent", "name": "office/sam", "reason": "a drill"})
        assert refused(sam.call("store/get", object="reports/team-1/a.txt")) == "frozen"
        wait_for("the leases of the frozen agent to end", lambda: not place.leases() or None)
        assert place.asked(since) == []
        since = place.mark()
        place.stack.client.operate("thaw", {"scope": "agent", "name": "office/sam", "reason": "over"})
        assert "result" in sam.call("store/get", object="reports/team-1/a.txt")
        assert place.asked(since) == [("POST", "/", 200), ("GET", "/reports/team-1/a.txt", 200)]
    ended = [(one.clear["event"]["reason"], one.clear["event"]["provider"])
             for one in place.stack.records("office", "lease_revoked")]
    assert ("operator", "not_revocable") in ended
    assert ("frozen", "not_revocable") in ended


def test_what_was_not_declared_is_refused_here_before_anybody_is_asked(place: Place) -> None:
    with place.stack.puppet("office/sam") as sam:
        since = place.mark()
        for name in SIBLINGS:
            assert refused(sam.call("store/get", object=name)) == "resource_not_granted"
        assert refused(sam.call("store/put", object="reports/team-1/a.txt", content="x")) == "resource_not_granted"
        assert refused(sam.call("store/list", prefix="reports/team-10/")) == "resource_not_granted"
        assert place.asked(since) == []


def test_where_capability_and_policy_lie_the_gateway_itself_refuses(place: Place) -> None:
    with place.lying("capability", "policy") as sam:
        since = place.mark()
        assert "result" in sam.call("store/put", object="reports/team-1/out/x.txt", content="x")
        for name in ("reports/team-1/a.txt", "reports/team-10/out/x.txt", "payroll/team-1/out/x.txt"):
            assert by_the_store(sam.call("store/put", object=name, content="x"))
        for name in SIBLINGS:
            assert by_the_store(sam.call("store/get", object=name))
        assert by_the_store(sam.call("store/list", prefix="reports/team-10/"))
        asked = place.asked(since)
        denied = [(method, path) for method, path, status in asked if status == 403]
        assert denied == [
            ("PUT", "/reports/team-1/a.txt"), ("PUT", "/reports/team-10/out/x.txt"),
            ("PUT", "/payroll/team-1/out/x.txt"), *(("GET", f"/{name}") for name in SIBLINGS),
            ("GET", "/reports"),
        ], asked
        assert asked.count(("POST", "/", 200)) == 4, asked  # what was declared and named, then what was declared


def test_without_a_scope_the_rings_refuse_and_without_both_it_happens(place: Place) -> None:
    """The second half is the control: nothing but scope and rings stands in between."""
    with place.lying("scope") as sam:
        since = place.mark()
        for name in SIBLINGS:
            assert refused(sam.call("store/get", object=name)) == "resource_not_granted"
        assert place.asked(since) == []
    with place.lying("capability", "policy", "scope") as sam:
        for name in SIBLINGS:
            assert name in json.dumps(sam.call("store/get", object=name)["result"])
