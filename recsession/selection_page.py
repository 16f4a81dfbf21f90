"""The page of a log's curve under kappa="auto": what its best rows are worth, by how many of them are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from offline_data.describe.figures import COLORS, INK, MIDDLE, Chart, label_ends, make_axes, mark_value, styled
from offline_data.describe.number_words import percent, readable, typeset
from offline_data.describe.pages import Page, Section, Table, write_page

Values = Mapping[str, Any]
_TICKS: Final = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
_ERRORS: Final = 2.0  # the band's half width, as many as a gain has to exceed
_HEADER: Final = ("share", "rows", "claim", "claim, matched", "gain", "standard error", "worth")


def write_selection_page(values: Values, path: Path) -> Path:
    """Write the page, and return its path.

    Args:
        values: of `Selection.as_dict`, perhaps read back from `selection.json`.
        path: the file to write.

    Raises:
        InvalidInput: if `path` cannot be written.
    """
    table = Table(_HEADER, _rows(values), "Every share", "Worth: - where the log is not sure of a gain.", folded=True)
    charts = [_gains(values), _worth(values)]
    section = Section("By the share that is kept", [_caption(values), charts, table])
    kicker = f"train · kappa=auto · {values['num_rows']:,} rows"
    return write_page(path, Page("How many rows to keep", kicker, f"{values['sentence']}.", sections=[section]))


def _caption(values: Values) -> str:
    told = (
        "From all rows, on the left, to ever fewer of those that score best. The claim is what the scores say of them"
    )
    if values["gain"] is None:
        return f"{told}; nobody knows what they earned, and it is taken at its word, less what few rows do not teach."
    refused = sum(worth is None for worth in values["worth"])
    return (
        f"{told}, matched to the size of what they earned; the gain is what they really earned, more than was to be "
        "expected, with two standard errors either way, sessions being what is drawn. Where the band reaches down to "
        f"zero the log is not sure, and the share is refused: {refused} of {len(values['worth'])} here. Worth is half "
        "of claim and gain together, less what few rows do not teach, less one standard error."
    )


@styled
def _gains(values: Values) -> Chart:
    x = _places(values)
    lines = [("claim", _column(values["matched_claim"]), COLORS[1])]
    if values["gain"] is not None:
        gain, error = _column(values["gain"]), _column(values["standard_error"])
        lines.append(("gain", gain, COLORS[0]))
    every = np.concatenate([column for _, column, _ in lines])
    title = " and ".join(name for name, _, _ in lines).capitalize()
    axes = _axes(values, title, (min(1.1 * every.min(), 0.0), every.max()))
    if values["gain"] is not None:
        axes.fill_between(x, gain - _ERRORS * error, gain + _ERRORS * error, color=COLORS[0], alpha=0.18, linewidth=0)
    for _, column, color in lines:
        axes.plot(x, column, color=color, marker="o", markersize=3)
    label_ends(axes, [(float(column[-1]), name, color) for name, column, color in lines])
    _mark(axes, values)
    told = ", ".join(f"{name} {readable(float(column[_chosen(values)]))}" for name, column, _ in lines)
    return Chart(axes, f"{title} by the share kept; at {_share(values)}: {told}.")


@styled
def _worth(values: Values) -> Chart:
    x, worth = _places(values), _column(values["worth"])
    title = "Worth" if values["gain"] is None else "Worth, where the log is sure"
    axes = _axes(values, title, (min(1.1 * float(np.nanmin(worth)), 0.0), np.nanmax(worth)))
    axes.plot(x, worth, color=COLORS[2], marker="o", markersize=3)
    _mark(axes, values)
    return Chart(axes, f"Worth by the share kept: highest, {readable(float(np.nanmax(worth)))}, at {_share(values)}.")


def _axes(values: Values, title: str, span: tuple[float, float]) -> Any:
    """Return axes over the shares, and over a span that is widened so that all of it is seen."""
    x, (low, high) = _places(values), span
    room = 0.25 * (high - low) or 1.0
    axes = make_axes(title, MIDDLE, xlabel="share of the rows", ylabel="a step, more than the log")
    margin = 0.03 * (x[-1] - x[0]) or 0.5
    axes.set(xlim=(x[0] - margin, x[-1] + margin), ylim=(low - 0.2 * room, high + room))
    ticks = [share for share in _TICKS if -np.log10(share) <= x[-1] + margin]
    axes.set_xticks(-np.log10(ticks), [typeset(percent(share)) for share in ticks])
    axes.axhline(0.0, color=INK, linewidth=0.8)
    return axes


def _mark(axes: Any, values: Values) -> None:
    mark_value(axes, float(-np.log10(values["kappa"])), f"kappa {_share(values)}")


def _share(values: Values) -> str:
    return percent(values["kappa"])


def _chosen(values: Values) -> int:
    return values["rows"].index(round(values["kappa"] * values["num_rows"]))


def _places(values: Values) -> np.ndarray:
    return 0.0 - np.log10(values["share"])


def _column(column: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in column])


def _rows(values: Values) -> list[tuple[str, ...]]:
    unknown = [None] * len(values["rows"])
    columns = [values[name] or unknown for name in ("claim", "matched_claim", "gain", "standard_error", "worth")]
    return [
        (percent(share), f"{rows:,}", *(readable(column[place]) for column in columns))
        for place, (share, rows) in enumerate(zip(values["share"], values["rows"], strict=True))
    ]
