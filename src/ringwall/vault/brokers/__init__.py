"""Who makes credentials: one file a provider, run in a process of its own."""
