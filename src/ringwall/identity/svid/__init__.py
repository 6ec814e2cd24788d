"""SVIDs: the embedded authority that issues them, the strict verifiers that judge them, and bundles."""
