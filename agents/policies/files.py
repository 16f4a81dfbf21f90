"""Policies as sealed files: JSON and plain tensors, with the items, so that a policy acts without log and simulator."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from agents.families import POLICIES
from agents.nn.session_space import SessionSpace
from agents.nn.tensor_files import load_tensors, save_tensors
from agents.policies.base import Policy, make_policy
from recenv.catalog import Catalog
from recenv.errors import InvalidInput, require
from recenv.item_columns import TEXTS
from recenv.json_text import parse_json
from recenv.plain_config import from_plain, to_plain
from recenv.registry import reading
from recenv.session_config import SessionConfig

FORMAT_VERSION: Final = 2
_KIND: Final = "policy"
_REMEDY: Final = "train one with `recsession train`"


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
    items = {name: facts.pop(name) for name in ("embeddings", "popularity")}
    facts["session"] = None if session is None else session.to_dict(paths=False)
    if session is not None and session.items is not None:
        items = session.items.arrays()
    items = {name: _as_tensor(values) for name, values in items.items()}
    header = {"format": FORMAT_VERSION, "policy": to_plain(policy.config, POLICIES), "space": facts}
    save_tensors(path, _KIND, {"header": json.dumps(header), "weights": policy.state_dict(), "items": items})


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
        header = parse_json(content["header"], "its header")
        require(
            header["format"] == FORMAT_VERSION,
            f"its format is {header['format']!r}, not {FORMAT_VERSION}; {_REMEDY}",
        )
        items = {name: _as_column(name, values) for name, values in content["items"].items()}
        facts = header["space"] | {name: items[name] for name in ("embeddings", "popularity")}
        with reading(path, allow_imports):
            if facts["session"] is not None:
                own = Catalog(**items) if "items" in facts["session"] else None
                facts["session"] = SessionConfig.from_dict(facts["session"], items=own)
                facts.setdefault("max_steps", facts["session"].max_steps)
            require(
                "max_steps" in facts,
                "it does not say of how many steps `clock` is a share, as an older RecSession wrote it; train one on "
                "the log again",
            )
            policy = make_policy(SessionSpace(**facts), from_plain(POLICIES, header["policy"] | changes))
        floating = [values.dtype for values in content["weights"].values() if values.is_floating_point()]
        policy.to(floating[0])
        _take_weights(policy, content["weights"])
    except InvalidInput as error:
        raise InvalidInput(f"{path} is not a policy file that can be read: {error}") from error
    except Exception as error:
        raise InvalidInput(f"{path} is not a policy file ({type(error).__name__}); {_REMEDY}") from error
    policy.to(device)
    return policy.eval()


def _as_tensor(values: np.ndarray) -> Tensor:
    """Return a column of items as a tensor; of texts the code points, [N, characters] int32."""
    return torch.from_numpy(
        np.array(values.view(np.int32).reshape(len(values), -1) if values.dtype.kind == "U" else values)
    )


def _as_column(name: str, values: Tensor) -> np.ndarray:
    """Return what `_as_tensor` was given."""
    array = values.numpy()
    return array.view(f"<U{array.shape[1]}").reshape(-1) if name in TEXTS and array.ndim == 2 else array


def _take_weights(policy: Policy, weights: dict[str, Tensor]) -> None:
    try:
        policy.load_state_dict(weights)
    except RuntimeError as error:
        raise InvalidInput(
            "its weights are of other shapes or names than its config asks for, as another version writes them; train "
            "one with `recsession train`"
        ) from error
