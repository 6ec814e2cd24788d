"""Certificates, requests and private keys as the objects that OPA makes of Go's structures.

Chains are not verified here: what of this a policy would decide by, a proxy or the identity ring has verified
before. A field that cannot be filled in exactly as Go does ends the decision with an error.
"""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from ringwall import regex
from ringwall.errors import PolicyError
from ringwall.policy.builtins import der
from ringwall.policy.builtins.der import Item, bad
from ringwall.policy.builtins.encodings import decode_base64
from ringwall.policy.builtins.table import Builtin, string
from ringwall.policy.plan.ops import Context
from ringwall.policy.plan.values import Value

_STEPS: Final = 500  # of one certificate: 100 us
_RSA: Final = [1, 2, 840, 113549, 1, 1, 1]
_EC: Final = [1, 2, 840, 10045, 2, 1]
_ED25519: Final = [1, 3, 101, 112]
# Go's x509.SignatureAlgorithm and PublicKeyAlgorithm. RSA-PSS has parameters of its own and is left out.
_SIGNATURES: Final[Mapping[str, int]] = MappingProxyType({
    "1.2.840.113549.1.1.4": 2, "1.2.840.113549.1.1.5": 3, "1.2.840.113549.1.1.11": 4,
    "1.2.840.113549.1.1.12": 5, "1.2.840.113549.1.1.13": 6, "1.2.840.10045.4.1": 9, "1.2.840.10045.4.3.2": 10,
    "1.2.840.10045.4.3.3": 11, "1.2.840.10045.4.3.4": 12, "1.3.101.112": 16,
})
_CURVES: Final = {"1.2.840.10045.3.1.7": 32, "1.3.132.0.34": 48, "1.3.132.0.35": 66}  # bytes of a coordinate
_USES: Final[Mapping[str, int]] = MappingProxyType({
    "2.5.29.37.0": 0, **{f"1.3.6.1.5.5.7.3.{n}": n for n in range(1, 6)}, "1.3.6.1.5.5.7.3.6": 6,
    "1.3.6.1.5.5.7.3.7": 7, "1.3.6.1.5.5.7.3.8": 8, "1.3.6.1.5.5.7.3.9": 9, "1.3.6.1.4.1.311.10.3.3": 10,
    "2.16.840.1.113730.4.1": 11, "1.3.6.1.4.1.311.2.1.22": 12, "1.3.6.1.4.1.311.61.1.1": 13,
})
_NAMES: Final = {7: "Locality", 8: "Province", 9: "StreetAddress", 10: "Organization", 11: "OrganizationalUnit",
                 17: "PostalCode", 6: "Country"}
_PEM: Final = regex.text(r"-----BEGIN ([A-Z0-9 ]{1,64})-----\s([A-Za-z0-9+/=\s]*)-----END ([A-Z0-9 ]{1,64})-----")
_URI: Final = regex.text(r"\A([a-z][a-z0-9+.-]*)://([A-Za-z0-9.-]*(?::[0-9]+)?)(/[A-Za-z0-9._~/-]*)?\z")


def unsupported(what: str) -> PolicyError:
    """The error of what cannot be shown exactly as Go does."""
    return PolicyError(f"certificates with {what} are not supported in policies", code="policy_failed",
                       remedy="read them before the decision and pass what is needed as a fact")


def _dotted(oid: list[int]) -> str:
    return ".".join(map(str, oid))


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def blocks(source: str) -> list[tuple[str, bytes]]:
    """(type, bytes) of each PEM block. Raises BuiltinError."""
    found: list[tuple[str, bytes]] = []
    if source.count("-----BEGIN") != sum(1 for _ in _PEM.finditer(source)):
        raise unsupported("PEM that has headers or is damaged")
    for match in _PEM.finditer(source):
        if match.group(1) != match.group(3):
            raise bad("a PEM block ends as another one")
        found.append((match.group(1), decode_base64("".join(match.group(2).split()))))
    return found


# -- parts


