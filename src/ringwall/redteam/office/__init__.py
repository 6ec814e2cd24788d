"""A small office: real MCP servers, a real agent loop, and a model that obeys whatever text stands before it."""
