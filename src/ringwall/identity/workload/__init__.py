"""The SPIFFE Workload API: how a launched process gets its SVIDs, over a socket of its own."""