def distinguished_name(item: Item) -> dict[str, Value]:
    """Go's pkix.Name."""
    found: dict[str, Value] = dict.fromkeys(_NAMES.values())
    found |= {"SerialNumber": "", "CommonName": "", "ExtraNames": None, "Names": []}
    for group in item.items():
        for pair in group.items(0x31):
            kind, value = pair.items()
            oid, text = kind.oid(), value.text()
            if text is None:
                raise unsupported("a name that is no text")
            found["Names"].append({"Type": oid, "Value": text})
            if oid[:3] != [2, 5, 4] or len(oid) != 4:
                continue
            if oid[3] in (3, 5):
                found["CommonName" if oid[3] == 3 else "SerialNumber"] = text
            elif oid[3] in _NAMES:
                found[_NAMES[oid[3]]] = [*(found[_NAMES[oid[3]]] or []), text]
    found["Names"] = found["Names"] or None
    return found


def _time(item: Item) -> str:
    form = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}.get(item.tag)
    try:
        at = datetime.strptime(item.content.decode("ascii"), form or "").replace(tzinfo=UTC)
    except ValueError as error:
        raise bad("a time is not in its form") from error
    if item.tag == 0x17 and at.year >= 2050:  # RFC 5280, section 4.1.2.5.1
        at = at.replace(year=at.year - 100)
    elif item.tag == 0x17 and at.year < 1950:
        at = at.replace(year=at.year + 100)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _algorithm(item: Item) -> str:
    return _dotted(item.items()[0].oid())


def signature_algorithm(oid: str) -> int:
    """Go's x509.SignatureAlgorithm."""
    if oid not in _SIGNATURES:
        raise unsupported("signatures of another algorithm than RSA with PKCS 1, ECDSA and Ed25519")
    return _SIGNATURES[oid]


def public_key(item: Item) -> tuple[int, Value]:
    """(Go's PublicKeyAlgorithm, the key)."""
    algorithm, bits = item.items()
    kind, raw = algorithm.items(), bits.bits()
    oid = kind[0].oid()
    if oid == _RSA:
        modulus, exponent = (part.number() for part in der.one(raw).items())
        return 1, {"N": modulus, "E": exponent}
    if oid == _EC and len(kind) == 2 and (half := _CURVES.get(_dotted(kind[1].oid()))) is not None:
        if raw[:1] != b"\x04" or len(raw) != 1 + 2 * half:
            raise bad("a point is not in its plain form")
        return 3, {"Curve": {}, "X": int.from_bytes(raw[1:1 + half], "big"),
                   "Y": int.from_bytes(raw[1 + half:], "big")}
    if oid == _ED25519:
        return 4, _b64(raw)
    raise unsupported("keys other than RSA, P-256, P-384, P-521 and Ed25519")


def signed_parts(item: Item) -> tuple[list[Item], str, bytes, Item]:
    """(fields, algorithm, signature, the signed part)."""
    parts = item.items()
    if len(parts) != 3:
        raise bad("it has not three parts")
    return parts[0].items(), _algorithm(parts[1]), parts[2].bits(), parts[0]


# -- extensions


def _alternative_names(into: dict[str, Value], value: Item) -> None:
    lists: dict[int, tuple[str, list[Value]]] = {
        0x81: ("EmailAddresses", []), 0x82: ("DNSNames", []), 0x86: ("URIs", []), 0x87: ("IPAddresses", [])}
    for name in value.items():
        if name.tag not in lists:
            continue
        key, found = lists[name.tag]
        if name.tag == 0x87:
            try:
                found.append(str(ipaddress.ip_address(name.content)))
            except ValueError as error:
                raise bad("an address is not four or sixteen bytes") from error
            continue
        text = Item(0x16, name.content, name.whole).text() or ""
        found.append(_uri(text) if key == "URIs" else text)
    for key, found in lists.values():
        into[key] = found or None


def _uri(text: str) -> Value:
    """Go's url.URL, for URIs as plain as SPIFFE IDs."""
    if _URI.search(text) is None:
        raise unsupported("a URI that has more than scheme, host and path")
    parts = urlsplit(text)
    return {"Scheme": parts.scheme, "Opaque": "", "User": None, "Host": parts.netloc, "Path": parts.path,
            "Fragment": "", "RawQuery": "", "RawPath": "", "RawFragment": "", "ForceQuery": False,
            "OmitHost": False}


