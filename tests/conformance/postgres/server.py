"""PostgreSQL 15 with TLS and SCRAM, on loopback, in a temporary folder, as an ordinary user."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

BIN = Path("/usr/lib/postgresql/15/bin")
SUPER, SUPER_PASSWORD = "boss", "boss-password-0123456789"
ADMIN, ADMIN_PASSWORD = "minter", "minter-password-0123456789"
DATABASE = "shop"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def certificate(folder: Path, *, names: tuple[str, ...] = ("localhost",)) -> tuple[Path, Path, Path]:
    """Of an authority of its own, the server's, and its key."""
    now = dt.datetime.now(dt.UTC)
    top, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])

    def base(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(hours=1))
                .not_valid_after(now + dt.timedelta(days=1)))

    ca = base(issuer, top).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(
        top, hashes.SHA256())
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    cert = base(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]), leaf).add_extension(
        x509.SubjectAlternativeName(alternatives), critical=False).sign(top, hashes.SHA256())
    files = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    files[2].write_bytes(leaf.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                            serialization.NoEncryption()))
    return files


@dataclass(kw_only=True)
class Server:
    """A running server. ``sql`` runs as the superuser, through the server's own client."""

    folder: Path
    port: int
    ca: str
    password: str = field(repr=False, default=SUPER_PASSWORD)

    @property
    def url(self) -> str:
        return f"postgresql://localhost:{self.port}/{DATABASE}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def sql(self, text: str, *, database: str = DATABASE) -> str:
        done = subprocess.run(
            [BIN / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", self.folder, "-p", str(self.port),
             "-U", SUPER, "-d", database], input=text, env={"PGPASSWORD": self.password}, capture_output=True,
            text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """Start one, with a superuser, an admin that may create roles and grant on what it owns, and some tables."""
    folder = Path(tempfile.mkdtemp(prefix="rwpg", dir="/tmp"))
    who: dict[str, object] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        nobody = pwd.getpwnam("nobody")
        who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    process: subprocess.Popen[bytes] | None = None
    try:
        ca, cert, key = certificate(folder)
        (folder / "pw").write_text(SUPER_PASSWORD)
        key.chmod(0o600)
        if who:
            for path in (folder, *folder.iterdir()):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)  # pyright: ignore[reportPossiblyUnboundVariable]
        run = {"cwd": folder, "env": {"LC_ALL": "C.UTF-8", "TZ": "UTC"}, **who}
        subprocess.run([BIN / "initdb", "-D", folder / "data", "-U", SUPER, "-A", "scram-sha-256", "--pwfile",
                        folder / "pw", "-E", "UTF8", "--no-sync"], check=True, capture_output=True, **run)  # type: ignore[call-overload]
        port = free_port()
        options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off",
                   "ssl": "on", "ssl_cert_file": cert, "ssl_key_file": key, "log_statement": "all",
                   "shared_buffers": "16MB",
                   "max_connections": 40, "log_min_duration_statement": 0, "log_connections": "on"}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(  # type: ignore[call-overload]
                [BIN / "postgres", "-D", folder / "data", *(f"--{key}={value}" for key, value in options.items())],
                stdout=log, stderr=log, **run)
        server = Server(folder=folder, port=port, ca=ca.read_text())
        _wait(server, process)
        server.sql(f"CREATE ROLE {ADMIN} LOGIN CREATEROLE PASSWORD '{ADMIN_PASSWORD}'; "
                   f"CREATE DATABASE {DATABASE} OWNER {ADMIN}", database="postgres")
        server.sql(f"""SET ROLE {ADMIN}; CREATE SCHEMA sales; CREATE SCHEMA hr;
            CREATE TABLE sales.orders (id serial PRIMARY KEY, item text, price numeric(10,2));
            CREATE TABLE sales.customers (id int PRIMARY KEY, name text);
            CREATE TABLE hr.salaries (who text, amount int);
            CREATE TABLE sales."Odd; Name" (id int);
            INSERT INTO sales.orders (item, price) VALUES ('tea', 2.50), ('salt', 1.10);
            INSERT INTO sales.customers VALUES (1, 'Ada'); INSERT INTO hr.salaries VALUES ('Ada', 100)""")  # noqa: S608
        yield server
    finally:
        if process is not None:
            process.terminate()  # smart shutdown would wait for connections: SIGTERM, then SIGINT
            process.send_signal(2)
            process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(server: Server, process: subprocess.Popen[bytes]) -> None:
    ready = [BIN / "pg_isready", "-q", "-h", server.folder, "-p", str(server.port), "-t", "1"]
    while subprocess.run(ready, check=False).returncode != 0:
        assert process.poll() is None, server.log
