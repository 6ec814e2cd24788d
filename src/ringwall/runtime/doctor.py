"""What is enforced here, at which strength, what is not, and the line that would mend it.

Everything is tried out (``confine.probe``, ``identity.probe``) or asked of the running core; nothing is read off a
version number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ringwall.call import Json
from ringwall.capability.catalogue import CHANGED
from ringwall.confine.probe import Strengths
from ringwall.identity.probe import Probe as IdentityProbe
from ringwall.runtime.folders import RUN, WRITABLE

Level = Literal["strong", "degraded", "weak", "off"]
BROKER: Final = "broker-"  # how the names of the processes begin that ask for credentials (``runtime.brokering``)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report."""

    area: str
    level: Level
    detail: str
    mend: str = ""


def examine(
    *,
    confinement: Strengths,
    identity: IdentityProbe,
    policy: Mapping[str, Json],
    status: Mapping[str, Json] | None,
) -> tuple[Finding, ...]:
    """Every area. ``status``: what the running core says of itself, or None when there is none."""
    return (
        _identity(identity),
        _confinement(confinement),
        _policy((status or {}).get("policy") or {"backend": "embedded", "fault": "", **policy}),
        *_running(status),
        *_unconfined(status),
    )


def _policy(policy: Mapping[str, Json]) -> Finding:
    revision = str(policy["revision"])[:12]
    if policy["fault"]:
        return Finding(area="policy", level="off", detail=f"every call is refused: {policy['fault']}",
                       mend=str(policy["remedy"]))
    if policy.get("stale"):
        return Finding(area="policy", level="degraded", mend=str(policy["stale_remedy"]),
                       detail=f"revision {revision} goes on serving; a newer bundle was refused: {policy['stale']}")
    if policy["backend"] == "embedded":
        return Finding(area="policy", level="strong",
                       detail=f"plan {revision}, compiled by OPA {policy['opa']}, in process")
    where = str(policy["opa"])
    detail = f"bundle {revision}, decided by OPA {policy['version']} at {where}"
    if where.startswith("unix:"):
        return Finding(area="policy", level="strong", detail=detail)
    return Finding(area="policy", level="degraded",
                   detail=f"{detail}; while it is down, any process of this machine's network may take its port",
                   mend="let OPA listen on a Unix socket in a folder of its own")


def _identity(probe: IdentityProbe) -> Finding:
    how = {
        "inode": "pidfd, distinct inodes (probed)",
        "number": "pidfd, compared by number (probed)",
        "peercred": "process number and start time only",
        "none": "processes cannot be told apart",
    }[probe.method]
    level: Mapping[str, Level] = {"strong": "strong", "weak": "weak", "none": "off"}
    tree = "" if probe.tree else '; processes = "tree" refuses descendants'
    sender = f"; sender of {probe.sender} checked"
    if probe.detail:
        sender += f" ({probe.detail})"
    degraded = probe.strength == "strong" and not probe.reads
    return Finding(area="identity", level="degraded" if degraded else level[probe.strength],
                   detail=how + sender + tree, mend=probe.remedy)


def _confinement(found: Strengths) -> Finding:
    missing = [probe for probe in found.probes if not probe.holds]
    who = "as root, own uids" if found.root else "as an ordinary user, user namespaces"
    if not missing:
        return Finding(
            area="confinement",
            level="strong",
            detail=f"namespaces, own view, landlock {found.landlock_abi}, seccomp; {who}",
        )
    texts = ", ".join(f"{probe.name} ({probe.step}: {probe.errno})" for probe in missing)
    mend = next((probe.remedy for probe in missing if probe.remedy), "")
    if found.can_confine:
        return Finding(area="confinement", level="degraded", detail=f"missing: {texts}; {who}", mend=mend)
    return Finding(area="confinement", level="off", detail=f"agents are refused; missing: {texts}", mend=mend)


def _running(status: Mapping[str, Json] | None) -> Sequence[Finding]:
    if status is None:
        return (Finding(area="core", level="off", detail="not running: everything is refused", mend="ringwall up"),)
    return (
        _guard(status["guard"]), _audit(status["audit"]), *_svid(status.get("svid")), *_vault(status.get("vault")),
        *_brokers(status.get("processes", [])), *_leases(status.get("leases")), *_problems(status),
        *_frozen(status),
    )


