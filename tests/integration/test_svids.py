"""The authority inside a running core: it has keys, says so, and has noted them."""

from __future__ import annotations

import pytest
from tests.stack import Stack

from ringwall.identity.svid import bundle as documents

pytestmark = pytest.mark.confined


def test_a_running_core_has_keys_says_so_and_noted_them_first(stack: Stack) -> None:
    svid = stack.status()["svid"]
    assert svid["trust_domain"] == "acme.example"
    assert not svid["fault"]
    active = {key["use"]: key["key"] for key in svid["keys"] if key["phase"] == "active"}
    assert set(active) == {"x509", "jwt"}
    bundle = documents.parse("acme.example", (stack.state / "identity" / "bundle.json").read_bytes())
    assert bundle.sequence == svid["sequence"]
    assert set(bundle.jwt_keys) == {key["key"] for key in svid["keys"] if key["use"] == "jwt"}
    records = stack.records("system", "key_prepared", "key_activated")
    noted = [(record.type, record.body["key"]) for record in records]
    for name in active.values():
        assert noted.index(("key_prepared", name)) < noted.index(("key_activated", name))
