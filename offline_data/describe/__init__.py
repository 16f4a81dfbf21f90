"""What is in a log: summary, card, page, charts, checks."""
