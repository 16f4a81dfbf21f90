"""Encoders of an observation; one file each, found by name."""
