"""Inbound: the agent socket and the operator socket."""
