"""Built-ins whose answers are whole structures, compared with those of the real opa on made-up operands."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import random
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.compile import compiled, the_opa

from ringwall.errors import PolicyError
from ringwall.policy.builtins import BUILTINS
from ringwall.policy.builtins.table import BuiltinError
from ringwall.policy.builtins.text import to_json
from ringwall.policy.plan.ops import Context

pytestmark = pytest.mark.needs_opa
STEPS = 1_000_000
NOTHING = "undefined"


def opas(name: str, operands: Sequence[Sequence[Any]]) -> list[Any]:
    """What opa answers for each list of operands; NOTHING where it has no answer."""
    given_ = ", ".join(f"input[i][{n}]" for n in range(len(operands[0])))
    done = subprocess.run([the_opa(), "eval", "-f", "raw", "--stdin-input",
                           f"{{i: x | input[i]; x := {name}({given_})}}"], input=json.dumps(operands),
                          capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return [found.get(str(index), NOTHING) for index in range(len(operands))]


def ours(name: str, *operands: Any) -> Any:
    builtin = BUILTINS[name]
    try:
        found = builtin.function(*((Context(steps=STEPS), *operands) if builtin.context else operands))
    except BuiltinError:
        return NOTHING
    except PolicyError:
        return PolicyError
    return json.loads(json.dumps(to_json(found)))


def plain(value: Any) -> Any:
    """Errors of a schema come in the order of Go's maps, which is another one each time."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[1], list):
        return [value[0], sorted(value[1], key=lambda item: json.dumps(item, sort_keys=True))]
    return value


def agree(name: str, operands: Sequence[Sequence[Any]], *, refused: float = 0.0) -> None:
    """Equal answers; at most that share is refused by us with an error that ends the decision."""
    left_out = 0
    for given_, wanted in zip(operands, opas(name, operands), strict=True):
        found = ours(name, *given_)
        left_out += found is PolicyError
        assert found is PolicyError or plain(found) == plain(wanted), (name, given_)
    assert left_out <= refused * len(operands)


# -- JSON Schema


def schema(dice: random.Random, level: int = 0) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if dice.random() < 0.7:
        made["type"] = dice.choice(["object", "array", "string", "integer", "number", "boolean", "null",
                                    ["string", "null"], ["object", "integer"]])
    if dice.random() < 0.4 and level < 3:
        made["properties"] = {key: schema(dice, level + 1) for key in dice.sample("abc", dice.randint(0, 2))}
    if dice.random() < 0.3:
        made["required"] = dice.sample(["a", "b", "z"], dice.randint(0, 2))
    if dice.random() < 0.2:
        made["additionalProperties"] = dice.random() < 0.3
    if dice.random() < 0.3 and level < 3:
        made["items"] = schema(dice, level + 1)
    for key in ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties", "minimum",
                "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        if dice.random() < 0.1:
            made[key] = dice.randint(0, 3)
    if dice.random() < 0.15:
        made["enum"] = dice.sample(["a", "<b>", 1, None, True, 2], dice.randint(1, 3))
    if dice.random() < 0.15:
        made["pattern"] = dice.choice(["^a", "b$", "[0-9]+"])
    return made


def document(dice: random.Random, level: int = 0) -> Any:
    kind = dice.random()
    if level < 3 and kind < 0.4:
        return {key: document(dice, level + 1) for key in dice.sample("abcz", dice.randint(0, 3))}
    if level < 3 and kind < 0.6:
        return [document(dice, level + 1) for _ in range(dice.randint(0, 3))]
    return dice.choice(["a", "<b>", "ab", "12345", 1, 2, 0, -3, 1.5, None, True, False, ""])


