"""The study of how many rows to keep: its cells and methods, the regret to the best of a cell, figures of it."""
