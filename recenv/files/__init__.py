"""What is read from files of strangers, and written whole or not at all."""
