"""Secrets of the embedded vault on real processes: absent, sealed, open; whose they are; and who may read one."""

from __future__ import annotations

import json
from collections.abc import Generator
from hashlib import sha256
from typing import Any

import pytest
from tests.integration.held import Place, completed, customer
from tests.stack import Puppet, kill

from ringwall.redteam.liars import command

CRM, KEY, HOOK = "crm-Vk2w9QzT7mXs4L", "sk-vault-7Tq2ZpX9wLm4", "hook-P8sD3nKq6VyR1c"
PASSPHRASE = b"nine green bottles on a wall\n"
ROLES = """
[tenants.office.roles.clerk]
models = ["main"]
secrets = ["crm", "model-key"]
limits = {{ calls = "60000/min burst 10000" }}
[tenants.office.roles.clerk.tools]
"echo/echo" = []
"crm/get" = ["id:C-1"]
[tenants.office.roles.signer]
secrets = ["crm"]
read = {{ secrets = ["hook"] }}
[tenants.office.roles.signer.tools]
"echo/echo" = []
"crm/get" = ["id:C-1"]
"crm/send" = ["email:@customer.example"]
[tenants.office.roles.temp.tools]
"echo/echo" = []
[tenants.office.agents.ana]
role = "clerk"
[tenants.office.agents.kim]
role = "clerk"
[tenants.office.agents.sig]
role = "signer"
[tenants.office.agents.sue]
role = "signer"
[tenants.office.agents.sam]
role = "temp"
[tenants.branch.roles.clerk]
models = ["main"]
secrets = ["crm", "model-key"]
[tenants.branch.roles.clerk.tools]
"crm/get" = ["id:C-1"]
[tenants.branch.agents.ana]
role = "clerk"
"""
READ = """
import ringwall
from hashlib import sha256
from ringwall import RingwallError
def tell(what):
    try: return {"result": what()}
    except RingwallError as fault:
        return {"error": type(fault).__name__, "code": fault.code, "after": getattr(fault, "retry_after", None)}
hook = ringwall.secret("hook")
"""
READING = {"result": sha256(HOOK.encode()).hexdigest()}


def reveals(agent: Puppet, expression: str = "tell(lambda: sha256(hook.reveal_bytes()).hexdigest())") -> Any:
    """What an expression of the agent's own program gives, with a handle named ``hook``.

    A value itself would be cut out of what the agent prints, so it is the value's hash.
    """
    return agent.do("python", text=f"{READ}answer = {expression}")["result"]


@pytest.fixture(scope="module")
def place() -> Generator[Place]:
    with Place(ROLES) as running:
        running.open(("office/ana", "crm", CRM), ("office/ana", "model-key", KEY), ("office/sig", "crm", CRM),
                     ("office/sig", "hook", HOOK))
        yield running


# --- absent, sealed, open


def test_without_an_open_vault_what_needs_it_is_refused_and_the_rest_runs() -> None:
    with Place(ROLES, root="passphrase") as place, place.stack.puppet("office/ana") as ana:

        def refused(code: str) -> None:
            assert customer(ana)["code"] == code
            assert completed(ana)["code"] == code
            assert "result" in ana.call("echo/echo", text="x")
            assert (place.asked, place.model.seen) == ([], [])

        refused("vault_absent")
        place.cli("vault", "put", "office/ana", "crm", stdin=b"x", code=1)
        place.cli("vault", "init", stdin=PASSPHRASE)
        place.put("office/ana", "crm", CRM)
        assert completed(ana)["code"] == "no_such_secret"
        place.put("office/ana", "model-key", KEY)

        def works() -> None:
            assert "result" in customer(ana)
            assert "result" in completed(ana)
            assert place.asked.pop() == ("/customers/C-1", CRM)
            assert place.model.seen.pop()[1]["Authorization"] == f"Bearer {KEY}"

        works()
        place.cli("vault", "seal")
        assert "sealed" in place.cli("vault", "status", code=1).out.decode()
        refused("vault_sealed")
        place.cli("vault", "unseal", stdin=b"nine green bottles\n", code=1)
        refused("vault_sealed")
        place.cli("vault", "unseal", stdin=PASSPHRASE)
        works()
        # A new core knows no passphrase: somebody brings it again.
        kill(place.stack.pid("core"))
        place.stack.wait_ready(2)
        refused("vault_sealed")
        assert place.stack.status()["vault"]["state"] == "sealed"
        place.cli("vault", "unseal", stdin=PASSPHRASE)
        works()
        assert place.stack.verify().ok


def test_with_its_root_key_in_a_file_it_is_open_after_a_crash_and_sealed_if_an_operator_sealed_it(
    place: Place
) -> None:
    with place.stack.puppet("office/ana") as ana:
        assert "result" in customer(ana)
        kill(place.stack.pid("core"))
        place.stack.wait_ready(2)
        assert "result" in customer(ana)
        assert "result" in completed(ana)
        place.cli("vault", "seal")
        kill(place.stack.pid("core"))
        place.stack.wait_ready(3)
        assert customer(ana)["code"] == "vault_sealed"
        place.cli("vault", "unseal")
        assert "result" in customer(ana)


