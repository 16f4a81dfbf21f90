"""Gymnasium environments, single and vector, and their wrappers."""