def _svid(svid: Mapping[str, Json] | None) -> Sequence[Finding]:
    """The authority and the bundles of other trust domains."""
    if svid is None:
        return ()
    if svid.get("source") == "spire":
        return (_spire(svid), *_federated(svid))
    signing = {key["use"] for key in svid["keys"] if key["phase"] == "active"}
    level: Level = "strong" if not svid["fault"] else "degraded" if len(signing) == 2 else "off"
    detail = f"embedded authority of {svid['trust_domain']}, SVIDs of 15 minutes; bundle {svid['sequence']}"
    if svid["fault"]:
        detail = f"embedded authority of {svid['trust_domain']} cannot rotate its keys: {svid['fault']}"
    mend = "the keys there are go on until they expire; make room on the disk" if svid["fault"] else ""
    return (
        Finding(area="svid", level=level, detail=detail, mend=mend),
        *_federated(svid),
        *_published(svid.get("published")),
    )


def _spire(svid: Mapping[str, Json]) -> Finding:
    """Whose SVIDs are not ours is never as strong as ours: it says why."""
    weaker: Sequence[str] = svid["weaker"]
    where = f"SPIRE at {svid['socket']} issues for {svid['trust_domain']}"
    if svid["fault"]:
        return Finding(area="svid", level="degraded" if svid["known"] else "off",
                       detail=f"{where}: {svid['fault']}"[:400], mend="look at the SPIRE agent and its entries")
    return Finding(area="svid", level="degraded", detail="; ".join([where, *weaker]),
                   mend="leave [identity] spire out: our own authority attests processes")


def _federated(svid: Mapping[str, Json]) -> Sequence[Finding]:
    federated: Mapping[str, Mapping[str, Json]] = svid["federated"]
    return [
        Finding(area="federation", level="degraded" if one["known"] else "off",
                detail=f"{domain}: {one['fault']}"[:400],
                mend="get its bundle document again, or mend its endpoint in [identity.federation]")
        for domain, one in federated.items() if one["fault"]
    ]


def _published(published: Mapping[str, Json] | None) -> Sequence[Finding]:
    """Our own endpoint for other trust domains and for verifiers of tokens."""
    if published is None:
        return ()
    where = f"{published['profile']} at {published['address']}"
    if published["fault"]:
        return (Finding(area="publish", level="off", detail=f"{where}: {published['fault']}"[:400],
                        mend="`ringwall status` says more; it is tried again by itself"),)
    misfits: Sequence[str] = published["misfits"]
    return (Finding(area="publish", level="degraded" if misfits else "strong",
                    detail="; ".join([where, *misfits]),
                    mend="see docs/identity.md, Publishing" if misfits else ""),)


def _vault(vault: Mapping[str, Json] | None) -> Sequence[Finding]:
    """The embedded vault: nothing is said of one that is not there and that no secret needs."""
    if vault is None or (vault["state"] == "absent" and not vault["needed"] and not vault["fault"]):
        return ()
    fault: Mapping[str, str] | None = vault["fault"]
    if vault["state"] == "open":
        beside = vault["root"] == "file"
        detail = f"open, root key generation {vault['generation']} kept by `{vault['root']}`"
        return (Finding(area="vault", level="degraded" if beside else "strong",
                        detail=detail + ("; it lies beside the vault: whoever copies the state folder has both"
                                         if beside else ""),
                        mend="another `root` in [vault]: docs/root-keys.md" if beside else ""),)
    level: Level = "off" if vault["needed"] else "degraded"
    if fault is not None:
        return (Finding(area="vault", level=level, mend=opening(vault),
                        detail=f"{vault['state']}: {fault['cause']}; every use of a kept secret is refused"[:400]),)
    if vault["state"] == "absent":
        return (Finding(area="vault", level=level, detail="absent: every use of a kept secret is refused",
                        mend=opening(vault)),)
    shares: Mapping[str, int] = vault.get("shares") or {}
    brought = f"; {shares['brought']} of {shares['threshold']} shares are there" if shares else ""
    return (Finding(area="vault", level=level, detail=f"sealed: every use of a kept secret is refused{brought}",
                    mend=opening(vault)),)


def opening(vault: Mapping[str, Json]) -> str:
    """What makes a vault that is not open usable. Unsealing does not help against an older or a lost file."""
    remedy = str(vault["fault"]["remedy"]) if vault["fault"] else ""
    if vault["state"] == "absent":
        return remedy or "ringwall vault init"
    if "ringwall vault" in remedy:
        return remedy
    return f"{remedy}; then: ringwall vault unseal" if remedy else "ringwall vault unseal"


