"""The messages of Envoy's secret discovery, field by field as its protos have them, and secrets as it reads them.

(envoy/service/discovery/v3/discovery.proto, envoy/extensions/transport_sockets/tls/v3/{common,secret,
tls_spiffe_validator_config}.proto. What Envoy says of itself, ``node``, is not looked at.)
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Final

from ringwall.identity.svid.interface import Bundle, X509Svid
from ringwall.identity.workload.proto import Field, File, Message, Method, encode

_TLS: Final = "envoy.extensions.transport_sockets.tls.v3"
SECRET_TYPE: Final = f"type.googleapis.com/{_TLS}.Secret"
_VALIDATOR_TYPE: Final = f"type.googleapis.com/{_TLS}.SPIFFECertValidatorConfig"
_VALIDATOR: Final = "envoy.tls.cert_validator.spiffe"
_LINE: Final = 64  # characters of Base64 in one line of PEM (RFC 7468, section 2)


def _text(number: int, name: str, *, repeated: bool = False) -> Field:
    return Field(number=number, name=name, kind="string", repeated=repeated)


def _holds(number: int, name: str, message: Message, *, repeated: bool = False) -> Field:
    return Field(number=number, name=name, kind="message", message=message, repeated=repeated)


_ANY: Final = Message(name="google.protobuf.Any", fields=(
    _text(1, "type_url"), Field(number=2, name="value", kind="bytes")))
_STATUS: Final = Message(name="google.rpc.Status", fields=(
    Field(number=1, name="code", kind="int32"), _text(2, "message")))
REQUEST: Final = Message(name="envoy.service.discovery.v3.DiscoveryRequest", fields=(
    _text(1, "version_info"), _text(3, "resource_names", repeated=True), _text(4, "type_url"),
    _text(5, "response_nonce"), _holds(6, "error_detail", _STATUS)))
RESPONSE: Final = Message(name="envoy.service.discovery.v3.DiscoveryResponse", fields=(
    _text(1, "version_info"), _holds(2, "resources", _ANY, repeated=True), _text(4, "type_url"), _text(5, "nonce")))
_SOURCE: Final = Message(name="envoy.config.core.v3.DataSource", fields=(
    Field(number=2, name="inline_bytes", kind="bytes", oneof="specifier"),))
_EXTENSION: Final = Message(name="envoy.config.core.v3.TypedExtensionConfig", fields=(
    _text(1, "name"), _holds(2, "typed_config", _ANY)))
_CERTIFICATE: Final = Message(name=f"{_TLS}.TlsCertificate", fields=(
    _holds(1, "certificate_chain", _SOURCE), _holds(2, "private_key", _SOURCE)))
_VALIDATION: Final = Message(name=f"{_TLS}.CertificateValidationContext", fields=(
    _holds(12, "custom_validator_config", _EXTENSION),))
SECRET: Final = Message(name=f"{_TLS}.Secret", fields=(
    _text(1, "name"), _holds(2, "tls_certificate", _CERTIFICATE), _holds(4, "validation_context", _VALIDATION)))
_DOMAIN: Final = Message(name=f"{_TLS}.SPIFFECertValidatorConfig.TrustDomain", fields=(
    _text(1, "name"), _holds(2, "trust_bundle", _SOURCE)))
VALIDATOR: Final = Message(name=f"{_TLS}.SPIFFECertValidatorConfig", fields=(
    _holds(1, "trust_domains", _DOMAIN, repeated=True),))

DISCOVERY: Final = File(
    name="envoy/service/secret/v3/sds.proto", package="envoy.service.secret.v3", service="SecretDiscoveryService",
    methods=(Method(name="StreamSecrets", request=REQUEST, response=RESPONSE, client_streaming=True,
                    server_streaming=True),
             Method(name="FetchSecrets", request=REQUEST, response=RESPONSE)))


def certificate(name: str, svid: X509Svid) -> bytes:
    """An SVID with its key, as a secret of this name."""
    return encode(SECRET, {"name": name, "tls_certificate": {
        "certificate_chain": {"inline_bytes": b"".join(_pem("CERTIFICATE", one) for one in svid.chain)},
        "private_key": {"inline_bytes": _pem("PRIVATE KEY", svid.key)},
    }})


def validation(name: str, bundles: Iterable[Bundle]) -> bytes:
    """Whom to believe, as a secret of this name: each trust domain vouches for its own names and no others.

    A domain whose bundle trusts nobody is left out: Envoy refuses the whole secret for it.
    """
    domains = [{"name": one.trust_domain, "trust_bundle": {
        "inline_bytes": b"".join(_pem("CERTIFICATE", der) for der in one.authorities)}}
        for one in bundles if one.authorities]
    config = encode(VALIDATOR, {"trust_domains": domains})
    return encode(SECRET, {"name": name, "validation_context": {"custom_validator_config": {
        "name": _VALIDATOR, "typed_config": {"type_url": _VALIDATOR_TYPE, "value": config}}}})


def response(version: str, nonce: str, secrets: Iterable[bytes]) -> bytes:
    """A whole answer: all secrets that were asked for and that there are."""
    return encode(RESPONSE, {
        "version_info": version, "nonce": nonce, "type_url": SECRET_TYPE,
        "resources": [{"type_url": SECRET_TYPE, "value": one} for one in secrets],
    })


def _pem(label: str, der: bytes) -> bytes:
    text = base64.b64encode(der).decode()
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", "")).encode()
