"""What ends mutual TLS beside us: haproxy, Envoy with its RBAC matcher, and the nginx that stands behind both."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import stack

ANSWER: Final = (
    '{"id":1,"jsonrpc":"2.0","result":{"message":{"messageId":"a","parts":[{"text":"you said hello"}],'
    '"role":"ROLE_AGENT"}}}'
)
NGINX: Final = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/nginx-body;
  keepalive_requests 100000000;
  server {{
    listen unix:{folder}/backend.sock;
    location / {{ default_type application/json; return 200 '{answer}'; }}
  }}
}}
"""
HAPROXY: Final = """
global
  nbthread 1
  ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind 127.0.0.1:{port} ssl crt {server}/both.pem ca-file {server}/trust.pem verify required alpn http/1.1
  default_backend back
backend back
  server one unix@{folder}/backend.sock
"""
_API: Final = "type.googleapis.com/envoy"


def missing() -> dict[str, str]:
    """Rivals that are not on this machine, and why."""
    found: dict[str, str] = {}
    for name in ("nginx", "wrk", "cc"):
        if shutil.which(name) is None:
            found[name] = f"{name} is not installed"
    if shutil.which("haproxy") is None:
        found["haproxy"] = "haproxy is not installed"
    if not Path(os.environ.get("RINGWALL_ENVOY", "")).is_file():
        found["envoy"] = "RINGWALL_ENVOY does not name an envoy"
    return found


def versions() -> dict[str, str]:
    """Of those that are there."""
    asked = {"haproxy": ("haproxy", "-v"), "nginx": ("nginx", "-v"), "wrk": ("wrk", "-v"),
             "envoy": (os.environ.get("RINGWALL_ENVOY", ""), "--version")}
    absent, found = missing(), dict[str, str]()
    for name, command in asked.items():
        if name not in absent:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            number = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
            found[name] = number[0] if number else "unknown"
    return found


def nginx(folder: Path) -> AbstractContextManager[Any]:
    """The backend, on a Unix socket."""
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, answer=ANSWER))
    return stack.silent(("nginx", "-c", str(config), "-e", "stderr"), str(folder / "backend.sock"),
                        folder / "nginx.log")


def haproxy(folder: Path, server: Path, port: int) -> AbstractContextManager[Any]:
    """Mutual TLS 1.3 by OpenSSL's own rules: no SPIFFE ID, no look into what is sent."""
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(folder=folder, server=server, port=port))
    return stack.silent(("haproxy", "-db", "-f", str(config)), port, folder / "haproxy.log")


def envoy(folder: Path, server: Path, port: int, allowed: str) -> AbstractContextManager[Any]:
    """Mutual TLS 1.3, its SPIFFE validator, and one SPIFFE ID that may pass; no look into what is sent."""
    config = folder / "envoy.json"
    config.write_text(json.dumps(_envoy(folder, server, port, allowed)))
    command = (os.environ["RINGWALL_ENVOY"], "-c", str(config), "--concurrency", "1", "--disable-hot-restart",
               "--log-level", "error")
    return stack.silent(command, port, folder / "envoy.log")


def _envoy(folder: Path, server: Path, port: int, allowed: str) -> dict[str, Any]:
    http = {
        "@type": f"{_API}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in", "codec_type": "HTTP1", "generate_request_id": False,
        "http_filters": [
            {"name": "envoy.filters.http.rbac", "typed_config": {
                "@type": f"{_API}.extensions.filters.http.rbac.v3.RBAC", "matcher": _matcher(allowed)}},
            {"name": "envoy.filters.http.router", "typed_config": {
                "@type": f"{_API}.extensions.filters.http.router.v3.Router", "suppress_envoy_headers": True}},
        ],
        "route_config": {"name": "all", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "back"}}]}]},
    }
    return {"static_resources": {
        "listeners": [{
            "name": "in", "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{
                "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": _tls(server, allowed)},
                "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": http}],
            }],
        }],
        "clusters": [{
            "name": "back", "connect_timeout": "5s",
            "load_assignment": {"cluster_name": "back", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": {"pipe": {"path": str(folder / "backend.sock")}}}}]}]},
        }],
    }}


def _tls(server: Path, allowed: str) -> dict[str, Any]:
    domain = allowed.removeprefix("spiffe://").partition("/")[0]
    validator = {
        "@type": f"{_API}.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
        "trust_domains": [{"name": domain, "trust_bundle": {"filename": str(server / "trust.pem")}}],
    }
    return {
        "@type": f"{_API}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "disable_stateless_session_resumption": True,
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "alpn_protocols": ["http/1.1"],
            "tls_certificates": [{"certificate_chain": {"filename": str(server / "chain.pem")},
                                  "private_key": {"filename": str(server / "key.pem")}}],
            "validation_context": {"custom_validator_config": {
                "name": "envoy.tls.cert_validator.spiffe", "typed_config": validator}},
        },
    }


def _matcher(allowed: str) -> dict[str, Any]:
    def does(what: str) -> dict[str, Any]:
        return {"action": {"name": what, "typed_config": {
            "@type": f"{_API}.config.rbac.v3.Action", "name": what, "action": what}}}

    source = {"name": "urisan", "typed_config": {
        "@type": f"{_API}.extensions.matching.common_inputs.ssl.v3.UriSanInput"}}
    return {"matcher_tree": {"input": source, "exact_match_map": {"map": {allowed: does("ALLOW")}}},
            "on_no_match": does("DENY")}
