"""A database that cannot be used says why to whoever asks it."""

from __future__ import annotations

import pytest
from tests.fakes import FakeClock
from tests.vault.safe import ANA

from ringwall.errors import RingwallError, Unavailable
from ringwall.keys.derived import DerivedRootKeys
from ringwall.store.lost import LostStore
from ringwall.vault.embedded import EmbeddedVault

FAULT = Unavailable("the file is damaged", code="store_damaged", remedy="put a backup there")


def test_every_use_of_it_says_what_is_wrong() -> None:
    lost = LostStore(FAULT)
    for use in (lambda: lost.rows("SELECT 1"), lambda: lost.write(lambda writer: writer.execute("x"))):
        with pytest.raises(Unavailable) as said:
            use()
        assert said.value is FAULT
    assert not lost.scrub()
    lost.close()


def test_a_vault_on_it_is_sealed_and_cannot_be_opened_or_made() -> None:
    vault, root = EmbeddedVault(LostStore(FAULT), FakeClock()), DerivedRootKeys(bytes(32))
    assert (vault.state, vault.generation, vault.sequence) == ("sealed", 0, 0)
    for use in (
        lambda: vault.read(ANA, "x"), lambda: vault.put(ANA, "x", b"v"), lambda: vault.unseal(root),
        lambda: vault.init(root, 1), lambda: vault.keep(ANA, "lease", b"v"), vault.backup,
        lambda: vault.restore(b"blob"), lambda: vault.restore(b"blob", root), vault.listed,
    ):  # fmt: skip
        with pytest.raises(RingwallError) as said:
            use()
        assert said.value.code == "store_damaged"