def _brokers(processes: Sequence[Mapping[str, Json]]) -> Sequence[Finding]:
    """The processes that ask others for credentials and values."""
    brokers = [one for one in processes if str(one["name"]).startswith(BROKER)]
    down = [
        Finding(area="brokers", level="off" if one["fault"] else "degraded",
                detail=f"{one['name']} is down: {one['fault'] or 'it starts'}; what it asks for is refused"[:400],
                mend="it is started again by itself; `ringwall status` says more" if one["fault"] else "")
        for one in brokers if not one["ready"]
    ]
    if not brokers or down:
        return down
    names = ", ".join(str(one["name"]) for one in brokers)
    return (Finding(area="brokers", level="strong", detail=f"up: {names}"),)


def _leases(leases: Mapping[str, Json] | None) -> Sequence[Finding]:
    """Credentials that were made for agents, and those whose provider could not be told that they ended."""
    if leases is None:
        return ()
    if leases["fault"]:
        return (Finding(area="leases", level="off", detail=f"no credentials are made: {leases['fault']}"[:400],
                        mend="mend that, then restart `ringwall up`"),)
    if leases["late"]:
        what = f"{leases['late']} ended here, and their provider could not be told yet; {leases['first']}"
        return (Finding(area="leases", level="degraded", detail=what[:400],
                        mend="it is tried again by itself; `ringwall leases` lists them, docs/leases.md"),)
    if not leases["held"]:
        return ()
    return (Finding(area="leases", level="strong", detail=f"{leases['held']} held, each for 15 minutes at most"),)


def _guard(guard: Mapping[str, Json]) -> Finding:
    if not guard["alive"]:
        return Finding(area="guard", level="off", detail="down: every call is refused", mend="ringwall status")
    stages = ", ".join(str(stage) for stage in guard["stages"])
    lacking = ", ".join(str(part) for part in guard["degraded"])
    return Finding(
        area="guard",
        level="degraded" if lacking else "strong",
        detail=f"rules {str(guard['rules'])[:12]}: {stages}" + (f"; missing: {lacking}" if lacking else ""),
    )


def _audit(audit: Mapping[str, Json]) -> Finding:
    logs: Mapping[str, Mapping[str, Json]] = audit["logs"]
    broken = {name: log["fault"] for name, log in logs.items() if log["fault"] is not None}
    if broken:
        name, fault = next(iter(broken.items()))
        return Finding(
            area="audit",
            level="off",
            detail=f"{name}: {fault['cause']}; its calls are refused",
            mend=str(fault["remedy"]),
        )
    return Finding(
        area="audit",
        level="degraded",
        detail=f"{len(logs)} logs, {audit['durability']}; no witness outside this machine yet: whoever is "
        "root here could rewrite the log",
        mend="copy `ringwall audit export` to another machine",
    )


def _problems(status: Mapping[str, Json]) -> Sequence[Finding]:
    problems: Mapping[str, str] = status["problems"]
    # Only the core's own words carry a line to run: other problems quote a tool server.
    split = [(name, *text.partition(RUN)[::2]) if name.endswith(WRITABLE) else (name, text, "")
             for name, text in problems.items()]
    return [
        Finding(
            area="tools",
            level="degraded" if line else "off",
            detail=f"{name}: {text}"[:400],
            mend=line or _mend(name, text),
        )
        for name, text, line in split
    ]


def _mend(name: str, text: str) -> str:
    """The line for a tool server that gives no usable definitions. ``name``: its tenant, a slash, its own."""
    if CHANGED in text:
        return f"ringwall pins list {name.partition('/')[0]}"
    return "mend the server, then restart `ringwall up`"


def _frozen(status: Mapping[str, Json]) -> Sequence[Finding]:
    """What an operator froze is as it should be; a freeze that a restart would forget is not."""
    return [
        Finding(
            area="frozen",
            level="degraded" if one["durable"] else "weak",
            detail=f"{one['scope']} {one['name']}".strip()
            + f" by {one['by']}: {one['reason']}"
            + ("" if one["durable"] else "; NOT in the log yet, a restart would forget it"),
            mend="ringwall thaw " + f"{one['scope']} {one['name']}".strip() + " --reason …"
            if one["durable"]
            else "make room on the disk of the log; it is tried again by itself",
        )
        for one in status["frozen"]
    ]


def _unconfined(status: Mapping[str, Json] | None) -> Sequence[Finding]:
    loose = [run for run in (status or {}).get("runs", []) if not run["confined"]]
    return [
        Finding(
            area="agents",
            level="off",
            detail=f"{run['agent']} ({run['tenant']}) runs UNCONFINED",
            mend="start it without --unconfined",
        )
        for run in loose
    ]
