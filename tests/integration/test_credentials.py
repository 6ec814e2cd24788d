"""Credentials made for one call, on real processes: how many are made, for what, and when they end."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Generator
from typing import Any

import pytest
from tests.integration.held import CountingCloud, Place
from tests.stack import RINGWALL, Puppet, alive, kill, wait_for

ROLES = """
[secrets.brief]
from = "aws"
role_arn = "{role}"
region = "{region}"
sts = "{store}"
ca_file = "{ca}"
seconds = 30
[tools.shelf]
builtin = "s3"
url = "{store}"
region = "{region}"
ca_file = "{ca}"
secret = "brief"
clearance = "private"
[tenants.office.roles.clerk]
secrets = ["cloud", "archive", "brief"]
limits = {{ calls = "60000/min burst 10000" }}
[tenants.office.roles.clerk.tools]
"echo/echo" = []
"store/get" = ["s3:reports/"]
"store/list" = ["s3:reports/"]
"shelf/get" = ["s3:reports/"]
"archive/get" = ["url:{archive}/"]
[tenants.office.agents.ana]
role = "clerk"
[tenants.office.agents.kim]
role = "clerk"
"""
OBJECT = "reports/q3.txt"


class _Slow(CountingCloud):
    """Gives one object only when it is told to."""

    begun = threading.Event()
    go = threading.Event()

    def allowed(self, method: str, target: str, headers: Any, body: bytes) -> tuple[str, str, str]:
        if target.endswith("/slow.txt"):
            self.begun.set()
            self.go.wait(60)
        return super().allowed(method, target, headers, body)


@pytest.fixture(scope="module")
def place() -> Generator[Place]:
    with Place(ROLES, minting=True) as running:
        running.open()
        yield running


@pytest.fixture
def ana(place: Place) -> Generator[Puppet]:
    """With no lease of before."""
    with place.stack.puppet("office/ana", task=f"Read {place.site}/hours") as puppet:
        yield puppet
    ended(place)


def ended(place: Place) -> None:
    wait_for("the leases to end", lambda: not place.leases())


def stored(agent: Puppet, name: str = OBJECT) -> Any:
    return agent.call("store/get", object=name)


def page(place: Place, agent: Puppet) -> Any:
    return agent.call("archive/get", url=f"{place.site}/hours")


def told(place: Place, kind: str) -> list[Any]:
    """Events of leases, oldest first."""
    return [one.clear["event"] for one in place.stack.records("office", kind)]


@pytest.mark.confined
def test_twenty_calls_for_one_object_take_one_exchange_for_just_that(place: Place, ana: Puppet) -> None:
    made = len(place.cloud.made)
    for _ in range(20):
        assert stored(ana)["result"]["text"] == "sales were fine"
    assert len(place.cloud.made) == made + 1
    [allowed] = place.cloud.policies[-1]["Statement"]
    assert (allowed["Action"], allowed["Resource"]) == ("s3:GetObject", "arn:aws:s3:::reports/q3.txt") or (
        allowed["Action"], allowed["Resource"]) == (["s3:GetObject"], ["arn:aws:s3:::reports/q3.txt"])
    [lease] = place.leases()
    assert (lease["secret"], lease["agent"], lease["state"]) == ("cloud", "ana", "active")
    assert 0 < lease["expires_at"] - lease["issued_at"] <= 900
    line = place.cli("leases").out.decode()
    assert lease["lease"] in line and "office/ana" in line and "s left" in line
    assert json.loads(place.cli("leases", "--json").out)["leases"][0]["lease"] == lease["lease"]
    # Another object is another credential; what was not granted is none.
    assert stored(ana, "reports/other.txt")["code"]
    assert len(place.cloud.made) == made + 2
    assert stored(ana, "payroll/all.txt")["code"] == "resource_not_granted"
    assert len(place.cloud.made) == made + 2
    assert place.stack.status()["leases"]["held"] == 2


def test_after_a_revocation_the_next_call_has_a_new_credential(place: Place, ana: Puppet) -> None:
    before = len(place.archive.made)
    assert page(place, ana)["result"]
    assert page(place, ana)["result"]
    token, made = place.archive.made[-1], len(place.archive.made)
    assert made == before + 1
    [lease] = place.leases()
    assert "1 ended here, 0 still" in place.cli("leases", "revoke", lease["lease"]).out.decode()
    assert place.archive.revoked[-1] == token
    event = told(place, "lease_revoked")[-1]
    assert (event["lease"], event["reason"], event["provider"]) == (lease["lease"], "operator", "revoked")
    assert page(place, ana)["result"]
    assert len(place.archive.made) == made + 1
    assert place.archive.made[-1] != token


def test_a_worker_drops_a_revoked_credential_in_the_middle_of_a_call(place: Place, ana: Puppet) -> None:
    slow = _Slow(place.journals / "cloud.jsonl", place.stack.state)
    place.cloud.__class__ = _Slow  # the one that serves
    try:
        number = ana.ask("call", tool="shelf/get", args={"object": "reports/slow.txt"})
        assert slow.begun.wait(30)
        [lease] = place.leases()
        assert lease["expires_at"] - lease["issued_at"] <= 30
        place.stack.client.operate("leases.revoke", {"lease": lease["lease"]})
        answer = ana.answer(number)  # while the provider still says nothing
        assert "credential_ended" in json.dumps(answer), answer
    finally:
        slow.go.set()
        place.cloud.__class__ = CountingCloud
    made = len(place.cloud.made)
    assert ana.call("shelf/get", object=OBJECT)["result"]["text"] == "sales were fine"
    assert len(place.cloud.made) == made + 1


@pytest.mark.confined
def test_a_frozen_agents_credentials_are_revoked_at_once_and_it_gets_no_new_ones(place: Place, ana: Puppet) -> None:
    with place.stack.puppet("office/kim", task=f"Read {place.site}/hours") as kim:
        assert page(place, ana)["result"]
        token = place.archive.made[-1]
        assert page(place, kim)["result"]
        others, made = place.archive.made[-1], len(place.archive.made)
        place.cli("freeze", "agent", "office/ana", "--reason", "looks odd")
        wait_for("the archive to be told", lambda: token in place.archive.revoked)
        assert (page(place, ana)["code"], stored(ana)["code"]) == ("frozen", "frozen")
        assert others not in place.archive.revoked
        assert page(place, kim)["result"]
        assert len(place.archive.made) == made
        place.cli("thaw", "agent", "office/ana", "--reason", "it was not")
        assert page(place, ana)["result"]
        assert len(place.archive.made) == made + 1
    wait_for("the other one's end to be told", lambda: others in place.archive.revoked)


def test_when_an_agent_ends_its_credentials_do(place: Place) -> None:
    with place.stack.puppet("office/ana", task=f"Read {place.site}/hours") as ana:
        assert page(place, ana)["result"]
        token = place.archive.made[-1]
        assert token not in place.archive.revoked
    wait_for("the archive to be told", lambda: token in place.archive.revoked)
    ended(place)
    assert told(place, "lease_revoked")[-1]["reason"] == "agent_ended"


def test_after_a_crash_leases_of_running_agents_go_on_and_those_of_others_are_revoked(place: Place) -> None:
    restarts = place.stack.status()["restarts"]
    with place.stack.puppet("office/ana", task=f"Read {place.site}/hours") as ana, \
            place.stack.puppet("office/kim", task=f"Read {place.site}/hours") as kim:
        assert page(place, ana)["result"]
        mine = place.archive.made[-1]
        assert page(place, kim)["result"]
        others, made = place.archive.made[-1], len(place.archive.made)
        core = place.stack.pid("core")
        place_kill(place, core, kim.pid)
        place.stack.wait_ready(restarts + 2)
        wait_for("the archive to be told", lambda: others in place.archive.revoked)
        assert page(place, ana)["result"]  # taken up, as its vault is open
        assert (len(place.archive.made), mine in place.archive.revoked) == (made, False)
        [lease] = place.leases()
        assert (lease["agent"], lease["state"]) == ("ana", "active")
    wait_for("the archive to be told", lambda: mine in place.archive.revoked)
    assert place.stack.verify().ok


def test_what_a_sealed_vault_must_revoke_is_revoked_as_soon_as_it_is_open(place: Place) -> None:
    restarts = place.stack.status()["restarts"]
    with place.stack.puppet("office/ana", task=f"Read {place.site}/hours") as ana, \
            place.stack.puppet("office/kim", task=f"Read {place.site}/hours") as kim:
        assert page(place, ana)["result"]
        assert page(place, kim)["result"]
        mine, others = place.archive.made[-2:]
        place.cli("vault", "seal")
        assert page(place, ana)["result"]  # what was made lives on
        place_kill(place, place.stack.pid("core"), kim.pid)
        place.stack.wait_ready(restarts + 2)
        assert page(place, ana)["code"] == "vault_sealed"  # but nobody remembers it now
        assert others not in place.archive.revoked
        wait_for("a try", lambda: any(one["fault"] == "vault_sealed" for one in place.leases()))
        place.cli("vault", "unseal")
        wait_for("the archive to be told", lambda: others in place.archive.revoked)
        assert page(place, ana)["result"]
        assert mine not in place.archive.revoked
    wait_for("the rest of them", lambda: {*place.archive.made} == {*place.archive.revoked})
    ended(place)


def test_what_is_made_for_an_agent_after_it_was_frozen_is_revoked_and_never_used(place: Place, ana: Puppet) -> None:
    made = len(place.archive.made)
    place.archive.begun.clear()
    place.archive.hold.clear()
    try:
        number = ana.ask("call", tool="archive/get", args={"url": f"{place.site}/hours"})
        assert place.archive.begun.wait(30)
        place.stack.client.operate("freeze", {"scope": "agent", "name": "office/ana", "reason": "x", "kill": False})
    finally:
        place.archive.hold.set()
    assert ana.answer(number)["code"] in {"frozen", "lease_revoked", "cancelled"}
    wait_for("it to be made", lambda: len(place.archive.made) == made + 1)
    wait_for("the archive to be told", lambda: place.archive.made[-1] in place.archive.revoked)
    place.cli("thaw", "agent", "office/ana", "--reason", "x")


def place_kill(place: Place, core: int, agent: int) -> None:
    """The core first, so that nobody sees the agent end."""
    kill(core)
    wait_for("the core to end", lambda: not alive(core))
    kill(agent)


@pytest.mark.parametrize(("grant", "names"), [
    ('"store/list" = ["s3:reports/"]', ""),
    ('"store/list" = ["s3:reports/team-1"]', "s3:reports/team-1"),  # a prefix shows team-10 too
    ('"store/get" = ["s3:reports"]', "s3:reports"),  # a bucket, where an object is meant
])
def test_check_refuses_a_grant_that_the_provider_cannot_express(place: Place, grant: str, names: str) -> None:
    text = place.stack.manifest.read_text()
    other = place.stack.folder / "c" / "other.toml"
    kind = grant.partition(" ")[0]
    lines = [grant if line.startswith(kind) else line for line in text.splitlines()]
    other.write_text("\n".join(lines) + "\n")
    done = subprocess.run([*RINGWALL, "check", str(other)], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (not names), done
    assert f"cannot be made for just this: {names}" in done.stdout + done.stderr or not names
