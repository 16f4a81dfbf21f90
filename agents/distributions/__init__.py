"""The distributions of slates that policies give: exact log-probabilities, samples, a mode, an entropy."""
