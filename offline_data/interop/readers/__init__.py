"""Readers of others' logs; one file a format, found by name."""
