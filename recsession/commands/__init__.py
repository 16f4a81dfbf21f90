"""The sub-commands of `recsession`, one module each."""
