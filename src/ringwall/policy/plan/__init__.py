"""Executes OPA's intermediate representation: each plan function becomes one Python function."""
