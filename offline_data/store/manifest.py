"""A dataset's manifest: what each field may be, and where the fields contradict one another, the columns or the world.

A manifest that is whole may still be wrong: written by another program, or edited with its checksum. Nothing is
allocated, imported or played by what it says before it is looked at here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from offline_data.behavior.base import ACTION_KINDS
from offline_data.collection.corruption import Corruption
from offline_data.families import BEHAVIORS
from offline_data.store.columns import LATENT_LABELS, NEEDED
from offline_data.store.context import context_columns
from offline_data.store.sealed_files import json_checksum
from recenv.errors import InvalidInput, require
from recenv.families import PIECES, USER_MODELS
from recenv.files.json_text import read_json
from recenv.plain_config import from_plain
from recenv.session_config import SessionConfig

FORMAT: Final = "recsession-log"
FORMAT_VERSION: Final = 2
PROPENSITIES: Final = ("exact", "estimated", "partial", "missing")
PARTS: Final = ("train", "judge")
"""What the parts of a split log are called."""

_COLUMN_NAME: Final = re.compile(r"(rows|sessions|events|catalog|latent)/[A-Za-z0-9_]{1,100}\.npy")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_REQUEST: Final = ("config", "behavior", "action_kind", "num_sessions", "dataset_seed", "group_size", "corruption")
_ULPS: Final = 1e-9
_SPECS: Final = ("expert", "noise")
_RETURNS: Final = ("expert_return", "noise_return")


def read_manifest(path: Path) -> dict[str, Any]:
    """Return what a dataset's manifest says, which is of this format.

    Args:
        path: the dataset's folder.

    Raises:
        InvalidInput: if the folder is missing or foreign, or the manifest no JSON object or of another version.
    """
    file = path / "manifest.json"
    require(not path.is_file(), f"{path} is a file; pass the dataset's folder")
    require(path.is_dir(), f"dataset folder {path} does not exist; make one with `recsession collect --out {path}`")
    require(
        file.is_file(),
        f"{path} is not a RecSession dataset (no manifest.json); pass a folder that `recsession collect` wrote",
    )
    manifest = read_json(file, remedy="it is damaged, collect the dataset again")
    require(
        isinstance(manifest, dict) and isinstance(manifest.get("format"), str),
        f"{file} is not a RecSession manifest (no format); collect the dataset again",
    )
    require(
        manifest["format"] == FORMAT,
        f"{file} has format {manifest['format']!r}, not {FORMAT!r}; pass a folder that `recsession collect` wrote",
    )
    version: Any = manifest.get("format_version")
    require(
        type(version) is int and version > 0,
        f"{file} is not a RecSession manifest (format_version={version!r}); collect the dataset again",
    )
    remedy = "upgrade RecSession" if version > FORMAT_VERSION else "collect the dataset again, at another path"
    require(
        version == FORMAT_VERSION,
        f"{file} has format version {version}, this RecSession reads version {FORMAT_VERSION}; {remedy}",
    )
    return manifest


# --- each field


def _whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _names(value: Any) -> bool:
    return _texts(value) and 0 < len(value) <= 1024 and len(set(value)) == len(value) and all(value)


def _object(value: Any, of: Callable[[Any], bool] = lambda _: True) -> bool:
    return isinstance(value, dict) and all(map(of, value.values()))


def _spec(value: Any) -> bool:
    """Return whether a value may be a behavior policy's name or spec; options are left to who makes the policy."""
    spec = {"name": value} if isinstance(value, str) else value
    name = spec.get("name") if isinstance(spec, dict) else None
    # What is not ours is not imported for this.
    if not isinstance(name, str) or not (name in BEHAVIORS.registered() or ":" in name):
        return False
    if name != "mixture":
        return True
    parts, weights = spec.get("components"), spec.get("weights")
    if not (isinstance(parts, list) and isinstance(weights, list) and len(parts) == len(weights)):
        return False
    shares = all(_number(weight) and 0.0 <= weight <= 1.0 for weight in weights) and abs(sum(weights) - 1.0) < _ULPS
    return shares and all(map(_spec, parts)) and isinstance(spec.get("mixing", ""), str)


