"""``ringwall svid``: look at an SVID, or have the strict verifier judge it, offline."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ringwall.call import Json, as_array
from ringwall.cli.common import fail, json_option, print_json
from ringwall.cli.text import fold, plain
from ringwall.clock import SystemClock
from ringwall.errors import BadInput, RingwallError
from ringwall.identity.spiffe import AnyId
from ringwall.identity.svid import bundle as documents
from ringwall.identity.svid import certificates, tokens
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.tokens import TokenValidator
from ringwall.identity.svid.verifier import Verified, X509Verifier

MAX_FILE: Final = 1 << 20  # bytes: a chain has a few thousand
MAX_SHOWN: Final = 16  # certificates
_PEM: Final = b"-----BEGIN CERTIFICATE-----"
_USAGES: Final = {ExtendedKeyUsageOID.SERVER_AUTH: "server", ExtendedKeyUsageOID.CLIENT_AUTH: "client"}
_FILE: Final = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)


@click.group()
def svid() -> None:
    """Look at SVIDs and verify them, without a running core."""


@svid.command()
@click.argument("file", type=_FILE)
@json_option
def show(file: Path, *, as_json: bool) -> None:
    """Show what FILE says: certificates (PEM or DER) or a JWT; - is standard input. Nothing of it is verified."""
    try:
        chain, token = _read(file)
        said = list(tokens.read(token)) if token else [_certificate(der) for der in chain[:MAX_SHOWN]]
    except RingwallError as fault:
        fail(fault, as_json=as_json)
    if as_json:
        print_json({"header": said[0], "claims": said[1]} if token else {"certificates": said})
        return
    titles = ["header", "claims"] if token else ["leaf", *(f"certificate {n}" for n in range(2, len(said) + 1))]
    for title, fields in zip(titles, said, strict=True):
        click.echo(title)
        for line in _lines(fields):
            click.echo(line)
    click.echo("Not verified: ringwall svid verify FILE --bundle FILE", err=True)


@svid.command()
@click.argument("file", type=_FILE)
@click.option("--bundle", "bundle_file", required=True, type=_FILE,
              help="The bundle document of its trust domain; ours is identity/bundle.json of the state folder.")
@click.option("--domain", default="", help="The bundle's trust domain, if its certificates do not name it.")
@click.option("--id", "expected", default="", help="The one SPIFFE ID it must be.")
@click.option("--audience", multiple=True, help="For a JWT: who you are. Repeatable.")
@click.option("--any-usage", is_flag=True, help="Accept an extended key usage for one side of TLS only.")
@json_option
def verify(
    file: Path, bundle_file: Path, domain: str, expected: str, audience: tuple[str, ...], *, any_usage: bool,
    as_json: bool,
) -> None:
    """Judge FILE, a chain with its leaf first (PEM or DER) or a JWT, as Ringwall itself would.

    Exit code 1 with a code and a cause if it is refused. Only what the authority withdrew before its time is not
    seen here.
    """
    try:
        bundle = _bundle(_bytes(bundle_file), domain, expected)
        trusted = {bundle.trust_domain: bundle}
        chain, token = _read(file)
        if token and not audience:
            raise click.UsageError("a JWT is for somebody: say who you are with --audience")
        if token:
            found = TokenValidator(lambda: trusted, SystemClock()).validate(token, audience, expected=expected)
        else:
            verifier = X509Verifier(lambda: trusted, SystemClock(), usages="any" if any_usage else "both")
            found = verifier.verify(chain, expected=expected)
    except RingwallError as fault:
        fail(fault, as_json=as_json)
    _say(found, as_json=as_json)


def _say(found: Verified, *, as_json: bool) -> None:
    if as_json:
        print_json({"ok": True, "spiffe_id": str(found.spiffe_id), "number": found.number,
                    "expires_at": found.expires_at})
        return
    click.echo(f"valid: {plain(str(found.spiffe_id))}")
    click.echo(f"       until {_when(datetime.fromtimestamp(found.expires_at, UTC))}")


def _bundle(raw: bytes, domain: str, expected: str) -> Bundle:
    """The bundle under its domain's name. The SVID's own word is not taken for it. Raises BadInput."""
    named = domain or (AnyId.parse(expected).trust_domain if expected else documents.domain_of(raw))
    if not named:
        raise BadInput("the bundle does not say whose it is", code="svid_whose_bundle", remedy="add --domain NAME")
    return documents.parse(named, raw)


def _bytes(file: Path) -> bytes:
    try:
        with click.open_file(str(file), "rb") as opened:
            raw: bytes = opened.read(MAX_FILE + 1)
    except OSError as fault:
        raise BadInput(f"{file} cannot be read: {fault.strerror}", code="file_error") from None
    if len(raw) > MAX_FILE:
        raise BadInput(f"{file} has more than {MAX_FILE} bytes", code="svid_too_large")
    return raw


def _read(file: Path) -> tuple[list[bytes], str]:
    """A chain of DER certificates, or a token. Raises BadInput."""
    raw = _bytes(file)
    if _PEM in raw:
        return [_der(_PEM + part) for part in raw.split(_PEM)[1:]], ""
    text = raw.strip()
    if text.count(b".") == 2 and text.isascii() and not raw.startswith(b"\x30"):
        return [], text.decode()
    return [raw], ""


def _der(pem: bytes) -> bytes:
    """One PEM block's bytes; the verifier's own parser judges them. Raises BadInput."""
    body, end, _ = pem.removeprefix(_PEM).partition(b"-----END CERTIFICATE-----")
    try:
        if not end:
            raise ValueError
        return base64.b64decode(b"".join(body.split()), validate=True)
    except (ValueError, binascii.Error):
        raise BadInput("a PEM block is cut off, or no base64", code="svid_malformed") from None


def _certificate(der: bytes) -> dict[str, Json]:
    found = certificates.load(der)
    names = certificates.extension(found, x509.SubjectAlternativeName)
    basic = certificates.extension(found, x509.BasicConstraints)
    extended = certificates.extension(found, x509.ExtendedKeyUsage)
    return {
        "names": [f"{type(one).__name__}: {one.value}" for one in names.value] if names else [],
        "subject": found.subject.rfc4514_string(),
        "issuer": found.issuer.rfc4514_string(),
        "serial": f"{found.serial_number:x}",
        "from": _when(found.not_valid_before_utc),
        "until": _when(found.not_valid_after_utc),
        "authority": bool(basic and basic.value.ca),
        "key": type(found.public_key()).__name__,
        "usage": _usage(found),
        "for": [_USAGES.get(one, one.dotted_string) for one in extended.value] if extended else [],
        "critical": [one.oid.dotted_string for one in found.extensions if one.critical],
    }


def _usage(found: x509.Certificate) -> list[str]:
    usage = certificates.extension(found, x509.KeyUsage)
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign")
    return [name for name in names if getattr(usage.value, name)] if usage else []


def _lines(fields: Mapping[str, Json]) -> Iterator[str]:
    """What a part says, for people: hostile texts are folded and keep no control characters."""
    for key, value in fields.items():
        shown = ", ".join(str(one) for one in as_array(value) or [value])
        yield from fold(plain(shown or "-"), f"  {plain(key)[:12]:<12} ")


def _when(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
