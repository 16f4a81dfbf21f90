"""User models fitted to a log by maximum likelihood."""