def _digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _entry(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "bytes", "sha256"}:
        return False
    shape = value["shape"]
    whole = isinstance(shape, list) and 1 <= len(shape) <= 8 and all(_whole(size, 0, 2**48) for size in shape)
    return whole and isinstance(value["dtype"], str) and _whole(value["bytes"], 0, 2**62) and _digest(value["sha256"])


def _quality(value: Any) -> bool:
    if value is None or not isinstance(value, dict):
        return value is None
    whole = all(_spec(value[name]) for name in _SPECS if name in value)
    whole = whole and all(_interval(value[name]) for name in _RETURNS if name in value)
    if whole and value.keys() >= {*_RETURNS}:
        whole = value["expert_return"]["mean"] > value["noise_return"]["mean"] and value.keys() >= {*_SPECS}
    for name, low, high in (("good_fraction", 0.0, 1.0), ("target_score", -1e3, 1e3)):
        number = value.get(name)
        whole = whole and (number is None or (_number(number) and low <= number <= high))
    return whole and isinstance(value.get("dataset", ""), str) and isinstance(value.get("mixing", ""), str)


def _interval(value: Any) -> bool:
    whole = isinstance(value, dict) and value.keys() == {"mean", "low", "high"} and all(map(_number, value.values()))
    return whole and value["low"] <= value["mean"] <= value["high"]


def _part(value: Any) -> bool:
    if value is None or not isinstance(value, dict):
        return value is None
    whole = value.get("of")
    if value.keys() != {"name", "by", "share", "seed", "of"} or not isinstance(whole, dict):
        return False
    fits = value["name"] in PARTS and isinstance(value["by"], str) and _number(value["share"])
    fits = fits and _whole(value["seed"], 0, 2**63 - 1)
    fits = fits and isinstance(whole.get("folder"), str) and _digest(whole.get("checksum"))
    fits = fits and all(_whole(whole.get(name), 1, 2**48) for name in ("num_sessions", "num_rows"))
    return fits and _part(whole.get("part"))


def _source(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    if value.get("kind") == "simulator":
        return isinstance(value.get("request"), dict)
    whole = value.get("kind") == "import" and isinstance(value.get("reader"), str) and "request" not in value
    whole = whole and _object(value.get("files", {}), _digest) and _object(value.get("options", {}))
    told = (value.get(name, []) for name in ("lacking", "remarks", "item_rewards"))
    return whole and all(map(_texts, told)) and _object(value.get("propensity_estimate", {}))


def _context(value: Any) -> bool:
    try:
        context_columns(value)
    except InvalidInput:
        return False
    return True


_FIELDS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "schema": (lambda v: _object(v, _entry), "an object of columns, each with dtype, shape, bytes and sha256"),
    "source": (_source, "a simulator's request, or an import's reader with files, options and what is lacking"),
    "config": (lambda v: v is None or isinstance(v, dict), "a session config, or null"),
    "world_hash": (lambda v: v is None or _digest(v), "64 hex digits, or null"),
    "action_kind": (lambda v: v in ACTION_KINDS, "slate or proto"),
    "num_rows": (lambda v: _whole(v, 1, 2**48), "a number of rows, at least 1"),
    "num_sessions": (lambda v: _whole(v, 1, 2**48), "a number of sessions, at least 1"),
    "num_items": (lambda v: _whole(v, 1, 2**31 - 1), "a number of items in [1, 2147483647]"),
    "history_length": (lambda v: _whole(v, 1, 4096), "an integer in [1, 4096]"),
    "max_steps": (lambda v: _whole(v, 1, 2**31 - 1), "an integer in [1, 2147483647]"),
    "feedback_names": (_names, "a list of different names"),
    "reward_names": (_names, "a list of different names"),
    "reward_weights": (lambda v: _object(v, _number), "an object of finite numbers"),
    "propensities": (lambda v: v in PROPENSITIES, f"one of {', '.join(PROPENSITIES)}"),
    "context": (_context, "a list of columns, each a number or a category with its encoding"),
    "injected": (_object, "an object of what was spoilt"),
    "part": (_part, "null, or which part of what log it is, and how that was split"),
    "quality": (_quality, "null, or expert and noise with their returns, the expert's the higher"),
    "versions": (lambda v: _object(v, lambda each: isinstance(each, str)), "an object of versions"),
    "checksum": (_digest, "64 hex digits"),
}
_OPTIONAL: Final = {"world_hash": None, "quality": None, "part": None, "versions": {}, "context": []}


