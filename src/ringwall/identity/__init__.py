"""Who is calling: SPIFFE IDs, registered processes, the identity ring."""
