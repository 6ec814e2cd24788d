"""The model effect and its upstreams."""
