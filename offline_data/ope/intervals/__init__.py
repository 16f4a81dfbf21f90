"""Intervals of an estimate; one file each, found by name."""
