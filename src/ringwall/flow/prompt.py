"""Which values stand literally in the trusted prompt: whole values of a kind, never substrings."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Final

from ringwall import regex
from ringwall.errors import BadInput
from ringwall.flow.interface import Canonical

# What a value of each kind can look like in running text. Each hit is a whole token, so that no part of a longer
# value can pass for a value; it is unwrapped and made canonical before it is compared.
_SHAPES: Final = {
    "email": regex.text(r"[^\s<>,;:\"()\[\]]+@[^\s<>,;:\"()\[\]]+"),
    "iban": regex.text(r"\b[A-Za-z]{2}[0-9]{2}(?: ?[A-Za-z0-9]){11,30}\b"),
    "url": regex.text(r"https?://[^\s<>\"`]+"),
    "path": regex.text(r"[^\s\"`<>]+"),
    "table": regex.text(r"[^\s`<>,;]+"),  # a name in it may stand in double quotes
}
_WORDS: Final = regex.text(r"[^\s\"`<>,;]+")
_QUOTED: Final = regex.text(r"\"[^\"\n]+\"|`[^`\n]+`")
_SENTENCE_END: Final = ".!?:\n"
_TRAILING: Final = ".,;:!?"
_PAIRS: Final = {"'": "'", "`": "`", "(": ")", "[": "]", "{": "}", "<": ">", "*": "*", "_": "_"}
_CLOSING: Final = "')]}*"
_OPENING: Final = "'([{<*"
_QUOTES: Final = '"`'


class Prompt:
    """One trusted instruction, read once.

    Args:
        task: its text.
        canonical: one spelling per value, the same that resolved the call's arguments.

    """

    def __init__(self, task: str, canonical: Canonical) -> None:
        self._task = unicodedata.normalize("NFC", task)
        self._canonical = canonical
        self._known: dict[str, frozenset[str]] = {}
        self._spellings: tuple[str, ...] = ()

    def names(self, value: str, kind: str) -> bool:
        """Whether the prompt names exactly this value.

        Args:
            value: canonical value of an argument.
            kind: the argument's kind; with "" the value must stand there as a phrase of whole words.

        """
        if not value or value != value.strip():
            return False
        if kind == "":
            return self._phrase(value)
        if kind not in self._known:
            self._known[kind] = frozenset(self._values(kind))
        try:  # a tool may be given another notation than the resource's own: https://… for a repository
            return self._canonical(kind, value) in self._known[kind]
        except BadInput:
            return False

    def _values(self, kind: str) -> Iterator[str]:
        """Every value of this kind in the prompt, canonical."""
        shape = _SHAPES.get(kind)
        hits = _opaque(self._task) if shape is None else shape.findall(self._task)
        for hit in hits:
            for candidate in _iban_prefixes(hit) if kind == "iban" else _unwrapped(hit):
                try:
                    yield self._canonical(kind, candidate)
                except BadInput:
                    continue

    def _phrase(self, value: str) -> bool:
        """The value exactly as it stands there, from word boundary to word boundary.

        Nothing in it is free: a loose comparison of case, spaces or punctuation would let a value carry data in
        just these. (All in lower case, and with single spaces, is one fixed spelling each.)
        """
        if not self._spellings:
            single = " ".join(self._task.split())
            self._spellings = (self._task, single, self._task.casefold(), single.casefold())
        return any(_stands(text, value) for text in self._spellings)


def _unwrapped(hit: str) -> Iterator[str]:
    """A hit as it stands, then without the punctuation of the sentence around it."""
    while hit:
        yield hit
        if len(hit) > 1 and _PAIRS.get(hit[0]) == hit[-1]:
            hit = hit[1:-1]
        elif hit.endswith("'s"):
            hit = hit[:-2]
        elif hit[-1] in _TRAILING or hit[-1] in _CLOSING:
            hit = hit[:-1]
        else:
            return


def _iban_prefixes(hit: str) -> Iterator[str]:
    """The hit may have swallowed the words behind it: it ends with one of its groups, never within one."""
    groups = hit.split(" ")
    for count in range(len(groups), 0, -1):
        yield " ".join(groups[:count])


def _opaque(task: str) -> Iterator[str]:
    """What can be meant as an identifier or name: what is quoted or marked, and words that are no plain words.

    Otherwise "the" or "hotel" would be names of payees as soon as an attacker registers them.
    """
    for quoted in _QUOTED.findall(task):
        yield quoted[1:-1]
    for hit in _WORDS.finditer(task):
        for word in _unwrapped(hit.group()):
            before = task[: hit.start()].rstrip(" \"'`([{")
            begins = not before or before[-1] in _SENTENCE_END
            if word[0] in "#@" and len(word) > 1:
                yield word[1:]
            if not word.isalpha() or not (word.islower() or (begins and word.istitle())):
                yield word


def _stands(text: str, value: str) -> bool:
    at = text.find(value)
    while at >= 0:
        if _begins(text, at) and _ends(text, at + len(value)):
            return True
        at = text.find(value, at + 1)
    return False


def _begins(text: str, at: int) -> bool:
    """Whether a word may begin here: after space or quotes, or after a bracket or apostrophe that opens."""
    while at > 0 and text[at - 1] in _OPENING:
        at -= 1
    return at == 0 or text[at - 1].isspace() or text[at - 1] in _QUOTES


def _ends(text: str, at: int) -> bool:
    while at < len(text) and (text[at] in _TRAILING or text[at] in _CLOSING):
        at += 1
    return at == len(text) or text[at].isspace() or text[at] in _QUOTES
