"""A batch of sessions, stepped together."""
