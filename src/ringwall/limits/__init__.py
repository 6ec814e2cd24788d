"""How much there has been: rates, budgets, concurrency, attempts."""
