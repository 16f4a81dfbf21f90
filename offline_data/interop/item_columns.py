"""Embeddings of items made of their columns: numbers, categories, lists of labels, titles.

Each column is a block of coordinates, whose mean square length is 1 over the items, so that columns count alike; an
item's row of all blocks is then scaled to unit length. Where all columns are numbers, a coordinate that is the same
for each item is added, or the scaling would leave of a price no more than its sign.

    number      standardised, at most 3 standard deviations; before, log(1 + x / median) where it is above zero and has
                a long tail (skewness above 2, that of the logarithm smaller)
    category    one coordinate a value; of many values the most frequent, and the others share a few by signed hashing
    labels      the same, several at once, each item's of unit length: `Action|Comedy`, lists
    text        signed hashing of its words, each weighted by the logarithm of how rare it is, of unit length

What lacks a value has a coordinate of the column's own. Columns that say the same of each item, or of each something
that no other item shares (codes, addresses), are left out.

Source: Weinberger, Dasgupta, Langford, Smola and Attenberg 2009 (arXiv:0902.2206) for signed hashing.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, get_args

import numpy as np

from recenv.errors import InvalidInput, require, unknown_name

Kind = Literal["number", "category", "labels", "text"]
_WIDTH: Final = 128  # of all columns together, about
_TEXT_WIDTH: Final = 64
_FEWEST, _MOST = 8, 32  # coordinates of a category
_CLIP: Final = 3.0
_SKEWED: Final = 2.0
_CODE: Final = re.compile(r"(?i)(.*[\W_])?(id|code|category|cat|class|type)s?")
_WORD: Final = re.compile(r"\w+")
_SEPARATORS: Final = "|;,"
_LIST: Final = re.compile(r"\s*\[(.*)\]\s*")


def require_item_columns(words: Sequence[str]) -> None:
    """Refuse what names no columns: `none` alone, or NAME and NAME=KIND.

    Raises:
        InvalidInput: for an unknown kind, or `none` beside others.
    """
    require(
        "none" not in words or len(words) == 1,
        f"--item-features {' '.join(words)}: `none` is no column; leave it out, or say it alone",
    )
    for word in words:
        _, equals, kind = word.partition("=")
        if equals and kind not in get_args(Kind):
            raise unknown_name("kind of an item's column", kind, get_args(Kind))


def embeddings_of(
    columns: Mapping[str, np.ndarray], words: Sequence[str] = ()
) -> tuple[np.ndarray | None, list[dict[str, Any]], list[str]]:
    """Return embeddings made of the items' columns, how each was encoded, and the columns left out with the reason.

    Args:
        columns: [N] of the items, by name: numbers, texts, or lists of labels; None and NaN are missing.
        words: which of them, NAME or NAME=KIND; empty for all that tell items apart, `none` for none.

    Returns:
        [N, d] float32, rows of unit length, zeros where an item has nothing; None where no column tells items apart.

    Raises:
        InvalidInput: for a column that is not there, or not of the kind that is asked.
    """
    if words == ("none",) or not columns:
        return None, [], []
    asked = dict((word.partition("=")[0], word.partition("=")[2] or None) for word in words)
    for name in asked:
        if name not in columns:
            raise unknown_name("column of the items", name, list(columns))
    kinds: dict[str, Any] = {}
    left: list[str] = []
    for name in asked or columns:
        kind, why = _kind(name, columns[name]) if asked.get(name) is None else (asked[name], "")
        if kind is None:
            left.append(f"{name} ({why})")
        else:
            kinds[name] = kind
    sets = sum(kind in ("category", "labels") for kind in kinds.values())
    share = int(np.clip(_WIDTH // max(sets, 1), _FEWEST, _MOST))
    blocks, told = [], []
    for name, kind in kinds.items():
        try:
            block, how = _ENCODERS[kind](columns[name], share)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"column {name} of the items is read as {kind}: {error}; say another kind") from error
        length = np.sqrt(np.square(block).sum(axis=1).mean())
        if length > 0.0:
            blocks.append(block / length)
            told.append({"column": name, "as": kind, "width": block.shape[1], **how})
        else:
            left.append(f"{name} (the same for each)")
    if not blocks:
        return None, [], left
    if all(each["as"] == "number" for each in told):
        blocks.append(np.ones((len(blocks[0]), 1)))
    rows = np.concatenate(blocks, axis=1)
    length = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 1e-9).astype(np.float32), told, left


def _kind(name: str, values: np.ndarray) -> tuple[Kind | None, str]:
    """Return what a column is, or None and why it is left out."""
    if values.ndim > 1:
        return None, f"lists of {values.shape[1]} numbers; name them `embeddings` if they are"
    given = values[~_missing(values)]
    if not len(given):
        return None, "empty"
    if given.dtype.kind == "O" and all(isinstance(each, list | tuple | np.ndarray) for each in given):
        return "labels", ""
    distinct = Counter(given.tolist())
    if len(distinct) < 2 and len(given) == len(values):
        return None, "the same for each"
    numbers = _numbers(given)
    if numbers is not None:
        if len(numbers) == len(values) > 2 and np.array_equal(numbers, np.arange(len(values)) + numbers[0]):
            return None, "it counts the rows"
        whole = bool((numbers == np.floor(numbers)).all())
        if not (whole and _CODE.fullmatch(name)):
            return "number", ""
        return ("category", "") if len(distinct) < len(values) else (None, "another for each")
    texts = [str(each) for each in distinct]
    if _separator(texts) is not None:
        return "labels", ""
    if len(distinct) < len(given) and len(distinct) <= max(len(values) / 2, _FEWEST):
        return "category", ""
    if np.mean([len(_WORD.findall(each)) for each in texts]) >= 2 and not any("://" in each for each in texts[:100]):
        return "text", ""
    return None, "another for each"


def _missing(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "O":
        return np.array([each is None or (isinstance(each, float) and each != each) for each in values], np.bool_)
    if values.dtype.kind in "mM":
        return np.isnat(values)
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), np.bool_)


def _numbers(given: np.ndarray) -> np.ndarray | None:
    """Return values as numbers, moments in days; None where they are none."""
    if given.dtype.kind in "biuf":
        return given.astype(np.float64)
    if given.dtype.kind == "M":
        return given.astype("datetime64[s]").astype(np.float64) / 86_400.0
    if given.dtype.kind == "O" and all(hasattr(each, "__float__") and not isinstance(each, str) for each in given):
        return np.array([float(each) for each in given])
    return None


def _separator(texts: Sequence[str]) -> str | None:
    """Return what stands between the labels of texts, "" for lists in brackets; None where they hold no labels."""
    if all(_LIST.fullmatch(text) for text in texts):
        return ""
    for mark in _SEPARATORS:
        several = [text for text in texts if mark in text]
        labels = {label.strip() for text in texts for label in text.split(mark)}
        # A comma may stand in titles, whose parts do not come again.
        if several and (mark == "|" or len(labels) <= max(len(several), 3)):
            return mark
    return None


# --- encoders: [N] values and the coordinates of a category, to [N, w] float64 and how


def _number(values: np.ndarray, share: int) -> tuple[np.ndarray, dict[str, Any]]:
    missing = _missing(values)
    given = _numbers(values[~missing])
    if given is None:
        raise ValueError("it holds texts")
    if not np.isfinite(given).all():
        raise ValueError("it holds a number that is not finite")
    how: dict[str, Any] = {}
    if len(given) and given.min() > 0.0 and _skewness(given) > _SKEWED:
        scale = float(np.median(given))
        logarithm = np.log1p(given / scale)
        if _skewness(logarithm) < _skewness(given):
            given, how = logarithm, {"logarithm_over": scale}
    mean, sd = (float(given.mean()), float(given.std())) if len(given) else (0.0, 0.0)
    out = np.zeros((len(values), 1 + missing.any()))
    if sd > 0.0:
        out[~missing, 0] = np.clip((given - mean) / sd, -_CLIP, _CLIP)
    out[missing, -1] = 1.0
    return out, {**how, "mean": mean, "sd": sd}


def _skewness(values: np.ndarray) -> float:
    centred = values - values.mean()
    return float((centred**3).mean() / max(values.std() ** 3, 1e-300))


def _category(values: np.ndarray, share: int) -> tuple[np.ndarray, dict[str, Any]]:
    missing = _missing(values)
    sets = [[] if lacks else [_label(value)] for value, lacks in zip(values.tolist(), missing, strict=True)]
    return _multi_hot(sets, share)


def _labels(values: np.ndarray, share: int) -> tuple[np.ndarray, dict[str, Any]]:
    missing = _missing(values)
    given = values[~missing]
    texts = [str(each) for each in given if isinstance(each, str)]
    mark = _separator(texts) if texts else None
    sets = []
    for value, lacks in zip(values, missing, strict=True):
        if lacks:
            parts: list[Any] = []
        elif not isinstance(value, str):
            parts = list(value) if isinstance(value, list | tuple | np.ndarray) else [value]
        elif mark == "":
            inner = _LIST.fullmatch(value)
            parts = inner[1].split(",") if inner else []
        else:
            parts = value.split(mark) if mark else [value]
        sets.append(sorted({label for part in parts if (label := _label(part))}))
    out, how = _multi_hot(sets, share)
    return out, {**how, "separator": mark} if mark else how


def _label(value: object) -> str:
    return (str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)).strip().strip("'\"")


def _multi_hot(sets: Sequence[Sequence[str]], share: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Return each item's labels as coordinates of unit length together, the last one of those that have none."""
    counts = Counter(label for each in sets for label in each)
    ordered = sorted(counts, key=lambda label: (-counts[label], label))
    hashed = max(2, share // 4) if len(ordered) > share else 0
    own = ordered[: share - hashed] if hashed else ordered
    place = {label: index for index, label in enumerate(own)}
    none = len(own) + hashed
    out = np.zeros((len(sets), none + any(not each for each in sets)))
    for row, each in enumerate(sets):
        for label in each:
            if label in place:
                out[row, place[label]] += 1.0
            else:
                bucket, sign = _hashed(label, hashed)
                out[row, len(own) + bucket] += sign
        if not each:
            out[row, none] = 1.0
    return _unit(out), {"values": own, "hashed": hashed}


def _text(values: np.ndarray, share: int) -> tuple[np.ndarray, dict[str, Any]]:
    missing = _missing(values)
    words = [[] if lacks else _WORD.findall(str(value).lower()) for value, lacks in zip(values, missing, strict=True)]
    rarity = Counter(word for each in words for word in set(each))
    found = {
        word: (*_hashed(word, _TEXT_WIDTH), np.log((1 + len(words)) / (1 + count))) for word, count in rarity.items()
    }
    lacking = any(not each for each in words)
    out = np.zeros((len(words), _TEXT_WIDTH + lacking))
    for row, each in enumerate(words):
        for word in each:
            bucket, sign, weight = found[word]
            out[row, bucket] += sign * weight
        if not each:
            out[row, -1] = 1.0
    return _unit(out), {"words": len(rarity)}


def _unit(rows: np.ndarray) -> np.ndarray:
    length = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 1e-12)


def _hashed(label: str, buckets: int) -> tuple[int, float]:
    """Return one of the buckets and a sign, the same everywhere."""
    number = int.from_bytes(hashlib.blake2b(label.encode(), digest_size=8).digest(), "little")
    return (number >> 1) % buckets, 1.0 if number & 1 else -1.0


_ENCODERS: Final[Mapping[str, Callable[[np.ndarray, int], tuple[np.ndarray, dict[str, Any]]]]] = {
    "number": _number,
    "category": _category,
    "labels": _labels,
    "text": _text,
}
