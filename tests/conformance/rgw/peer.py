"""Ceph RGW on this machine, as a token service and an S3 that verify: they check the JWT, the role's trust and
policies, and the session policy. One monitor, one OSD in memory, one gateway; no root, nothing outside a folder.

Ceph 16 has habits of its own: it takes ``+`` in a form's value for itself, so that policies are sent without
spaces; it has no place for a port in a provider's ARN, so that the issuer is a name without one, which it reaches
over a proxy; it asks for keys over https with the host's authorities or none, and here with none: it believes keys
by the thumbprints of their certificates.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from cryptography import x509
from tests.conformance.rgw.front import Front, fronting
from tests.conformance.rgw.issuer import Issuer, issuing, thumbprint
from tests.conformance.rgw.tls import Authority

PROGRAMS: Final = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool", "ceph")
AUDIENCE: Final = "sts.amazonaws.com"
BUCKETS: Final = ("reports", "payroll")
OBJECTS: Final = ("team-1/a.txt", "team-1/b.txt", "team-10/a.txt", "team-2/a.txt")
START_S: Final = 240.0  # for all of it: 45 s on an idle machine
MIN_SECONDS: Final = 3  # rgw_sts_min_session_duration here: credentials that end while a test looks on
WIDE: Final = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}

_CONF = """[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon},v1:127.0.0.1:{old}]
public addr = 127.0.0.1
keyring = {folder}/keyring
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
pid file = {folder}/$name.pid
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail crit = 1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 1073741824
osd memory target = 939524096
[mon.a]
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd
[client.rgw]
rgw frontends = beast ssl_endpoint={https} ssl_certificate={folder}/tls.pem ssl_private_key={folder}/tls.key
rgw enable apis = s3, sts, iam
rgw s3 auth use sts = true
rgw sts key = {key}
rgw sts min session duration = {shortest}
rgw verify ssl = false
rgw thread pool size = 32
rgw rados pool pg num min = 1
rgw enable gc threads = false
rgw enable lc threads = false
rgw enable quota threads = false
rgw run sync thread = false
"""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """What runs: where it is, and who may what there."""

    url: str
    ca: Path
    region: str
    issuer: Issuer
    front: Front
    wide: str  # a role that may do everything with every bucket, whoever the token names
    folder: Path
    _access: str
    _secret: str

    def client(self, service: str) -> Any:
        """A boto3 client of the gateway's own administrator."""
        return boto3.client(service, endpoint_url=self.url, region_name=self.region, verify=str(self.ca),
                            aws_access_key_id=self._access, aws_secret_access_key=self._secret, config=_CONFIG)

    def as_session(self, values: Mapping[str, str]) -> Any:
        """An S3 client with credentials that were minted."""
        return boto3.client("s3", endpoint_url=self.url, region_name=self.region, verify=str(self.ca),
                            aws_access_key_id=values["access_key_id"],
                            aws_secret_access_key=values["secret_access_key"],
                            aws_session_token=values["session_token"], config=_CONFIG)


_CONFIG = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, proxies={},
                 request_checksum_calculation="when_required", response_checksum_validation="when_required")


def assumed(peer: Peer, *, policy: str | None) -> Mapping[str, str]:
    """Credentials of the wide role, asked for without a broker; no policy: all that the role may do."""
    sts: Any = boto3.client("sts", endpoint_url=peer.url, region_name=peer.region, verify=str(peer.ca),
                            config=_CONFIG.merge(Config(signature_version=UNSIGNED)))
    found = sts.assume_role_with_web_identity(
        RoleArn=peer.wide, RoleSessionName="without", WebIdentityToken=peer.issuer.token(AUDIENCE),
        **({} if policy is None else {"Policy": policy}))["Credentials"]
    return {"access_key_id": found["AccessKeyId"], "secret_access_key": found["SecretAccessKey"],
            "session_token": found["SessionToken"]}


def missing() -> str:
    """Why there is none here; empty: there is."""
    gone = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"needs_rgw: no {gone[0]} (apt-get install radosgw ceph-mon ceph-osd ceph-common)" if gone else ""


@contextmanager
def running() -> Generator[Peer]:
    """Start it, with buckets, a role and its issuer; end it."""
    folder = Path(tempfile.mkdtemp(prefix="rgw-", dir="/tmp"))  # short: sockets have paths of 107 bytes
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        issuer = stack.enter_context(issuing())
        cluster = _Cluster(folder, issuer, stack.enter_context(fronting(folder)))
        stack.callback(cluster.end)
        yield cluster.start()


