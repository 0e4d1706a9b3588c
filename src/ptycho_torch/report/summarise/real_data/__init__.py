"""Summary of real measurements: rPIE and networks, scored without a ground truth."""
