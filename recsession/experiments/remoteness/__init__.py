"""The two controlled worlds of the follow-up to DRPO, and what each way to weight negatives learns in them."""
