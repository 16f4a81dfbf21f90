"""Factors of the items from a log alone: what is consumed by one user, or shown in one slate, is alike.

Contexts are the sets of different items that each user consumed, and those that each slate showed (in a log of single
items: each session). With X_ui = 1 where context u holds item i, r_u and c_i its row and column sums and n its total,
the items' factors are the leading right singular vectors of the residuals of independence, smoothed,

    S_ui = (X_ui - r_u c_i / n) / sqrt((r_u + m) (c_i + m)),    m = 10,

times the singular values, each item's row scaled to unit length. Both kinds of contexts count alike: they are stacked,
each over its root mean singular value.

S is never made. The square S'S of a block of vectors is found in one pass over the contexts, and block Lanczos finds
its leading eigenvectors: memory is that of the entries, of which 2^23 of a kind are read at most, and of N vectors of
128. Each sum is made in one order, by one thread.

Sources: correspondence analysis (Greenacre 1984), which is the first order of the factored pointwise mutual
information of Levy and Goldberg 2014; without the smoothing, as that of Amini, Chen, Bickel and Levina 2013
(arXiv:1207.2340), a pair of rare items that are seen together twice makes a leading direction of its own. Golub and Van
Loan 2013, section 10.3.6, for the iteration, with every block made orthogonal to all before it. It begins at random
signs of the contexts, and so does not depend on how the items are numbered.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from offline_data.store.dataset import LoggedDataset
from recenv.kernels import njit
from recenv.mixed_bits import mixed_bits

NUM_FACTORS: Final = 32
_WIDTH: Final = 8  # vectors of a block
_BLOCKS: Final = 16
_SMOOTHING: Final = 10.0
_LEAST: Final = 1e-9  # of an eigenvalue, and of a squared norm, whose mean is 1 where nothing is alike
_ROUNDING: Final = 1e-14
_MOST_ENTRIES: Final = 1 << 23
_ROWS_AT_ONCE: Final = 1 << 18


class Contexts(NamedTuple):
    """C sets of items."""

    starts: np.ndarray
    """[C + 1] int64: set c holds items[starts[c] : starts[c + 1]], two or more."""
    items: np.ndarray
    """[n] int32."""


def item_factors(dataset: LoggedDataset, *, num_factors: int = NUM_FACTORS, seed: int = 0) -> np.ndarray | None:
    """Return factors of what stands together in a log; see the module.

    Args:
        dataset: of slates; its own embeddings are not read.
        num_factors: d at most, well below 128; as many as the log has directions.
        seed: of the signs at which the iteration begins.

    Returns:
        [N, d] float32 unit rows, of zeros for an item that never stood with another; None where none did.

    Raises:
        InvalidInput: for a log that contradicts itself.
    """
    dataset.require_sound()
    blocks = [block for block in (_consumed(dataset), _shown(dataset)) if len(block.items)]
    if not blocks:
        return None
    found = leading_factors(blocks, dataset.num_items, num_factors, seed)
    length = np.sqrt(np.square(found).sum(axis=1, keepdims=True))
    factors = np.divide(found, length, out=np.zeros_like(found), where=length > np.sqrt(_LEAST))
    return factors.astype(np.float32) if factors.any() else None


def leading_factors(blocks: list[Contexts], num_items: int, num_factors: int, seed: int) -> np.ndarray:
    """Return the leading right singular vectors of the stacked S times the singular values, [N, d] float64.

    Args:
        blocks: kinds of contexts.
        num_items: N.
        num_factors: d at most.
        seed: of the signs at which the iteration begins.
    """
    squares = [_Square(block, num_items) for block in blocks]
    basis: list[np.ndarray] = []
    image = np.asarray(sum(square.started(seed) for square in squares))
    upper: list[list[np.ndarray]] = []  # by block of columns, of the square in the basis
    for _ in range(_BLOCKS):
        block = _orthonormal(image, basis)
        if not block.shape[1]:
            break  # nothing is left: the basis holds every direction
        basis.append(block)
        image = np.asarray(sum(square(block) for square in squares))
        upper.append([_inner(each, image) for each in basis])
    if not basis:
        return np.zeros((num_items, 0))
    places = np.cumsum([0, *(block.shape[1] for block in basis)])
    square = np.zeros((places[-1], places[-1]))
    for j, column in enumerate(upper):
        for i, part in enumerate(column):
            square[places[i] : places[i + 1], places[j] : places[j + 1]] = part
            square[places[j] : places[j + 1], places[i] : places[i + 1]] = part.T
    values, vectors = _eigen(square)
    kept = np.argsort(-values, kind="stable")[:num_factors]
    kept = kept[values[kept] > _LEAST]
    scaled = np.ascontiguousarray(vectors[:, kept] * np.sqrt(values[kept]))
    parts = zip(basis, np.split(scaled, places[1:-1]), strict=True)
    return np.asarray(sum(_product(block, rows) for block, rows in parts))


class _Square:
    """S'S of one kind of contexts, over its mean eigenvalue."""

    def __init__(self, block: Contexts, num_items: int) -> None:
        self.block = block
        self.count = np.bincount(block.items, minlength=num_items).astype(np.float64)
        self.by_context = 1.0 / (np.diff(block.starts) + _SMOOTHING)
        self.by_item = np.where(self.count > 0.0, 1.0 / np.sqrt(self.count + _SMOOTHING), 0.0)
        repeated = np.repeat(self.by_context, np.diff(block.starts))
        self.mean = float((repeated * np.square(self.by_item)[block.items]).sum()) / num_items

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        return self._finish(_accumulate, np.ascontiguousarray(self.by_item[:, None] * vectors))

    def started(self, seed: int) -> np.ndarray:
        """Return S' of random signs, [N, 8]."""
        # SplitMix64 of the contexts' numbers: its bits are the signs.
        bits = np.arange(1, len(self.by_context) + 1, dtype=np.uint64) + np.uint64((seed << 32) % 2**64)
        bits *= np.uint64(0x9E3779B97F4A7C15)
        return self._finish(_scatter, np.empty((len(self.count), _WIDTH)), mixed_bits(bits))

    def _finish(self, kernel: object, scaled: np.ndarray, *bits: np.ndarray) -> np.ndarray:
        out, level = np.zeros_like(scaled), np.zeros(scaled.shape[1])
        share = self.count / len(self.block.items)
        kernel(*self.block, self.by_context, scaled, share, out, level, *bits)  # type: ignore[operator]
        return self.by_item[:, None] * (out - share[:, None] * level) / self.mean


