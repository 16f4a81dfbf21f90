"""Estimators of a policy's value from another's log; one file an estimator, or a pair of one equation."""
