"""Liars: barriers that answer what the attacker would like, with the facts he prefers.

Wired only here, by ``python -m ringwall.redteam.liars``; the runtime cannot reach this module. The matrix puts one
liar in a barrier's place at a time: the attack must still fail, because of the others. ``redteam.claims`` lets all
barriers that an attack names lie: then it must work.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cryptography import x509

from ringwall.call import Allowed, Call, Denied, Facts, Json, Operator, Peer, RingName, Subject
from ringwall.capability.details import Scopes
from ringwall.capability.imitation import Names
from ringwall.capability.messages import Messages
from ringwall.capability.resources import parse_pattern
from ringwall.confine.spec import Confinement
from ringwall.identity.operators import OperatorPeers
from ringwall.identity.spiffe import AnyId
from ringwall.identity.svid.verifier import Verified, X509Verifier
from ringwall.interface import Passage, Ring, Targets, Through
from ringwall.manifest.details import Detail
from ringwall.redteam import hands
from ringwall.redteam.attack import CREDENTIAL, GATEWAY, KEYS, LAYERS, Barrier, interpreter
from ringwall.runtime import core, sidecar
from ringwall.runtime.pins import LogPins
from ringwall.tools import plain_http

RINGS: Final[tuple[RingName, ...]] = ("identity", "capability", "limits", "flow", "guard", "policy")
BARRIERS: Final[tuple[Barrier, ...]] = (*RINGS, *KEYS, *LAYERS, *GATEWAY, *CREDENTIAL)

# What each ring would say of the most innocent call there is.
_PLEASANT: Final[Mapping[str, dict[str, Json]]] = {
    "identity": {
        "attested": True,
        "attestation": "process",
        "strength": "strong",
        "sender": "every read",
        "number": 0,
        "confined": True,
        "confinement": "strong",
    },
    "capability": {"granted": True, "resources": [], "effect": "read", "args": {}},
    "limits": {},
    "flow": {
        "denied": False,
        "effect": "read",
        "context": {"integrity": "P", "confidentiality": "public"},
        "args": [],
    },
    "guard": {"blocked": False, "injection": 0.0, "categories": {}},
    "policy": {"denials": 0, "approved": True},
}


class LyingRing:
    """Allows everything, shows everything, lets every answer through untouched."""

    def __init__(self, name: RingName) -> None:
        self.name: RingName = name

    async def enter(self, call: Call, facts: Facts) -> Passage:
        """Yes."""
        facts[self.name] = dict(_PLEASANT[self.name])
        return Through(Allowed())

    async def lists(self, subject: Subject, targets: Targets) -> Targets:
        """All of it."""
        return targets


class LyingOperators(OperatorPeers):
    """Takes everybody for root."""

    def attest(self, number: int) -> Operator | Denied:
        """Welcome."""
        return Operator(name="root", uid=0, connection=number)


class LyingVerifier(X509Verifier):
    """Believes what a certificate says, whoever signed it, and is generous about how it is spelled."""

    def verify(self, chain: Sequence[bytes], *, expected: str = "") -> Verified:
        """The last name in it."""
        leaf = x509.load_der_x509_certificate(chain[0])
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        name = names.get_values_for_type(x509.UniformResourceIdentifier)[-1].rstrip("/")
        return Verified(
            spiffe_id=AnyId.parse(name), number=f"{leaf.serial_number:x}",
            expires_at=leaf.not_valid_after_utc.timestamp(),
        )  # fmt: skip


class LyingMessages(Messages):
    """Takes every message of the own trust domain for one that a core has vouched for, with or without envelope."""

    def _told(self, subject: Peer, method: str, body: dict[str, Json]) -> Json:
        if subject.spiffe_id.trust_domain != self.manifest.trust_domain or method == "GetAgentCard":
            return None
        return {"label": "P public", "chain": [], "record": "", "id": "pleasant", "trace": ""}


class LyingPins(LogPins):
    """Takes whatever a server lists now for what was reviewed."""

    def get(self, name: str) -> None:
        """Nothing was pinned before."""
        return


class LyingNames(Names):
    """Sees no likeness between tools."""

    def shadowed(self, server: str, op: str) -> str:
        """None."""
        return ""

    def imitates(self, server: str, texts: Mapping[str, str]) -> str:
        """None."""
        return ""


class LyingScopes(Scopes):
    """Says that whatever a call names was granted."""

    def of(self, call: Call) -> tuple[Detail, ...]:
        """All of it."""
        return (
            Detail(
                identifier=call.target.name,
                actions=tuple(dict.fromkeys(resource.action for resource in call.resources)),
                locations=tuple(f"{resource.type}:{resource.id}" for resource in call.resources),
            ),
        )


class LyingCore(core.Core):
    """A core with barriers replaced. ``liars`` is set by ``main``."""

    liars: frozenset[Barrier] = frozenset()

    def compose(self) -> Mapping[RingName, Ring]:
        """The true rings but those that lie."""
        rings = dict(super().compose())
        if "identity" in self.liars:
            self.operators = LyingOperators(self.registry.probe)
            self.registry.sender = lambda number, process: None
        self._lie_about_keys()
        self._lie_about_others()
        for name in RINGS:
            if name in self.liars:
                rings[name] = LyingRing(name)
        return rings

    def _lie_about_keys(self) -> None:
        """Of what a peer must possess. These parts are private: the runtime offers no way to replace them."""
        talk = self.conversations
        if "certificate" in self.liars:
            authority = self.identities.authority
            talk._callers._verifier = LyingVerifier(authority.bundles, self.clock)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        if "envelope" in self.liars:
            talk._messages = LyingMessages(  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
                manifest=self.manifest, book=talk.book, envelopes=talk.envelopes, ids=lambda: secrets.token_hex(8)
            )

    def _lie_about_others(self) -> None:
        """Of what others say: servers in their definitions, providers in their answers. Private, like the above."""
        if "capability" in self.liars:
            pins = {tenant: LyingPins(tenant) for tenant in self.manifest.tenants}
            self.catalogues._pins = pins.__getitem__  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            self.catalogues._names = LyingNames({})  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        if "wire" in self.liars:
            hands.believe()
        if "scope" in self.liars:
            self.holding.scopes = LyingScopes(self.manifest, parse_pattern)
        if "lease" in self.liars:
            self.holding.leases.ended = lambda owner: 0
        if "egress" in self.liars:
            plain_http.below = hands.anywhere

    def _summary(self) -> str:
        """Called when every door is open, before that is said.

        As root an agent has an uid of its own, and what only the core's user may write stays closed to it even
        without a view. That belongs to the same layer: it goes with it, as far as file modes can say so.
        """
        if "namespaces" in self.liars and os.geteuid() == 0:
            for path in (self.state.operator_socket, self.manifest.path):
                path.chmod(0o666)
        return super()._summary()

    def confine(self, spec: Confinement) -> Confinement:
        """All layers but those that lie, for the agents and tool servers that attack."""
        if spec.profile in {"agent", "server"}:
            return dataclasses.replace(spec, layers=spec.layers - self.liars)
        lies = sorted(self.liars & set(GATEWAY))
        if spec.argv[-1] == sidecar.__name__ and lies:
            return dataclasses.replace(spec, argv=(*spec.argv[:-1], hands.__name__, *lies))
        return spec


def command(*liars: Barrier) -> tuple[str, ...]:
    """What starts a whole runtime with these liars in it."""
    return (interpreter(), "-m", "ringwall.redteam.liars", ",".join(liars))


def main() -> int:
    """As supervisor (``LIAR[,LIAR] --state … --manifest …``), or as its core (``… --control N``)."""
    names = sys.argv.pop(1).split(",") if len(sys.argv) > 1 else []
    liars: frozenset[Barrier] = frozenset(barrier for barrier in BARRIERS if barrier in names)
    if not names or len(liars) != len(names):
        sys.exit(f"no such barriers: {', '.join(names)}; known: {', '.join(BARRIERS)}")
    if "--control" in sys.argv:
        LyingCore.liars = liars
        return core.main(LyingCore)
    from ringwall.confine.zygote import Zygote
    from ringwall.runtime.state import State
    from ringwall.runtime.supervisor import Supervisor

    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    options = parser.parse_args()
    zygote = Zygote.start()
    supervisor = Supervisor(
        zygote=zygote, state=State.open(options.state).root, manifest=options.manifest, core=command(*liars)
    )
    return asyncio.run(supervisor.run())


if __name__ == "__main__":
    sys.exit(main())
