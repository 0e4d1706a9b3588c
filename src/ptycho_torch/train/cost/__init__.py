"""What a training will cost, before it runs: weights, operations, memory, time."""
