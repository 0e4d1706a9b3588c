"""Conventional engines: what the networks are compared with. Arrays in, arrays out."""
