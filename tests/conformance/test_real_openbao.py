"""``ringwall up`` against OpenBao: values, database credentials and the vault's own root key, by our JWT-SVIDs.

OpenBao fetches the keys that Ringwall publishes; what it refuses is seen in its own log.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.openbao.server import BAO, Bao
from tests.conformance.openbao.server import running as running_bao
from tests.conformance.postgres.server import (
    BIN,
    DATABASE,
    SUPER,
    SUPER_PASSWORD,
    Server,
    certificate,
    free_port,
)
from tests.conformance.postgres.server import running as running_postgres
from tests.integration.held import DESCRIPTION, web_api
from tests.stack import RINGWALL, Puppet, Ran, Stack, kill, wait_for

from ringwall.redteam.attack import Barrier
from ringwall.redteam.liars import command

pytestmark = [
    pytest.mark.skipif(not BAO, reason="needs_bao: RINGWALL_BAO names no OpenBao"),
    pytest.mark.skipif(not (BIN / "postgres").exists(), reason="needs_postgres: no PostgreSQL 15 found"),
]
KEPT, OWN, ELSEWHERE = "kept-here-Vk2w9QzT7m", "anas-own-Xs4L8sD3nK", "of-another-role-q6VyR1c"
MANIFEST = """
version = 1
trust_domain = "office.example"
[identity]
issuer = "https://127.0.0.1:{publish}"
publish = "127.0.0.1:{publish}"
publish_cert = "{folder}/c/cert.pem"
publish_key = "{folder}/c/key.pem"
[vaults.main]
url = "{bao}"
role = "ringwall"
ca_file = "{folder}/bao-ca.pem"
[vaults.crossed]
url = "{bao}"
role = "ringwall"
path = "agents/{{tenant}}/{{role}}/{{agent}}"
ca_file = "{folder}/bao-ca.pem"
[vaults.root]
url = "{bao}"
role = "ringwall-root"
ca_file = "{folder}/bao-ca.pem"
[vault]
root = "transit"
transit = "root"
key = "root"
[secrets.crm]
from = "openbao"
vault = "main"
inject = {{ header = "X-Token" }}
[secrets.crossed]
from = "openbao"
vault = "crossed"
inject = {{ header = "X-Token" }}
[secrets.kept]
from = "vault"
inject = {{ header = "X-Token" }}
[secrets.shop]
from = "openbao"
vault = "main"
database = "reader"
[tools.echo]
builtin = "echo"
clearance = "private"
[tools.shop]
builtin = "postgres"
url = "postgresql://127.0.0.1:{port}/{database}"
ca_file = "{folder}/shop-ca.pem"
secret = "shop"
clearance = "private"
"""
WEB = """
[tools.{name}]
openapi = "{folder}/crm.json"
url = "{web}"
secret = "{name}"
clearance = "private"
[tools.{name}.ops.get]
effect = "read"
args = {{ id = "selector:id" }}
[tools.{name}.ops.send]
effect = "send"
args = {{ to = "target:email" }}
"""
ROLE = """
[tenants.office.roles.{role}]
secrets = ["crm", "crossed", "kept", "shop"]
limits = {{ calls = "6000/min burst 1000" }}
[tenants.office.roles.{role}.tools]
"echo/echo" = []
"crm/get" = ["id:C-1"]
"crossed/get" = ["id:C-1"]
"kept/get" = ["id:C-1"]
"shop/query" = ["table:sales.orders"]
"""
# As OpenBao spells it, agents/office/ana/clerk belongs to ana. The vault "crossed" is asked for that by "clerk".
AGENTS: Mapping[str, str] = {"ana": "clerk", "sam": "clerk", "clerk": "ana", "auditor": "ana"}
ROOT_POLICY = """
path "transit/encrypt/root" { capabilities = ["update"] }
path "transit/decrypt/root" { capabilities = ["update"] }
"""


class Place:
    """One installation, with OpenBao, its database and a web API."""

    def __init__(self, bao: Bao, server: Server, web: tuple[str, list[tuple[str, str]]]) -> None:
        self.bao, self.server = bao, server
        self._web, self.asked = web
        self.publish = free_port()
        self.log = bao.folder / "audit.log"
        self.stack = Stack(self._manifest, self._prepare)

    def _prepare(self, folder: Path) -> None:
        (folder / "crm.json").write_text(json.dumps(DESCRIPTION))
        (folder / "bao-ca.pem").write_text(self.bao.ca)
        (folder / "shop-ca.pem").write_text(self.server.ca)
        self._published, _, key = certificate(folder / "c")
        key.chmod(0o600)

    def _manifest(self, folder: Path) -> str:
        text = MANIFEST.format(folder=folder, publish=self.publish, port=self.server.port, database=DATABASE,
                               bao=self.bao.url.replace("localhost", "127.0.0.1"))
        text += "".join(WEB.format(name=name, folder=folder, web=self._web) for name in ("crm", "crossed", "kept"))
        text += "".join(ROLE.format(role=role) for role in dict.fromkeys(AGENTS.values()))
        return text + "".join(f'[tenants.office.agents.{name}]\nrole = "{role}"\n' for name, role in AGENTS.items())

    def believed(self) -> None:
        """OpenBao believes the keys that are published, as docs/openbao.md says."""
        root = self.bao.root
        wait_for("the published keys", lambda: self.stack.status()["svid"]["published"]["fault"] == "" or None)
        root.write_data("auth/jwt/config", data={
            "jwks_url": f"https://127.0.0.1:{self.publish}/keys", "jwks_ca_pem": self._published.read_text(),
            "bound_issuer": f"https://127.0.0.1:{self.publish}", "jwt_validation_pubkeys": []})
        root.sys.create_or_update_policy("root-key", ROOT_POLICY)
        agents: dict[str, Any] = {
            "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["openbao"], "token_policies": ["agents"],
            "bound_claims_type": "glob", "bound_claims": {"sub": "spiffe://office.example/tenant/*"},
            "token_ttl": "15m", "claim_mappings": {"tenant": "tenant", "agent": "agent", "arole": "arole"}}
        root.write_data("auth/jwt/role/ringwall", data=agents)
        root.write_data("auth/jwt/role/ringwall-root", data={
            "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["openbao"], "token_policies": ["root-key"],
            "bound_subject": "spiffe://office.example/ringwall/vault", "token_ttl": "1m"})

    def database(self) -> None:
        """The engine that makes roles for reading one table."""
        root = self.bao.root
        root.sys.enable_secrets_engine("database", path="database")
        root.write_data("database/config/shop", data={
            "plugin_name": "postgresql-database-plugin", "allowed_roles": "reader", "username": SUPER,
            "password": SUPER_PASSWORD, "password_authentication": "scram-sha-256",
            "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{self.server.port}/"
                              f"{DATABASE}?sslmode=require"})
        root.write_data("database/roles/reader", data={
            "db_name": "shop", "default_ttl": "5m", "max_ttl": "10m", "creation_statements": [
                "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'",
                "GRANT USAGE ON SCHEMA sales TO \"{{name}}\"; GRANT SELECT ON sales.orders TO \"{{name}}\""]})

    def cli(self, *words: str, stdin: bytes = b"", code: int = 0) -> Ran:
        done = subprocess.run([*RINGWALL, *words, "--state", str(self.stack.state)], input=stdin,
                              capture_output=True, timeout=60, check=False)
        assert done.returncode == code, (words, done)
        return Ran(code=done.returncode, out=done.stdout, err=done.stderr.decode())

    @contextmanager
    def begun(self, *liars: Barrier, agent: str = "ana") -> Generator[Puppet]:
        """An agent, while these lie."""
        self.stack.stop()
        self.stack.up = command(*liars) if liars else (*RINGWALL, "up")
        self.stack.start()
        with self.stack.puppet(f"office/{agent}") as puppet:
            yield puppet

    def crash(self) -> None:
        """End the core, and wait for the next one."""
        ready = sum(line.startswith("ringwall: ready") for line in self.stack.log)
        kill(self.stack.pid("core"))
        self.stack.wait_ready(ready + 1)

    def vault(self) -> Any:
        return self.stack.client.operate("vault.status", {})

    def refusals(self) -> list[str]:
        """The paths that OpenBao refused, by its own log."""
        every = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [one["request"]["path"] for one in every
                if one["type"] == "response" and "permission denied" in one.get("error", "")]

    def roles(self) -> list[str]:
        return [line for line in self.server.sql(
            "SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'v-') ORDER BY 1").splitlines() if line]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Generator[Place]:
    with running_bao(tmp_path_factory.mktemp("bao")) as bao, running_postgres() as server, web_api() as web:
        bao.put(bao.root, "agents/office/ana/clerk/crm", {"value": OWN})
        for path in ("agents/office/ana/clerk/crossed", "agents/office/ana/auditor/crossed"):
            bao.put(bao.root, path, {"value": ELSEWHERE})
        place = Place(bao, server, web)
        bao.root.sys.enable_audit_device("file", options={"file_path": str(place.log)})
        place.database()
        with place.stack:
            place.believed()
            place.cli("vault", "init")
            place.cli("vault", "put", "office/ana", "kept", stdin=KEPT.encode())
            yield place


def got(place: Place, agent: Puppet, tool: str) -> Any:
    """What a call of a web API was asked with; or the code."""
    before = len(place.asked)
    answer = agent.call(f"{tool}/get", id="C-1")
    if "error" in answer:
        assert len(place.asked) == before
        return answer["code"]
    return place.asked[-1][1]


def query(agent: Puppet, sql: str = "SELECT item FROM sales.orders") -> Any:
    return agent.call("shop/query", tables=["sales.orders"], sql=sql)


def test_a_value_of_the_agents_own_is_used_and_no_login_stays(place: Place) -> None:
    before = len(place.bao.root.auth.token.list_accessors()["data"]["keys"])
    with place.stack.puppet("office/ana") as ana, place.stack.puppet("office/sam") as sam:
        assert got(place, ana, "crm") == OWN
        assert got(place, sam, "crm") == "no_such_secret"
    assert len(place.bao.root.auth.token.list_accessors()["data"]["keys"]) == before
    logins = [json.loads(line) for line in place.log.read_text().splitlines() if "auth/jwt/login" in line]
    names = {one["auth"]["metadata"]["agent"] for one in logins if one["type"] == "response" and one.get("auth")
             and "agent" in one["auth"].get("metadata", {})}
    assert names == {"ana", "sam"}
    assert OWN not in place.log.read_text()
    assert OWN not in "".join(place.stack.log)


def test_where_capability_and_policy_lie_openbao_itself_refuses_another_agent_and_role(place: Place) -> None:
    with place.begun("capability", "policy") as ana, place.stack.puppet("office/clerk") as clerk, \
            place.stack.puppet("office/auditor") as auditor:
        assert got(place, ana, "crm") == OWN
        before = len(place.refusals())
        assert got(place, clerk, "crossed") == "provider_denied"
        assert got(place, auditor, "crossed") == "provider_denied"
        assert place.refusals()[before:] == [
            "secret/data/agents/office/ana/clerk/crossed", "secret/data/agents/office/ana/auditor/crossed"]


def test_a_databases_credential_is_one_login_for_many_calls_and_ends_with_its_lease(place: Place) -> None:
    with place.begun() as ana:
        for _ in range(5):
            assert "tea" in json.dumps(query(ana)["result"])
        [role] = place.roles()
        refused = query(ana, "SELECT * FROM hr.salaries")
        assert refused["code"] == "tool_error"
        assert "42501" in refused["reason"]
        done = place.stack.client.operate("leases.revoke", {"tenant": "office"})["leases"]
        assert [(one["secret"], one["state"]) for one in done] == [("shop", "ended")]
        wait_for("OpenBao to drop the role", lambda: role not in place.roles() or None)
        assert "tea" in json.dumps(query(ana)["result"])  # a new one
    wait_for("the last process' lease to end", lambda: not place.roles() or None)


def test_the_vault_opens_by_itself_while_openbao_answers(place: Place) -> None:
    with place.stack.puppet("office/ana") as ana:
        assert got(place, ana, "kept") == KEPT
        place.crash()
        assert place.vault()["state"] == "open"
        assert got(place, ana, "kept") == KEPT
        # OpenBao has forgotten the keys: to let us in it asks for them, while we are starting.
        place.bao.root.sys.seal()
        place.bao.unseal()
        place.bao.ready()
        place.crash()
        assert place.vault()["state"] == "open", place.vault()
        assert got(place, ana, "kept") == KEPT


@pytest.mark.parametrize("how", ["sealed", "stopped"])
def test_while_openbao_is_away_the_vault_stays_sealed_the_rest_runs_and_unsealing_mends_it(
    place: Place, how: str
) -> None:
    code = {"sealed": "provider_sealed", "stopped": "provider_unreachable"}[how]
    why = {"sealed": "the vault elsewhere is sealed", "stopped": "the provider cannot be reached"}[how]
    with place.stack.puppet("office/ana") as ana:
        if how == "sealed":
            place.bao.root.sys.seal()
        else:
            place.bao.stop()
        assert got(place, ana, "kept") == KEPT  # what is open stays open
        assert got(place, ana, "crm") == code
        assert query(ana)["code"] == code
        place.crash()
        found = place.vault()
        assert (found["state"], found["fault"]["code"]) == ("sealed", "keys_unavailable")
        assert why in found["fault"]["cause"], found
        assert got(place, ana, "kept") == "vault_sealed"
        assert "result" in ana.call("echo/echo", text="x")
        told = place.cli("doctor", code=1).out.decode()
        assert "vault" in told
        assert "ringwall vault unseal" in told
        assert "sealed" in place.cli("status").out.decode()
        place.cli("vault", "unseal", code=3)  # unavailable
        if how == "sealed":
            place.bao.unseal()
            place.bao.ready()
        else:
            place.bao.start()
        place.cli("vault", "unseal")
        assert got(place, ana, "kept") == KEPT
        assert got(place, ana, "crm") == OWN
        assert "tea" in json.dumps(query(ana)["result"])
    assert place.stack.verify().ok
