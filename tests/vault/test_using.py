"""Using secrets: where each comes from, for whom, and what agents hear of a failure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.fakes import ALICE, call, run
from tests.vault.lease_fakes import DETAIL, DOMAIN, World, owner, who

from ringwall.call import Call, LaunchId, Operator
from ringwall.errors import BadInput, Limited, Refused, RingwallError, Unavailable
from ringwall.identity.spiffe import SpiffeId
from ringwall.manifest.details import Detail
from ringwall.manifest.types import Agent, Manifest, OutsideVault, ReadGrant, Role, Secret, Tenant
from ringwall.vault.brokers.interface import MAX_SESSION
from ringwall.vault.interface import Owner, for_agent
from ringwall.vault.kept import KeptSecrets
from ringwall.vault.leases import Leases
from ringwall.vault.orders import AgentOrders, session_of
from ringwall.vault.using import UsingSecrets

L1 = LaunchId("l1")
SECRETS = (
    Secret(name="key", source="file", file=Path("/k")), Secret(name="kept", source="vault"),
    Secret(name="far", source="openbao", vault="bao", key="token"),
    Secret(name="bucket", source="aws", role_arn="arn:aws:iam::1:role/r", region="eu-west-1"),
    Secret(name="db", source="postgres", url="postgresql://db.example/sales", admin="admin", admin_user="ringwall",
           seconds=300),
    Secret(name="api", source="oauth", token_url="https://login.example/token", client_secret="client"),
    Secret(name="dyn", source="openbao", vault="bao", database="readers"),
    Secret(name="admin", source="vault"), Secret(name="client", source="file", file=Path("/c")),
    Secret(name="theirs", source="vault"), Secret(name="only-read", source="vault"),
    Secret(name="lost", source="openbao", vault="gone"),
)
USED = ("key", "kept", "far", "bucket", "db", "api", "dyn", "lost")


@dataclass
class Tokens:
    asked: list[tuple[SpiffeId, str, str, tuple[Detail, ...]]] = field(default_factory=list)

    async def token(self, who: SpiffeId, launch: LaunchId, audience: str, details: tuple[Detail, ...]) -> str:
        self.asked.append((who, launch, audience, details))
        return f"jwt-for-{audience}"


@dataclass
class Bao:
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)

    async def fetch(self, vault: str, token: str, path: str, key: str) -> bytes:
        self.asked.append((vault, token, path, key))
        return b"far-value"


class Setting:
    """Everything under ``UsingSecrets``, with a provider that remembers its orders."""

    def __init__(self) -> None:
        role = Role(name="reader", secrets=USED, read=ReadGrant(secrets=("only-read",)))
        agents = {name: Agent(name=name, role="reader") for name in ("alice", "aaron")}
        agents["zoe"] = Agent(name="zoe", role="other")
        tenant = Tenant(name="acme", roles={"reader": role, "other": Role(name="other")}, agents=agents)
        self.manifest = Manifest(
            version=1, trust_domain=DOMAIN, path=Path("/m"), tenants={"acme": tenant},
            secrets={one.name: one for one in SECRETS},
            vaults={"bao": OutsideVault(name="bao", url="https://bao.example", role="ringwall")})
        self.world = World()
        self.tokens = Tokens()
        self.bao: Bao | None = Bao()
        self.files = {"key": b"file-value", "client": b"client-pw"}
        self.details: tuple[Detail, ...] = (DETAIL,)
        self.world.vault.secrets |= {
            (owner(), "kept"): b"alice-value", (owner("aaron"), "kept"): b"aaron-value",
            (Owner.broker("acme"), "admin"): b"admin-pw", (owner(), "only-read"): b"readable"}
        self.kept = KeptSecrets(self.manifest, self._file, self.world.vault)

    def _file(self, name: str) -> bytes:
        if name not in self.files:
            raise RingwallError(f"cannot open /etc/keys/{name}", code="secret_unreadable")
        return self.files[name]

    async def using(self) -> UsingSecrets:
        orders = AgentOrders(self.kept, self.manifest.vaults, self.tokens, DOMAIN)
        world = self.world
        leases = Leases(
            store=world.store, vault=world.vault, journal=world.journal, clock=world.clock,
            brokers=lambda tenant: world.broker, orders=orders, frozen=lambda one: "", on_drop=world.dropped.append,
            trust_domain=DOMAIN, revision="r1")
        await leases.restore(lambda one: True)
        self.leases = leases
        return UsingSecrets(self.manifest, self.kept, lambda tenant: self.bao, self.tokens, self._scope, leases)

    def _scope(self, call: Call) -> tuple[Detail, ...]:
        if not self.details:
            raise Refused("nothing is named", code="scope_empty")
        return self.details

    async def refused(self, name: str, agent: str = "alice", role: str = "reader") -> RingwallError:
        using = await self.using()
        with pytest.raises(RingwallError) as caught:
            await using.value(who(agent, role=role), L1, name)
        return caught.value


def test_kept_values_come_from_where_they_are_for_their_owner() -> None:
    async def go() -> None:
        setting = Setting()
        using = await setting.using()
        assert await using.value(who(), L1, "key") == b"file-value"
        assert await using.value(who(), L1, "kept") == b"alice-value"
        assert await using.value(who("aaron"), L1, "kept") == b"aaron-value"
        assert await using.value(who(), L1, "only-read") == b"readable"
        assert not setting.tokens.asked
    run(go())


@pytest.mark.parametrize(("name", "agent", "role", "code"), [
    ("nothing", "alice", "reader", "unknown_secret"), ("theirs", "alice", "reader", "secret_not_granted"),
    ("admin", "alice", "reader", "secret_not_granted"), ("kept", "zoe", "other", "secret_not_granted"),
    ("kept", "alice", "other", "secret_not_granted"), ("kept", "nobody", "reader", "secret_not_granted"),
    ("kept", "zoe", "reader", "secret_not_granted"), ("bucket", "alice", "reader", "secret_not_injectable"),
    ("dyn", "alice", "reader", "secret_not_injectable"), ("lost", "alice", "reader", "unknown_secret"),
])
def test_what_an_agent_does_not_have_is_refused(name: str, agent: str, role: str, code: str) -> None:
    assert run(Setting().refused(name, agent, role)).code == code


def test_another_tenants_agent_of_the_same_name_has_nothing() -> None:
    async def go() -> None:
        using = await Setting().using()
        with pytest.raises(BadInput, match="secret_not_granted"):
            await using.value(who(tenant="umbrella"), L1, "kept")
    run(go())


def test_a_sealed_vault_stops_what_is_in_it_and_nothing_else() -> None:
    async def go() -> None:
        setting = Setting()
        setting.world.vault.fault = "vault_sealed"
        using = await setting.using()
        assert await using.value(who(), L1, "key") == b"file-value"
        assert await using.value(who(), L1, "far") == b"far-value"
        assert (await using.credential(call(), "bucket")).values
        for name in ("kept", "db"):  # the login of db is in the vault
            with pytest.raises(Unavailable, match="vault_sealed"):
                await (using.value(who(), L1, name) if name == "kept" else using.credential(call(), name))
        assert len(setting.world.broker.minted) == 1
    run(go())


def test_an_outside_vault_is_read_as_the_agent_below_its_own_path() -> None:
    async def go() -> None:
        setting = Setting()
        using = await setting.using()
        assert await using.value(who(), L1, "far") == b"far-value"
        assert setting.bao is not None
        assert setting.bao.asked == [("bao", "jwt-for-openbao", "agents/acme/alice/reader/far", "token")]
        assert setting.tokens.asked == [(who(), L1, "openbao", ())]
        setting.bao = None
        assert (await setting.refused("far")).code == "broker_unavailable"
    run(go())


def test_a_token_is_exchanged_once_for_all_uses() -> None:
    async def go() -> None:
        setting = Setting()
        broker = setting.world.broker
        broker.answer = lambda minted: replace(minted, values={"access_token": "t-1"})
        using = await setting.using()
        assert {await using.value(who(), L1, "api") for _ in range(20)} == {b"t-1"}
        [order] = broker.minted
        assert (order.token, order.login, order.details) == ("jwt-for-https://login.example/token", "client-pw", ())
        assert await using.own("acme", "api") == b"t-1"
        assert [(one[0].agent, one[1]) for one in setting.tokens.asked] == [("alice", "l1"), ("aaron", "")]
        assert broker.minted[1].session.startswith("acme-ringwall-")
    run(go())


def test_a_token_exchange_without_a_token_is_garbage() -> None:
    assert run(Setting().refused("api")).code == "provider_garbage"


def test_what_ringwall_asks_for_itself_is_the_first_agents() -> None:
    async def go() -> None:
        setting = Setting()
        using = await setting.using()
        assert await using.own("acme", "kept") == b"aaron-value"
        assert await using.own("acme", "far") == b"far-value"
        del setting.world.vault.secrets[owner("aaron"), "kept"]  # for him nobody has put one
        assert await using.own("acme", "kept") == b"alice-value"
        del setting.world.vault.secrets[owner(), "kept"]
        with pytest.raises(BadInput, match="no_such_secret"):
            await using.own("acme", "kept")
        assert setting.bao is not None
        assert setting.bao.asked[0][2] == "agents/acme/aaron/reader/far"
        for tenant, name in (("acme", "theirs"), ("umbrella", "kept")):
            with pytest.raises(BadInput, match="secret_not_granted"):
                await using.own(tenant, name)
    run(go())


@pytest.mark.parametrize(("name", "token", "login", "seconds"), [
    ("bucket", "jwt-for-sts.amazonaws.com", "", 900), ("db", "", "admin-pw", 300),
    ("dyn", "jwt-for-openbao", "", 900),
])
def test_a_call_gets_a_credential_for_what_it_names(name: str, token: str, login: str, seconds: int) -> None:
    async def go() -> None:
        setting = Setting()
        using = await setting.using()
        credential = await using.credential(call(), name)
        [order] = setting.world.broker.minted
        assert (order.token, order.login, order.seconds) == (token, login, seconds)
        assert order.details == (DETAIL,)
        assert order.session == f"acme-alice-{credential.lease}"
        assert await using.credential(call(), name) == credential
        setting.leases.ended(owner())
        await setting.leases.settled()
        assert not setting.world.broker.alive
    run(go())


def test_no_credential_for_who_is_no_process_has_no_scope_or_wants_a_kept_value() -> None:
    async def go() -> None:
        setting = Setting()
        using = await setting.using()
        with pytest.raises(BadInput, match="secret_not_granted"):
            await using.credential(call(subject=Operator(name="mia", uid=1, connection=1)), "bucket")
        with pytest.raises(BadInput, match="secret_not_minted"):
            await using.credential(call(), "kept")
        foreign = replace(ALICE, spiffe_id=SpiffeId.make(trust_domain="evil.example", tenant="acme", agent="alice",
                                                         role="reader"))
        with pytest.raises(BadInput, match="secret_not_granted"):
            await using.credential(call(subject=foreign), "bucket")
        with pytest.raises(BadInput, match="secret_not_granted"):
            await using.value(foreign.spiffe_id, L1, "kept")
        setting.details = ()
        with pytest.raises(Refused, match="scope_empty"):
            await using.credential(call(), "bucket")
        assert not setting.world.broker.minted
    run(go())


@pytest.mark.parametrize("password", [b"", b"two\nlines", b"with space", "pässwort".encode(), b"\xff\xfe", b"a\0b"])
def test_a_login_that_cannot_travel_is_refused_before_anything_is_asked(password: bytes) -> None:
    async def go() -> None:
        setting = Setting()
        setting.world.vault.secrets[Owner.broker("acme"), "admin"] = password
        using = await setting.using()
        with pytest.raises(BadInput, match="bad_secret"):
            await using.credential(call(), "db")
        assert not setting.world.rows()
    run(go())


def test_known_values_are_all_that_may_be_in_use_now() -> None:
    async def go() -> None:
        setting = Setting()
        using = await setting.using()
        credential = await using.credential(call(), "bucket")
        assert set(using.known([owner()])) == {
            b"file-value", b"client-pw", b"alice-value", b"readable", credential.values["password"].encode()}
        assert set(using.known([owner("aaron")])) == {b"file-value", b"client-pw", b"aaron-value"}
        setting.world.vault.fault = "vault_sealed"
        del setting.files["client"]
        assert b"alice-value" not in using.known([owner()])
        assert b"file-value" in using.known([owner()])
    run(go())


@pytest.mark.parametrize("fault", [
    Refused("db.internal said no", code="provider_denied"), Unavailable("10.0.0.7 is down", code="broker_failed"),
    BadInput("cannot open /etc/keys/x", code="secret_unreadable", remedy="chmod 600 /etc/keys/x"),
    RingwallError("/etc/keys/x", code="odd", record="acme/1"),
    Limited("10.0.0.7", code="limited", retry_after=3.0),
])
def test_agents_hear_the_code_and_no_names(fault: RingwallError) -> None:
    said = for_agent(fault, "key")
    assert type(said) is type(fault)
    assert said.code == fault.code
    assert "key" in said.cause
    assert not any(word in str(said) for word in ("/etc", "10.0", "internal", "chmod"))


def test_the_session_keeps_the_lease_whole_whatever_the_names() -> None:
    found = session_of("t" * 60, "a" * 60, "0123456789abcdef0123")
    assert len(found) == MAX_SESSION
    assert found.endswith("-0123456789abcdef0123")
