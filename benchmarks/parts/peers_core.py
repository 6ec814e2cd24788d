"""The core of benchmarks/peers.py: it gives out certificates and envelopes to a load generator that is no agent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pem
from told import ToldCore

from ringwall.call import Json
from ringwall.manifest.peers import own_id
from ringwall.runtime.process import main

AGENTS: Final = "spiffe://bench.example/tenant/bench/agent/"


class PeersCore(ToldCore):
    """The whole core."""

    async def do_certificate(self, *, agent: str, folder: str) -> Json:
        """A launched agent's SVID as files: chain with key, chain, key, and whom to trust."""
        run = next(run for run in self.launcher.runs.values() if run.session.agent == agent)
        who = own_id(self.manifest, run.session.tenant, self.manifest.tenants[run.session.tenant].agents[agent])
        svid = await self.identities.authority.x509_svid(who, run.session.launch)
        pem.write(Path(folder), chain=svid.chain, key=svid.key, trust=svid.authorities)
        return {"spiffe_id": str(svid.spiffe_id)}

    def do_envelopes(self, *, sender: str, body: str, count: int, file: str) -> Json:
        """So many envelopes for the same bytes, one a line; each is good once, for a minute."""
        seal = self.conversations.envelopes.seal
        one = {"sender": f"{AGENTS}{sender}/role/asker", "receiver": f"{AGENTS}sam/role/worker",
               "label": "M private", "chain": (), "record": "bench/57", "trace": "0123456789abcdef" * 2}
        made = [seal(body=body.encode(), **one)[0] for _ in range(count)]
        Path(file).write_text("\n".join(made) + "\n")
        return {}


if __name__ == "__main__":
    sys.exit(main(PeersCore))
