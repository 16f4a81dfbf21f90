"""Objectives; one file each, found by name."""
