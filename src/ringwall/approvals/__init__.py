"""Approvals: calls that wait for a human, what humans said, and standing endorsements."""
