"""A slate's semantic-ID tokens by loops, and the decoder's transformer for one sequence in float64; NumPy only."""

import itertools

import numpy as np


def allowed_tokens(codes, offered, items, prefix):
    """Every token that follows the prefix in the code of an item that is on offer and not among `items`."""
    left = [code for n, code in enumerate(codes) if offered[n] and n not in items]
    return sorted({code[len(prefix)] for code in left if list(code[: len(prefix)]) == list(prefix)})


def next_logits(weights, num_heads, codes, context, items, prefix):
    """Logits of the token behind the prefix of the item behind `items`; without a cache, from the first token on."""
    rows = [context + weights["start"]]
    for position, code in enumerate([*(codes[n] for n in items), prefix]):
        for level, token in enumerate(code):
            rows.append(weights[f"tokens.{level}"][token] + weights["positions"][position] + weights["levels"][level])
    hidden = np.array(rows)
    layer = 0
    while f"blocks.{layer}.project.weight" in weights:
        own = {name: weights[f"blocks.{layer}.{name}"] for name in _PARTS}
        hidden = hidden + _attended(own, num_heads, _normal(hidden, own, "attention_norm"))
        wide = _normal(hidden, own, "norm") @ own["widen.weight"].T + own["widen.bias"]
        hidden = hidden + (wide / (1.0 + np.exp(-wide))) @ own["narrow.weight"].T + own["narrow.bias"]
        layer += 1
    last = _normal(hidden[-1:], weights, "norm")[0]
    return weights[f"heads.{len(prefix)}.weight"] @ last + weights[f"heads.{len(prefix)}.bias"]


_PARTS = (
    *("attention_norm.weight", "attention_norm.bias", "norm.weight", "norm.bias", "project.weight", "merge.weight"),
    *("widen.weight", "widen.bias", "narrow.weight", "narrow.bias"),
)


def _normal(rows, weights, name):
    centered = rows - rows.mean(axis=1, keepdims=True)
    scaled = centered / np.sqrt((centered**2).mean(axis=1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _attended(own, num_heads, hidden):
    width = hidden.shape[1]
    query, key, value = (hidden @ part.T for part in own["project.weight"].reshape(3, width, width))
    size = width // num_heads
    out = np.zeros_like(hidden)
    for head in range(num_heads):
        part = slice(head * size, (head + 1) * size)
        for t in range(len(hidden)):
            logits = key[: t + 1, part] @ query[t, part] / np.sqrt(size)
            share = np.exp(logits - logits.max())
            out[t, part] = (share / share.sum()) @ value[: t + 1, part]
    return out @ own["merge.weight"].T


def token_log_probs(logits_of, codes, offered, slate, temperature=1.0):
    """Log-probabilities [K][L] of a slate's tokens; None for a slate with a repeated item or one not on offer.

    `logits_of(items, prefix)` are those of the next token.
    """
    if len(set(slate)) < len(slate) or not all(0 <= n < len(codes) and offered[n] for n in slate):
        return None
    rows = []
    for position, n in enumerate(slate):
        items, row = slate[:position], []
        for level, token in enumerate(codes[n]):
            prefix = tuple(codes[n][:level])
            allowed = allowed_tokens(codes, offered, items, prefix)
            logits = np.asarray(logits_of(tuple(items), prefix), float)[allowed] / temperature
            logits = logits - logits.max()
            row.append(float(logits[allowed.index(token)] - np.log(np.exp(logits).sum())))
        rows.append(row)
    return rows


def all_slates(offered, slate_size):
    """Every slate of different items on offer."""
    return list(itertools.permutations([n for n in range(len(offered)) if offered[n]], slate_size))
