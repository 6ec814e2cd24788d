"""Ringwall: what an agent imports. Standard library only."""
