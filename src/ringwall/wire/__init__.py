"""Sans-I/O parsers of what comes over the wire."""
