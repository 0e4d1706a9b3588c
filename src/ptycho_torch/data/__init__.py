"""Noun 3: measured scans, whoever measured them: read, checked, in one type, written again."""
