"""A fitted user model as `recsession fit` left it: its world, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from offline_data.store.dataset import LoggedDataset, file_digest
from recenv.errors import InvalidInput, require
from recenv.files.json_text import read_json
from recenv.session_config import SessionConfig

_FORMAT: Final = "recsession-user-model"


@dataclass(frozen=True)
class SavedFit:
    """A user model that was fitted to a log, read from its file.

    Examples:
        >>> import json
        >>> from pathlib import Path
        >>> from offline_data import LogRequest, collect, fit_user_model
        >>> log = collect("log", LogRequest(num_sessions=100))
        >>> _ = Path("fit.json").write_text(json.dumps(fit_user_model(log).as_dict()))
        >>> fit = SavedFit.of_file("fit.json", log)
        >>> fit.config.num_items == log.num_items, len(fit.doubts) > 0
        (True, True)
    """

    file: Path
    """Where it lies."""
    digest: str
    """SHA-256 of the file."""
    config: SessionConfig
    """The log's config with the fitted parameters in place of its own."""
    doubts: tuple[str, ...]
    """Why a value in it may be off: what the fit leaves out of the world, what it held, and how it predicts."""

    @staticmethod
    def of_file(file: str | Path, dataset: LoggedDataset) -> SavedFit:
        """Return the fit in a file that `recsession fit` wrote, of the world of a log.

        Args:
            file: its path.
            dataset: a log of the world that the model was fitted to: of the same sessions, or of others.

        Raises:
            InvalidInput: for a log that was read in, and a file that is missing, holds something else, or a fit to a
                log of another world.
        """
        require(
            dataset.has_world,
            f"{dataset.path} was read in, and has no world whose users {file} could stand for; leave --user-model out, "
            "or choose dm",
        )
        remedy = f"fit one with `recsession fit --log {dataset.path} --out FIT.json`"
        try:
            values = read_json(Path(file), str(file), remedy)
        except OSError as error:
            raise InvalidInput(f"{file}: {error.strerror}; {remedy}") from error
        require(
            isinstance(values, dict) and values.get("format") == _FORMAT,
            f"{file} holds no fitted user model; {remedy}",
        )
        own = dataset.manifest["world_hash"]
        found = _entry(values, "training").get("world_hash")
        require(
            found == own,
            f"{file} was fitted to a log of another world, and {dataset.path} is of world {own[:12]}...; {remedy}",
        )
        return SavedFit(
            Path(file), file_digest(Path(file)), SessionConfig.from_file(file), _doubts(values, file, remedy)
        )


def doubts_of(
    gain_low: float, verdict: str, approximations: tuple[str, ...], notes: tuple[str, ...]
) -> tuple[str, ...]:
    """Return what speaks against a fitted model: that it predicts no better than a constant, and what it leaves out.

    Args:
        gain_low: lower end of the interval of its advance on a constant click rate, on sessions held out.
        verdict: on that, in words.
        approximations: what of the world the fit leaves out.
        notes: what else a reader should know.
    """
    return (*(() if gain_low > 0.0 else (verdict,)), *approximations, *notes)


def _doubts(values: dict[str, Any], file: str | Path, remedy: str) -> tuple[str, ...]:
    held_out = _entry(values, "held_out")
    low, verdict, told = _entry(held_out, "gain").get("low"), held_out.get("verdict"), []
    for name in ("approximations", "notes"):
        lines = values.get(name)
        known = isinstance(lines, list) and all(isinstance(line, str) for line in lines)
        require(known, f"{file} does not say its {name}: it is no whole file of a fit; {remedy}")
        told.append(tuple(lines or ()))
    if not isinstance(low, int | float) or not isinstance(verdict, str):
        raise InvalidInput(
            f"{file} does not say how it predicts what was held out: it is no whole file of a fit; {remedy}"
        )
    return doubts_of(low, verdict, *told)


def _entry(values: dict[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}