def _key_usage(into: dict[str, Value], value: Item) -> None:
    content = value.expect(der.BIT_STRING).content
    if not 1 < len(content) <= 3 or content[0] > 7:
        raise bad("key usage is no bit string")
    bits = int.from_bytes(content[1:].ljust(2, b"\x00"), "big")
    into["KeyUsage"] = sum(1 << n for n in range(9) if bits & (0x8000 >> n))


def _basic_constraints(into: dict[str, Value], value: Item) -> None:
    parts = value.items()
    is_ca = bool(parts) and parts[0].tag == 0x01 and parts.pop(0).boolean()
    most = parts[0].number() if parts else -1
    into |= {"BasicConstraintsValid": True, "IsCA": is_ca, "MaxPathLen": most, "MaxPathLenZero": most == 0}


def _extended_usage(into: dict[str, Value], value: Item) -> None:
    oids = [item.oid() for item in value.items()]
    into["ExtKeyUsage"] = [_USES[_dotted(oid)] for oid in oids if _dotted(oid) in _USES] or None
    into["UnknownExtKeyUsage"] = [oid for oid in oids if _dotted(oid) not in _USES] or None


def _authority_key(into: dict[str, Value], value: Item) -> None:
    found = [item for item in value.items() if item.tag == 0x80]
    into["AuthorityKeyId"] = _b64(found[0].content) if found else None


def _revocation_lists(into: dict[str, Value], value: Item) -> None:
    found: list[Value] = []
    for point in value.items():
        for part in (item for item in point.items() if item.tag == 0xA0):
            for names in (item for item in der.items(part.content) if item.tag == 0xA0):
                found += [_ascii(name) for name in der.items(names.content) if name.tag == 0x86]
    into["CRLDistributionPoints"] = found or None


def _access(into: dict[str, Value], value: Item) -> None:
    places: dict[str, list[Value]] = {"1.3.6.1.5.5.7.48.1": [], "1.3.6.1.5.5.7.48.2": []}
    for item in value.items():
        method, place = item.items()
        if place.tag == 0x86 and (found := places.get(_dotted(method.oid()))) is not None:
            found.append(_ascii(place))
    into["OCSPServer"], into["IssuingCertificateURL"] = (found or None for found in places.values())


def _ascii(item: Item) -> str:
    return Item(0x16, item.content, item.whole).text() or ""


def _policies(into: dict[str, Value], value: Item) -> None:
    oids = [item.items()[0].oid() for item in value.items()]
    into["PolicyIdentifiers"], into["Policies"] = oids or None, [_dotted(oid) for oid in oids] or None


def _subject_key(into: dict[str, Value], value: Item) -> None:
    into["SubjectKeyId"] = _b64(value.expect(der.OCTETS).content)


_EXTENSIONS: Final[Mapping[str, Callable[[dict[str, Value], Item], None]]] = MappingProxyType({
    "2.5.29.14": _subject_key, "2.5.29.15": _key_usage, "2.5.29.17": _alternative_names,
    "2.5.29.19": _basic_constraints, "2.5.29.31": _revocation_lists, "2.5.29.32": _policies,
    "2.5.29.35": _authority_key, "2.5.29.37": _extended_usage, "1.3.6.1.5.5.7.1.1": _access,
})
_REFUSED: Final = frozenset({"2.5.29.30", "2.5.29.33", "2.5.29.36", "2.5.29.54"})  # constraints on names, policies


def _extensions(into: dict[str, Value], found: list[Item], known: Mapping[str, Any]) -> None:
    listed: list[Value] = []
    unhandled: list[Value] = []
    for item in found:
        parts = item.items()
        critical = len(parts) == 3 and parts[1].boolean()
        oid, raw = parts[0].oid(), parts[-1].expect(der.OCTETS).content
        name = _dotted(oid)
        listed.append({"Id": oid, "Critical": critical, "Value": _b64(raw)})
        if name in _REFUSED:
            raise unsupported("constraints on names or policies")
        if name in known:
            known[name](into, der.one(raw))
        elif critical:
            unhandled.append(oid)
    into["Extensions"] = listed or None
    into["UnhandledCriticalExtensions"] = unhandled or None


