"""What the organisation allows: compiled Rego in process."""
