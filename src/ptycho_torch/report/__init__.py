"""What the runs of a study say: summaries, figures, the decision, the page; torch-free."""
