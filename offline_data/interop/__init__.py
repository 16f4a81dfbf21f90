"""Logs in formats of others: Minari and Parquet out; Minari, public logs and any table in."""
