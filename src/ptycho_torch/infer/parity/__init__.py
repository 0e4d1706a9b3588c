"""Debug dumps of a training or an inference: patch statistics, pictures, comparison of two."""
