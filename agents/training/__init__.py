"""Training on a log, what is measured on the way, and what the result is worth."""
