"""What a log gives a learner: batches of steps, windows and sessions."""
