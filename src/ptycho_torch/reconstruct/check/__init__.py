"""Check: by which conventions a foreign file is to be read."""
