"""Policy bundles: made from a folder, signed, read strictly, linted and tested."""