def checksum_faults(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield that a manifest is not as it was written, if it is not."""
    found = json_checksum(manifest)
    if found != manifest.get("checksum"):
        said = str(manifest.get("checksum"))[:12]
        yield f"manifest.json has the checksum {found[:12]}... and says {said}...: it has changed"


def field_faults(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with single fields of a manifest, by field.

    Args:
        manifest: what `read_manifest` returned.
    """
    faults = {}
    for name, (fits, what) in _FIELDS.items():
        if name not in manifest and name not in _OPTIONAL:
            faults[name] = f"manifest.json lacks {name}"
        elif not _fits(fits, manifest.get(name, _OPTIONAL.get(name))):
            faults[name] = f"manifest.json has {name}={json.dumps(manifest[name]):.100}, which is not {what}"
    if "schema" in faults and isinstance(manifest.get("schema"), dict):
        wrong = next(name for name, entry in manifest["schema"].items() if not _entry(entry))
        faults["schema"] = f"manifest.json does not describe a column by {wrong!r}"
    if "schema" not in faults:
        wrong = [name for name in manifest["schema"] if not _COLUMN_NAME.fullmatch(name)]
        absent = [name for name in NEEDED if f"{name}.npy" not in manifest["schema"]]
        if wrong:
            faults["schema"] = f"manifest.json does not describe a column by {wrong[0]!r}"
        elif absent:
            faults["schema"] = f"manifest.json has a schema without {', '.join(f'{name}.npy' for name in absent)}"
    return faults


def _fits(fits: Callable[[Any], bool], value: Any) -> bool:
    try:
        return bool(fits(value))
    except TypeError:  # what cannot be compared or looked up, such as a list among names
        return False


# --- together


def whole_sessions(manifest: Mapping[str, Any]) -> int:
    """Return how many sessions the log has, or the one that it is a part of, or that is a part of.

    Args:
        manifest: whose `field_faults` are none.
    """
    part = manifest.get("part")
    return manifest["num_sessions"] if part is None else whole_sessions(part["of"])


def agreement_faults(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield where the fields of a manifest, each right by itself, contradict one another.

    Args:
        manifest: whose `field_faults` are none.
    """
    if set(manifest["reward_names"]) != manifest["reward_weights"].keys():
        weighed = ", ".join(manifest["reward_weights"])
        yield f"reward_weights weigh {weighed}, and reward_names are {', '.join(manifest['reward_names'])}"
    if (manifest["config"] is None) != (manifest.get("world_hash") is None):
        yield "config and world_hash do not tell of the same world"
    if manifest["action_kind"] == "proto" and "rows/proto.npy" not in manifest["schema"]:
        yield "action_kind is proto, and its schema lacks rows/proto.npy"
    if manifest["action_kind"] == "slate" and "rows/proto.npy" in manifest["schema"]:
        yield "action_kind is slate, and its schema has rows/proto.npy"
    if manifest["config"] is not None and "rows/candidates.npy" in manifest["schema"]:
        yield "its schema has rows/candidates.npy, and what its world offers is drawn anew"
    if bool(manifest.get("context")) != ("rows/context.npy" in manifest["schema"]):
        yield "context tells of columns without rows/context.npy, or that is there and context tells of none"
    if manifest["source"]["kind"] == "simulator":
        yield from _request_faults(manifest, manifest["source"]["request"])
    elif manifest["config"] is None and manifest["injected"]:
        yield "injected tells of a simulated log, and this one was read in"
    elif LATENT_LABELS in manifest["schema"]:
        yield "its schema has latent labels, and it was read in"


def _request_faults(manifest: Mapping[str, Any], request: Mapping[str, Any]) -> Iterator[str]:
    if request.keys() != set(_REQUEST):
        yield f"its request has {', '.join(sorted(request))}, not {', '.join(sorted(_REQUEST))}"
        return
    said = {"num_sessions": whole_sessions(manifest)} | {name: manifest[name] for name in ("config", "action_kind")}
    for name, value in said.items():
        if request[name] != value:
            yield f"{name} is not that of its request"
    if not _whole(request["dataset_seed"], 0, 2**63 - 1):
        yield f"its request's dataset_seed is {request['dataset_seed']!r}, not in [0, 2**63 - 1]"
    if not _whole(request["group_size"], 1, 2**20) or manifest["num_sessions"] % request["group_size"]:
        yield f"its request's group_size is {request['group_size']!r}, no divisor of num_sessions"
    if not _spec(request["behavior"]):
        yield f"its request's behavior is {json.dumps(request['behavior']):.100}, not a policy's name or spec"
    fraction, behavior = (manifest.get("quality") or {}).get("good_fraction"), request["behavior"]
    if fraction is not None and isinstance(behavior, dict) and behavior.get("weights", [fraction])[:1] != [fraction]:
        yield f"quality has good_fraction={fraction}, which is not the weight of its request's expert"
    try:
        corruption = from_plain(Corruption, request["corruption"])
    except (InvalidInput, TypeError, AttributeError) as error:
        yield f"its request's corruption is wrong ({error})"
        return
    # Of a part, all or none may be missing where the whole lacks some.
    partial = corruption.propensities == "partial" and manifest.get("part") is not None
    left = corruption.propensities if not partial else manifest["propensities"]
    if (corruption.recorded(), left) != (manifest["injected"], manifest["propensities"]):
        yield "injected and propensities are not those of its request's corruption"


def require_todays_world(path: Path, manifest: Mapping[str, Any], config: SessionConfig) -> None:
    """Refuse a log of users whose equations have changed since: the same config gives other sessions today.

    Args:
        path: the log's.
        manifest: the log's.
        config: its world.

    Raises:
        InvalidInput: saying so.
    """
    model = USER_MODELS.part_of(config.user_model)
    earlier = [config.world_hash(version) for version in range(model.version)]
    require(
        manifest.get("world_hash") not in earlier,
        f"{path} is of an earlier version of the user model {USER_MODELS.name_of(model)!r}, whose sessions are others "
        "today; collect it again, or read it with the version of RecSession that wrote it",
    )


def world_faults(
    path: Path, manifest: Mapping[str, Any], config: SessionConfig, columns: Mapping[str, np.ndarray]
) -> Iterator[str]:
    """Yield where a manifest and its columns are not of the world that it names.

    Args:
        path: the log's.
        manifest: whose `field_faults` are none.
        config: the world, without own items.
        columns: by name, as in "rows/slate", of right dtypes.
    """
    model = USER_MODELS.part_of(config.user_model)
    pieces = {name: PIECES.part_of(piece) for name, piece in config.piece_configs().items() if piece is not None}
    rewards = (*model.reward_names, *(name for piece in pieces.values() for name in piece.reward_names))
    said = {
        "num_items": config.catalog.num_items,
        "history_length": config.history_length,
        "max_steps": config.max_steps,
        "feedback_names": list(model.feedback_names),
        "reward_names": list(rewards),
    }
    if "items" not in manifest["config"]:  # which would have to be read for it
        require_todays_world(path, manifest, config)
        said["world_hash"] = config.world_hash()
    for name, value in said.items():
        if manifest.get(name) != value:
            yield f"{name} is {json.dumps(manifest.get(name)):.100}, and its world's is {json.dumps(value):.100}"
    needed = ["sessions/profile", "sessions/session_seed", "catalog/embeddings"]
    needed += ["rows/session_number"] if config.retention is not None else []
    for name in needed:
        if name not in columns:
            yield f"its schema lacks {name}.npy, which its world needs"
    sizes = {"rows/slate": config.slate_size}
    sizes |= dict.fromkeys(("catalog/embeddings", "sessions/profile", "rows/proto"), config.catalog.embedding_dim)
    for name, size in sizes.items():
        if name in columns and columns[name].shape[1] != size:
            yield f"{name}.npy has rows of {columns[name].shape[1]}, and its world's are of {size}"