def test_schemas_match_what_they_match_in_opa_and_say_the_same() -> None:
    dice = random.Random(4)  # noqa: S311 (a test)
    made = [document(dice) for _ in range(400)]
    pairs = [[one if isinstance(one, dict | list) else json.dumps(one), schema(dice)] for one in made]
    agree("json.match_schema", pairs, refused=0.05)
    schemas = [[pair[1]] for pair in pairs] + [["{"], ["3"], [3], ['{"type": "x"}']]
    agree("json.verify_schema", schemas, refused=0.05)


@pytest.mark.parametrize("keyword", ["$ref", "anyOf", "not", "format", "const", "if", "patternProperties", "x"])
def test_a_schema_with_a_keyword_that_is_not_looked_at_ends_the_decision(keyword: str) -> None:
    for name, operands in (("json.match_schema", ({}, {"items": {keyword: {}}})),
                           ("json.verify_schema", ({keyword: {}},))):
        with pytest.raises(PolicyError, match="not supported"):
            builtin = BUILTINS[name]
            builtin.function(*((Context(steps=STEPS), *operands) if builtin.context else operands))


# -- times


CHUNKS = ("January", "Jan", "Monday", "Mon", "MST", "01", "02", "03", "04", "05", "06", "002", "15", "1", "2006",
          "2", "_2", "__2", "3", "4", "5", "PM", "pm", "-070000", "-07:00:00", "-0700", "-07:00", "-07", "Z0700",
          "Z07:00", "Z07", "Z070000", "Z07:00:00",
          ".000", ".999", ",00", " ", " ", "T", "/", ":", "x", "_2006", "Month")


def test_times_are_written_as_opa_writes_them() -> None:
    dice = random.Random(5)  # noqa: S311 (a test)
    zones = ["", "UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe"]
    agree("time.format", [[[dice.randint(-(2**62), 2**62), dice.choice(zones),
                            "".join(dice.choices(CHUNKS, k=dice.randint(0, 9)))]] for _ in range(300)])


def test_times_are_read_as_opa_reads_them() -> None:
    dice = random.Random(6)  # noqa: S311 (a test)
    layouts = ["".join(dice.choices(CHUNKS, k=dice.randint(1, 7))) for _ in range(250)] + \
        ["RFC3339", "RFC822", "ANSIC", "RFC850", "2006-002", "2006-01-02 15:04:05"] * 8
    moments = [dice.randint(0, 2**61) for _ in layouts]
    texts = opas("time.format", [[[moment, dice.choice(["UTC", "Asia/Kolkata"]), layout]]
                                 for moment, layout in zip(moments, layouts, strict=True)])
    for damage in (lambda text: text, lambda text: text[:-1], lambda text: text + "1",
                   lambda text: text.replace("0", "9", 1), lambda text: text.replace(" ", "  ")):
        agree("time.parse_ns", [[layout, damage(text)] for layout, text in zip(layouts, texts, strict=True)])


# -- globs, keys into base data


def test_globs_have_a_text_in_common_when_opa_says_so() -> None:
    dice = random.Random(7)  # noqa: S311 (a test)

    def glob() -> str:
        return "".join(dice.choice(["a", "b", ".", "[ab]", "[b-d]", "\\.", "x"]) + dice.choice(["", "", "*", "+"])
                       for _ in range(dice.randint(0, 6)))
    agree("regex.globs_match", [[glob(), glob()] for _ in range(600)] + [["[", "a"], ["+", "a"], ["a\\", "a"]])


def test_keys_into_the_base_data_are_taken_by_their_text(tmp_path: Any) -> None:
    rego = ('p := {"m": {x | some k in input; x := [k, data.m[k]]}, '
            '"a": {x | some k in input; x := [k, data.a[k]]}, '
            '"v": {x | m := data.m; some k in input; x := [k, m[k]]}}')
    data = {"m": {"1": "x", "true": "t", "1.5": "f", "null": "n", "-1": "neg", "01": "z"}, "a": [10, 20]}
    keys = [1, "1", "01", 1.5, True, None, -1, "-1", "0", 0, "+1", "1.0", "1.5", "1e0", " 1", "-0", "0x1", "1.", "",
            [1], {"a": 1}, 10**21, "٢"]
    plan = compiled(rego, tmp_path)
    (tmp_path / "data.json").write_text(json.dumps(data))
    done = subprocess.run(
        [the_opa(), "eval", "-f", "raw", "--stdin-input", "-d", "t.rego", "-d", "data.json", "data.t.p"],
        input=json.dumps(keys), cwd=tmp_path, capture_output=True, text=True, check=True)
    assert to_json(plan.evaluate("t/p", keys, data)[0]["result"]) == json.loads(done.stdout)


