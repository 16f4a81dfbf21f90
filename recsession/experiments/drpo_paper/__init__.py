"""The experiments of the paper on DRPO (arXiv:2602.10430): its numbers, its protocol as tasks, figures of both."""
