"""What to do about a refusal for which no change of the manifest is right, by code, else by ring."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ringwall.call import RingName

QUESTIONS: Final[Mapping[str, str]] = MappingProxyType({
    "resolver": "is it a call, with one meaning?",
    "identity": "which process is this?",
    "capability": "was the agent given this?",
    "limits": "how much of it has there been?",
    "flow": "where did each value come from, and who would see it?",
    "guard": "what does the text carry?",
    "policy": "does the organisation allow it, all facts considered?",
    "approvals": "did a human say yes to exactly this call?",
    "audit": "is it written down?",
    "certificate": "who is proved to be at the other end?",
})
"""What each ring asks."""

_RINGS: Final[Mapping[str, str]] = MappingProxyType({
    "resolver": (
        "Nothing in the manifest makes damaged input a call. The agent must send it as docs/openapi.json has "
        "it; its client does."
    ),
    "identity": (
        "No manifest makes a process trusted that cannot be shown to be the launched one. Call from the "
        "process that `ringwall run` started; `ringwall doctor` tells how well this machine can tell "
        "processes apart."
    ),
    "capability": "The call itself is wrong, so no grant is. The agent must mend it.",
    "limits": "Wait, or give the work to another session; `ringwall limits` shows what is left.",
    "flow": (
        "Raising a clearance or a label would open that way to every later value as well. Name the recipient "
        "in the task of a new run, or run the part that reads untrusted or private data as a process of its "
        "own."
    ),
    "guard": "No manifest allows this text out. Leave the data out of the call.",
    "policy": (
        "The rule stands in the policy, not in the manifest. If the rule is wrong, change it there, and see "
        "with `ringwall policy replay --draft DIR` what else that changes."
    ),
    "approvals": "Ask again: the call is then put before a human anew.",
    "certificate": (
        "Look at the certificate (`ringwall svid verify FILE --bundle FILE`); docs/errors.md has the code. An "
        "authority vouches for its own trust domain and no other; a newer bundle of a partner goes under "
        "[identity.federation]."
    ),
    "audit": (
        "No call may run that cannot be written down. Mend what keeps the log from being written: `ringwall "
        "doctor`."
    ),
})

_CODES: Final[Mapping[str, str]] = MappingProxyType({
    "too_many_attempts": "This budget is fixed and counts every attempt, refused ones too. Call less often.",
    "frozen": "An operator froze it, and thaws it: `ringwall thaw`.",
    "ring_failed": (
        "A ring that cannot judge refuses everything. Mend it, starting with `ringwall doctor`; no manifest "
        "goes around it."
    ),
    "policy_error": (
        "The policy could not decide, which is a denial. Mend the policy: `ringwall policy test` and "
        "`ringwall policy eval` show where it fails."
    ),
    "guard_unavailable": (
        "Without the guard's verdict nothing passes. `ringwall status` tells whether it is up."
    ),
    "injection": (
        "The text carries instructions. Raising [guard] block_at would let all such text pass, so look at "
        "what the text is and where it comes from first."
    ),
    "hidden_text": "The text carries characters that no reader sees. Send plain text.",
    "bad_text": "The text is not valid Unicode. Send UTF-8.",
    "invalid_arguments": (
        "The arguments do not fit the tool's own schema, which the manifest cannot widen. The agent was told "
        "every error and must mend the call."
    ),
    "no_resource": "A call that may touch resources must name them. The agent must name what it wants.",
    "unresolved_argument": "An argument and the resource it names differ. That is never right; report it.",
    "scope_empty": (
        "No credential was made, because nothing of this call was given. The manifest that runs is another than "
        "the one this call was judged by: see whether it was changed meanwhile."
    ),
    "scope_inexpressible": (
        "No provider can give a credential for just what the call names, and a wider one is given to nobody. The "
        "agent must name something else."
    ),
    "vault_absent": "There is no vault yet. An operator makes it: `ringwall vault init`.",
    "vault_sealed": "Kept secrets are refused until an operator opens the vault: `ringwall vault unseal`.",
    "no_such_secret": (
        "No value was put for this agent in its role. `ringwall vault list TENANT` has what there is; "
        "`ringwall vault put TENANT/AGENT NAME`, or with --broker for what Ringwall itself shows to a provider."
    ),
    "secret_deleted": (
        "The newest version is deleted, and an older one is never used in its place. `ringwall vault undelete`, or "
        "`ringwall vault put` for a new one."
    ),
    "secret_destroyed": "The newest version is gone for good. `ringwall vault put` makes a new one.",
    "broker_unavailable": (
        "The process that makes the tenant's credentials was down, and is started again by itself. If it stays so, "
        "`ringwall status` has its last words."
    ),
    "provider_denied": (
        "Who makes the credential refused. Its own log says why; here look at the secret's role or client, its "
        "audience and its login."
    ),
    "provider_unreachable": (
        "Who makes the credential did not answer. Look at the secret's address in the manifest, `private` for an "
        "address that is not public, and its ca_file."
    ),
    "definition_changed": (
        "The tool's definition is not the one that was reviewed. `ringwall pins show TENANT TOOL` shows the "
        "difference; `ringwall pins accept TENANT TOOL` pins the new one once it is reviewed."
    ),
    "tool_unavailable": (
        "The tool's server does not offer it now. See `ringwall status` and the server's own output."
    ),
    "upstream_echoes_secret": (
        "The answer held the credential that Ringwall asked with, and would have given it to the agent. Mend what "
        "answers, and replace that credential: whoever runs it can read it."
    ),
    "bad_answer": (
        "The answer does not have the form it must have, or calls a tool that the request did not offer, so none "
        "of it was believed. A model that does so again is broken, or somebody tells it to."
    ),
    "log_budget": (
        "The agent filled its part of the tenant's log, and what cannot be written down does not happen. It comes "
        "back within an hour; `ringwall audit tail` shows what floods. [audit] quota_mib makes every part larger."
    ),
    "operator_only": "Only an operator may ask for this, over the operator socket.",
    "unknown_verb": "There is no such verb: `ringwall --help`.",
    "no_session": "The call belongs to no open session: the run it came from is over. Launch the agent again.",
    "not_attested": "No manifest makes an unattested process trusted: see the identity ring's facts.",
    "skill_unknown": (
        "The message names no skill that its receiver offers, or none where there are several. The sender names "
        "one in message.metadata[\"urn:ringwall:skill\"]."
    ),
    "loop": "The task would come back to an agent that it already went through. Ask that agent from outside.",
    "too_many_hops": "The task was handed on too often. [a2a] max_hops is how often it may be.",
    "beyond_delegation": (
        "The agent works for others (acting_for), and may do for them only what they may do themselves. Where it "
        "is meant to do more for one of them, say so: `lends` or `relays` of its `receive` for that one."
    ),
    "mode_not_declared": "The skill does not declare this media type: `input` and `output` of the skill.",
    "uri_not_declared": "The skill does not declare where files by URL may lie: `uris` of the skill.",
    "unknown_task": "These two agents have no such task. Task ids belong to the pair that made them.",
    "task_over": "The task has ended. Begin another one.",
    "duplicate_message": "This message came already, and was delivered once. A new message has a new messageId.",
    "bad_label": "Our own core sent a label that it cannot read: report it.",
    "unknown_kind": "Nothing runs calls of this kind in this version.",
    "approval_unavailable": "Nobody can approve here: approvals are switched off.",
    "approval_expired": "Nobody decided in time. Ask again, while somebody watches `ringwall approvals watch`.",
})


_FAMILIES: Final[Mapping[str, str]] = MappingProxyType({
    "envelope_": (
        "What the sender's core vouches for does not fit the message: another sender, receiver or body, too old, "
        "or delivered before. The agent must send through its own door; a core whose clock is wrong must be mended."
    ),
    "peer_": (
        "The other end could not be proved or reached. `ringwall status` tells of listeners and trust bundles; who "
        "a peer is stands under [peers] and [identity.federation]."
    ),
    "a2a_": "The message is not A2A 1.0 as its closed schema has it. The sender must mend it.",
})
"""By how a code begins; in the identity ring these name processes, and there the ring's own words hold."""


def by_code(code: str) -> str:
    """What to do about exactly this code; empty: nothing that holds wherever it stands."""
    return _CODES.get(code, "")


def instead(ring: RingName | str, code: str) -> str:
    """What to do where no change of the manifest is right."""
    families: Mapping[str, str] = _FAMILIES if ring != "identity" else {}
    family = next((text for start, text in families.items() if code.startswith(start)), "")
    known = _CODES.get(code) or family or _RINGS.get(ring)
    return known or "Nothing is known about this refusal; see docs/errors.md."
