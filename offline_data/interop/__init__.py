"""Logs of others, in and out."""
