"""Attacks, the office of the demo, ablation."""
