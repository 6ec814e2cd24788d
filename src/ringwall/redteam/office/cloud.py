"""The office's object store with its token service: ``AssumeRoleWithWebIdentity`` and a little S3, over TLS.

A stand-in of the demo's own, strict where it matters: a web identity's token is verified by the keys of its issuer,
a session may do what both its role and its session policy allow, every request is signed (Signature Version 4) and
a session ends when it said it would. The role may do everything in this store: it is wide, as such roles are. What
Ceph makes of the same credentials: ``tests/conformance/test_rgw.py``.
"""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import json
import secrets
import ssl
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ringwall.redteam.office.journalled import append
from ringwall.redteam.office.served import Answering, while_open

ROLE: Final = "arn:aws:iam::123456789012:role/office"
REGION: Final = "eu-central-1"
AUDIENCE: Final = "sts.amazonaws.com"
OWN_KEY: Final = ("AKIAOFFICEOFFICE0000", "office-own-key-that-lives-for-years-00000")
"""What the office would give its agents without Ringwall: it never ends, and may do what the role may."""
_ALL: Final[Mapping[str, Any]] = {"Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}]}

Verify = Callable[[str, str], str]
"""Judges a web identity's token for an audience; its SPIFFE ID. Raises ValueError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    secret: str
    token: str
    policy: Mapping[str, Any]
    ends: float


class Cloud:
    """What is stored, and who may ask.

    Args:
        journal: where each act that was allowed is written down.
        verify: judges web identities.

    """

    def __init__(self, journal: Path, verify: Verify) -> None:
        self._journal = journal
        self._verify = verify
        self._sessions = {OWN_KEY[0]: _Session(secret=OWN_KEY[1], token="", policy=_ALL, ends=float("inf"))}
        self.objects: dict[tuple[str, str], bytes] = {}

    def assume(self, form: Mapping[str, str]) -> str:
        """AssumeRoleWithWebIdentity; the XML of the answer. Raises PermissionError."""
        try:
            who = self._verify(form["WebIdentityToken"], AUDIENCE)
        except ValueError as fault:
            raise PermissionError(f"InvalidIdentityToken: {fault}") from fault
        if form["RoleArn"] != ROLE or not who.startswith("spiffe://office.example/tenant/office/"):
            raise PermissionError("AccessDenied: this identity may not assume this role")
        policy = json.loads(form["Policy"]) if form.get("Policy") else _ALL
        seconds = int(form.get("DurationSeconds", "3600"))
        key, session = f"ASIA{secrets.token_hex(8).upper()}", _Session(
            secret=secrets.token_urlsafe(30), token=secrets.token_urlsafe(60), policy=policy,
            ends=time.time() + seconds,
        )  # fmt: skip
        self._sessions[key] = session
        ends = datetime.fromtimestamp(session.ends, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return (
            '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            "<AssumeRoleWithWebIdentityResult>"
            f"<SubjectFromWebIdentityToken>{escape(who)}</SubjectFromWebIdentityToken>"
            f"<Audience>{AUDIENCE}</Audience><AssumedRoleUser><Arn>{ROLE}/s</Arn>"
            f"<AssumedRoleId>AROA:s</AssumedRoleId></AssumedRoleUser><Credentials><AccessKeyId>{key}</AccessKeyId>"
            f"<SecretAccessKey>{session.secret}</SecretAccessKey><SessionToken>{session.token}</SessionToken>"
            f"<Expiration>{ends}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
            "<ResponseMetadata><RequestId>0</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>"
        )

    def allowed(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[str, str, str]:
        """The act that a signed request may do: its name, bucket and key. Raises PermissionError."""
        key, signed, signature = _claimed(headers.get("authorization", ""))
        session = self._sessions.get(key)
        if session is None or session.ends <= time.time():
            raise PermissionError("ExpiredToken" if session else "InvalidAccessKeyId")
        if headers.get("x-amz-security-token", "") != session.token:
            raise PermissionError("InvalidToken")
        if not hmac.compare_digest(signature, _signature(session.secret, method, target, headers, signed, body)):
            raise PermissionError("SignatureDoesNotMatch")
        parts = urlsplit(target)
        bucket, _, name = unquote(parts.path[1:]).partition("/")
        act = {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject", "DELETE": "s3:DeleteObject"}
        what = act[method] if name else "s3:ListBucket"
        prefix = parse_qs(parts.query).get("prefix", [""])[0]
        if not _permits(session.policy, what, f"arn:aws:s3:::{bucket}{'/' if name else ''}{name}", prefix):
            raise PermissionError("AccessDenied")
        append(self._journal, act=what, bucket=bucket, key=name or prefix, by=key[:4])
        return what, bucket, name


def _permits(policy: Mapping[str, Any], act: str, arn: str, prefix: str) -> bool:
    """Whether a statement allows it; what is not understood does not."""
    for one in policy["Statement"]:
        acts, places = _many(one["Action"]), _many(one["Resource"])
        conditions = one.get("Condition", {})
        wanted = [
            value for test, names in conditions.items() for name, value in names.items()
            if test in {"StringEquals", "StringLike"} and name == "s3:prefix"
        ]  # fmt: skip
        understood = sum(len(names) for names in conditions.values()) == len(wanted)
        if (
            one["Effect"] == "Allow" and understood
            and any(fnmatch.fnmatchcase(act, pattern) for pattern in acts)
            and any(fnmatch.fnmatchcase(arn, pattern) for pattern in places)
            and all(any(fnmatch.fnmatchcase(prefix, text) for text in _many(value)) for value in wanted)
        ):  # fmt: skip
            return True
    return False


def _many(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _claimed(header: str) -> tuple[str, list[str], str]:
    """Key, signed headers and signature of ``AWS4-HMAC-SHA256 …``. Raises PermissionError."""
    try:
        scheme, _, rest = header.partition(" ")
        fields = dict(part.strip().split("=", 1) for part in rest.split(","))
        if scheme != "AWS4-HMAC-SHA256":
            raise ValueError(scheme)
        return fields["Credential"].split("/")[0], fields["SignedHeaders"].split(";"), fields["Signature"]
    except (ValueError, KeyError) as fault:
        raise PermissionError("MissingSecurityHeader") from fault


def _signature(
    secret: str, method: str, target: str, headers: Mapping[str, str], signed: list[str], body: bytes
) -> str:
    """Signature Version 4 of a request, as its receiver computes it. Raises PermissionError."""
    hashed = headers.get("x-amz-content-sha256", "")
    if len(hashed) == 64 and hashed != hashlib.sha256(body).hexdigest():
        raise PermissionError("XAmzContentSHA256Mismatch")
    parts = urlsplit(target)
    pairs = sorted((name, value) for name, values in parse_qs(parts.query, True).items() for value in values)
    query = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)
    lines = "".join(f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in signed)
    canonical = "\n".join([method, parts.path, query, lines, ";".join(signed), hashed])
    when = headers.get("x-amz-date", "")
    scope = f"{when[:8]}/{REGION}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", when, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def _handler(cloud: Cloud) -> type[Answering]:
    class Handler(Answering):
        def _serve(self) -> None:
            body = self.body()
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                if self.command == "POST":
                    form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
                    self.answer(HTTPStatus.OK, cloud.assume(form).encode(), "text/xml")
                    return
                self._object(*cloud.allowed(self.command, self.path, headers, body), body)
            except (PermissionError, KeyError, ValueError) as fault:
                code = str(fault).partition(":")[0]
                text = f"<Error><Code>{escape(code)}</Code><Message>{escape(str(fault))}</Message></Error>"
                self.answer(HTTPStatus.FORBIDDEN, text.encode(), "application/xml")

        def _object(self, what: str, bucket: str, name: str, body: bytes) -> None:
            if what == "s3:ListBucket":
                prefix = parse_qs(urlsplit(self.path).query).get("prefix", [""])[0]
                found = sorted(key for where, key in cloud.objects if where == bucket and key.startswith(prefix))
                rows = "".join(
                    f"<Contents><Key>{escape(key)}</Key><Size>{len(cloud.objects[bucket, key])}</Size></Contents>"
                    for key in found
                )
                text = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
                self.answer(HTTPStatus.OK, text.encode(), "application/xml")
            elif what == "s3:PutObject":
                cloud.objects[bucket, name] = body
                self.answer(HTTPStatus.OK, b"", "application/xml", ETag='"0"')
            elif (bucket, name) in cloud.objects:
                self.answer(HTTPStatus.OK, cloud.objects[bucket, name], "text/plain", ETag='"0"')
            else:
                text = b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>"
                self.answer(HTTPStatus.NOT_FOUND, text, "application/xml")

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815 (the base class finds them by these names)

    return Handler


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1, signed by itself, with its key beside it (``.key``)."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cloud")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )  # fmt: skip
    public, private = folder / "cloud.pem", folder / "cloud.key"
    public.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return public


@contextmanager
def serving(cloud: Cloud, certificate: Path) -> Generator[int]:
    """Serve it on loopback while the block runs; gives the port. ``certificate``: of ``certificate``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(cloud))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with while_open(server) as port:
        yield port
