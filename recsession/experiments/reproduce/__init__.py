"""The studies of `recsession reproduce`: one module each, and in `base` what every study has."""
