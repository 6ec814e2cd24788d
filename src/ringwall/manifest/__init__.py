"""ringwall.toml: types, strict loading, schema."""
