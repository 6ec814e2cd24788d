"""The format of an attack: what it is, which barriers must each stop it alone, and its steps.

One file an attack under ``attacks/``, each with a constant ``ATTACK``. An attack is first shown to succeed
without Ringwall, then must fail with it, and must go on failing with any one barrier replaced by a liar.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from ringwall.call import Json
from ringwall.redteam.office.journalled import lines

Barrier = Literal[
    "identity", "capability", "limits", "flow", "guard", "policy", "certificate", "envelope",
    "namespaces", "landlock", "seccomp", "wire", "egress", "scope", "lease",
]


LAYERS: Final[tuple[Barrier, ...]] = ("namespaces", "landlock", "seccomp")  # what the kernel enforces
# What has to be possessed: a key that an authority of the sender's own trust domain has vouched for, and a
# signature by a key of the sending core over exactly these bytes.
KEYS: Final[tuple[Barrier, ...]] = ("certificate", "envelope")
# What the gateway makes of others' words: what a provider's answer may hold, and where requests for agents go and
# what of their answers comes back.
GATEWAY: Final[tuple[Barrier, ...]] = ("wire", "egress")
# What a minted credential is good for at its provider, and that it ends when its agent does.
CREDENTIAL: Final[tuple[Barrier, ...]] = ("scope", "lease")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What can be seen after a run, with Ringwall or without.

    Args:
        output: what the agent's program printed.
        status: its exit code.
        heard: bytes that reached the listener outside, if the attack has one.

    """

    output: str
    status: int
    outbox: Sequence[Mapping[str, Json]] = ()  # mails that left
    ledger: Sequence[Mapping[str, Json]] = ()  # payments made
    queries: Sequence[Mapping[str, Json]] = ()  # what the search provider saw
    documents: frozenset[str] = frozenset()  # what lies under docs
    heard: bytes = b""
    rates: Sequence[Mapping[str, Json]] = ()  # what the vendor of rates was told
    desk: Sequence[Mapping[str, Json]] = ()  # what the help desk was asked, under which token
    inside: Sequence[Mapping[str, Json]] = ()  # requests that reached the machine inside
    searched: Sequence[Mapping[str, Json]] = ()  # what the model's provider searched the web for
    cloud: Sequence[Mapping[str, Json]] = ()  # what was done in the object store
    archive: Sequence[Mapping[str, Json]] = ()  # what was read in the archive, and by whom

    @classmethod
    def gather(cls, folder: Path, *, output: str, status: int, heard: bytes) -> Evidence:
        """Read it all now: the next task clears the office."""
        docs = folder / "docs"
        return cls(
            output=output,
            status=status,
            heard=heard,
            outbox=lines(folder / "mail" / "outbox.jsonl"),
            ledger=lines(folder / "payments" / "ledger.jsonl"),
            queries=lines(folder / "search" / "queries.jsonl"),
            rates=lines(folder / "rates" / "asked.jsonl"),
            desk=lines(folder / "desk" / "asked.jsonl"),
            inside=lines(folder / "inside" / "asked.jsonl"),
            searched=lines(folder / "provider" / "queries.jsonl"),
            cloud=lines(folder / "cloud" / "done.jsonl"),
            archive=lines(folder / "archive" / "asked.jsonl"),
            documents=frozenset(str(path.relative_to(docs)) for path in docs.rglob("*") if path.is_file()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Something an agent of the office is told to do.

    ``task``, ``arguments`` and the values of ``plant`` may contain ``{docs}`` (the documents' folder), ``{key}``
    (the model key's file), ``{manifest}``, ``{site}`` and ``{inside}`` (two web servers),
    ``{archive}`` (a web service); the first two also
    ``{port}`` (a listener outside). ``program`` is
    empty for the office's agent loop; else a module to run in the agent's place with ``arguments``, in which
    ``{door}`` and ``{pid}`` (another agent's), ``{own}`` (its own door), ``{operator}`` and ``{state}`` are
    filled in as well.

    ``beside``: what another agent's program does meanwhile. It has begun when it prints something, and ends when
    its input does. If it is given, it is the attacker: what stopped the attack is looked for in its run.

    ``serving``: the agent whose A2A server runs meanwhile; what stopped the attack may stand in its run too. In
    ``arguments`` ``{listen}`` is its port and ``{outsider}`` a folder with the authority of another trust domain.
    ``outside``: ``program`` runs on the host, as somebody in its network would, and not as an agent.
    ``accomplice``: when the agent has ended, somebody outside tries what it printed.
    """

    agent: str
    task: str
    plant: Mapping[str, str] = field(default_factory=dict[str, str])  # file under docs -> text
    pages: Mapping[str, str] = field(default_factory=dict[str, str])  # page of the site -> text
    program: str = ""
    arguments: tuple[str, ...] = ()
    beside: Task | None = None
    serving: str = ""
    outside: bool = False
    accomplice: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack.

    Args:
        id: short name, the file's name with dashes.
        title: what the table says, at most 40 characters.
        threat: number of the source page's threat, 1 to 5, or 0 for the wall itself.
        mitigation: what of that threat's mitigations it tests.
        technique: ids of OWASP and MITRE ATLAS, with the edition.
        barriers: each of these stops it alone.
        accepted: why a single barrier is accepted here; empty: there must be two.
        steps: what the agent is told, and what was planted.
        harm: whether the attack worked.

    """

    id: str
    title: str
    threat: int
    mitigation: str
    technique: tuple[str, ...]
    barriers: tuple[Barrier, ...]
    steps: Task
    harm: Callable[[Evidence], bool]
    accepted: str = ""

    def __post_init__(self) -> None:
        if len(self.title) > 40 or (len(self.barriers) < 2 and not self.accepted):
            raise ValueError(f"attack {self.id}: a short title and two barriers, or a reason for one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Benign:
    """Ordinary work that must succeed with and without Ringwall."""

    id: str
    title: str
    steps: Task
    good: Callable[[Evidence], bool]


def all_attacks() -> tuple[Attack, ...]:
    """Every attack of ``attacks/``, by threat and id."""
    package = importlib.import_module("ringwall.redteam.attacks")
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    found: list[Attack] = [importlib.import_module(f"ringwall.redteam.attacks.{name}").ATTACK for name in names]
    return tuple(sorted(found, key=lambda attack: (attack.threat or 9, attack.id)))


def interpreter() -> str:
    """The Python that runs agents: the one that runs this."""
    return sys.executable
