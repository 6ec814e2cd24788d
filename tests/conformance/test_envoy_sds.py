"""Envoy, the client that secret discovery is for: it gets its SVID, serves TLS with it, and rotates it."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from tests.envoy.harness import envoy, free_port, let_go
from tests.fakes import run
from tests.identity.workload.bench import bench

from ringwall.runtime.workload import SOCKET

TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
HTTP2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def _configuration(sds: Path, port: int) -> dict[str, Any]:
    """As an operator would write it for SPIRE."""
    source = {"resource_api_version": "V3", "api_config_source": {
        "api_type": "GRPC", "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "sds"}}]}}
    return {
        "node": {"id": "test", "cluster": "test"},
        "static_resources": {
            "clusters": [{
                "name": "sds", "connect_timeout": "2s",
                "typed_extension_protocol_options": {HTTP2: {
                    "@type": f"type.googleapis.com/{HTTP2}",
                    "explicit_http_config": {"http2_protocol_options": {}}}},
                "load_assignment": {"cluster_name": "sds", "endpoints": [{"lb_endpoints": [
                    {"endpoint": {"address": {"pipe": {"path": str(sds)}}}}]}]},
            }],
            "listeners": [{
                "name": "in", "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                "filter_chains": [{
                    "filters": [{"name": "envoy.filters.network.echo", "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"}}],
                    "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
                        "@type": TLS, "common_tls_context": {
                            "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": source}],
                            "combined_validation_context": {
                                "default_validation_context": {},
                                "validation_context_sds_secret_config": {"name": "ALL", "sds_config": source}},
                        }}},
                }],
            }],
        },
    }


async def _served(port: int) -> str:
    """The serial number of the certificate that is served now, as the admin interface spells it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return f"{x509.load_der_x509_certificate(found).serial_number:x}"


def _serials(certs: dict[str, Any]) -> list[str]:
    return [one["serial_number"].lstrip("0") for group in certs["certificates"] for one in group["cert_chain"]]


def test_envoy_gets_its_svid_and_rotates_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        port = free_port()
        async with (bench(tmp_path) as made,
                    envoy(_configuration(tmp_path / "d" / "alice" / SOCKET, port), tmp_path, go=False) as client):
            await made.launch("alice", pid=client.pid)
            let_go(client)
            first = _serials(await client.until("/certs", _serials))[0]
            ready = await client.until("/server_info", lambda found: found["state"] == "LIVE")
            assert ready
            assert await _served(port) == first
            made.clock.ahead = 451
            made.authority.changed()
            second = _serials(await client.until("/certs", lambda found: _serials(found) not in ([], [first])))[0]
            assert await _served(port) == second
            assert not made.codes()
            assert "secret_rejected" not in {event.type for event in made.journal.of("count")}

    run(scenario())
