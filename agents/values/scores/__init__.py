"""Scores of a log's rows; one file each, found by name."""
