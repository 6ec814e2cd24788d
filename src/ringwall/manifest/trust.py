"""``[identity]``, checked: who is federated and how, where we are published, and what does not go with SPIRE."""

from __future__ import annotations

from ringwall.identity.spiffe import AnyId
from ringwall.manifest.problems import Key, Problems, quoted
from ringwall.manifest.types import Federated, Manifest


class Trust:
    """Checks the part of a built manifest that is about trust domains. What is known to be wrong is passed over."""

    def __init__(self, manifest: Manifest, problems: Problems) -> None:
        self._manifest = manifest
        self._problems = problems

    def check(self) -> None:
        """Note everything that contradicts something else."""
        own = self._manifest.trust_domain
        for name, one in self._manifest.identity.federation.items():
            key: Key = ("identity", "federation", name)
            if name == own:
                self._problems.add(key, "is this installation's own trust domain: its bundle is the "
                                   "authority's own", fix="leave it out")
            if not self._problems.under(key):
                self._endpoint(one, key) if one.endpoint else self._file(one, key)
        if not self._problems.under(("identity",)):
            self._published()

    def _file(self, one: Federated, key: Key) -> None:
        if one.bundle is None:
            self._problems.add((*key, "bundle"), "is missing",
                               fix='write: bundle = "/etc/ringwall/partner.json", or endpoint and profile')
        for name in ("profile", "spiffe_id", "ca_file"):
            if getattr(one, name):
                self._problems.add((*key, name), "belongs to an endpoint, and there is none",
                                   fix='write: endpoint = "https://…"')

    def _endpoint(self, one: Federated, key: Key) -> None:
        if not one.profile:
            self._problems.add((*key, "profile"), "is missing: nothing says how the endpoint proves itself",
                               fix='write: profile = "https_web", or "https_spiffe" with spiffe_id and bundle')
        elif one.profile == "https_web":
            if one.spiffe_id:
                self._problems.add((*key, "spiffe_id"), 'belongs to profile = "https_spiffe"', fix="leave it out")
        else:
            self._spiffe(one, key)

    def _spiffe(self, one: Federated, key: Key) -> None:
        if one.ca_file is not None:
            self._problems.add((*key, "ca_file"), 'belongs to profile = "https_web"', fix="leave it out")
        if one.bundle is None:
            self._problems.add((*key, "bundle"), "is missing: without a first bundle the endpoint could be anybody",
                               fix='write: bundle = "/etc/ringwall/partner.json"')
        if not one.spiffe_id:
            self._problems.add((*key, "spiffe_id"), "is missing: any workload of that domain would do",
                               fix=f'write: spiffe_id = "spiffe://{one.trust_domain}/…"')
        elif AnyId.parse(one.spiffe_id).trust_domain != one.trust_domain:
            self._problems.add((*key, "spiffe_id"), f"is not of {one.trust_domain}: no other may speak for it",
                               fix=f'write: spiffe_id = "spiffe://{one.trust_domain}/…"')

    def _published(self) -> None:
        identity = self._manifest.identity
        if bool(identity.publish_cert) != bool(identity.publish_key):
            lacking = "publish_key" if identity.publish_cert else "publish_cert"
            self._problems.add(("identity", lacking), "is missing: certificate and key belong together",
                               fix=f'write: {lacking} = "/etc/ringwall/publish.pem"')
        for name in ("publish_cert", "publish_key"):
            if getattr(identity, name) and not identity.publish:
                self._problems.add(("identity", name), "would be read by nobody",
                                   fix='write: publish = "127.0.0.1:8443"')
        if identity.publish and any(identity.publish == agent.listen for tenant in self._manifest.tenants.values()
                                    for agent in tenant.agents.values()):
            self._problems.add(("identity", "publish"), f"{quoted(identity.publish)} is where an agent listens too",
                               fix="choose another port")
        if identity.spire is not None:
            self._spire()
        for name in ("publish", "issuer"):
            if identity.spire is not None and getattr(identity, name):
                self._problems.add(("identity", name), "does not go with spire: SPIRE publishes its own keys and "
                                   "names its own issuer", fix="leave it out")

    def _spire(self) -> None:
        """SPIRE signs SVIDs and nothing else; envelopes and cards of messages need more."""
        for tenant in self._manifest.tenants.values():
            for agent in tenant.agents.values():
                for name in ("send", "receive"):
                    key: Key = ("tenants", tenant.name, "agents", agent.name, name)
                    if getattr(agent, name) and not self._problems.under(key):
                        self._problems.add(key, "does not go with [identity] spire: SPIRE signs no envelopes of "
                                           "messages", fix="remove it, or leave spire out")
