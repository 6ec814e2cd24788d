"""Stage 6: credentials, by the format their provider documents or by a name that says so before a random value."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

from ringwall.errors import Unavailable
from ringwall.guard.interface import Category, Hit, NormalisedText
from ringwall.guard.scanners.regex import Regex

MIN_VALUE, MAX_VALUE = 8, 200  # code points of a value behind a name that are looked at
MIN_ENTROPY: Final = 2.7  # bits a character, below every random value of MIN_VALUE; words repeat more
MIN_HEX: Final = 24  # hexadecimal digits: shorter ones are numbers and colours
_LONG: Final = 16  # from here a value of letters and digits alone may be a key

_CHARACTERS: Final = r"[!#-&*+\-./0-9:=?@A-Z\[\\\]^_a-z{|}~]"
_VALUE: Final = "(" + _CHARACTERS + "{8,200})"
_QUOTED: Final = r"[\"'`]([!#-&()*+,\-./0-9:;<=>?@A-Z\[\\\]^_a-z{|}~]{8,200})[\"'`]"
_SUFFIX: Final = r"(?:[A-Z0-9_.\-][A-Za-z0-9_.\-]{0,29})?\b"  # of the name: api_key_prod, tokenValue; not tokenizer
# After the name: punctuation, a JSON value (the joint), or a few words of prose.
_BETWEEN: Final = r"[\"'`\]]{0,3}\s{0,3}[:=|>\x1e-]{0,2}[\s=|]{0,3}"
_PROSE: Final = r"(?:\s[a-z]{1,12}){0,4}\s(?:is|was|to|be|are|of|using|with)[:\s]\s?"
_SCHEME: Final = r"(?:(?i:bearer|basic|token|apikey)\s{1,3})?"
_PLACEHOLDER: Final = (r"(?i)^(?:[x*.?_#0-]+|<.*>|\$[a-z_][a-z0-9_]*|\$[{(].*|%[a-z0-9_]+%|%[({sd].*|\{.*\}|\[.*\]|"
                       r".*\.\.\..*|.*(?:example|placeholder|changeme|change_me|redacted|withheld|dummy|insert|your[_-]|"
                       r"_here|sample|xxxx|foobar|undefined|process\.env|os\.environ|getenv|getpass|"
                       r"config[.\[_]|self\.|args\.|settings\.|\$\{).*|(?:pass|password|passwd|secret|postgres|mysql|root|"
                       r"admin|guest|test|user|token)[0-9]{0,3})$")
_EXAMPLE: Final = r"(?i)EXAMPLE|X{6}|0{16}"  # how providers mark the keys in their own documentation
_IDENTIFIER: Final = (r"^(?:[A-Za-z_][A-Za-z_]*(?:[.:/\-][A-Za-z_][A-Za-z_]*)*[.:]?|[A-Z][a-z]+(?:[A-Z][a-z]+)+|"
                      r"[0-9][0-9.,:/\-]*|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|"
                      r"[a-zA-Z][a-zA-Z0-9+]{1,10}://.*|[./~][A-Za-z0-9_./\-]*|[a-z]+(?:[_\-][a-z0-9]{1,12})+|"
                      r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*[(\[=].*|[A-Za-z0-9_\-]{1,40}/[A-Za-z0-9_.\-]*[a-z]{4}[A-Za-z0-9_.\-]*|"
                      r"[^\s@]+@[A-Za-z0-9.\-]+|\\[ux][0-9a-f]+.*)$")


@dataclass(frozen=True, slots=True)
class _Rule:
    id: str
    regex: Regex
    entropy: float


class Secrets:
    """Scanner for credentials.

    Args:
        rules: parsed ``secrets.toml``.

    """

    name = "secrets"
    categories: frozenset[Category] = frozenset({"secret"})

    def __init__(self, rules: Mapping[str, Any]) -> None:
        words: dict[str, list[int]] = {}
        self._rules: list[_Rule] = []
        for rule in rules["rule"]:
            for word in rule["keywords"]:
                words.setdefault(word, []).append(len(self._rules))
            self._rules.append(_Rule(rule["id"], Regex(rule["pattern"], captures=True), rule.get("entropy", 0.0)))
        assignment = len(self._rules)
        for word in rules["assignment"]["keywords"]:
            words.setdefault(word, []).append(assignment)
        name = "(?i:" + rules["assignment"]["name"] + ")"
        between = f"(?:{_BETWEEN}|{_PROSE})"
        self._assigned = Regex(f"{name}{_SUFFIX}{between}{_SCHEME}(?:{_QUOTED}|{_VALUE})", captures=True)
        self._rest = Regex("^" + _CHARACTERS + "+")
        self._rules_of = list(words.values())
        self._words = BytesAhoCorasick([word.encode() for word in words], matchkind=MatchKind.Standard,
                                       implementation=Implementation.ContiguousNFA)
        self._assignment = assignment
        self._placeholder = Regex(_PLACEHOLDER)
        self._example = Regex(_EXAMPLE)
        self._identifier = Regex(_IDENTIFIER)

    def scan(self, text: NormalisedText) -> Sequence[Hit]:
        hits = self._words.find_matches_as_indexes(text.lowered, overlapping=True)
        if not hits:
            return ()
        wanted = {rule for word in {hit[0] for hit in hits} for rule in self._rules_of[word]}
        found: list[Hit] = []
        for index in sorted(wanted - {self._assignment}):
            found += self._formats(self._rules[index], text)
        if self._assignment in wanted:
            found += self._assignments(text)
        return found

    def self_check(self) -> None:
        bad = "key ghp_" + "a1B2c3D4e5F6" * 3 + "\npassword: k9#vT2qLw!x8"
        good = "The password is on the account page; token = os.environ['TOKEN']"
        if len(self.scan(NormalisedText(bad, bad))) != 2 or self.scan(NormalisedText(good, good)):
            raise Unavailable("the scanner for secrets does not work", code="guard_not_ready")

    def _formats(self, rule: _Rule, text: NormalisedText) -> Iterator[Hit]:
        at = 0
        while (match := rule.regex.groups(text.raw, at)) is not None:
            _, start, at = match
            secret = text.plain[start:at]
            if rule.entropy and entropy(secret) < rule.entropy:
                continue
            if self._example.test(secret.encode()) or (rule.id == "url_password" and self._dull(secret)):
                continue
            yield Hit(start, start + len(secret.rstrip()), 1.0, "secret." + rule.id, "secret")

    def _assignments(self, text: NormalisedText) -> Iterator[Hit]:
        plain, at = text.plain, 0
        while (match := self._assigned.groups(text.raw, at)) is not None:
            begin, start, end = match
            value = plain[start:end].rstrip(".:|\\")
            said = any(c in ":=|>\x1e" for c in plain[begin:start]) or plain[start - 1] in "\"'`"
            if (said or _keylike(value)) and self.random(value):
                end = start + len(value)
                if len(value) == MAX_VALUE and (rest := self._rest.search(text.raw[end:])):
                    end += rest[1]
                yield Hit(start, end, 0.9, "secret.assignment", "secret")
                at = end
            else:  # the value may itself be the name that matters: "authorization: token = ..."
                at = start

    def _dull(self, value: str) -> bool:
        return self._placeholder.test(value.encode())

    def random(self, value: str) -> bool:
        """Whether a value behind a name that says "secret" is one, and not a word, a path or a placeholder."""
        if not MIN_VALUE <= len(value) <= MAX_VALUE or self._dull(value) or self._identifier.test(value.encode()):
            return False
        if all(c in "0123456789abcdefABCDEF" for c in value):
            return len(value) >= MIN_HEX and entropy(value) >= MIN_ENTROPY
        kinds = sum((any(c.islower() for c in value), any(c.isupper() for c in value),
                     any(c.isdigit() for c in value), any(not c.isalnum() and c not in "_-./" for c in value)))
        needed = 2 if len(value) >= _LONG else 3
        letters_only = all(c.isalpha() for c in value)
        return kinds >= needed and not letters_only and entropy(value) >= MIN_ENTROPY


def _keylike(value: str) -> bool:
    """Whether a value needs no ``=`` before it to be taken for a key: prose follows a name, too."""
    return (len(value) >= _LONG or not value.isalnum()) and any(c.isdigit() for c in value)


def entropy(text: str) -> float:
    """Shannon entropy in bits a character."""
    total = len(text)
    return -sum(n / total * math.log2(n / total) for n in Counter(text).values())
