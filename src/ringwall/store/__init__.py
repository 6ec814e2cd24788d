"""The one database seam: state derived from the log, and what the vault keeps encrypted."""
