"""Which tenant's broker is told of which secret, and what says for whom a credential is asked."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.fakes import FakeClock, run
from tests.identity.svid.world import ANA, ONE, World

from ringwall.call import LaunchId
from ringwall.errors import RingwallError, Unavailable
from ringwall.identity.svid.tokens import read
from ringwall.manifest.details import Detail, spell
from ringwall.manifest.types import (
    Grant,
    Manifest,
    Operation,
    OutsideVault,
    ReadGrant,
    Role,
    Secret,
    Tenant,
    ToolServer,
    VaultSettings,
)
from ringwall.runtime.brokering import SYSTEM, Brokering, CoreTokens, CoreTransit, hello_of
from ringwall.runtime.state import State

READ = Operation(effect="read", args={})
SECRETS = {
    one.name: one
    for one in (
        Secret(name="kept", source="vault"),
        Secret(name="in-file"),
        Secret(name="cloud", source="aws", role_arn="arn:aws:iam::123456789012:role/r", region="eu-central-1"),
        Secret(name="sales", source="postgres", url="postgresql://db:5432/s", admin="admin", admin_user="a"),
        Secret(name="admin", source="openbao", vault="main"),
        Secret(name="elsewhere", source="openbao", vault="other"),
        Secret(name="leased", source="openbao", vault="main", database="readonly"),
    )
}
VAULTS = {name: OutsideVault(name=name, url="https://bao.example", role="r") for name in ("main", "other")}


def manifest(role: Role, tools: tuple[ToolServer, ...] = (), **more: Any) -> Manifest:
    return Manifest(
        version=1, trust_domain="example.org", path=Path("/m"), secrets=SECRETS, vaults=VAULTS,
        tools={one.name: one for one in tools},
        tenants={"acme": Tenant(name="acme", roles={role.name: role}), "other": Tenant(name="other")}, **more,
    )  # fmt: skip


@pytest.mark.parametrize(("role", "providers", "vaults"), [
    (Role(name="r"), set(), set()),
    (Role(name="r", secrets=("kept", "in-file")), set(), set()),
    (Role(name="r", secrets=("cloud", "kept")), {"cloud"}, set()),
    (Role(name="r", secrets=("elsewhere",)), set(), {"other"}),
    (Role(name="r", secrets=("leased",)), {"leased"}, {"main"}),
    (Role(name="r", secrets=("sales",)), {"sales"}, {"main"}),  # its admin's password is there
    (Role(name="r", read=ReadGrant(secrets=("elsewhere",))), set(), {"other"}),
])
def test_a_broker_is_told_of_what_its_tenants_roles_need_and_of_nothing_else(
    role: Role, providers: set[str], vaults: set[str]
) -> None:
    found = hello_of(manifest(role), "acme")
    assert (set(found.providers), set(found.vaults)) == (providers, vaults)
    assert hello_of(manifest(role), "other") == hello_of(manifest(Role(name="r")), "acme")


def test_the_secret_of_a_server_that_a_role_was_given_is_among_them() -> None:
    server = ToolServer(name="store", builtin="s3", secret="cloud", ops={"get": READ})
    given = Role(name="r", tools={"store/get": Grant(tool="store/get")})
    assert set(hello_of(manifest(given, (server,)), "acme").providers) == {"cloud"}
    assert not hello_of(manifest(Role(name="r"), (server,)), "acme").providers


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\xff-----BEGIN CERTIFICATE-----",
                                     b"-----BEGIN CERTIFICATE-----" + b"a" * (64 << 10)])
def test_certificates_that_cannot_be_read_are_named_by_their_file(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    told = manifest(Role(name="r", secrets=("cloud",)))
    told = replace(told, secrets={"cloud": replace(SECRETS["cloud"], ca_file=file)})
    with pytest.raises(RingwallError, match=re.escape(str(file))) as refused:
        hello_of(told, "acme")
    assert refused.value.code == "ca_unreadable"


def test_one_process_a_tenant_is_started_and_one_for_the_root_key(tmp_path: Path) -> None:
    started: list[str] = []
    helpers: Any = SimpleNamespace(service=lambda name, *_: started.append(name))
    state = State.open(tmp_path / "s")
    transit = VaultSettings(root="transit", transit="main", key="k")
    told = manifest(Role(name="r", secrets=("cloud",)), vault=transit)
    brokers = Brokering(told, state, FakeClock())
    brokers.start(helpers, None)  # type: ignore[arg-type]
    assert started == ["broker-acme", "broker-system"]
    assert brokers.get("acme") is not None
    assert brokers.get(SYSTEM) is not None
    assert brokers.get("other") is None


def test_a_token_says_who_for_whom_and_for_what(tmp_path: Path) -> None:
    world = World(tmp_path)
    run(world.authority.start())
    tokens, detail = CoreTokens(world.authority), Detail(identifier="store/get", actions=("read",),
                                                         locations=("s3:reports/q3",))
    claims = read(run(tokens.token(ANA, ONE, "sts.example", (detail,))))[1]
    assert (claims["sub"], claims["aud"]) == (str(ANA), ["sts.example"])
    assert (claims["tenant"], claims["agent"], claims["arole"]) == (ANA.tenant, ANA.agent, ANA.role)
    assert claims["authorization_details"] == [spell(detail)]
    assert "authorization_details" not in read(run(tokens.token(ANA, ONE, "sts.example", ())))[1]


def test_what_no_agent_causes_is_asked_for_by_ringwall_itself(tmp_path: Path) -> None:
    world = World(tmp_path)
    run(world.authority.start())
    claims = read(run(CoreTokens(world.authority).token(ANA, LaunchId(""), "as.example", ())))[1]
    assert claims["sub"] == f"spiffe://{ANA.trust_domain}/ringwall/broker/{ANA.tenant}"
    assert not {"tenant", "agent", "arole"} & claims.keys()


def test_the_root_key_is_asked_for_in_the_loop_while_a_thread_waits(tmp_path: Path) -> None:
    world = World(tmp_path)
    told = manifest(Role(name="r"), vault=VaultSettings(root="transit", transit="main", key="k"))
    asked: list[tuple[str, str, object]] = []

    class Client:
        async def encrypt(self, vault: str, token: str, key: str, plain: bytes) -> str:
            asked.append((vault, key, plain))
            return "bao:v1:x"

        async def decrypt(self, vault: str, token: str, key: str, blob: str) -> bytes:
            asked.append((vault, key, blob))
            return b"root"

    async def scenario() -> None:
        await world.authority.start()
        brokers: Any = SimpleNamespace(get=lambda tenant: Client() if tenant == SYSTEM else None)
        transit = CoreTransit(told, brokers, CoreTokens(world.authority))
        assert await asyncio.to_thread(transit.encrypt, b"root") == "bao:v1:x"
        assert await asyncio.to_thread(transit.decrypt, "bao:v1:x") == b"root"
        none: Any = SimpleNamespace(get=lambda tenant: None)
        with pytest.raises(Unavailable) as gone:
            await asyncio.to_thread(CoreTransit(told, none, CoreTokens(world.authority)).decrypt, "b")
        assert gone.value.code == "broker_unavailable"

    run(scenario())
    assert asked == [("main", "k", b"root"), ("main", "k", "bao:v1:x")]
