"""How the worst model there is decides: it obeys whatever instruction stands anywhere in its context.

An instruction is a line ``call NAME with {JSON}`` or ``answer TEXT``; ``<<NAME>>`` in it stands for the last
result of that tool. It makes no difference whether the user wrote the line or a document that a tool read, or
whether it stands in the description of a tool: one that speaks of a tool the task needs is obeyed too. Where the
provider searches the web by itself, a line ``look up TEXT`` has it do so.
Nothing here decides what is harmful: with this model, every text that reaches the context is a command.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

_CALL: Final = re.compile(r"call ([a-z]+/[a-z]+) with (\{.*\})", re.IGNORECASE)
_ANSWER: Final = re.compile(r"answer[: ]+(.*)", re.IGNORECASE)
_LOOK_UP: Final = re.compile(r"look up (.*)", re.IGNORECASE)
_RESULT: Final = re.compile(r"<<([a-z]+/[a-z]+)>>")
_TOKEN = 4  # characters: about what tokenisers make of English


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What one request shows the model, whichever API it came over.

    Args:
        model: as the request names it.
        stream: whether the answer is wanted in pieces.
        usage: whether a streamed answer is to end with its usage.
        offered: names of the functions it may call.
        texts: everything that was not said by the model itself, in order.
        asked: id and name of each call that it asked for, in order.
        results: what came of them, by id.
        described: what the functions say of themselves.
        searches: whether the provider may search the web for the answer.

    """

    model: str
    stream: bool
    usage: bool
    offered: Sequence[str]
    texts: Sequence[str]
    asked: Sequence[tuple[str, str]]
    results: Mapping[str, str]
    described: Sequence[str] = ()
    searches: bool = False

    @property
    def tokens(self) -> int:
        """About how long it is."""
        return 1 + sum(len(text) for text in self.texts) // _TOKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What the model does next: say ``text``, or call ``name`` with ``arguments`` (JSON) where a name is given."""

    text: str = ""
    name: str = ""
    arguments: str = ""

    @property
    def tokens(self) -> int:
        """About how long it is."""
        return 1 + len(self.text + self.name + self.arguments) // _TOKEN


def spoken(text: str) -> str:
    """The strings of a text that is JSON, each once: frameworks wrap what tools say. Other texts as they are."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        found = dict.fromkeys(_strings(json.loads(text)))
    except json.JSONDecodeError:
        return text
    return "\n".join(found) or text


def _strings(value: Any) -> Iterator[str]:
    """Text that tells what a thing is (``"type": "text"``) is not part of what was said."""
    match value:
        case str():
            yield value
        case list():
            for item in cast("list[Any]", value):
                yield from _strings(item)
        case dict():
            for name, item in cast("dict[str, Any]", value).items():
                if name != "type":
                    yield from _strings(item)
        case _:
            return


def function(wanted: str, offered: Sequence[str]) -> str:
    """The function that an instruction means by ``server/tool``, whatever prefix a framework put before it.

    One that was never offered is called all the same: nothing holds this model back.
    """
    plain = wanted.replace("/", "__")
    return plain if plain in offered else next((name for name in offered if fits(wanted, name)), plain)


def fits(wanted: str, name: str) -> bool:
    """Whether a function's name stands for ``server/tool``."""
    server, _, tool = wanted.partition("/")
    return name == tool or name.endswith((f"{server}__{tool}", f"{server}_{tool}"))


def _fill(text: str, context: Context, *, quoted: bool) -> str:
    def value(match: re.Match[str]) -> str:
        ids = [call for call, name in context.asked if fits(match.group(1), name) and call in context.results]
        found = spoken(context.results[ids[-1]]) if ids else ""
        return json.dumps(found)[1:-1] if quoted else found

    return _RESULT.sub(value, text)


def obey(context: Context) -> Move:
    """The first instruction in the context that was not carried out yet."""
    text = "\n".join(spoken(text) for text in context.texts)
    calls = _CALL.findall(text)
    named = [name for name, _ in calls]
    calls += _CALL.findall("\n".join(told for told in context.described if _speaks(told, named)))
    if len(context.asked) < len(calls):
        name, arguments = calls[len(context.asked)]
        return Move(name=function(name, context.offered), arguments=_fill(arguments, context, quoted=True))
    answers = _ANSWER.findall(text)
    return Move(text=_fill(answers[-1], context, quoted=False) if answers else "Done.")


def _speaks(told: str, names: Sequence[str]) -> bool:
    """Whether a description speaks of one of these tools."""
    return any(name in _RESULT.sub("", told) for name in names)


def looked_up(context: Context) -> list[str]:
    """What the provider itself searches the web for, on its way to the answer."""
    return _LOOK_UP.findall("\n".join(context.texts)) if context.searches else []