def _consumed(dataset: LoggedDataset) -> Contexts:
    """Return what each user consumed; of a longer log, of every so many users."""
    offsets = np.asarray(dataset.sessions["event_offsets"])
    user = np.unique(np.asarray(dataset.sessions["user_id"]), return_inverse=True)[1].reshape(-1)
    stride = -(-int(offsets[-1]) // _MOST_ENTRIES)
    lengths = np.where(user % max(stride, 1) == 0, np.diff(offsets), 0)
    taken = np.repeat(lengths > 0, np.diff(offsets))
    items = np.asarray(dataset.events["item"])[taken].astype(np.int64)
    both = np.unique(np.repeat(user, lengths) * dataset.num_items + items)
    return _contexts(both // dataset.num_items, both % dataset.num_items)


def _shown(dataset: LoggedDataset) -> Contexts:
    """Return what each slate showed, or each session where slates are single; of a longer log, of every so many."""
    size, parts = dataset.slate_size, []
    alone = size == 1
    stride = max(1, -(-dataset.num_rows * size // _MOST_ENTRIES))
    for start in range(0, dataset.num_rows, _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, dataset.num_rows))
        unit = np.asarray(dataset.rows["session_id"][rows[0] : rows[-1] + 1]) if alone else rows
        rows, unit = rows[unit % stride == 0], unit[unit % stride == 0]
        slates = np.asarray(dataset.rows["slate"]).take(rows, axis=0)
        slates = np.where(np.asarray(dataset.rows["shown"]).take(rows, axis=0), slates, -1)
        slates = np.sort(slates, axis=1)
        row, place = np.nonzero((slates >= 0) & (np.diff(slates, axis=1, prepend=-1) != 0))
        parts.append((unit[row], slates[row, place]))
    unit, items = (np.concatenate(each).astype(np.int64) for each in zip(*parts, strict=True))
    if alone:
        both = np.unique(unit * dataset.num_items + items)
        unit, items = both // dataset.num_items, both % dataset.num_items
    return _contexts(unit, items)


def _contexts(unit: np.ndarray, items: np.ndarray) -> Contexts:
    """Return the sets of two or more items, of entries [n] whose units are in order."""
    begins = np.flatnonzero(np.diff(unit, prepend=-1))
    sizes = np.diff(np.append(begins, len(unit)))
    several = sizes > 1
    kept = np.repeat(several, sizes)
    return Contexts(np.append(0, np.cumsum(sizes[several])), items[kept].astype(np.int32))


# --- linear algebra, each sum in one order: BLAS has another with other threads


@njit(cache=True, error_model="numpy", nogil=True)
def _accumulate(starts, items, by_context, scaled, share, out, level):
    width = scaled.shape[1]
    expected, pulled = np.zeros(width), np.empty(width)
    for n in range(len(share)):
        for j in range(width):
            expected[j] += share[n] * scaled[n, j]
    for c in range(len(by_context)):
        first, last = starts[c], starts[c + 1]
        for j in range(width):
            pulled[j] = -(last - first) * expected[j]
        for e in range(first, last):
            for j in range(width):
                pulled[j] += scaled[items[e], j]
        for j in range(width):
            pulled[j] *= by_context[c]
            level[j] += (last - first) * pulled[j]
        for e in range(first, last):
            for j in range(width):
                out[items[e], j] += pulled[j]


@njit(cache=True, error_model="numpy", nogil=True)
def _scatter(starts, items, by_context, scaled, share, out, level, bits):
    width = scaled.shape[1]
    for c in range(len(by_context)):
        size, root = starts[c + 1] - starts[c], np.sqrt(by_context[c])
        for j in range(width):
            sign = root if (bits[c] >> np.uint64(j)) & np.uint64(1) else -root
            level[j] += size * sign
            for e in range(starts[c], starts[c + 1]):
                out[items[e], j] += sign


@njit(cache=True, error_model="numpy", nogil=True)
def _inner(left, right):
    num_rows, width = left.shape
    out = np.zeros((width, right.shape[1]))
    for n in range(num_rows):
        for i in range(width):
            for j in range(right.shape[1]):
                out[i, j] += left[n, i] * right[n, j]
    return out


@njit(cache=True, error_model="numpy", nogil=True)
def _product(left, right):
    (num_rows, width), num_columns = left.shape, right.shape[1]
    out = np.zeros((num_rows, num_columns))
    for n in range(num_rows):
        for i in range(width):
            for j in range(num_columns):
                out[n, j] += left[n, i] * right[i, j]
    return out


@njit(cache=True, error_model="numpy", nogil=True)
def _eigen(matrix):
    """Eigenvalues and vectors, columns, of a symmetric matrix by Jacobi's cyclic rotations."""
    size = len(matrix)
    a, vectors = (matrix + matrix.T) / 2.0, np.eye(size)
    scale = np.sqrt(np.sum(a * a))
    for _ in range(60):
        off = 0.0
        for p in range(size - 1):
            for q in range(p + 1, size):
                off = max(off, abs(a[p, q]))
        if off <= 1e-15 * scale:
            break
        for p in range(size - 1):
            for q in range(p + 1, size):
                if abs(a[p, q]) <= 1e-300:
                    continue
                theta = (a[q, q] - a[p, p]) / (2.0 * a[p, q])
                t = 1.0 / (abs(theta) + np.sqrt(theta * theta + 1.0))
                t = t if theta >= 0.0 else -t
                cosine = 1.0 / np.sqrt(t * t + 1.0)
                sine = t * cosine
                for k in range(size):
                    x, y = a[k, p], a[k, q]
                    a[k, p], a[k, q] = cosine * x - sine * y, sine * x + cosine * y
                for k in range(size):
                    x, y = a[p, k], a[q, k]
                    a[p, k], a[q, k] = cosine * x - sine * y, sine * x + cosine * y
                    x, y = vectors[k, p], vectors[k, q]
                    vectors[k, p], vectors[k, q] = cosine * x - sine * y, sine * x + cosine * y
    return np.diag(a).copy(), vectors


def _orthonormal(vectors: np.ndarray, basis: list[np.ndarray]) -> np.ndarray:
    """Return an orthonormal basis [N, k'] of what vectors span beyond a basis; no columns where that is rounding."""
    for _ in range(2):  # what the first pass leaves of the basis, the second removes
        for block in basis:
            vectors = vectors - _product(block, _inner(block, vectors))
        values, rotation = _eigen(_inner(vectors, vectors))
        kept = values > max(_ROUNDING * values.max(initial=0.0), _ROUNDING**2)
        vectors = _product(vectors, np.ascontiguousarray(rotation[:, kept] / np.sqrt(values[kept])))
    return vectors
