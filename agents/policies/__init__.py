"""Policies; one file each, found by name."""
