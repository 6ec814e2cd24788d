"""The strict verifier against the whole corpus."""

from __future__ import annotations

import pytest
from tests.fakes import FakeClock
from tests.identity.svid.corpus import Case, bundles, cases, root, root_rsa
from tests.identity.svid.workshop import NOW, Leaf

from ringwall.errors import Refused
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.verifier import X509Verifier

CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_certificate_gets_its_answer(case: Case) -> None:
    clock = FakeClock()
    clock.seconds = case.at
    verifier = X509Verifier(bundles, clock)
    if not case.code:
        assert str(verifier.verify(case.chain).spiffe_id) == case.id
        return
    with pytest.raises(Refused) as refused:
        verifier.verify(case.chain)
    assert refused.value.code == case.code
    assert refused.value.cause
    assert refused.value.cause.isprintable()


@pytest.mark.filterwarnings("ignore")  # as in the core, where what the parser only warns of stops nothing
@pytest.mark.parametrize("case", [case for case in CASES if "serial" in case.name], ids=str)
def test_a_bad_serial_is_refused_where_warnings_are_no_errors(case: Case) -> None:
    with pytest.raises(Refused, match="svid_malformed"):
        X509Verifier(bundles, FakeClock()).verify(case.chain)


def test_a_withdrawn_root_is_believed_no_more_by_the_same_verifier() -> None:
    trusted = bundles()
    clock = FakeClock()
    clock.seconds = NOW
    verifier = X509Verifier(lambda: trusted, clock)
    chain = [Leaf().by(root())]
    verifier.verify(chain)
    trusted = {"example.org": Bundle(trust_domain="example.org", authorities=(root_rsa().certificate,))}
    with pytest.raises(Refused, match="svid_untrusted"):
        verifier.verify(chain)


def test_the_corpus_is_as_large_as_it_must_be() -> None:
    assert len(CASES) >= 120
    assert len({str(case) for case in CASES}) == len(CASES)
    assert sum(not case.code for case in CASES) >= 25
