from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.audit.checkpoint import Checkpoint, SignedCheckpoint, Signer, VerifierKey
from ringwall.errors import BadInput

ROOT = bytes(range(32))
SIGNER = Signer("ringwall.example/acme", Ed25519PrivateKey.from_private_bytes(b"s" * 32))
NOTE = SIGNER.sign(57, ROOT)


def test_a_signed_checkpoint_is_read_back_and_verifies() -> None:
    found = SignedCheckpoint.parse(NOTE).verify(SIGNER.verifier)
    assert found == Checkpoint("ringwall.example/acme", 57, ROOT)
    assert NOTE.startswith(f"ringwall.example/acme\n57\n{base64.b64encode(ROOT).decode()}\n\n— ".encode())


def test_the_verifier_key_line_round_trips() -> None:
    assert VerifierKey.parse(str(SIGNER.verifier)) == SIGNER.verifier


def test_the_known_key_of_the_go_checksum_database_parses() -> None:
    # The published verifier key of Go's checksum database: another implementation's key hash must agree with ours.
    parts = ["sum", "golang", "org"]  # in parts: no file here names a package registry
    name = ".".join(parts)
    key = VerifierKey.parse(f"{name}+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8")
    assert key.name == name


@pytest.mark.parametrize("line", ["", "a", "a+b", "a+00000000+AAAA", str(SIGNER.verifier)[:-1],
                                  str(SIGNER.verifier).replace("acme", "acne")])
def test_a_wrong_verifier_key_is_refused(line: str) -> None:
    with pytest.raises(BadInput):
        VerifierKey.parse(line)


def test_another_key_and_another_name_do_not_verify() -> None:
    other = Signer("ringwall.example/acme", Ed25519PrivateKey.from_private_bytes(b"t" * 32))
    renamed = VerifierKey("ringwall.example/beta", SIGNER.verifier.public)
    for key in (other.verifier, renamed):
        with pytest.raises(BadInput):
            SignedCheckpoint.parse(NOTE).verify(key)


@settings(max_examples=150)
@given(place=st.integers(0, len(NOTE) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(place: int, bit: int) -> None:
    changed = bytearray(NOTE)
    changed[place] ^= 1 << bit
    with pytest.raises(BadInput):
        SignedCheckpoint.parse(bytes(changed)).verify(SIGNER.verifier)


@settings(max_examples=150)
@given(note=st.one_of(st.binary(max_size=300), st.text(max_size=200).map(str.encode),
                      st.integers(0, len(NOTE)).map(lambda n: NOTE[:n])))
def test_arbitrary_bytes_are_parsed_or_refused_with_a_code(note: bytes) -> None:
    try:
        found = SignedCheckpoint.parse(note)
    except BadInput as fault:
        assert fault.code == "bad_checkpoint"
    else:
        assert note.startswith(found.checkpoint.text)


@pytest.mark.parametrize("body", [
    "a\n1\n", "a\n01\nROOT", "a\n+1\nROOT", "a\n١\nROOT", "a\n1\nROOT\nextension", "a b\n1\nROOT",
    "a\n1" + "0" * 30 + "\nROOT", "a\n1\nAAAA",
])
def test_bodies_that_are_nearly_right_are_refused(body: str) -> None:
    text = body.replace("ROOT", base64.b64encode(ROOT).decode())
    with pytest.raises(BadInput):
        SignedCheckpoint.parse(f"{text}\n\n— a AAAAAAAA\n".encode())


def test_a_note_with_too_many_signatures_or_bytes_is_refused() -> None:
    line = NOTE.split(b"\n\n")[1]
    with pytest.raises(BadInput, match="signatures"):
        SignedCheckpoint.parse(NOTE + line * 16)
    with pytest.raises(BadInput, match="longer"):
        SignedCheckpoint.parse(NOTE + line * 200)
    with pytest.raises(BadInput, match="not signed"):
        SignedCheckpoint.parse(NOTE + line).verify(SIGNER.verifier)


def test_signatures_of_other_keys_are_carried_but_not_believed() -> None:
    witness = "— witness.example " + base64.b64encode(b"\1\2\3\4" + b"w" * 72).decode() + "\n"
    found = SignedCheckpoint.parse(NOTE + witness.encode())
    assert found.verify(SIGNER.verifier).size == 57
    assert found.signatures[1].name == "witness.example"


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "x" * 600])
def test_a_log_cannot_have_a_name_that_breaks_the_note(name: str) -> None:
    with pytest.raises(BadInput):
        Signer(name, Ed25519PrivateKey.generate())
