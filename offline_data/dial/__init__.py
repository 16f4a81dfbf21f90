"""The quality of a log as a dial: mixtures, normalised scores, target scores, named datasets."""
