"""MCP at an agent's own door: ``/mcp`` for all its servers, ``/mcp/<server>`` for one."""

from __future__ import annotations

from ringwall.doors.mcp.door import McpDoor

__all__ = ["McpDoor"]
