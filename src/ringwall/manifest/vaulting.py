"""``[secrets]``, ``[vault]`` and ``[vaults]``, checked: each has the keys of its kind and no other's."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ringwall.manifest.audiences import recipients
from ringwall.manifest.problems import Key, Problems, quoted
from ringwall.manifest.types import Manifest, OutsideVault, Secret, VaultSettings

KEPT: Final = ("file", "vault")
"""Sources of what Ringwall itself uses for everybody: nobody's identity is needed to have it."""
PLACEHOLDERS: Final = ("{tenant}", "{agent}", "{role}")
_PARTITIONS: Final = MappingProxyType({"aws-cn": "cn-", "aws-us-gov": "us-gov-"})  # and "aws": every other region
_ARN = re.compile(r"arn:(aws|aws-cn|aws-us-gov):iam::([0-9]{12})?:role/([!-.0-~]+/)*[A-Za-z0-9+=,.@_-]{1,64}")
_REGION = re.compile(r"[a-z]{2}(-[a-z]{2,16}){1,3}-[0-9]{1,2}")
_ANY_REGION = re.compile(r"[a-z0-9-]{1,63}")
_PCRS = re.compile(r"sha(1|256|384|512):(2[0-3]|1?[0-9])(,(2[0-3]|1?[0-9]))*")
_MOUNT = re.compile(r"[A-Za-z0-9_.-]{1,64}(/[A-Za-z0-9_.-]{1,64}){0,7}")
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    """Which keys a kind needs, and which it may have."""

    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()


_ASKS: Final = ("audience", "seconds", "ca_file", "private")
_SOURCES: Final[Mapping[str, _Keys]] = MappingProxyType({
    "file": _Keys(needs=("file",), may=("inject",)),
    "vault": _Keys(may=("inject",)),
    "openbao": _Keys(needs=("vault",), may=("key", "inject", "audience")),
    "aws": _Keys(needs=("role_arn",), may=("region", "sts", *_ASKS)),
    "oauth": _Keys(needs=("token_url", "client_id"),
                   may=("revoke_url", "client_secret", "resource", "scopes", "inject", *_ASKS)),
    "postgres": _Keys(needs=("url", "admin", "admin_user"), may=("seconds", "ca_file", "private")),
})
_DATABASE: Final = _Keys(needs=("vault", "database"), may=("seconds", "audience"))  # openbao's own engine
_ROOTS: Final[Mapping[str, _Keys]] = MappingProxyType({
    "file": _Keys(), "passphrase": _Keys(), "keyring": _Keys(),
    "age": _Keys(needs=("identity",)),
    "tpm2": _Keys(may=("tcti", "pcrs")),
    "pkcs11": _Keys(needs=("module", "token", "pin_file")),
    "transit": _Keys(needs=("transit", "key")),
    "shamir": _Keys(may=("shares", "threshold")),
})
_EXAMPLES: Final = MappingProxyType({
    "file": '"/etc/ringwall/NAME"', "vault": '"NAME", and [vaults.NAME]',
    "role_arn": '"arn:aws:iam::123456789012:role/NAME"', "token_url": '"https://…"', "client_id": '"…"',
    "url": '"postgresql://db.example:5432/sales"', "admin": '"NAME", and [secrets.NAME]', "admin_user": '"…"',
    "identity": '"/etc/ringwall/identity.txt"', "module": '"/usr/lib/….so"', "token": '"…"',
    "pin_file": '"/etc/ringwall/pin"', "transit": '"NAME", and [vaults.NAME]', "key": '"…"',
})


