"""Off-policy evaluation: logged sessions as arrays, estimators of a policy's value, and how surely they know it."""
