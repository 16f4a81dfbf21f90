"""How users answer and what moves in a session."""
