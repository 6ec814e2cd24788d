"""Audiences that are the core's alone: in the manifest, and should one get past it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes import run
from tests.identity.workload.bench import MANIFEST, Client, bench

from ringwall.errors import ManifestError
from ringwall.identity.workload import wire
from ringwall.identity.workload.interface import reserved
from ringwall.manifest.load import parse
from ringwall.manifest.types import SvidGrant

MODELS = ["https://llm.acme.example/v1"]


@pytest.mark.parametrize("audience", [
    "vault", "VAULT", "https://vault", "vault:8200", "https://10.0.0.1/v1/vault", "openbao", "ringwall",
    "sts.amazonaws.com", "https://sts.eu-west-1.amazonaws.com/", "STS.AMAZONAWS.COM.", "https://sts.amazonaws.com:443",
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
    "https://iam.googleapis.com/x", "api://AzureADTokenExchange", "https://kubernetes.default.svc", "kubernetes",
    "https://kubernetes.default.svc.cluster.local", "kubernetes.default.svc.cluster.local:443",
    "https://kubernetes.default", "api://AzureADTokenExchangeUSGov", "api://AzureADTokenExchangeChina",
    "https://api.openai.com", "api.anthropic.com", "https://llm.acme.example", "llm.acme.example:443",
    "https://user@llm.acme.example/other",
])
def test_a_reserved_audience_is_known_in_any_spelling(audience: str) -> None:
    assert reserved(audience, MODELS)


@pytest.mark.parametrize("audience", [
    "billing.acme.example", "spiffe://acme.example/tenant/acme/agent/bob/role/caller", "vaulting.example",
    "https://notamazonaws.com", "notkubernetes.default.svc.example", "my-vault.example",
    "other.acme.example", "x:y", "[", "https://[",
])
def test_other_audiences_may_be_given(audience: str) -> None:
    assert not reserved(audience, MODELS)


@pytest.mark.parametrize(("grant", "words"), [
    ('audiences = ["vault"]', "reserved"),
    ('audiences = ["https://llm.acme.example/v1"]', "reserved"),
    ('audiences = ["a b"]', "printable ASCII"),
    ('audiences = [""]', "printable ASCII"),
    (f'audiences = ["{"x" * 257}"]', "printable ASCII"),
    ('audiences = ["a", "a"]', "there already"),
    ("x509 = false", "gives nothing"),
    ("", "gives nothing"),
    ("x509 = 1", "true or false"),
    ('audience = ["a"]', "no such key"),
])
def test_a_manifest_that_gives_what_it_may_not_is_refused(tmp_path: Path, grant: str, words: str) -> None:
    text = MANIFEST.replace('[tenants.acme.roles.tokens.svid]\naudiences = ["billing.acme.example"]',
                            f"[tenants.acme.roles.tokens.svid]\n{grant}")
    assert text != MANIFEST
    with pytest.raises(ManifestError) as refused:
        parse(text, tmp_path / "ringwall.toml")
    assert words in str(refused.value)


def test_a_reserved_audience_is_refused_even_where_it_stands_in_a_grant(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as made:
            role = made.manifest.tenants["acme"].roles["caller"]
            object.__setattr__(role, "svid", SvidGrant(audiences=("vault",)))  # as a fault of the loader would
            client = await Client.connect(await made.launch("alice"))
            failed = await client.fails("FetchJWTSVID", {"audience": ["vault"]})
            assert (failed.code, made.codes()) == (wire.PERMISSION_DENIED, ["audience_not_granted"])
            await client.close()

    run(scenario())
