"""Envoy in front of the core, as its static configuration: it ends TLS, and lets through who may talk to whom.

It decides nothing that the core does not decide again: the core gets the peer's certificates as they were
presented, judges them itself, and then every message. Never written here: ``principal_name`` (it matches any SAN),
and anything that would read a URI out of ``x-forwarded-client-cert`` (its URIs are not escaped).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ringwall.call import Json
from ringwall.errors import BadInput
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.manifest.peers import find_peer, name_of, own_id
from ringwall.manifest.types import Agent, Manifest

SDS_SOCKET: Final = "sds.sock"
MAX_CONNECTIONS: Final = 256  # to one listener; as many as the core takes of one agent's peers
MAX_HEADER_KIB: Final = 12  # with the certificates that Envoy adds it stays below what the core's door reads
BUFFER: Final = 64 << 10  # bytes of one connection in Envoy's memory, each way
CONNECT_S, HEADER_S, REQUEST_S = 10, 10, 30  # for a handshake, a header, a whole request: as at the core's door
IDLE_S: Final = 300  # a connection without a request
UPSTREAM_IDLE_S: Final = 60  # the core ends an idle connection after 300 s; Envoy must be the first
LONGEST_S: Final = 900  # of a connection and of a stream: no longer than a certificate lives

_API: Final = "type.googleapis.com/envoy"
_MONITOR: Final = f"{_API}.extensions.resource_monitors.downstream_connections.v3"
_HTTP: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def socket_of(folder: Path, who: SpiffeId) -> Path:
    """Where the core takes what Envoy received for this agent."""
    return folder / who.tenant / f"{who.agent}.sock"


def senders(manifest: Manifest, tenant: str, agent: Agent) -> tuple[str, ...]:
    """The SPIFFE IDs that may send something to an agent, sorted: messages where both ends agree, pushes where it
    sends and takes pushes."""
    found: set[str] = set()
    for name, taking in agent.receive.items():
        found |= _agreed(manifest, tenant, agent, name, taking.skills, "send")
    for name, sending in agent.send.items() if agent.push is not None else ():
        found |= _agreed(manifest, tenant, agent, name, sending.skills, "receive")
    return tuple(sorted(found))


class Senders:
    """The same for whoever asks again and again. Remembers as many as the manifest has agents."""

    def __init__(self, manifest: Manifest) -> None:
        self._known = {
            str(own_id(manifest, tenant.name, agent)): frozenset(senders(manifest, tenant.name, agent))
            for tenant in manifest.tenants.values() for agent in tenant.agents.values()
        }

    def know(self, receiver: SpiffeId, peer: AnyId) -> bool:
        """Whether a peer may send anything to an agent."""
        return str(peer) in self._known.get(str(receiver), ())


def _agreed(
    manifest: Manifest, tenant: str, agent: Agent, name: str, skills: Sequence[str], field: str
) -> set[str]:
    """The peer's ID if it agrees to one of these skills; a peer elsewhere is asked by whoever runs it."""
    peer = find_peer(manifest, tenant, name)
    if peer is None or not skills:
        return set()
    if peer.agent is None or peer.own is None:
        return {str(peer.spiffe_id)}
    called = name_of(manifest, peer.own.tenant, str(own_id(manifest, tenant, agent)))
    granted = (peer.agent.send if field == "send" else peer.agent.receive).get(called)
    return {str(peer.spiffe_id)} if granted is not None and set(granted.skills) & set(skills) else set()


def configuration(manifest: Manifest, folder: Path) -> Json:
    """The whole of it.

    Args:
        manifest: who listens where, and who may send.
        folder: where the core's sockets are.

    Raises:
        BadInput: ``envoy_no_listener``: nobody listens; ``envoy_host_name``: an agent listens on a name.

    """
    listening = [(own_id(manifest, tenant.name, agent), agent) for tenant in manifest.tenants.values()
                 for agent in tenant.agents.values() if agent.listen]
    if not listening:
        raise BadInput("no agent of this manifest has listen", code="envoy_no_listener",
                       remedy="give an agent that receives messages an address")
    return {
        "node": {"id": "ringwall", "cluster": "ringwall"},
        "static_resources": {
            "listeners": [_listener(who, agent, senders(manifest, who.tenant, agent)) for who, agent in listening],
            "clusters": [_secrets(folder / SDS_SOCKET), *(_core(who, folder) for who, _ in listening)],
        },
        "overload_manager": {"resource_monitors": [{
            "name": "envoy.resource_monitors.global_downstream_max_connections",
            "typed_config": {
                "@type": f"{_MONITOR}.DownstreamConnectionsConfig",
                "max_active_downstream_connections": MAX_CONNECTIONS * len(listening)},
        }]},
    }


