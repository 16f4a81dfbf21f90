"""Pieces of a session that every user model can switch on, one file each."""
