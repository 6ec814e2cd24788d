"""Where values come from and who would see them: labels and rules."""
