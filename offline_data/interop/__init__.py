"""Logs that others published or store in their own format, read into arrays."""