# -- certificates


def credentials() -> dict[str, tuple[str, str, str]]:
    """(private key, certificate, request) in PEM by kind."""
    keys: dict[str, Any] = {
        "rsa": rsa.generate_private_key(65537, 2048), "ed": ed25519.Ed25519PrivateKey.generate(),
        "p256": ec.generate_private_key(ec.SECP256R1()), "p521": ec.generate_private_key(ec.SECP521R1()),
    }
    found: dict[str, tuple[str, str, str]] = {}
    for name, key in keys.items():
        who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Ä example"),
                         x509.NameAttribute(NameOID.COUNTRY_NAME, "CH"),
                         x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@b.example")])
        begin = dt.datetime(2049, 12, 31, tzinfo=dt.UTC)
        digest = None if name == "ed" else hashes.SHA256()
        made = x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key()) \
            .serial_number(x509.random_serial_number()).not_valid_before(begin) \
            .not_valid_after(begin + dt.timedelta(days=700)) \
            .add_extension(x509.SubjectAlternativeName([
                x509.DNSName("a.example"), x509.IPAddress(ipaddress.ip_address("::1")),
                x509.RFC822Name("q@b.example"),
                x509.UniformResourceIdentifier("spiffe://a.example/tenant/x")]), critical=False) \
            .add_extension(x509.BasicConstraints(ca=name == "rsa", path_length=0 if name == "rsa" else None),
                           critical=True) \
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH,
                                                  x509.ObjectIdentifier("1.2.3.4")]), critical=False) \
            .add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.5"), b"\x05\x00"),
                           critical=True) \
            .sign(key, digest)
        request = x509.CertificateSigningRequestBuilder().subject_name(who).sign(key, digest)
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                    serialization.NoEncryption())
        pem = serialization.Encoding.PEM
        found[name] = (private.decode(), made.public_bytes(pem).decode(), request.public_bytes(pem).decode())
    return found


CREDENTIALS = credentials()


def test_certificates_requests_and_keys_become_what_opa_makes_of_them() -> None:
    keys, certificates, requests = ([made[n] for made in CREDENTIALS.values()] for n in range(3))
    agree("crypto.x509.parse_certificates",
          [[one] for one in (*certificates, "".join(certificates), "", "AAAA", "x")])
    agree("crypto.x509.parse_certificate_request", [[one] for one in (*requests, certificates[0], "AAAA", "x")])
    agree("crypto.parse_private_keys", [[one] for one in (*keys, "".join(keys), "", "nope", certificates[0])])
    agree("crypto.x509.parse_rsa_private_key", [[one] for one in (*keys, "".join(keys), "nope")])
    agree("crypto.x509.parse_keypair", [[one, key] for one in certificates for key in keys])


@given(st.binary(max_size=60), st.integers(0, 2000), st.sampled_from(sorted(CREDENTIALS)))
@settings(max_examples=150, deadline=None)
def test_damaged_certificates_and_keys_are_errors_and_nothing_else(noise: bytes, at: int, kind: str) -> None:
    for name, source in zip(("crypto.parse_private_keys", "crypto.x509.parse_certificates",
                             "crypto.x509.parse_certificate_request"), CREDENTIALS[kind], strict=True):
        text = source[:at] + noise.decode("latin-1") + source[at + len(noise):]
        for one in (text, noise.decode("latin-1"), source[:at]):
            ours(name, one)  # any other exception fails the test