class _Cluster:
    def __init__(self, folder: Path, issuer: Issuer, front: Front) -> None:
        self._folder = folder
        self._issuer = issuer
        self._front = front
        self._running: list[subprocess.Popen[bytes]] = []
        self._until = time.monotonic() + START_S
        # Nothing of the caller's: proxies, credentials, ceph's own arguments. RGW asks the issuer over this proxy.
        self._env = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "http_proxy": issuer.proxy,
                     "https_proxy": front.proxy, "LC_ALL": "C.UTF-8"}

    def start(self) -> Peer:
        folder = self._folder
        mon, old, https = _ports(3)
        authority = Authority.make("rgw test CA")
        (folder / "ca.pem").write_bytes(authority.pem)
        chain, key = authority.server("127.0.0.1", "localhost")
        (folder / "tls.pem").write_bytes(chain)
        (folder / "tls.key").write_bytes(key)
        fsid = str(uuid.uuid4())
        (folder / "ceph.conf").write_text(_CONF.format(
            fsid=fsid, folder=folder, mon=mon, old=old, https=f"127.0.0.1:{https}", key="abcdefghijklmnop",
            shortest=MIN_SECONDS))
        self._storage(fsid, mon, old)
        self._begin("radosgw", "-n", "client.rgw")
        access, secret = self._user()
        self._wait("the gateway", lambda: _answers(https, folder / "ca.pem"))
        peer = Peer(url=f"https://127.0.0.1:{https}", ca=folder / "ca.pem", region="us-east-1",
                    issuer=self._issuer, front=self._front, wide="", folder=folder, _access=access, _secret=secret)
        return _furnish(peer)

    def end(self) -> None:
        for process in reversed(self._running):
            process.send_signal(signal.SIGKILL)
        for process in self._running:
            process.wait()

    def _storage(self, fsid: str, mon: int, old: int) -> None:
        folder = self._folder
        ring = str(folder / "keyring")
        admin = ("--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *", "--cap", "mds",
                 "allow *")
        self._run("ceph-authtool", "--create-keyring", ring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        for name in ("client.admin", "osd.0", "client.rgw"):
            self._run("ceph-authtool", ring, "--gen-key", "-n", name, *admin)
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a",
                  f"[v2:127.0.0.1:{mon},v1:127.0.0.1:{old}]", str(folder / "monmap"))
        self._ceph("ceph-mon", "-i", "a", "--mkfs", "--monmap", str(folder / "monmap"), "--keyring", ring)
        self._begin("ceph-mon", "-i", "a")
        number = str(uuid.uuid4())
        self._ceph("ceph", "--connect-timeout", "60", "osd", "new", number, "0")
        (folder / "osd").mkdir()
        self._ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", number)
        self._begin("ceph-osd", "-i", "0")
        self._wait("the storage", self._stores)

    def _stores(self) -> bool:
        told = json.loads(self._ceph("ceph", "--connect-timeout", "30", "osd", "stat", "--format", "json"))
        return told["num_up_osds"] == 1

    def _user(self) -> tuple[str, str]:
        made = json.loads(self._ceph(
            "radosgw-admin", "-n", "client.admin", "user", "create", "--uid", "owner", "--display-name", "Owner",
            "--caps", "oidc-provider=*;roles=*"))
        return made["keys"][0]["access_key"], made["keys"][0]["secret_key"]

    def _ceph(self, program: str, *words: str) -> bytes:
        return self._run(program, "-c", str(self._folder / "ceph.conf"), *words)

    def _run(self, *words: str) -> bytes:
        left = max(1.0, self._until - time.monotonic())
        done = subprocess.run(words, capture_output=True, check=False, timeout=left, env=self._env,
                              cwd=self._folder)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.decode(errors='replace')[-2000:]}"
        return done.stdout

    def _begin(self, program: str, *words: str) -> None:
        with (self._folder / f"{program}.out").open("wb") as out:
            self._running.append(subprocess.Popen(
                [program, "-c", str(self._folder / "ceph.conf"), *words, "-f"], stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, env=self._env, cwd=self._folder))

    def _wait(self, what: str, ready: Callable[[], bool]) -> None:
        while not ready():
            ended = [one.args for one in self._running if one.poll() is not None]
            assert not ended, f"{ended} ended: see {self._folder}"
            assert time.monotonic() < self._until, f"{what} did not begin to answer"
            time.sleep(0.2)


def _ports(count: int) -> Sequence[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def _answers(port: int, ca: Path) -> bool:
    try:
        with (socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
              ssl.create_default_context(cafile=str(ca)).wrap_socket(raw, server_hostname="127.0.0.1")):
            return True
    except OSError:
        return False


def _furnish(peer: Peer) -> Peer:
    """Buckets with objects, the issuer as a provider, and a role that may do everything."""
    s3 = peer.client("s3")
    for bucket in BUCKETS:
        s3.create_bucket(Bucket=bucket)
        for name in OBJECTS:
            s3.put_object(Bucket=bucket, Key=name, Body=f"{bucket}/{name}".encode())
    return replace(peer, wide=trusting(peer, peer.issuer.url, [peer.issuer.certificate], "tenant-acme"))


def trusting(peer: Peer, issuer: str, certificates: Sequence[x509.Certificate], name: str) -> str:
    """A role for everything, which those may assume whom this issuer names; its ARN."""
    iam, host = peer.client("iam"), issuer.partition("://")[2]
    provider = iam.create_open_id_connect_provider(
        Url=issuer, ClientIDList=[AUDIENCE],
        ThumbprintList=[thumbprint(one) for one in certificates])["OpenIDConnectProviderArn"]
    trust = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Federated": [provider]}, "Action": ["sts:AssumeRoleWithWebIdentity"],
        "Condition": {"StringEquals": {f"{host}:app_id": AUDIENCE}}}]}
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=_compact(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="everything", PolicyDocument=_compact(
        {"Version": "2012-10-17", "Statement": [WIDE]}))
    return role


def _compact(policy: Mapping[str, Any]) -> str:
    return json.dumps(policy, separators=(",", ":"))
