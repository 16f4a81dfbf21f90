"""Policies as sealed files: JSON and plain tensors, with the items, so that a policy acts without log and simulator."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from agents.families import POLICIES
from agents.nn.file_formats import FORMAT_VERSION, check_format
from agents.nn.session_space import SessionSpace
from agents.nn.space_checks import require_whole
from agents.nn.tensor_files import load_tensors, save_tensors
from agents.policies.base import Policy, make_policy
from offline_data.store.context import context_columns
from offline_data.store.folder_claim import as_json
from offline_data.store.session_sketch import SessionSketch
from recenv.errors import InvalidInput, require
from recenv.files.json_text import parse_json
from recenv.items.catalog import Catalog
from recenv.items.item_columns import TEXTS
from recenv.plain_config import from_plain, to_plain
from recenv.registry import reading
from recenv.session_config import SessionConfig

_KIND: Final = "policy"
_REMEDY: Final = "train one with `recsession train`"
_SEEN: Final = ("embeddings", "popularity")
_IDS: Final = "source_id"
_PARTS: Final = {"header", "weights", "items"}
_LEARNED_FROM: Final = "learned_from"
_MAKERS: Final = {"empty", "zeros", "ones", "full", "rand", "randn", "arange", "eye", "tensor"}
_SPARE_NUMBERS: Final = 1 << 22


def save_policy(path: Path, policy: Policy) -> None:
    """Write a policy as one file: what it is as JSON, its weights and its items as plain tensors, no pickled class.

    Args:
        path: the file, which is written beside and renamed.
        policy: on any device, of any dtype; its keys in a batch are not kept.

    Raises:
        InvalidInput: if the file cannot be written, or the policy's config is that of another class, a parent say.
    """
    part = POLICIES.part_of(policy.config)
    require(
        part is type(policy),
        f"{type(policy).__name__} has the config of {part.__name__}, and would be read back as one; give it its own",
    )
    space, session = policy.space, policy.space.session
    facts = {field.name: getattr(space, field.name) for field in fields(space)}
    items = {name: facts.pop(name) for name in _SEEN} | {_IDS: facts.pop("item_ids")}
    facts["context"] = [to_plain(column) for column in space.context]
    facts["session"] = None if session is None else session.to_dict(paths=False)
    if session is not None and session.items is not None:
        items = session.items.arrays()
    items = {name: _as_tensor(values) for name, values in items.items() if values is not None}
    header = {"format": FORMAT_VERSION, "policy": to_plain(policy.config, POLICIES), "space": facts}
    content = {"header": json.dumps(header), "weights": policy.state_dict(), "items": items}
    if policy.learned_from is not None:
        content[_LEARNED_FROM] = _sketch_tensors(policy.learned_from)
    save_tensors(path, _KIND, content)


def load_policy(path: str | Path, device: str = "cpu", *, allow_imports: Iterable[str] = (), **changes: Any) -> Policy:
    """Return the policy in a file, in evaluation mode.

    Args:
        path: what `save_policy` wrote.
        device: where the weights go.
        allow_imports: modules that may be imported because the file names parts of theirs.
        **changes: fields of its config to change that leave the weights as they are, such as the `temperature` or the
            `beam_size` of a generative policy.

    Raises:
        InvalidInput: if the file is missing, is not a policy, has changed since it was written or needs a module that
            is not allowed, or a change is none of its config or of its weights.
    """
    path = Path(path)
    require(not (path / "policy").is_file(), f"{path} is a folder; pass the file in it, {path / 'policy'}")
    require(path.exists(), f"policy file {path} does not exist; {_REMEDY}")
    content = load_tensors(path, _KIND, _REMEDY)
    try:
        require(content.keys() - {_LEARNED_FROM} == _PARTS, f"it holds {', '.join(map(str, content))}")
        header = parse_json(content["header"], "its header")
        check_format("it", header["format"], "'drpo'", _REMEDY)  # it does not say with what it was trained
        items = {name: _as_column(name, values) for name, values in content["items"].items()}
        facts = header["space"] | {name: items[name] for name in _SEEN} | {"item_ids": items.get(_IDS)}
        names = facts.get("feedback_names")
        facts["feedback_names"] = None if names is None else tuple(names)
        plain, weights = header["policy"], content["weights"]
        dtype = _check_weights(weights)
        room = 4 * sum(values.numel() for values in (*weights.values(), *content["items"].values()))
        with reading(path, allow_imports), _Room(room + _SPARE_NUMBERS):
            own = None
            if facts["session"] is not None:
                own = Catalog(**items) if "items" in facts["session"] else None
                facts["session"] = SessionConfig.from_dict(facts["session"], items=own)
            require(
                own is not None or items.keys() - {_IDS} == set(_SEEN),
                "it holds items of somebody's own, and says nothing of it",
            )
            told = as_json(to_plain(from_plain(POLICIES, plain), POLICIES))
            require(told == plain, f"its config lacks or adds something to that of a {told['name']} policy")
            space = SessionSpace(**facts | {"context": context_columns(facts.get("context", []))})
            require_whole(space)
            policy = make_policy(space, from_plain(POLICIES, plain | changes))
        policy.to(dtype)
        _take_weights(policy, weights)
        if _LEARNED_FROM in content:
            policy.learned_from = _as_sketch(content[_LEARNED_FROM])
    except InvalidInput as error:
        raise InvalidInput(f"{path} is not a policy file that can be read: {error}") from error
    except Exception as error:
        raise InvalidInput(f"{path} is not a policy file ({type(error).__name__}); {_REMEDY}") from error
    policy.to(device)
    return policy.eval()


def _as_tensor(values: np.ndarray) -> Tensor:
    """Return a column of items as a tensor; of texts the code points, [N, characters] int32, or uint8 if these do."""
    if values.dtype.kind == "U":
        values = values.view(np.int32).reshape(len(values), -1)
        values = values.astype(np.uint8) if values.max() <= 255 else values
    return torch.from_numpy(np.array(values))


def _as_column(name: str, values: Tensor) -> np.ndarray:
    """Return what `_as_tensor` was given."""
    array = values.numpy()
    if name not in TEXTS or array.ndim != 2:
        return array
    require(bool((array >= 0).all() and (array <= sys.maxunicode).all()), f"its {name} hold what is no character")
    return array.astype(np.int32).view(f"<U{array.shape[1]}").reshape(-1)


def _sketch_tensors(sketch: SessionSketch) -> dict[str, Any]:
    """Return a sketch as tensors and plain values; of hashes the bits, which PyTorch knows as int64."""
    return {
        **vars(sketch),
        "hashes": torch.from_numpy(sketch.hashes.view(np.int64)),
        "counts": torch.from_numpy(sketch.counts),
    }


def _as_sketch(values: dict[str, Any]) -> SessionSketch:
    """Return what `_sketch_tensors` was given."""
    arrays = {name: values[name].numpy() for name in ("hashes", "counts")}
    return SessionSketch(**{**values, **arrays, "hashes": arrays["hashes"].view(np.uint64)})


class _Room(TorchFunctionMode):
    """Refuses to make tensors of more numbers, all together, than a file has: its config may ask for any sizes.

    Args:
        left: how many numbers may be made.
    """

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count what is made; memory is taken when it is first written, which is later."""
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and getattr(func, "__name__", "") in _MAKERS:
            self.left -= made.numel()
            require(self.left >= 0, "its config asks for networks far larger than its weights")
        return made


def _check_weights(weights: dict[str, Tensor]) -> torch.dtype:
    """Return the one dtype of a policy's weights, or refuse them."""
    floating = [values for values in weights.values() if values.is_floating_point()]
    dtypes = {values.dtype for values in floating}
    require(len(dtypes) == 1, f"its weights are of {len(dtypes)} kinds of floats, not of one")
    for name, values in weights.items():
        require(bool(torch.isfinite(values).all()), f"its weight {name} holds a number that is not finite")
    return dtypes.pop()


def _take_weights(policy: Policy, weights: dict[str, Tensor]) -> None:
    own = policy.state_dict()
    for name in own.keys() & weights.keys():  # which torch would convert
        require(
            weights[name].dtype == own[name].dtype,
            f"its weights {name} are of {weights[name].dtype}, and a policy's are of {own[name].dtype}; {_REMEDY}",
        )
    try:
        policy.load_state_dict(weights)
    except RuntimeError as error:
        raise InvalidInput(
            "its weights are of other shapes or names than its config asks for, as another version writes them; train "
            "one with `recsession train`"
        ) from error
