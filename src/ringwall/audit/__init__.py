"""What happened: the log, its checkpoints, its verifier."""
