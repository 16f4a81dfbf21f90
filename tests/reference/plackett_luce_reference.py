"""Plackett-Luce slates in PyTorch, as written: one renewed log-softmax a position; any autograd follows it."""

import torch


def naive_prefixes(logits, slate):
    """Log-probabilities [B, K] of the first 1, 2, ... items, of possible slates."""
    total, parts = 0.0, []
    for position in range(slate.shape[-1]):
        chosen = slate[:, position : position + 1]
        total = total + torch.log_softmax(logits, -1).gather(-1, chosen).squeeze(-1)
        parts.append(total)
        logits = logits.scatter(-1, chosen, -torch.inf)
    return torch.stack(parts, -1)
