"""A server elsewhere that could not be listed: when it is asked again."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from tests.fakes import run, until

from ringwall.call import Json
from ringwall.errors import Unavailable
from ringwall.manifest.types import ToolServer
from ringwall.runtime import helpers
from ringwall.runtime.helpers import Helpers
from ringwall.runtime.runs import Tasks

DESK = ToolServer(name="desk", mcp="https://desk.example/mcp", secret="desk-token")


class Gateway:
    """Lists a server once its secret is there."""

    def __init__(self) -> None:
        self.there = False
        self.asked = 0

    async def listed(self, tenant: str, server: ToolServer, sidecar: object) -> list[Json]:
        self.asked += 1
        if not self.there:
            raise Unavailable("the vault is sealed", code="vault_sealed")
        return []

    def problems(self, name: str) -> tuple[str, ...]:
        return ()

    def changed(self, tenant: str) -> None:
        return


class Pins:
    async def flush(self, journal: object) -> None:
        return


def test_it_is_asked_at_once_when_a_secret_has_come(monkeypatch: Any) -> None:
    monkeypatch.setattr(helpers, "AGAIN_S", (3600.0,))

    async def go() -> None:
        gateway, faults = Gateway(), list[BaseException]()
        catalogue = SimpleNamespace(register=lambda server, *rest: None, problems=lambda name: ())
        parts: dict[str, Any] = dict.fromkeys(("state", "children", "around", "journal", "confine", "clock"))
        one = Helpers(
            manifest=cast("Any", SimpleNamespace(tools={"desk": DESK})), pins=cast("Any", {"acme": Pins()}),
            catalogues=cast("Any", SimpleNamespace(of=lambda tenant: catalogue)), tasks=Tasks(faults.append),
            gateway=cast("Any", gateway), **parts,
        )
        one.sidecars["acme"] = cast("Any", None)
        await one._register("acme", DESK)
        assert (gateway.asked, "vault_sealed" in one.problems["acme/desk"]) == (1, True)
        await asyncio.sleep(0)
        one.ask_again()  # what came was another secret
        await until(lambda: gateway.asked == 2)
        gateway.there = True
        one.ask_again()
        await until(lambda: not one.problems)
        one.ask_again()  # nobody waits any more
        await asyncio.sleep(0)
        assert (gateway.asked, faults) == (3, [])

    run(go())
