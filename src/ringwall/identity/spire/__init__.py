"""SPIRE mode: SVIDs and bundles of an existing SPIRE agent instead of our own authority."""
