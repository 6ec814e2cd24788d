"""Secrets that are kept somewhere as they are: in a file, or in the embedded vault."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from ringwall.errors import BadInput, RingwallError
from ringwall.manifest.types import Manifest, Role, Secret
from ringwall.vault.interface import Owner

_VISIBLE: Final = frozenset(map(chr, range(0x21, 0x7F)))  # of a password or a client's secret: it travels in ASCII


class Reader(Protocol):
    """The embedded vault, for who only reads."""

    def read(self, owner: Owner, name: str) -> bytes:
        """The newest version. Raises RingwallError: ``vault_sealed``, ``no_such_secret``, ..."""
        ...


class KeptSecrets:
    """Reads kept values for their owners.

    Args:
        manifest: which secrets there are, and who was given which.
        files: the value of a secret that lies in a file. Raises RingwallError.
        vault: where the others are.

    """

    def __init__(self, manifest: Manifest, files: Callable[[str], bytes], vault: Reader) -> None:
        self._manifest = manifest
        self._files = files
        self._vault = vault

    def declared(self, name: str) -> Secret:
        """What the manifest says of it. Raises BadInput (``unknown_secret``)."""
        secret = self._manifest.secrets.get(name)
        if secret is None:
            raise BadInput(f"there is no secret {name[:80]!a} in [secrets]", code="unknown_secret",
                           remedy="declare it in ringwall.toml")
        return secret

    def role(self, owner: Owner) -> Role | None:
        """The role that the manifest gives this agent; None: it has no such agent in it."""
        tenant = self._manifest.tenants.get(owner.tenant)
        agent = tenant.agents.get(owner.agent) if tenant is not None else None
        if tenant is None or agent is None or agent.role != owner.role:
            return None
        return tenant.roles.get(owner.role)

    def granted(self, owner: Owner, name: str) -> Secret:
        """What the manifest says of a secret that this agent's role has, to use or to read.

        Raises:
            BadInput: ``unknown_secret``, ``secret_not_granted``.

        """
        secret = self.declared(name)
        role = self.role(owner)
        if role is None or name not in _names(role):
            raise BadInput(f"role {owner.role} of tenant {owner.tenant} does not have secret {name}",
                           code="secret_not_granted", remedy="add it to `secrets` of the role in ringwall.toml")
        return secret

    def first(self, tenant: str, name: str) -> Owner:
        """The first agent of a tenant, by name, whose role has it; of one in the vault, the first that has a value.

        Raises:
            BadInput: ``secret_not_granted``.

        """
        found, secret = self._manifest.tenants.get(tenant), self._manifest.secrets.get(name)
        agents = sorted(found.agents.items()) if found is not None else []
        owners = [Owner(tenant=tenant, agent=agent, role=its.role) for agent, its in agents]
        owners = [one for one in owners if (role := self.role(one)) is not None and name in role.secrets]
        if secret is not None and secret.source == "vault":
            owners = [one for one in owners if self._readable(one, secret) is not None] or owners
        if owners:
            return owners[0]
        raise BadInput(f"no role in tenant {tenant[:80]!a} has secret {name}", code="secret_not_granted",
                       remedy="add it to `secrets` of a role in ringwall.toml")

    def value(self, owner: Owner, secret: Secret) -> bytes:
        """Its bytes. Raises RingwallError."""
        return self._files(secret.name) if secret.source == "file" else self._vault.read(owner, secret.name)

    def login(self, tenant: str, name: str) -> str:
        """A password or client's secret that only Ringwall uses; empty for the empty name.

        Raises:
            BadInput: ``unknown_secret``, ``bad_secret``.
            RingwallError: what reading it raised.

        """
        if not name:
            return ""
        raw = self.value(Owner.broker(tenant), self.declared(name))
        text = raw.decode("ascii", errors="replace")
        if not text or not _VISIBLE.issuperset(text):
            raise BadInput(f"secret {name} is empty or no text of visible ASCII characters", code="bad_secret",
                           remedy="store the value alone, without line breaks")
        return text

    def known(self, owners: Iterable[Owner]) -> tuple[bytes, ...]:
        """All values that these owners' secrets have and that can be read now, and every file's."""
        found = dict.fromkeys(
            value for secret in self._manifest.secrets.values() if secret.source == "file"
            if (value := self._readable(Owner.broker(""), secret)) is not None)
        for owner in owners:
            role = self.role(owner)
            for name in sorted(_names(role) if role is not None else ()):
                secret = self._manifest.secrets.get(name)
                if secret is not None and secret.source == "vault":
                    value = self._readable(owner, secret)
                    if value is not None:
                        found[value] = None
        return tuple(found)

    def _readable(self, owner: Owner, secret: Secret) -> bytes | None:
        try:
            return self.value(owner, secret)
        except RingwallError:
            return None  # what cannot be read cannot be used either


def _names(role: Role) -> frozenset[str]:
    """All that this role may use or read."""
    return frozenset(role.secrets) | frozenset(role.read.secrets if role.read is not None else ())
