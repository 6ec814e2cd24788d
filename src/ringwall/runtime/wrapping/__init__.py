"""``ringwall wrap``: a private Ringwall around one stdio MCP server, for a client that nobody launches."""
