"""RecSession's logs: behavior policies, collection, the memory-mapped dataset, other formats, off-policy evaluation."""
