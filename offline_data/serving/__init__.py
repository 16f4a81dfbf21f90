"""What a server tells a policy of its users, and what the policy answers: events and ids of the source, in NumPy."""
