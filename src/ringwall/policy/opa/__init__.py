"""Asking an OPA beside us over its REST API: another way to the same decisions."""
