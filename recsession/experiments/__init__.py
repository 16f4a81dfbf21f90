"""Experiments with a report: the quickstart, the theory, the myopic gap."""
