"""The parts of hand-written pages that are made from code or measurements: between two marker comments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TARGET = 4.0  # as in benchmarks/call.py
_NAMES = {
    "base": "base: echo that appends 600 bytes and calls fdatasync",
    "grouped": "the same, waiting requests sharing one fdatasync",
    "wall": "**governed call** (sidecar's built-in echo)",
    "sdk": "governed call to a server of the MCP SDK",
}
_INBOUND = """\
Messages between agents: CPU of the inbound path (TLS, certificates, HTTP, the closed schema, the sender's envelope
opened, the answer's sealed) while the wall answers at once, 16 connections.
"""
_PEERS = {
    "ours": "**Ringwall**", "foreign": "Ringwall, a peer of another trust domain (no envelope to open)",
    "haproxy": "haproxy, mutual TLS and no check", "envoy": "Envoy, SPIFFE validator and RBAC",
}
_PEER_TARGETS = {"haproxy": 3.0, "envoy": 1.0}  # as in benchmarks/peers.py
_FIVE = "|---|---|---|---|---|"
_WHOLE = {"plain": "the same server with nothing between", "walls": "**through both walls**"}
_MCP = """\
Through the gateway, one connection, 2 KB each way, rounds of all in turn; added to the same request sent straight
to the server (of the MCP SDK, over streamable HTTP) or the model. Ringwall has its guard on and records durably
before each effect; the others are as shipped, without either.
"""
_GATEWAY = {
    "ringwall": "**Ringwall**", "blind": "Ringwall without guard", "pipes": "Ringwall, the tool over pipes",
    "litellm": "LiteLLM's proxy", "contextforge": "ContextForge", "fastmcp": "fastmcp's proxy",
}
_GATEWAY_TARGETS = {"mcp": ("MCP calls", 0.1), "chat": ("chat", 0.2)}  # as in benchmarks/gateway.py
_LATE = 5.0  # ms of a stream's first text
_VAULT_TARGETS = {"read_cpu_us": 50.0, "rewrap_s": 1.0}  # as in benchmarks/vault.py
_REVOKED_MS = 50.0  # as in benchmarks/leases.py
_ADDED_MS = 0.2  # as in benchmarks/injection.py
_USED = {
    "vault": "**Ringwall, of the vault, in a header**", "pointer": "Ringwall, of the vault, in the JSON body",
    "file": "Ringwall, of a file, in a header", "envoy": "Envoy's credential injector",
    "litellm": "LiteLLM's pass-through endpoint", "client": "nobody between: the client has it",
}
_USING = """\
What a secret adds to a call, 2 KB each way, each over the same call without one (median of rounds side by side).
Ringwall judges and records either, and searches the answer for the secret; the others do neither.
"""
# What the attacks' numbers stand for.
_THREATS = {
    1: "Text that gives orders",
    2: "The wrong tool, resource or identity",
    3: "Agents against agents",
    4: "Leaks",
    5: "A way around the wall",
    0: "The wall itself",
}


def fill(page: str, name: str, text: str) -> str:
    """The page with what stands between the markers of ``name`` replaced. Raises ValueError without markers."""
    marked = re.compile(rf"(<!-- {name}: [^>]*-->\n).*?(<!-- end {name} -->)", re.DOTALL)
    filled, count = marked.subn(lambda found: f"{found[1]}{text.rstrip()}\n{found[2]}", page)
    if count != 1:
        raise ValueError(f"{count} places are marked {name!r}")
    return filled


def benchmark(results: Path) -> str:
    """What the benchmarks stored that the README shows, each by its file's name."""
    stored: Mapping[str, Any] = json.loads(results.read_text()) if results.exists() else {}
    made = {"call": _call, "peers": _peers, "svids": _svids, "gateway": _gateway, "vault": _vault,
            "leases": _leases, "injection": _injection, "soak": _soak}
    parts = [f"Not measured yet: `python benchmarks/{name}.py --save`." if name not in stored else
             f"{write(stored[name]['figures'])}\n\n{_measured(stored[name])}" for name, write in made.items()]
    return "\n\n".join(parts)


def _measured(entry: Mapping[str, Any]) -> str:
    """Where, with what."""
    used = {**entry["versions"], **entry["figures"].get("versions", {})}
    versions = ", ".join(f"{package} {number}" for package, number in used.items())
    return f"Measured on {entry['machine']}; {versions}; commit {entry['commit']}."


def _call(figures: Mapping[str, Any]) -> str:
    lines = ["| connections | | p50 µs | p99 µs | calls/s | times base | in the quietest round |",
             "|---|---|---|---|---|---|---|"]
    for connections, rows in figures["connections"].items():
        for name, row in rows.items():
            lines.append(f"| {connections} | {_NAMES[name]} | {row['p50_us']} | {row['p99_us']} | "
                         f"{row['per_second']} | {row['ratio']:.2f} | {row['quiet_ratio']:.2f} |")
    verdicts = [f"{connections} connection{'s' * (connections != '1')}: {_verdict(rows['wall']['ratio'])}"
                for connections, rows in figures["connections"].items()]
    parts = ", ".join(f"{name} {number}" for name, number in figures["stages_us"].items())
    target = f"The target is at most {TARGET:g} times the base at the median. {'; '.join(verdicts)}."
    return "\n".join([*lines, "", target, "", f"Where the time goes, in µs at one connection: {parts}."])


def _peers(figures: Mapping[str, Any]) -> str:
    """The inbound path by its CPU, and the whole path by its time."""
    lines = [_INBOUND, *(f"Left out: {why}.\n" for why in figures["absent"].values())]
    if "inbound" in figures:
        lines += ["| inbound | CPU µs a request | rounds | requests/s | CPU µs a connection |", _FIVE]
        for name in [name for name in _PEERS if name in figures["inbound"]]:
            row = figures["inbound"][name]
            lines.append(f"| {_PEERS[name]} | {row['cpu_us']} | {row['least_us']} to {row['most_us']} | "
                         f"{row['per_second']:.0f} | {row['connection_us']:.0f} |")
        verdicts = [f"{figures['ratios'][name]:.1f} times {_PEERS[name]}, wanted at most {most:g}: "
                    f"{'**missed**' if figures['ratios'][name] > most else 'met'}"
                    for name, most in _PEER_TARGETS.items() if name in figures["ratios"]]
        core, sidecar = figures["inbound"]["ours"]["parts_us"]
        lines += ["", f"{'; '.join(verdicts)}. Of Ringwall's, the core has {core}, the sidecar {sidecar}."]
    lines += ["", "| agent to agent, records durable | connections | p50 ms | p99 ms | messages/s |", _FIVE]
    for connections, rows in figures["whole"].items():
        for name, row in rows.items():
            lines.append(f"| {_WHOLE[name]} | {connections} | {row['p50_ms']:.2f} | {row['p99_ms']:.2f} | "
                         f"{row['per_second']} |")
    return "\n".join(lines)


def _svids(figures: Mapping[str, Any]) -> str:
    quick, whole = figures["quick"], figures["whole"]
    return "\n".join([
        f"SVIDs over the Workload API, {figures['streams']} streams open, CPU of the core:", "",
        "| | measured | target |", "|---|---|---|",
        f"| first SVID | {quick['first_ms']:.2f} ms | 1.5 ms |",
        f"| renewed, all at once | {quick['turn_ms']:.2f} ms | 0.5 ms |",
        f"| memory of a stream | {quick['stream_kib']:.0f} KiB | 48 KiB |",
        f"| first SVID through the whole wall, its record durable | {whole['first_ms']:.2f} ms | |",
    ])


def _gateway(figures: Mapping[str, Any]) -> str:
    lines = [_MCP, *(f"Left out: {name}, {why}.\n" for name, why in figures["absent"].items()),
             "| | added p50 ms | added p99 ms | calls/s at 16 connections |", "|---|---|---|---|"]
    for what, (title, _) in _GATEWAY_TARGETS.items():
        direct = figures[what]["1"]["direct"]
        lines.append(f"| {title}, directly: p50 {direct['p50_ms']:.2f} ms | | | "
                     f"{figures[what]['16']['direct']['per_second']} |")
        for name in [name for name in _GATEWAY if name in figures[what]["1"]]:
            row = figures[what]["1"][name]
            lines.append(f"| {title}: {_GATEWAY[name]} | {row['added_p50_ms']:.2f} | {row['added_p99_ms']:.2f} | "
                         f"{figures[what]['16'][name]['per_second']} |")
    stream = figures["stream"]["ringwall"]
    verdicts = [f"{title}: {figures['ratios'][what]:.3f} times what the best of the others adds, wanted at most "
                f"{most:g}: {'**missed**' if figures['ratios'][what] > most else 'met'}"
                for what, (title, most) in _GATEWAY_TARGETS.items() if what in figures["ratios"]]
    first = stream["added_first_late_ms"]
    met = "**missed**" if first > _LATE else "met"
    told = (f"A stream's first text comes {first:.2f} ms after the 128 characters that the guard holds back, "
            f"wanted at most {_LATE:g}: {met}; a later one {stream['added_token_p50_ms']:.2f} ms.")
    settings = "; ".join(f"{_GATEWAY[name]}: {how}" for name, how in figures["settings"].items())
    return "\n".join([*lines, "", *(f"{one}." for one in verdicts), told, f"Settings: {settings or 'none'}."])


def _vault(figures: Mapping[str, Any]) -> str:
    """Beside OpenBao, if it was there."""
    def row(name: str, label: str, unit: str) -> str:
        target = _VAULT_TARGETS.get(name)
        verdict = "" if target is None else f"{target:g} {unit}, {_missed(figures[name] > target)}"
        return f"| {label} | {figures[name]:g} {unit} | {verdict} |"

    lines = ["The embedded vault with 20,000 secrets of 64 bytes:", "", "| | measured | target |", "|---|---|---|",
             row("read_cpu_us", "read and decrypt, one after the other, CPU", "µs"),
             row("put_us", "put, durable", "µs"),
             row("rewrap_s", "all under another root key", "s"), row("unseal_s", "unseal, every mark checked", "s")]
    if "ratio" in figures:
        beside = (f"A read takes {figures['read_us']:g} µs, in the core's own process; one of OpenBao's KV, out of "
                  f"memory and over HTTP on the loopback, {figures['bao_read_us']:g} µs.")
        lines += ["", beside]
    return "\n".join(lines)


def _leases(figures: Mapping[str, Any]) -> str:
    p99 = figures["revoked_p99_ms"]
    return (f"Leases, 1,000 of them alive: from revoking one to its first refused use p99 {p99:.2f} ms, "
            f"wanted at most {_REVOKED_MS:g}: {_missed(p99 > _REVOKED_MS)}. Twenty uses take "
            f"{figures['exchanges_for_20_uses']} exchange, each later use {figures['use_p50_ms'] * 1000:.0f} µs. A "
            f"freeze of all drops the last one after {figures['frozen_last_drop_ms']:.1f} ms.")


def _injection(figures: Mapping[str, Any]) -> str:
    rows = figures["rows"]
    lines = [_USING, *(f"Left out: {name}, {why}.\n" for name, why in figures["absent"].items()),
             "| | p50 ms | p99 ms | a secret adds, ms | middle half of the rounds |", _FIVE]
    for name in [name for name in _USED if name in rows]:
        row = rows[name]
        lines.append(f"| {_USED[name]} | {row['p50_ms']:.2f} | {row['p99_ms']:.2f} | {row['added_p50_ms']:.3f} | "
                     f"{row['added_from_ms']:.3f} to {row['added_to_ms']:.3f} |")
    added, s3, boto3 = rows["vault"]["added_p50_ms"], rows["s3"], rows["boto3"]
    cpu = rows["vault"]["cpu_us"] - rows["plain"]["cpu_us"]
    verdict = (f"A secret of the vault adds {added:.3f} ms ({cpu} µs of CPU), wanted at most {_ADDED_MS:g}: "
               f"{_missed(added > _ADDED_MS)}.")
    settings = "; ".join(f"{_USED[name]}: {how}" for name, how in figures["settings"].items())
    minted = ("`get` of the built-in `s3`, with a credential minted for just that object: p50 "
              f"{s3['p50_ms']:.1f} ms, p99 {s3['p99_ms']:.1f}; boto3 alone, with a lasting key and a "
              "kept connection to the same store, "
              f"{boto3['p50_ms']:.1f} and {boto3['p99_ms']:.1f}. The first 20 calls took "
              f"{figures['exchanges_for_20_calls']} exchange.")
    return "\n".join([*lines, "", verdict, f"Settings: {settings or 'none'}.", "", minted])


def _missed(missed: bool) -> str:
    return "**missed**" if missed else "met"


def _soak(figures: Mapping[str, Any]) -> str:
    return (f"{figures['calls']:,} calls through the MCP door over {figures['connections']} connections: memory of "
            f"core, guard and sidecar {figures['grown_in_all']:+.1%} since the first tenth, p99 of the last tenth "
            f"{figures['p99_ratio']:.2f} times the first's.")


def _verdict(ratio: float) -> str:
    return f"{ratio:.2f}, {'**missed**' if ratio > TARGET else 'met'}"


def attacks() -> str:
    """Every attack with what stops it, from the attacks themselves."""
    from ringwall.redteam.attack import all_attacks

    found = all_attacks()
    lines: list[str] = []
    for number, title in _THREATS.items():
        rows = [attack for attack in found if attack.threat == number]
        if rows:
            lines += [f"### {title}", "", "| attack | what it tests | each of these stops it alone | ids |",
                      "|---|---|---|---|"]
            lines += [f"| `{a.id}`: {a.title} | {a.mitigation} | {', '.join(a.barriers) or '-'} | "
                      f"{', '.join(a.technique)} |" for a in rows]
            lines.append("")
    unknown = {attack.threat for attack in found} - set(_THREATS)
    if unknown:
        raise ValueError(f"threats without a title: {unknown}")
    lines += ["### Accepted single points", "", "| attack | only barrier | why it is accepted |", "|---|---|---|"]
    lines += [f"| `{a.id}` | {', '.join(a.barriers) or 'no ring'} | {a.accepted} |"
              for a in found if a.accepted]
    return "\n".join(lines)
