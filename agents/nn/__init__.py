"""Networks: what reads an observation, and what a policy or critic makes of it."""
