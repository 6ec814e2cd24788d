"""MCP as an agent speaks it to us, sans-I/O: 2025-11-25 and 2025-06-18 with a session, 2026-07-28 without."""
