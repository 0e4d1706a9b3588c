"""What a handful of seeds supports: estimates, comparisons, verdicts; torch-free."""
