"""Behavior policies; one file each, found by name."""
