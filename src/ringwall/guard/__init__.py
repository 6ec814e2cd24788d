"""What texts carry: the scanner service, its client and its ring."""
