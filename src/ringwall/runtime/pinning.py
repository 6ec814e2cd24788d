"""What operators may do about tool definitions: see which are held back and why, and accept one they have seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from ringwall.call import Call, Digest, Json, subject_name
from ringwall.capability.catalogue import Catalogues, Tool
from ringwall.errors import BadInput, Refused
from ringwall.interface import Journal
from ringwall.runtime.acts import Act, arguments
from ringwall.runtime.pins import LogPins, Pin


class _Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``pins.list`` takes. Without a tenant: all; with a tool of it: that one, and its definitions too."""

    tenant: str = ""
    tool: str = ""


class _Accepted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``pins.accept`` takes. ``definition``: the hash of what the operator has seen."""

    tenant: str
    tool: str
    definition: str


class Pinning:
    """The acts on pins.

    Args:
        catalogues: what the servers list now.
        pins: what was reviewed, by tenant.
        journal: where a new pin is written before it counts.
        repinned: told the tenant and server of a tool that is held to another pin now.

    """

    def __init__(
        self,
        *,
        catalogues: Catalogues,
        pins: Mapping[str, LogPins],
        journal: Journal,
        repinned: Callable[[str, str], None],
    ) -> None:
        self._catalogues = catalogues
        self._pins = pins
        self._journal = journal
        self._repinned = repinned

    def acts(self) -> dict[str, Act]:
        """``pins.list`` and ``pins.accept``."""
        return {"pins.list": self._list, "pins.accept": self._accept}

    async def _list(self, call: Call) -> Json:
        """Every pinned tool: what was pinned, what is listed now."""
        wanted = arguments(call, _Wanted)
        if wanted.tool:
            pin = self._of(wanted.tenant).all().get(wanted.tool)
            tool = self._catalogues.of(wanted.tenant).tool(wanted.tool)
            if pin is None and tool is not None and tool.changed:  # it never was what the manifest says
                pin = Pin(tool.pinned, None)
            if pin is None:
                raise _unknown(wanted.tool)
            row = _row(wanted.tenant, wanted.tool, pin, tool)
            return {"pins": [{**row, "was": pin.listed, "now": None if tool is None else tool.listed}]}
        if wanted.tenant:
            self._of(wanted.tenant)
        return {"pins": [_row(tenant, name, pin, self._catalogues.of(tenant).tool(name))
                         for tenant, pins in self._pins.items() if wanted.tenant in {"", tenant}
                         for name, pin in sorted(pins.all().items())]}

    async def _accept(self, call: Call) -> Json:
        """Pin what a server lists now, if it is what the operator has seen: in the log first, then for calls."""
        order = arguments(call, _Accepted)
        pins, catalogue = self._of(order.tenant), self._catalogues.of(order.tenant)
        tool = catalogue.tool(order.tool)
        if tool is None:
            raise _unknown(order.tool)
        if not tool.changed:
            raise BadInput(f"{tool.name} is what was pinned", code="not_changed", remedy="`ringwall pins list`")
        if tool.definition != order.definition:
            raise Refused(f"the server of {tool.name} lists something else by now", code="definition_moved",
                          remedy=f"look again: `ringwall pins show {order.tenant} {tool.name}`")
        record = await pins.accept(
            self._journal, tool.name, Pin(tool.definition, tool.listed), subject_name(call.subject)
        )
        held = catalogue.repin(tool.name)  # perhaps listed anew meanwhile: then it is compared with this pin
        self._repinned(order.tenant, tool.server)
        return {**_row(order.tenant, tool.name, Pin(tool.definition, None), held), "was": tool.pinned,
                "record": record}

    def _of(self, tenant: str) -> LogPins:
        found = self._pins.get(tenant)
        if found is None:
            raise BadInput(f"there is no tenant {tenant[:64]!r}", code="no_such_tenant",
                           remedy="`ringwall pins list` without a tenant shows all")
        return found


def _unknown(name: str) -> BadInput:
    return BadInput(f"there is no pinned tool {name[:80]!a} here, or its server does not list it now",
                    code="unknown_tool", remedy="`ringwall pins list`")


def _row(tenant: str, name: str, pin: Pin, tool: Tool | None) -> dict[str, Json]:
    listed: Digest | None = None if tool is None else tool.definition
    state = "unavailable" if tool is None else "changed" if tool.changed else "pinned"
    return {"tenant": tenant, "tool": name, "state": state, "pinned": pin.definition, "listed": listed}
