"""vault/brokers/scopes.py: each provider is asked by its own rules, and `check` says what it cannot do."""

from __future__ import annotations

import pytest
from tests.manifest.test_vaulting import LONG, WHOLE, load

from ringwall.errors import ManifestError
from ringwall.manifest.details import Detail
from ringwall.manifest.types import Secret
from ringwall.vault.brokers.scopes import inexpressible


def test_a_manifest_of_what_every_provider_can_express_is_read() -> None:
    assert load(WHOLE, inexpressible).tools["store"].secret == "s3"


@pytest.mark.parametrize(("old", "new", "key"), [
    ('"sales/query" = ["table:sales."]', '"sales/query" = ["table:other.sales.orders"]',
     'tenants.acme.roles.a.tools."sales/query"'),
    ('approval = "always"', 'max = { object = 5 }', f"{LONG}[0]"),
    ('locations = ["s3:reports/2026/"]',
     "locations = [" + ", ".join(f'"s3:reports/{n:040}/"' for n in range(60)) + "]", f"{LONG}[0]"),
])
def test_what_a_provider_cannot_express_is_a_fault_of_the_manifest(old: str, new: str, key: str) -> None:
    assert WHOLE.count(old) == 1
    assert load(WHOLE.replace(old, new))
    with pytest.raises(ManifestError) as found:
        load(WHOLE.replace(old, new), inexpressible)
    (problem,) = found.value.problems
    assert problem.startswith(f"ringwall.toml: {key}\n")
    assert "cannot be made for just this" in " ".join(problem.split())


@pytest.mark.parametrize("secret", [Secret(name="a"), Secret(name="a", source="vault")])
def test_what_is_kept_has_no_scope(secret: Secret) -> None:
    assert inexpressible(secret, (Detail(identifier="a/b", actions=("read",)),))