# --- whose


@pytest.mark.confined
def test_a_secret_is_one_agents_in_its_role_and_tenant(place: Place) -> None:
    with place.stack.puppet("office/ana") as ana:
        assert "result" in customer(ana)
    before = len(place.asked), len(place.model.seen)
    with place.stack.puppet("office/kim") as same_role, place.stack.puppet("office/sam") as other_role, \
            place.stack.puppet("branch/ana") as other_tenant:
        assert customer(same_role)["code"] == customer(other_tenant)["code"] == "no_such_secret"
        assert completed(same_role)["code"] == completed(other_tenant)["code"] == "no_such_secret"
        assert (customer(other_role)["code"], completed(other_role)["code"]) == ("not_granted", "not_granted")
    assert (len(place.asked), len(place.model.seen)) == before


def test_where_policy_and_capability_lie_there_is_still_no_key_for_others() -> None:
    with Place(ROLES, up=command("capability", "policy")) as place:
        place.open(("office/ana", "crm", CRM), ("office/ana", "model-key", KEY))
        with place.stack.puppet("office/ana") as ana, place.stack.puppet("office/kim") as kim, \
                place.stack.puppet("office/sam") as sam, place.stack.puppet("branch/ana") as branch:
            assert "result" in customer(ana)  # so it is refused for being somebody else's
            asked = len(place.asked)
            assert (customer(kim)["code"], completed(kim)["code"]) == ("no_such_secret", "no_such_secret")
            assert (customer(branch)["code"], completed(branch)["code"]) == ("no_such_secret", "no_such_secret")
            assert (customer(sam)["code"], completed(sam)["code"]) == ("secret_not_granted", "model_not_granted")
            for agent in (ana, kim, sam, branch):  # nor may they read it
                assert reveals(agent)["code"] in {"no_such_secret", "secret_not_granted"}
            assert len(place.asked) == asked


# --- reading one


def test_a_handle_shows_its_name_and_only_who_may_read_gets_more(place: Place) -> None:
    with place.stack.puppet("office/ana") as ana, place.stack.puppet("office/sig") as sig:
        for agent in (ana, sig):
            assert reveals(agent, "[str(hook), repr(hook), f'{hook}', '%s' % hook]") == ["<secret hook>"] * 4
        before = len(place.stack.records("office", "secret_read"))
        for name in ("hook", "crm"):  # to use one is not to read it
            refused = reveals(ana, f"tell(ringwall.secret({name!r}).reveal)")
            assert (refused["error"], refused["code"]) == ("Refused", "not_granted")
        assert reveals(sig, "tell(ringwall.secret('crm').reveal)")["code"] == "not_granted"
        assert len(place.stack.records("office", "secret_read")) == before


@pytest.mark.confined
def test_a_reading_is_told_paid_for_and_limited(place: Place) -> None:
    with place.stack.puppet("office/sig", task="Write to bob@customer.example.") as sig:
        assert "result" in sig.call("crm/send", to="bob@customer.example", text="good morning")
        assert reveals(sig) == READING
        [line] = [one for one in place.stack.log if "ALERT" in one]
        assert "agent/sig" in line and "reads the secret hook itself" in line
        [record] = place.stack.records("office", "secret_read")
        assert f"office/{record.number}" in line
        assert record.clear["event"]["secret"] == "hook"
        # From now on it may send to nobody who is not cleared for secrets.
        sent = len(place.asked)
        refused = sig.call("crm/send", to="bob@customer.example", text="good morning")
        assert (refused["error"], refused["code"]) == ("Refused", "above_clearance"), refused
        assert len(place.asked) == sent
        for _ in range(9):
            assert reveals(sig) == READING
        eleventh = reveals(sig)
        assert eleventh["error"] == "Limited", eleventh
        assert 0 < eleventh["after"] <= 3600
        assert len(place.stack.records("office", "secret_read")) == 10
    records = json.dumps([one.clear for one in place.stack.records("office")])
    shown = place.cli("status", "--json").out.decode() + place.cli("doctor", code=None).out.decode()
    assert HOOK not in "".join((*place.stack.log, records, shown))


def test_what_is_put_while_an_agent_runs_is_withheld_from_what_it_prints(place: Place) -> None:
    with place.stack.puppet("office/sue") as sue:
        for value in ("first-Zt6RwQ9bLx2H", "second-Kd4NvM8yPj7C"):
            place.put("office/sue", "hook", value)
            assert reveals(sue) == {"result": sha256(value.encode()).hexdigest()}  # the newest, at once
            assert reveals(sue, "tell(hook.reveal)") == {"result": "[secret withheld]"}
            assert reveals(sue, "tell(lambda: hook.reveal()[::-1])") == {"result": value[::-1]}  # it is no wall
