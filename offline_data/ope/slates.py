"""A slate as a session of items: its positions become rows, and weights that more than one of them share.

A slate that is drawn position by position has the probability of its first item, times that of the second given the
first, and so on: with these conditional log-probabilities by row, what is said of decisions is said of positions. Then
standard importance sampling of slates is that of whole sessions, reward interaction (a position's reward depends on it
and those before it) is importance sampling per decision, and the cascade doubly robust estimator is `dr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recenv.errors import require

Floats = NDArray[np.float64]

_IN_SPAN = 1e-8  # of a target's marginals, how far from the span of the logged slates rounding may carry them


def conditional_log_prob(prefix_log_prob: ArrayLike) -> Floats:
    """Return the log-probability of each item given those before it, `[..., K]` float64 nats.

    Args:
        prefix_log_prob: `[..., K]` nats, of the slate's first 1, 2, ... items, as the column of that name in a log and
            as `Policy.judge` returns them; -inf from where a policy never goes on so.

    Returns:
        -inf where a policy stops to go on so, and 0 behind it.

    Examples:
        >>> import numpy as np
        >>> from offline_data import conditional_log_prob
        >>> conditional_log_prob(np.array([-1.0, -1.5, -np.inf, -np.inf]))
        array([-1. , -0.5, -inf,  0. ])
    """
    prefix = np.asarray(prefix_log_prob, np.float64)
    before = np.zeros_like(prefix)
    before[..., 1:] = prefix[..., :-1]
    return np.where(np.isneginf(before), 0.0, prefix - np.where(np.isneginf(before), 0.0, before))


def unfolded(given: ArrayLike | None, columns: Mapping[str, Any]) -> tuple[dict[str, NDArray], NDArray[np.int64]]:
    """Return the columns of slates by row, one a filled position, and where each slate's rows begin, `[L + 1]` int64.

    A slate without any item keeps one row, at which nothing is chosen: its log-probabilities are 0.

    Args:
        given: `[L, K]` bool, which positions have an item; None where all have.
        columns: by name, `reward` among them, `[L, K]` or `[L, K, K]` each; in the second the last axis is of the
            positions, too, and becomes that of the items.

    Raises:
        InvalidInput: for a column of another shape, or a reward in an empty position.
    """
    shape = np.shape(columns["reward"])
    require(len(shape) == 2 and shape[1] > 0, f"reward has shape {shape}; pass [slates, positions]")
    filled = np.ones(shape, np.bool_) if given is None else np.asarray(given)
    require(
        filled.dtype == np.bool_ and filled.shape == shape,
        f"filled has dtype {filled.dtype} and shape {filled.shape}; pass bool of shape {list(shape)}, slates >= 0",
    )
    if filled.all():
        found = {name: np.asarray(column) for name, column in columns.items()}
        for name, values in found.items():
            _require_shape(name, values, shape)
        # Views of the columns: nothing is copied.
        rows = {name: values.reshape(-1, *values.shape[2:]) for name, values in found.items()}
        return rows, np.arange(0, filled.size + 1, shape[1])
    kept = filled.copy()
    kept[~filled.any(axis=1), :1] = True
    out = {}
    for name, column in columns.items():
        values = np.asarray(column)
        _require_shape(name, values, shape)
        if name == "reward":
            lost = np.argwhere(~kept & (values != 0.0))
            require(
                not len(lost),
                f"reward{lost[:1].tolist()}={values[~kept & (values != 0.0)][:1]} stands in an empty position; "
                "give it to a position with an item, or call that one filled",
            )
        if values.ndim == 3:
            order = np.argsort(~kept, axis=1, kind="stable")
            there = np.arange(filled.shape[1]) < kept.sum(axis=1)[:, None, None]
            values = np.where(there, np.take_along_axis(values, order[:, None, :], axis=2), np.zeros((), values.dtype))
        elif name.endswith("log_prob"):
            values = np.where(filled.any(axis=1, keepdims=True), values, 0.0)
        out[name] = values[kept]
    return out, np.concatenate([[0], np.cumsum(kept.sum(axis=1))])


def _require_shape(name: str, values: NDArray, shape: tuple[int, ...]) -> None:
    require(
        values.shape in (shape, (*shape, shape[1])),
        f"{name} has shape {values.shape}; pass {list(shape)}, a number for each position of each slate",
    )


def checked_slates(slates: NDArray[Any], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where slates begin, `[L + 1]` int64, or refuse what no sessions with these `offsets` are made of."""
    rise = slates.dtype.kind in "iu" and slates.ndim == 1 and len(slates) > 0 and bool((np.diff(slates) > 0).all())
    require(
        rise and slates[0] == 0 and slates[-1] == offsets[-1] and bool(np.isin(offsets, slates).all()),
        f"slate_offsets={slates[:5]}... are not integers that rise strictly from 0 to {offsets[-1]} and have all "
        "offsets of sessions among them; begin a slate where a session begins",
    )
    return slates.astype(np.int64)


