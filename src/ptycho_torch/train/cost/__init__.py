"""What a training will cost, before it runs: weights, memory, time."""
