"""Values, credentials and keys of a real OpenBao, and what a false one may say."""

from __future__ import annotations

import base64
import json
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.conformance.openbao.server import BAO, Bao
from tests.conformance.openbao.server import running as running_bao
from tests.conformance.postgres.server import BIN, DATABASE, SUPER, SUPER_PASSWORD, Server
from tests.conformance.postgres.server import running as running_postgres

from ringwall.clock import SystemClock
from ringwall.errors import Refused, RingwallError, Unavailable
from ringwall.manifest.details import Detail
from ringwall.manifest.types import Secret
from ringwall.vault.brokers.interface import Order
from ringwall.vault.brokers.network import Answer, Network
from ringwall.vault.brokers.openbao import OpenBaoBroker, OutsideVault, inexpressible, make, outside
from ringwall.vault.brokers.protocol import MAX_FETCHED, OpenBao, Vault
from ringwall.wire.postgres import Login, Session, SqlError

needs_bao = pytest.mark.skipif(not BAO, reason="needs_bao: RINGWALL_BAO names no OpenBao")
needs_postgres = pytest.mark.skipif(not (BIN / "postgres").exists(),
                                    reason="needs_postgres: no PostgreSQL 15 found")
OWN = "agents/acme/bot/clerk/api"


def settings(**changed: Any) -> Vault:
    return Vault(**{"url": "https://vault.test", "role": "ringwall", "mount": "jwt", "kv": "secret",
                    "database": "database", "transit": "transit", **changed})


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with running_bao(tmp_path_factory.mktemp("bao")) as found:
        found.put(found.root, OWN, {"value": "s3cr3t", "number": 7, "empty": "", "big": "x" * (MAX_FETCHED + 1),
                                    "largest": "ü" * (MAX_FETCHED // 2)})
        found.put(found.root, "agents/acme/bot/auditor/api", {"value": "other role"})
        found.put(found.root, "agents/acme/bot2/clerk/api", {"value": "other agent"})
        found.put(found.root, "agents/other/bot/clerk/api", {"value": "other tenant"})
        yield found


def vault(bao: Bao, **changed: Any) -> OutsideVault:
    return outside(settings(url=bao.url, ca=bao.ca, **changed), SystemClock())


def code(work: Callable[[], object], kind: type[RingwallError] = Refused) -> str:
    with pytest.raises(kind) as caught:
        work()
    return caught.value.code


def tokens(bao: Bao) -> int:
    return len(bao.root.auth.token.list_accessors()["data"]["keys"])


@needs_bao
class TestReal:
    def test_an_agent_reads_its_own_secret_and_its_login_is_gone(self, bao: Bao) -> None:
        before = tokens(bao)
        assert vault(bao).fetch(bao.token(), OWN, "value") == b"s3cr3t"
        assert vault(bao).fetch(bao.token(), OWN, "largest") == "ü".encode() * (MAX_FETCHED // 2)
        assert tokens(bao) == before

    @pytest.mark.parametrize("path", [
        "agents/acme/bot/auditor/api", "agents/acme/bot2/clerk/api", "agents/other/bot/clerk/api"])
    def test_the_vault_itself_refuses_another_role_agent_and_tenant(self, bao: Bao, path: str) -> None:
        before = tokens(bao)
        assert code(lambda: vault(bao).fetch(bao.token(), path, "value")) == "provider_denied"
        assert tokens(bao) == before

    def test_the_vault_itself_refuses_who_does_not_prove_who_it_is(self, bao: Bao) -> None:
        there = vault(bao)
        for token in (bao.token(audience="elsewhere"), bao.token(seconds=-200), bao.token() + "x", "nonsense",
                      bao.token(key=ec.generate_private_key(ec.SECP256R1()))):
            assert code(lambda t=token: there.fetch(t, OWN, "value")) == "provider_denied"  # type: ignore[misc]
        assert code(lambda: vault(bao).fetch("", OWN, "value"), Unavailable) == "broker_failed"
        assert code(lambda: vault(bao, role="missing").fetch(bao.token(), OWN, "value")) == "provider_denied"

    def test_what_is_not_there_or_no_text_is_told(self, bao: Bao) -> None:
        there = vault(bao)
        assert code(lambda: there.fetch(bao.token(), "agents/acme/bot/clerk/none", "value")) == "no_such_secret"
        assert code(lambda: there.fetch(bao.token(), OWN, "missing")) == "no_such_secret"
        for key in ("number", "empty", "big"):
            assert code(lambda k=key: there.fetch(bao.token(), OWN, k)) == "provider_garbage"  # type: ignore[misc]
        bao.put(bao.root, "agents/acme/bot/clerk/gone", {"value": "x"})
        bao.root.secrets.kv.v2.delete_latest_version_of_secret("agents/acme/bot/clerk/gone", mount_point="secret")
        assert code(lambda: there.fetch(bao.token(), "agents/acme/bot/clerk/gone", "value")) == "no_such_secret"

    @pytest.mark.parametrize("path", ["agents/acme/bot/clerk/../../bot2/clerk/api", "a//b", "", "/a", "a?b",
                                      "a%2fb",
                                      "a#b", "a\nb", ".", "x" * 600])
    def test_a_path_that_could_be_read_as_another_is_not_asked_for(self, bao: Bao, path: str) -> None:
        assert code(lambda: vault(bao).fetch(bao.token(), path, "value")) == "no_such_secret"

    def test_a_namespace_is_a_vault_of_its_own(self, bao: Bao) -> None:
        bao.root.write_data("sys/namespaces/team", data={})
        inside = bao.client("team")
        bao.set_up(inside)
        bao.put(inside, OWN, {"value": "of the team"})
        assert vault(bao, namespace="team").fetch(bao.token(), OWN, "value") == b"of the team"
        assert vault(bao).fetch(bao.token(), OWN, "value") == b"s3cr3t"

    def test_transit_gives_back_what_it_was_given(self, bao: Bao) -> None:
        there, plain = vault(bao), bytes(range(32))
        blob = there.encrypt(bao.token(), "root", plain)
        assert blob.startswith("vault:v1:")
        assert there.decrypt(bao.token(), "root", blob) == plain
        assert code(lambda: there.decrypt(bao.token(), "root", blob[:-4] + "AAAA")) == "provider_denied"
        assert code(lambda: there.encrypt(bao.token(), "other", plain)) == "provider_denied"
        assert code(lambda: there.encrypt(bao.token(), "../x", plain)) == "no_such_secret"

    def test_the_environment_has_no_say(self, bao: Bao, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in (("VAULT_ADDR", "http://127.0.0.1:1"), ("VAULT_TOKEN", "stolen"),
                            ("VAULT_CACERT", "/no"),
                            ("HTTPS_PROXY", "http://127.0.0.1:1"), ("REQUESTS_CA_BUNDLE", "/no")):
            monkeypatch.setenv(name, value)
        assert vault(bao).fetch(bao.token(), OWN, "value") == b"s3cr3t"

    def test_a_sealed_vault_is_said_to_be_sealed(self, bao: Bao) -> None:
        token = bao.token()
        bao.root.sys.seal()
        try:
            assert code(lambda: vault(bao).fetch(token, OWN, "value"), Unavailable) == "provider_sealed"
        finally:
            bao.unseal()
        while True:  # it takes a moment to be active again
            try:
                assert vault(bao).fetch(token, OWN, "value") == b"s3cr3t"
                return
            except Unavailable:
                continue

    def test_somebody_elses_certificate_is_told_nothing(self, bao: Bao, tmp_path: Path) -> None:
        from tests.conformance.postgres.server import certificate
        there = outside(settings(url=bao.url, ca=certificate(tmp_path)[0].read_text()), SystemClock())
        assert code(lambda: there.fetch(bao.token(), OWN, "value"), RingwallError) in {
            "provider_unreachable", "provider_garbage"}


@needs_bao
def test_a_vault_that_cannot_write_its_own_log_refuses_and_is_said_to(tmp_path: Path) -> None:
    with running_bao(tmp_path) as bao:
        bao.put(bao.root, OWN, {"value": "s3cr3t"})
        token = bao.token()
        assert vault(bao).fetch(token, OWN, "value") == b"s3cr3t"
        log = tmp_path / "audit.log"
        bao.root.sys.enable_audit_device("file", path="full", options={"file_path": str(log)})
        assert vault(bao).fetch(token, OWN, "value") == b"s3cr3t"
        assert "s3cr3t" not in log.read_text()
        log.unlink()
        log.symlink_to("/dev/full")
        bao.process.send_signal(signal.SIGHUP)  # it opens its log again
        while True:
            try:
                vault(bao).fetch(token, OWN, "value")
            except Unavailable as fault:
                assert fault.code in {"provider_sealed", "provider_unreachable"}  # it says "internal error"
                return


@pytest.fixture(scope="module")
def server(bao: Bao) -> Iterator[Server]:
    with running_postgres() as server:
        bao.root.sys.enable_secrets_engine("database", path="database")
        bao.root.write_data("database/config/shop", data={
            "plugin_name": "postgresql-database-plugin", "allowed_roles": "reader", "username": SUPER,
            "password": SUPER_PASSWORD, "password_authentication": "scram-sha-256",
            "connection_url":
                f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{server.port}/shop?sslmode=require"})
        bao.root.write_data("database/roles/reader", data={
            "db_name": "shop", "default_ttl": "5m", "max_ttl": "10m", "creation_statements": [
                "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'",
                "GRANT USAGE ON SCHEMA sales TO \"{{name}}\"; GRANT SELECT ON sales.orders TO \"{{name}}\""]})
        yield server


@needs_bao
@needs_postgres
class TestDatabase:
    def test_a_credential_works_is_prolonged_and_is_taken_back(self, bao: Bao, server: Server) -> None:
        here = make(OpenBao(vault="v", database="reader"), settings(url=bao.url, ca=bao.ca), SystemClock())
        order = Order(lease="l1", seconds=200, token=bao.token())
        now = SystemClock().now()
        minted = here.mint(order)
        assert now + 290 <= minted.expires_at <= now + 320
        login = Login(host="localhost", user=minted.values["username"], password=minted.values["password"],
                      database=DATABASE, tls=Network((server.url,), ca=server.ca).tls, settings={})
        session = Session(socket.create_connection(("127.0.0.1", server.port)), login, seconds=10)
        assert session.ask("SELECT count(*) FROM sales.orders", seconds=5).rows == (("2",),)
        session.close()
        assert 190 <= here.renew(order, minted.handle) - SystemClock().now() <= 210
        here.revoke(order, minted.handle)
        here.revoke(order, minted.handle)
        with pytest.raises(SqlError):
            Session(socket.create_connection(("127.0.0.1", server.port)), login, seconds=10)
        assert code(lambda: here.renew(order, minted.handle)) == "not_renewable"
        assert minted.values["password"] not in repr(minted)
        assert minted.handle not in repr(minted)

    def test_a_role_that_the_policy_does_not_name_gives_nothing(self, bao: Bao, server: Server) -> None:
        before = tokens(bao)
        here = make(OpenBao(vault="v", database="writer"), settings(url=bao.url, ca=bao.ca), SystemClock())
        assert code(lambda: here.mint(Order(lease="l2", seconds=60, token=bao.token()))) == "provider_denied"
        assert tokens(bao) == before


class Says(Network):
    """A network that answers as told: login, then this, then the end of the login."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__(("https://vault.test",))
        self.answers = list(answers)
        self.asked: list[tuple[str, str, Mapping[str, str]]] = []

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", *, seconds: float = 1.0,
             most: int = 1) -> Answer:
        self.asked.append((method, url, headers))
        return self.answers.pop(0) if self.answers else Answer(204, {}, b"")


def said(status: int, body: Any) -> Answer:
    return Answer(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


LOGIN = said(200, {"auth": {"client_token": "s.token", "lease_duration": 900}})


@pytest.mark.parametrize(("login", "code_"), [
    (said(200, {}), "provider_garbage"), (said(200, b"<html>"), "provider_garbage"),
    (said(200, {"auth": {"client_token": 7}}), "provider_garbage"),
    (said(200, {"auth": {"client_token": "a b", "lease_duration": 1}}), "provider_garbage"),
    (said(200, {"auth": {"client_token": "s.t", "lease_duration": "x"}}), "provider_garbage"),
    (said(307, b""), "provider_garbage"), (said(301, {"errors": []}), "provider_garbage"),
    (said(400, {"errors": ["no"]}), "provider_denied"), (said(403, {"errors": ["no"]}), "provider_denied"),
    (said(403, b"<html>"), "provider_garbage"), (said(503, {"errors": ["sealed"]}), "provider_sealed"),
    (said(500, {"errors": ["no audit backend succeeded"]}), "provider_sealed"),
    (said(502, b"<html>"), "provider_unreachable"), (said(429, {"errors": []}), "provider_unreachable"),
    (said(200, b'{"auth": {"client_token": "a", "client_token": "b"}}'), "provider_garbage"),
    (said(200, b"[" * 500), "provider_garbage"),
])
def test_each_wrong_answer_to_a_login_has_a_code(login: Answer, code_: str) -> None:
    assert code(lambda: OutsideVault(settings(), Says(login)).fetch("t", "a", "k"), RingwallError) == code_


@pytest.mark.parametrize("body", [{}, {"data": 1}, {"data": {"data": None}}, {"data": {"data": []}}, [], None])
def test_each_wrong_answer_to_a_read_has_a_code_and_the_login_ends(body: Any) -> None:
    network = Says(LOGIN, said(200, body))
    assert code(lambda: OutsideVault(settings(), network).fetch("t", "a/b", "k")) == "provider_garbage"
    assert [(method, url) for method, url, _ in network.asked] == [
        ("POST", "https://vault.test/v1/auth/jwt/login"), ("GET", "https://vault.test/v1/secret/data/a/b"),
        ("POST", "https://vault.test/v1/auth/token/revoke-self")]
    assert network.asked[-1][2]["X-Vault-Token"] == "s.token"


@pytest.mark.parametrize("answer", [
    {}, {"lease_id": "", "data": {}}, {"lease_id": "a b", "lease_duration": 1, "data": {}},
    {"lease_id": "l", "lease_duration": 1, "data": {"username": "u"}},
    {"lease_id": "l", "lease_duration": 1, "data": {"username": "u", "password": "\n"}},
    {"lease_id": "l", "lease_duration": -1, "data": {"username": "u", "password": "p"}},
    {"lease_id": "l", "lease_duration": 1.5, "data": {"username": "u", "password": "p"}},
    {"lease_id": "l", "lease_duration": True, "data": {"username": "u", "password": "p"}},
])
def test_each_wrong_credential_has_a_code_and_is_taken_back(answer: Any) -> None:
    network = Says(LOGIN, said(200, answer))
    here = OpenBaoBroker(OpenBao(vault="v", database="r"), OutsideVault(settings(), network), SystemClock())
    assert code(lambda: here.mint(Order(lease="l", seconds=60, token="t"))) == "provider_garbage"
    assert network.asked[-1][1].endswith("/revoke-self")


def test_a_credential_ends_with_its_login_if_that_is_earlier() -> None:
    login = said(200, {"auth": {"client_token": "s.t", "lease_duration": 10}})
    answer = said(200, {"lease_id": "l", "lease_duration": 99999, "data": {"username": "u", "password": "p"}})
    here = OpenBaoBroker(OpenBao(vault="v", database="r"), OutsideVault(settings(), Says(login, answer)),
                         SystemClock())
    minted = here.mint(Order(lease="l", seconds=60, token="t"))
    assert minted.expires_at <= SystemClock().now() + 10
    assert code(lambda: here.revoke(Order(lease="l", seconds=60), "")) == "not_revocable"
    assert code(lambda: here.renew(Order(lease="l", seconds=60), "")) == "not_renewable"


@pytest.mark.parametrize("data", [{}, {"plaintext": "?"}, {"plaintext": ""}, {"plaintext": None},
                                  {"plaintext": base64.b64encode(bytes(5000)).decode()}])
def test_a_key_that_is_none_is_not_taken(data: Any) -> None:
    network = Says(LOGIN, said(200, {"data": data}))
    assert code(lambda: OutsideVault(settings(), network).decrypt("t", "k", "vault:v1:x")) == "provider_garbage"


def test_a_database_credential_is_for_reading_and_writing() -> None:
    secret = Secret(name="db", source="openbao", database="r")
    for action, right in (("read", True), ("write", True), ("delete", False), ("pay", False)):
        wrong = inexpressible(secret, [Detail(identifier="db/x", actions=(action,), locations=("table:a.b",))])
        assert (not wrong) is right
