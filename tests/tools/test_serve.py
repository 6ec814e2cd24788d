"""A plain module served as a tool server, through a real sidecar."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from types import ModuleType

import pytest
from tests.tools.office import gate, gather, sidecar

from ringwall.call import Json
from ringwall.errors import RingwallError
from ringwall.tools import serve

MODULE = "tests.tools.servers.ledger"
SLOW = "tests.tools.servers.slow"


def test_public_functions_become_tools_with_closed_schemas_and_strict_arguments() -> None:
    async def run() -> None:
        async with sidecar({"ledger": ["-m", "ringwall.tools.serve", MODULE]}) as at:
            listed = {tool["name"]: tool for tool in await at.client.definitions("ledger")}
            assert set(listed) == {"total", "greet", "entry", "nothing", "broken"}
            assert listed["total"]["description"] == "Add amounts."
            schema = listed["total"]["inputSchema"]
            assert schema["additionalProperties"] is False
            assert schema["required"] == ["cents"]
            assert schema["properties"]["cents"]["items"]["type"] == "integer"

            async def ask(op: str, args: Json) -> Json:
                values, last = await gather(at.client.run_tool("ledger", op, args))
                return values[0] if last.end == "done" else ("failed", values[0]["error"])

            assert await ask("total", {"cents": [1, 2], "vat": 1}) == 6.0
            assert await ask("greet", {"name": "bob"}) == "hello 'bob'"
            assert await ask("nothing", {}) is None
            assert await ask("entry", {"when": "2026-01-02", "cents": 5}) == {"when": "2026-01-02", "cents": 5}
            # What was judged is what runs: text stays text, even if it looks like something else.
            assert await ask("greet", {"name": '["bob"]'}) == "hello '[\"bob\"]'"
            for wrong in ({"cents": "[1]"}, {"cents": ["1"]}, {"cents": [1], "vats": 1}, {}, {"cents": [True]}):
                assert (await ask("total", wrong))[0] == "failed"
            assert await ask("broken", {}) == ("failed", "ValueError: not today")
            assert await ask("_private", {}) == ("failed", "there is no such function")

    asyncio.run(run())


def made(source: str) -> ModuleType:
    module = ModuleType("made")
    exec(compile(source, "made", "exec"), module.__dict__)  # noqa: S102 (a module of this test)
    return module


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def f(a): pass", "no annotation"),
        ("def f(*a: int): pass", "by name"),
        ("def f(a: int, /): pass", "by name"),
        ("def f(**a: int): pass", "by name"),
        ("def f(a: 'Nowhere'): pass", "Nowhere"),
        ("def _f(): pass", "no public"),
        ("class A: pass\ndef f(a: A): pass", "JSON"),
        ("import types\ndef f(a: types.ModuleType): pass", "JSON"),
    ],
)
def test_a_module_that_cannot_be_served_says_why(source: str, why: str) -> None:
    with pytest.raises(RingwallError, match=why) as caught:
        serve.functions(made(source))
    assert caught.value.code == "bad_module"
    assert caught.value.remedy


def test_all_names_what_is_public_and_odd_parameter_names_work() -> None:
    module = made(
        "__all__ = ['_f']\ndef _f(model_config: int, schema: str = 'x') -> int: return model_config\n"
        "def g() -> None: pass"
    )
    tools = serve.functions(module)
    assert set(tools) == {"_f"}
    assert asyncio.run(serve.call(tools["_f"], {"model_config": 5})).structured_content == {"result": 5}


@pytest.mark.parametrize("argv", [[], ["no.such.module"], ["os", "path"], ["tests.tools"]])
def test_a_wrong_command_ends_with_2_and_a_sentence(argv: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ringwall.tools.serve", *argv],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()


def test_a_function_that_goes_on_when_nobody_waits_says_when_it_is_over() -> None:
    async def run() -> None:
        freed = asyncio.Event()

        async def free() -> None:
            freed.set()

        async with sidecar({"slow": ["-m", "ringwall.tools.serve", SLOW]}) as at, gate() as door:
            async with aclosing(at.client.run_tool("slow", "wait", {"gate": door.path}, call="c1")) as answer:
                step = asyncio.ensure_future(anext(answer))
                assert await door.said() == "waiting"
                assert not at.client.afterwards("c1", free)  # somebody waits: its end is the call's
                step.cancel()
                await asyncio.gather(step, return_exceptions=True)
            assert at.client.afterwards("c1", free)
            values, _ = await gather(at.client.run_tool("builtin", "echo", {"text": "a"}))
            assert values == [{"text": "a"}]
            assert not freed.is_set()
            door.open()
            assert await door.said() == "over"
            async with asyncio.timeout(20):
                await freed.wait()
            assert not at.client.afterwards("c1", free)

    asyncio.run(run())
