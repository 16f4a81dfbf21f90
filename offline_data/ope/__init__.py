"""Off-policy evaluation; one file an estimator, found by name."""
