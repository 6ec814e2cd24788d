"""Others that add a kept secret to requests: Envoy's credential injector, LiteLLM's pass-through endpoints.

Each has two ways to the same web API, one that adds the secret as a header and one that does not. Envoy is what
``RINGWALL_ENVOY`` names, LiteLLM the environment of benchmarks/gateway.py.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

from parts import gateway_rivals, rivals

import stack

START_S: Final = 120.0  # LiteLLM imports for half a minute on a busy machine
_API: Final = "type.googleapis.com/envoy"
SETTINGS: Final = {
    "envoy": "--concurrency 1, credential_injector with a generic secret in memory",
    "litellm": "1 worker, pass_through_endpoints, no database, --telemetry False",
}
Ways = dict[str, dict[str, Any]]
"""``without`` and ``with``: arguments of ``gateway_load.Target``."""


def missing() -> dict[str, str]:
    """Rivals that are not on this machine, and why."""
    absent = {**rivals.missing(), **gateway_rivals.missing()}
    return {name: absent[name] for name in SETTINGS if name in absent}


def versions() -> dict[str, str]:
    """Of those that are there."""
    found = {**rivals.versions(), **gateway_rivals.versions()}
    return {name: found[name] for name in SETTINGS if name in found}


@contextlib.contextmanager
def running(name: str, folder: Path, api: int, secret: str) -> Generator[Ways]:
    """One of them, until the block ends."""
    with {"envoy": _envoy, "litellm": _litellm}[name](folder, api, secret) as ways:
        yield ways


@contextlib.contextmanager
def _envoy(folder: Path, api: int, secret: str) -> Generator[Ways]:
    ports = {way: stack.free_port() for way in ("without", "with")}
    config = folder / "injecting.json"
    config.write_text(json.dumps({"static_resources": {
        "secrets": [{"name": "kept", "generic_secret": {"secret": {"inline_string": f"Bearer {secret}"}}}],
        "listeners": [_listener(port, injecting=way == "with") for way, port in ports.items()],
        "clusters": [{
            "name": "back", "connect_timeout": "5s",
            "load_assignment": {"cluster_name": "back", "endpoints": [{"lb_endpoints": [{"endpoint": {
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": api}}}}]}]},
        }],
    }}))  # fmt: skip
    command = (os.environ["RINGWALL_ENVOY"], "-c", str(config), "--concurrency", "1", "--disable-hot-restart",
               "--log-level", "error")
    with stack.silent(command, ports["with"], folder / "injecting.log"):
        yield {way: {"address": port, "route": "/ask", "headers": {}} for way, port in ports.items()}


def _listener(port: int, *, injecting: bool) -> dict[str, Any]:
    injector = {"name": "envoy.filters.http.credential_injector", "typed_config": {
        "@type": f"{_API}.extensions.filters.http.credential_injector.v3.CredentialInjector",
        "credential": {"name": "envoy.http.injected_credentials.generic", "typed_config": {
            "@type": f"{_API}.extensions.http.injected_credentials.generic.v3.Generic",
            "credential": {"name": "kept"}}}}}
    router = {"name": "envoy.filters.http.router", "typed_config": {
        "@type": f"{_API}.extensions.filters.http.router.v3.Router", "suppress_envoy_headers": True}}
    http = {
        "@type": f"{_API}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in", "codec_type": "HTTP1", "generate_request_id": False,
        "http_filters": [*([injector] if injecting else []), router],
        "route_config": {"name": "all", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "back"}}]}]},
    }
    return {"name": str(port), "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [
                {"name": "envoy.filters.network.http_connection_manager", "typed_config": http}]}]}


@contextlib.contextmanager
def _litellm(folder: Path, api: int, secret: str) -> Generator[Ways]:
    port, target = stack.free_port(), f"http://127.0.0.1:{api}/ask"
    config = folder / "passing.yaml"  # JSON is YAML
    config.write_text(json.dumps({"general_settings": {"master_key": gateway_rivals.KEY, "pass_through_endpoints": [
        {"path": "/without", "target": target, "headers": {"content-type": "application/json"}},
        {"path": "/with", "target": target, "headers": {
            "content-type": "application/json", "authorization": "bearer os.environ/BENCH_SECRET"}},
    ]}}))  # fmt: skip
    command = (str(gateway_rivals.folder_of("litellm") / "bin" / "litellm"), "--config", str(config), "--host",
               "127.0.0.1", "--port", str(port), "--telemetry", "False")
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "BENCH_SECRET": secret}
    with stack.silent(command, port, folder / "passing.log", environment=environment, cwd=folder, seconds=START_S):
        key = {"Authorization": f"Bearer {gateway_rivals.KEY}"}  # its own; not passed on
        yield {way: {"address": port, "route": f"/{way}", "headers": key} for way in ("without", "with")}