# -- the whole


_EMPTY: Final = ("ExtKeyUsage", "UnknownExtKeyUsage", "SubjectKeyId", "AuthorityKeyId", "OCSPServer",
                 "IssuingCertificateURL", "DNSNames", "EmailAddresses", "IPAddresses", "URIs",
                 "PermittedDNSDomains", "ExcludedDNSDomains", "PermittedIPRanges", "ExcludedIPRanges",
                 "PermittedEmailAddresses", "ExcludedEmailAddresses", "PermittedURIDomains", "ExcludedURIDomains",
                 "CRLDistributionPoints", "PolicyIdentifiers", "Policies", "PolicyMappings", "ExtraExtensions")


def certificate(raw: bytes) -> dict[str, Value]:
    """One certificate as Go's x509.Certificate in JSON."""
    fields, algorithm, signature, signed = signed_parts(der.one(raw))
    version = fields.pop(0).content if fields[0].tag == 0xA0 else b""
    if len(fields) < 6:
        raise bad("there are not enough fields")
    serial, _, issuer, validity, subject, key = fields[:6]
    kind, public = public_key(key)
    begins, ends = validity.items()
    found: dict[str, Value] = dict.fromkeys(_EMPTY)
    found |= {
        "Raw": _b64(raw), "RawTBSCertificate": _b64(signed.whole), "RawSubjectPublicKeyInfo": _b64(key.whole),
        "RawSubject": _b64(subject.whole), "RawIssuer": _b64(issuer.whole), "Signature": _b64(signature),
        "SignatureAlgorithm": signature_algorithm(algorithm), "PublicKeyAlgorithm": kind, "PublicKey": public,
        "Version": (der.one(version).number() if version else 0) + 1, "SerialNumber": serial.number(),
        "Issuer": distinguished_name(issuer), "Subject": distinguished_name(subject),
        "NotBefore": _time(begins), "NotAfter": _time(ends),
        "KeyUsage": 0, "BasicConstraintsValid": False, "IsCA": False, "MaxPathLen": 0, "MaxPathLenZero": False,
        "PermittedDNSDomainsCritical": False, "InhibitAnyPolicy": 0, "InhibitAnyPolicyZero": False,
        "InhibitPolicyMapping": 0, "InhibitPolicyMappingZero": False, "RequireExplicitPolicy": 0,
        "RequireExplicitPolicyZero": False,
    }
    _extensions(found, [item for field in fields[6:] if field.tag == 0xA3
                        for item in der.one(field.content).items()], _EXTENSIONS)
    return found


def binary(source: str) -> tuple[str, bytes | None]:
    """(PEM text, nothing) or (nothing, bytes) of a string that is PEM, or base64 of PEM or of DER."""
    if source.startswith("-----BEGIN"):
        return source, None
    raw = decode_base64(source)
    return (raw.decode("latin-1"), None) if raw.startswith(b"-----BEGIN") else ("", raw)


def parse_certificates(context: Context, source: Value) -> list[Value]:
    """All certificates of a PEM or DER chain."""
    text, raw = binary(string(source))
    if raw is None:
        found = blocks(text)
        if any(kind != "CERTIFICATE" for kind, _ in found):
            raise bad("a PEM block is no certificate")
        raw = b"".join(content for _, content in found)
    parts = der.items(raw)
    context.charge(_STEPS * (1 + len(parts)))
    made = [certificate(part.whole) for part in parts]
    return [one | {"URIStrings": _strings(one)} for one in made]


def _strings(made: Mapping[str, Value]) -> Value:
    uris = made["URIs"]
    return None if uris is None else [f"{uri['Scheme']}://{uri['Host']}{uri['Path']}" for uri in uris]


CERTIFICATES: Final[Mapping[str, Builtin]] = MappingProxyType({
    "crypto.x509.parse_certificates": Builtin(parse_certificates, 1, context=True),
})