class Vaulting:
    """Checks what a built manifest says of secrets by themselves. What is known to be wrong is passed over."""

    def __init__(self, manifest: Manifest, problems: Problems) -> None:
        self._manifest = manifest
        self._problems = problems

    def check(self) -> None:
        """Note each key that is missing, belongs to another kind, or names nothing."""
        for name, secret in self._manifest.secrets.items():
            key: Key = ("secrets", name)
            if not self._problems.under(key):
                self._secret(secret, key)
        for name, vault in self._manifest.vaults.items():
            if not self._problems.under(("vaults", name)):
                self._outside(vault, ("vaults", name))
        if not self._problems.under(("vault",)):
            self._root(self._manifest.vault)
        self._recipients()

    def _secret(self, secret: Secret, key: Key) -> None:
        keys = _DATABASE if secret.source == "openbao" and secret.database else _SOURCES[secret.source]
        kind = f'from = "{secret.source}"' + (" with a database" if keys is _DATABASE else "")
        self._exactly(secret, keys, kind, key, {"name", "source"})
        if secret.vault:
            self._known((*key, "vault"), secret.vault, "vaults", self._manifest.vaults)
        for field in ("admin", "client_secret"):
            self._own((*key, field), getattr(secret, field))
        if secret.source == "aws" and secret.role_arn:
            self._aws(secret, key)

    def _exactly(self, one: object, keys: _Keys, kind: str, key: Key, fixed: set[str]) -> None:
        """Every key that is needed, and of the others none but those that may be there."""
        for field in dataclasses.fields(one):  # pyright: ignore[reportArgumentType] (all our types are dataclasses)
            written = getattr(one, field.name) != _default(field)
            if field.name in keys.needs and not written:
                self._problems.add((*key, field.name), f"is missing: {kind} needs it",
                                   fix=f"write: {field.name} = {_EXAMPLES[field.name]}")
            elif written and field.name not in {*keys.needs, *keys.may, *fixed}:
                self._problems.add((*key, field.name), f"does not belong to {kind}, so it would be read by nobody",
                                   known=sorted({*keys.needs, *keys.may}), fix="remove it")

    def _known(self, key: Key, name: str, table: str, known: Mapping[str, object]) -> None:
        if name not in known:
            self._problems.unknown(key, name, f"there is no {table}.{name}", known)

    def _own(self, key: Key, name: str) -> None:
        """What Ringwall itself shows to a provider is kept, not made or fetched for an agent."""
        if not name:
            return
        self._known(key, name, "secrets", self._manifest.secrets)
        found = self._manifest.secrets.get(name)
        if found is not None and found.source not in KEPT:
            self._problems.add(key, f"secrets.{name} comes from {found.source}, and Ringwall needs this one before "
                               "it asks anybody", fix='keep it: from = "file", or from = "vault"')

    def _aws(self, secret: Secret, key: Key) -> None:
        found = _ARN.fullmatch(secret.role_arn)
        if found is None or len(secret.role_arn) > 2048 or not (found[2] or secret.sts):
            self._problems.add((*key, "role_arn"), f"{quoted(secret.role_arn)}: expected the ARN of a role, of the "
                               "partition aws, aws-cn or aws-us-gov and an account of 12 digits (no account only "
                               "where `sts` is another's service)",
                               fix='write: role_arn = "arn:aws:iam::123456789012:role/NAME"')
            return
        if not secret.region and not secret.sts:
            self._problems.add((*key, "region"), "is missing: nothing says which token service is asked",
                               fix='write: region = "eu-central-1"')
        elif secret.region and not (_ANY_REGION if secret.sts else _REGION).fullmatch(secret.region):
            self._problems.add((*key, "region"), f"{quoted(secret.region)}: expected the name of a region",
                               fix='write: region = "eu-central-1"')
        elif not secret.sts and _partition(secret.region) != found[1]:
            own = _partition(secret.region)
            self._problems.add((*key, "region"), f"{secret.region} is of the partition {own}, and the role of "
                               f"{found[1]}", fix="name a region of the role's own partition")

    def _outside(self, vault: OutsideVault, key: Key) -> None:
        for field in ("mount", "kv", "database", "transit", "namespace"):
            text = getattr(vault, field)
            if text and (not _MOUNT.fullmatch(text) or {".", ".."} & set(text.split("/"))):
                self._problems.add((*key, field), f"{quoted(text)}: expected a path such as \"{field}\", with no "
                                   "slash at its ends")
        parts = vault.path.split("/")
        if not all(part in PLACEHOLDERS or _PART.fullmatch(part) for part in parts):
            self._problems.add((*key, "path"), f"{quoted(vault.path)}: expected names, or one of "
                               f"{', '.join(PLACEHOLDERS)} alone, with slashes between them",
                               fix='write: path = "agents/{tenant}/{agent}/{role}"')
        elif missing := [one for one in PLACEHOLDERS if parts.count(one) != 1]:
            self._problems.add((*key, "path"), f"needs {missing[0]} once: without it agents would share what is "
                               "there", fix='write: path = "agents/{tenant}/{agent}/{role}"')

    def _recipients(self) -> None:
        """One of two who accept the same audience could show the other the token that it was shown, and would be
        given what the agent is given there: by AWS without any session policy."""
        first: dict[str, tuple[tuple[str, str], str]] = {}
        for key, audience, place in recipients(self._manifest):
            other, at = first.setdefault(audience, (key, place))
            if at != place and not self._problems.under(key):
                self._problems.add((*key, "audience"),
                                   f"{quoted(audience)} is the audience of {'.'.join(other)}, too, which is "
                                   "somebody else: each could show the other the tokens it is shown",
                                   fix="give one of them an audience of its own, here and there")

    def _root(self, vault: VaultSettings) -> None:
        key: Key = ("vault",)
        self._exactly(vault, _ROOTS[vault.root], f'root = "{vault.root}"', key, {"root"})
        if vault.transit and vault.root == "transit":
            self._known((*key, "transit"), vault.transit, "vaults", self._manifest.vaults)
        if vault.threshold > vault.shares:
            self._problems.add((*key, "threshold"), f"{vault.threshold} shares shall open it, and there are "
                               f"{vault.shares}", fix=f"write: shares = {vault.threshold}, or more")
        if vault.pcrs and vault.root == "tpm2" and not _PCRS.fullmatch(vault.pcrs):
            self._problems.add((*key, "pcrs"), f"{quoted(vault.pcrs)}: expected a bank and registers from 0 to 23",
                               fix='write: pcrs = "sha256:0,7"')


def hidden_files(manifest: Manifest) -> list[tuple[Key, Path]]:
    """Files that hold a secret: no process may see them."""
    found: list[tuple[Key, Path]] = [(("secrets", name, "file"), one.file)
                                     for name, one in manifest.secrets.items() if one.source == "file"]
    settings = manifest.vault
    return found + [(("vault", field), file) for field, file in (
        ("identity", settings.identity), ("pin_file", settings.pin_file)) if file is not None]


def trusted_files(manifest: Manifest) -> list[tuple[Key, Path]]:
    """Files that are no secret, and by which Ringwall trusts others: no process may write them."""
    found: list[tuple[Key, Path | None]] = [(("vault", "module"), manifest.vault.module)]
    tables = (("secrets", manifest.secrets), ("vaults", manifest.vaults), ("tools", manifest.tools))
    for table, entries in tables:
        found += [((table, name, "ca_file"), one.ca_file) for name, one in entries.items()]
    return [(key, file) for key, file in found if file is not None]


def _default(field: dataclasses.Field[object]) -> object:
    """What stands in a field that nobody wrote."""
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def _partition(region: str) -> str:
    return next((name for name, start in _PARTITIONS.items() if region.startswith(start)), "aws")