def _listener(who: SpiffeId, agent: Agent, may_send: Sequence[str]) -> Json:
    host, port = _address(who, agent)
    limit = {
        "name": "envoy.filters.network.connection_limit",
        "typed_config": {"@type": f"{_API}.extensions.filters.network.connection_limit.v3.ConnectionLimit",
                         "stat_prefix": who.agent, "max_connections": MAX_CONNECTIONS},
    }
    return {
        "name": str(who),
        "address": {"socket_address": {"address": host, "port_value": port}},
        "per_connection_buffer_limit_bytes": BUFFER,
        "filter_chains": [{
            "transport_socket_connect_timeout": f"{CONNECT_S}s",
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": _tls(who)},
            "filters": [limit, {"name": "envoy.filters.network.http_connection_manager",
                                "typed_config": _http(who, may_send)}],
        }],
    }


def _address(who: SpiffeId, agent: Agent) -> tuple[str, int]:
    """An address of this machine in its usual spelling; Envoy asks no resolver where it shall listen."""
    host, _, port = agent.listen.rpartition(":")
    try:
        return str(ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))), int(port)
    except ValueError:
        raise BadInput(f"{who} listens on {host}, a name, and Envoy wants an address", code="envoy_host_name",
                       remedy="write the address into listen") from None


def _tls(who: SpiffeId) -> Json:
    return {
        "@type": f"{_API}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        # A resumed session would outlive what was withdrawn since.
        "disable_stateless_session_resumption": True,
        "disable_stateful_session_resumption": True,
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "alpn_protocols": ["http/1.1"],
            "tls_certificate_sds_secret_configs": [_secret(str(who))],
            "validation_context_sds_secret_config": _secret("ALL"),
        },
    }


def _secret(name: str) -> Json:
    return {"name": name, "sds_config": {"resource_api_version": "V3", "api_config_source": {
        "api_type": "GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": True,
        "grpc_services": [{"envoy_grpc": {"cluster_name": "ringwall_sds"}}]}}}


def _http(who: SpiffeId, may_send: Sequence[str]) -> Json:
    filters = [
        {"name": "envoy.filters.http.rbac", "typed_config": {
            "@type": f"{_API}.extensions.filters.http.rbac.v3.RBAC", "matcher": _matcher(may_send)}},
        {"name": "envoy.filters.http.router", "typed_config": {
            "@type": f"{_API}.extensions.filters.http.router.v3.Router", "suppress_envoy_headers": True}},
    ]
    return {
        "@type": f"{_API}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": who.agent,
        "codec_type": "HTTP1",
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"chain": True},
        "use_remote_address": True,
        "skip_xff_append": True,
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "max_request_headers_kb": MAX_HEADER_KIB,
        "request_headers_timeout": f"{HEADER_S}s",
        "request_timeout": f"{REQUEST_S}s",
        "stream_idle_timeout": f"{LONGEST_S}s",
        "strip_any_host_port": True,
        "strip_trailing_host_dot": True,
        "common_http_protocol_options": {
            "idle_timeout": f"{IDLE_S}s", "max_connection_duration": f"{LONGEST_S}s",
            "max_headers_count": 64, "headers_with_underscores_action": "REJECT_REQUEST"},
        "http_protocol_options": {"accept_http_10": False, "allow_chunked_length": False},
        "http_filters": filters,
        "route_config": {"name": who.agent, "virtual_hosts": [{
            "name": who.agent, "domains": ["*"],
            "routes": [{"match": {"prefix": "/"},
                        "route": {"cluster": str(who), "timeout": f"{LONGEST_S}s"}}]}]},
    }


def _matcher(may_send: Sequence[str]) -> Json:
    """Whoever's one URI SAN is exactly one of these; several are joined to a text that is none of them."""
    action = f"{_API}.config.rbac.v3.Action"

    def does(what: str) -> Json:
        return {"action": {"name": what, "typed_config": {"@type": action, "name": what, "action": what}}}

    matcher: dict[str, Json] = {"on_no_match": does("DENY")}
    if may_send:
        matcher["matcher_tree"] = {
            "input": {"name": "urisan", "typed_config": {
                "@type": f"{_API}.extensions.matching.common_inputs.ssl.v3.UriSanInput"}},
            "exact_match_map": {"map": {one: does("ALLOW") for one in may_send}},
        }
    return matcher


def _secrets(sds: Path) -> Json:
    return _cluster("ringwall_sds", sds, {"http2_protocol_options": {}}, {})


def _core(who: SpiffeId, folder: Path) -> Json:
    limits = {"max_connections": MAX_CONNECTIONS, "max_pending_requests": MAX_CONNECTIONS,
              "max_requests": MAX_CONNECTIONS, "max_retries": 0}
    return _cluster(str(who), socket_of(folder, who), {"http_protocol_options": {}}, limits)


def _cluster(name: str, pipe: Path, protocol: Mapping[str, Json], limits: Mapping[str, Json]) -> Json:
    return {
        "name": name,
        "connect_timeout": "5s",
        "per_connection_buffer_limit_bytes": BUFFER,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": {"pipe": {"path": str(pipe)}}}}]}]},
        **({"circuit_breakers": {"thresholds": [limits]}} if limits else {}),
        "typed_extension_protocol_options": {_HTTP: {
            "@type": f"type.googleapis.com/{_HTTP}",
            "explicit_http_config": protocol,
            **({"common_http_protocol_options": {"idle_timeout": f"{UPSTREAM_IDLE_S}s"}} if limits else {}),
        }},
    }
