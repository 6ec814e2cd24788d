"""What runs: supervisor, core, sidecars, sessions."""
