"""How long a proof holds: no longer than any certificate that it stands on."""

from __future__ import annotations

import pytest
from tests.fakes import FakeClock
from tests.identity.svid.workshop import NOW, Ca, Leaf, ecdsa

from ringwall.errors import Refused
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.verifier import X509Verifier


@pytest.mark.parametrize(("root", "between", "leaf", "expected"), [
    (900, 800, 700, 700), (900, 500, 700, 500), (400, 500, 700, 400),
])
def test_a_proof_ends_with_the_first_certificate_of_its_path(
    root: int, between: int, leaf: int, expected: int
) -> None:
    top = Ca(name="root", key=ecdsa("root"), ends=NOW + root).by()
    middle = Ca(name="between", key=ecdsa("between"), ends=NOW + between).by(top)
    chain = [Leaf(key=ecdsa("leaf"), ends=NOW + leaf).by(middle), middle.certificate]
    clock = FakeClock()
    clock.seconds = NOW
    bundle = Bundle(trust_domain="example.org", authorities=(top.certificate,))
    verifier = X509Verifier(lambda: {"example.org": bundle}, clock)
    assert verifier.verify(chain).expires_at == NOW + expected
    clock.seconds = NOW + expected + 1
    with pytest.raises(Refused):
        verifier.verify(chain)