def checked_dependence(depends: NDArray[Any], sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return `depends_on` `[N, K]`, or refuse what does not fit slates of these sizes, `[L]`."""
    size = np.repeat(sizes, sizes)
    fits = depends.ndim == 2 and len(depends) == len(size) and depends.shape[1] >= sizes.max()
    require(
        depends.dtype == np.bool_ and fits,
        f"depends_on has dtype {depends.dtype} and shape {depends.shape}; pass bool of shape [{len(size)}, K], K at "
        f"least {sizes.max()}, the items of the longest slate",
    )
    beyond = np.flatnonzero((depends & (np.arange(depends.shape[1]) >= size[:, None])).any(axis=1))
    require(
        not len(beyond),
        f"depends_on[{beyond[:1].tolist()}] names an item beyond the {size[beyond[:1]]} of its slate; set it False",
    )
    return depends


def factored_parts(item_log_ratio: ArrayLike) -> Floats:
    """Return each position's part of its slate's pseudo-inverse weight, `[L, K]`, of policies that fill them apart.

    Their sum is `1 + sum_k (ratio_k - 1)`: where positions are filled independently of one another, and rewards are
    sums over positions, of what each item is worth in its own, that weighs as the whole product does.

    Args:
        item_log_ratio: `[L, K]` nats, of each item to stand in its position under the evaluated policy to that under
            the one that logged.

    Source:
        Swaminathan et al. 2017, arXiv:1605.04812.
    """
    ratio = np.exp(np.asarray(item_log_ratio, np.float64))
    return ratio - 1.0 + 1.0 / ratio.shape[-1]


def pseudo_inverse_parts(slates: ArrayLike, behavior: ArrayLike, target: ArrayLike, logged: ArrayLike) -> Floats:
    """Return each position's part of its slate's pseudo-inverse weight, `[L, K]`, of any two policies.

    A slate s is the indicator vector 1_s of its items in their positions. With `Gamma = E_behavior 1_s 1_s'` and
    `q = E_target 1_s` its weight is `q' Gamma^+ 1_s`, a sum over its positions: of a reward that is a sum over
    positions it finds what the target would get, though that may show slates that were never logged.

    Args:
        slates: `[M, K]` integers, every slate that either policy shows.
        behavior: `[M]` or `[L, M]` probabilities of each under the policy that logged; they sum to 1.
        target: the same of the evaluated policy.
        logged: `[L]` integers, which of `slates` each step showed.

    Raises:
        InvalidInput: for probabilities that do not sum to 1, or a target that puts items where the log never has them.

    Source:
        Swaminathan et al. 2017, arXiv:1605.04812.
    """
    table, shown = np.asarray(slates), np.asarray(logged)
    items, index = np.unique(table, return_inverse=True)
    index = index.reshape(table.shape) + len(items) * np.arange(table.shape[1])
    ones = np.zeros((len(table), len(items) * table.shape[1]))
    np.put_along_axis(ones, index, 1.0, axis=1)
    shapes = (len(table),), (len(shown), len(table))
    laws = []
    for name, given in (("behavior", behavior), ("target", target)):
        law = np.asarray(given, np.float64)
        require(law.shape in shapes, f"{name} has shape {law.shape}; pass {list(shapes[0])} or {list(shapes[1])}")
        whole = bool((law >= 0.0).all()) and np.allclose(law.sum(axis=-1), 1.0, rtol=0.0, atol=1e-6)
        require(whole, f"{name} is negative or sums to {law.sum(axis=-1).max()}; pass probabilities of all slates")
        laws.append(law)
    gamma = np.einsum("...m,mi,mj->...ij", laws[0], ones, ones, optimize=True)
    marginal = laws[1] @ ones
    worth = (np.linalg.pinv(gamma, hermitian=True) @ marginal[..., None])[..., 0]
    missed = np.abs((gamma @ worth[..., None])[..., 0] - marginal).max()
    require(
        missed <= _IN_SPAN,
        f"the evaluated policy puts items where the log never has them, or in ways that it does not tell apart (by "
        f"{missed:.2g} of probability); log with a policy that puts every item of the other's in its positions",
    )
    rows = np.broadcast_to(worth, (len(shown), worth.shape[-1]))
    return np.take_along_axis(rows, index[shown], axis=1)
