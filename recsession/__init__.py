"""RecSession, the application: its command line, and the experiments that it runs."""
