"""Web APIs as tools: an OpenAPI description in, closed argument schemas and settled requests out."""
