"""RecSession's learners: encoders, policies, critics, objectives, the trainer, evaluation and the command line.

The only package that imports torch at module level, and this file does not: `agents.cli` starts without it.
"""
