"""OpenBao with TLS and raft storage, on loopback, in a temporary folder; RINGWALL_BAO names the program."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hvac
import jwt
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.conformance.postgres.server import certificate, free_port

BAO = os.environ.get("RINGWALL_BAO") or shutil.which("bao") or ""
POLICY = """
path "secret/data/agents/{{identity.entity.aliases.ACCESSOR.metadata.tenant}}/{{identity.entity.aliases.ACCESSOR.metadata.agent}}/{{identity.entity.aliases.ACCESSOR.metadata.arole}}/*" { capabilities = ["read"] }
path "database/creds/reader" { capabilities = ["read"] }
path "transit/encrypt/root" { capabilities = ["update"] }
path "transit/decrypt/root" { capabilities = ["update"] }
"""  # noqa: E501 (a policy has no line breaks within a path)


@dataclass(kw_only=True)
class Bao:
    """A running, unsealed server, and the key whose JWTs it believes."""

    url: str
    ca: str
    folder: Path
    process: subprocess.Popen[bytes]
    shares: list[str] = field(default_factory=list[str], repr=False)
    root: Any = None
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def client(self, namespace: str | None = None) -> Any:
        return hvac.Client(url=self.url, token=self.root.token, verify=str(self.folder / "ca.pem"),
                           namespace=namespace)

    def token(self, agent: str = "bot", role: str = "clerk", *, tenant: str = "acme", audience: str = "openbao",
              seconds: int = 300, key: ec.EllipticCurvePrivateKey | None = None) -> str:
        now = int(time.time())
        claims = {"iss": "https://issuer.test", "sub": f"spiffe://t/tenant/{tenant}/agent/{agent}/role/{role}",
                  "aud": [audience], "iat": now - 400, "exp": now + seconds, "tenant": tenant, "agent": agent,
                  "arole": role}
        return jwt.encode(claims, key or self.key, algorithm="ES256")

    def unseal(self) -> None:
        for share in self.shares:
            self.root.sys.submit_unseal_key(share)

    def ready(self) -> None:
        """Wait until it is unsealed and active."""
        while not _active(self):
            assert self.process.poll() is None, (self.folder / "log").read_text()

    def stop(self) -> None:
        """End the process; what it keeps stays."""
        self.process.terminate()
        self.process.wait(20)

    def start(self) -> None:
        """After ``stop``: start it, and unseal it as soon as it listens."""
        self.process = _started(self.folder)
        while True:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            try:
                self.unseal()
                break
            except (requests.exceptions.ConnectionError, hvac.exceptions.VaultError):
                continue
        self.ready()

    def set_up(self, client: Any, audience: str = "openbao") -> None:
        """JWT login, a policy of split claims, KV v2 and transit."""
        client.sys.enable_auth_method("jwt", path="jwt")
        accessor = client.sys.list_auth_methods()["data"]["jwt/"]["accessor"]
        client.sys.create_or_update_policy("agents", POLICY.replace("ACCESSOR", accessor))
        public = self.key.public_key().public_bytes(serialization.Encoding.PEM,
                                                    serialization.PublicFormat.SubjectPublicKeyInfo).decode()
        client.auth.jwt.configure(jwt_validation_pubkeys=[public], path="jwt")
        role: Mapping[str, Any] = {
            "role_type": "jwt", "user_claim": "sub", "bound_audiences": [audience], "token_policies": ["agents"],
            "bound_claims_type": "glob", "bound_claims": {"sub": "spiffe://t/tenant/*"}, "token_ttl": "15m",
            "claim_mappings": {"tenant": "tenant", "agent": "agent", "arole": "arole"}}
        client.write_data("auth/jwt/role/ringwall", data=role)
        client.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
        client.sys.enable_secrets_engine("transit", path="transit")
        client.secrets.transit.create_key("root")

    def put(self, client: Any, path: str, value: Mapping[str, Any]) -> None:
        """KV version 2 upgrades itself for a moment after it is enabled: then it says 400."""
        while True:
            try:
                client.secrets.kv.v2.create_or_update_secret(path, secret=value, mount_point="secret")
            except hvac.exceptions.InvalidRequest as fault:
                assert "pgrading" in str(fault)
            else:
                return


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Bao]:
    """Start one, unseal it, set it up."""
    ca, cert, key = certificate(folder)
    (folder / "raft").mkdir()
    port, other = free_port(), free_port()
    (folder / "bao.hcl").write_text(f"""
storage "raft" {{
  path = "{folder}/raft"
  node_id = "n1"
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_cert_file = "{cert}"
  tls_key_file = "{key}"
}}
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{other}"
disable_mlock = true
unsafe_allow_api_audit_creation = true
""")
    bao = Bao(url=f"https://localhost:{port}", ca=ca.read_text(), folder=folder, process=_started(folder))
    try:
        bao.root = hvac.Client(url=bao.url, token="", verify=str(ca))
        while True:
            assert bao.process.poll() is None, (folder / "log").read_text()
            try:
                made = bao.root.sys.initialize(secret_shares=1, secret_threshold=1)
                break
            except (requests.exceptions.ConnectionError, hvac.exceptions.VaultError):
                continue
        bao.shares = made["keys_base64"]
        bao.root.token = made["root_token"]
        bao.unseal()
        bao.ready()
        bao.set_up(bao.root)
        yield bao
    finally:
        bao.stop()


def _started(folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        return subprocess.Popen([BAO, "server", "-config", folder / "bao.hcl"], stdout=log, stderr=log,
                                env={"HOME": str(folder), "PATH": "/usr/bin:/bin"})


def _active(bao: Bao) -> bool:
    try:
        return bao.root.sys.read_leader_status()["is_self"] is True
    except hvac.exceptions.VaultError:
        return False
