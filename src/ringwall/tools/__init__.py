"""The tool effect and the MCP servers behind it."""
