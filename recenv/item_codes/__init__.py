"""Items as short codes of tokens."""
