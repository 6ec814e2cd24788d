"""Agents that talk to each other: A2A through the sidecars, cards, tasks, envelopes."""
