"""Settings of a study: frozen, strict, importable without torch."""
