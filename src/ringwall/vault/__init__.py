"""Secrets at rest, and credentials that are made for one call."""
