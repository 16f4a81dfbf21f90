"""A deterministic policy as an ONNX model: from the entries of an observation to the slate, without PyTorch or us."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch._dynamo.exc import UserError

from agents.nn.rows import take_rows
from agents.nn.session_space import SessionSpace
from agents.policies.base import Policy
from agents.policies.gaussian import GaussianPolicy
from offline_data.store.context import context_width
from recenv.extras import require_extra
from recenv.files.atomic_files import replacing

OPSET: Final = 20


def export_onnx(policy: Policy, path: str | Path) -> None:
    """Write the policy's deterministic slates as an ONNX model with weights and items in it.

    Its inputs are the entries of the observation that the policy reads, by their names, `[batch, ...]` with any batch:
    `history_items` and `candidates` int32, any number of these, -1 for none; `available` int8, all else float32. Its
    outputs are `slate` [batch, K] int64 and, of a policy over proto-actions, `proto` [batch, d] float32, whose nearest
    items the slate is: by a matrix product, which for items that are equally near up to rounding may choose another one
    than `Policy.act`. A policy in bfloat16 is written in float32. Its metadata have what a server has to know:
    `offline_data.ServingSpace.of_metadata` makes of them observations of users' events, and ids of slates.

    Args:
        policy: what is to be served.
        path: the file, usually with the ending `.onnx`.

    Raises:
        InvalidInput: if the packages are missing or the file cannot be written.
    """
    require_extra("onnx")
    path, names = Path(path), policy.space.observed
    with replacing(path, mark=onnx_mark(path)) as temporary:
        _model(policy, names).save(temporary)


def onnx_mark(path: Path) -> bytes:
    """Return what is in a file that a model may replace, as `check_output` takes it; nothing if its name says so."""
    return b"" if path.suffix == ".onnx" else b"pytorch"


def _model(policy: Policy, names: tuple[str, ...]) -> Any:
    with _quiet(), torch.no_grad():
        program = _traced(_Served(policy), policy.space).run_decompositions(_DECOMPOSITIONS)
        model = torch.onnx.export(
            program,
            input_names=list(names),
            output_names=["slate", "proto"] if policy.action_kind == "proto" else ["slate"],
            opset_version=OPSET,
            verbose=False,
        )
    if model is None:
        raise RuntimeError(f"torch.onnx.export returned no model of opset {OPSET}; update onnxscript")
    model.model.metadata_props.update(policy.space.serving.to_metadata())
    graph: Any = model.model.graph
    for value in (*graph.inputs, *graph.outputs):
        further = ["candidates"] if value.name == "candidates" else list(value.shape)[1:]
        value.shape = type(value.shape)(["batch", *further])
    return model


def _traced(served: nn.Module, space: SessionSpace) -> torch.export.ExportedProgram:
    """Return the program for batches of any size, and any number of candidates.

    PyTorch has two tracers: the one from Python is quick and takes distributions, the one from bytecode takes the
    decoder of tokens, which asks for lengths of batches.
    """
    batch, offered = torch.export.Dim("batch", min=1), torch.export.Dim("candidates", min=1)
    sizes = tuple({0: batch, 1: offered} if name == "candidates" else {0: batch} for name in space.observed)
    example, shapes = tuple(_example(space, 3)), {"entries": sizes}
    try:
        return torch.export.export(served, example, dynamic_shapes=shapes, strict=False)
    except UserError:
        return torch.export.export(served, example, dynamic_shapes=shapes, strict=True)


class _Served(nn.Module):
    items: Tensor

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        policy = copy.deepcopy(policy).cpu().float().eval()
        module: Any = policy.module
        self.names = policy.space.observed
        self.offer, self.num_nearest = policy.space.offer, policy.space.slate_size
        self.head, last = policy.head, module[-1]
        self.parameter_names: tuple[str, ...] = tuple(module[0].out_keys)
        self.distribution: Callable[..., Any] = last.distribution_class
        self.options: dict[str, Any] = dict(last.distribution_kwargs)
        self.is_proto = policy.action_kind == "proto"
        if isinstance(policy, GaussianPolicy):
            self.register_buffer("items", torch.from_numpy(policy.search.catalog.embeddings.copy()))

    def forward(self, *entries: Tensor) -> tuple[Tensor, ...]:
        observation = dict(zip(self.names, entries, strict=True))
        if self.offer == "candidates":  # at least as many as a slate
            padding = (0, self.num_nearest + 1)
            observation["candidates"] = nn.functional.pad(observation["candidates"], padding, value=-1)
        parameters = self.head(**observation)
        parameters = parameters if isinstance(parameters, tuple) else (parameters,)
        action = self.distribution(**dict(zip(self.parameter_names, parameters, strict=True)), **self.options).mode
        if not self.is_proto:
            return (self._filled(action.long(), observation),)
        return self._nearest(action, observation), action.clone()

    def _filled(self, slates: Tensor, observation: dict[str, Tensor]) -> Tensor:
        """Return slates whose first item stands again where the step offers no more, [B, K]."""
        empty = slates < 0
        if self.offer == "available":
            empty = empty | (observation["available"].gather(1, slates.clamp(min=0)) <= 0)
        return torch.where(empty, slates[:, :1], slates)

    def _nearest(self, protos: Tensor, observation: dict[str, Tensor]) -> Tensor:
        """Return the nearest items that the step may show, the nearest again where they are too few, [B, K]."""
        if self.offer != "candidates":
            products = protos @ self.items.T
            if self.offer == "available":
                products = products.masked_fill(observation["available"] == 0, -torch.inf)
            values, slate = products.topk(self.num_nearest, dim=1)
            return torch.where(values > -torch.inf, slate, slate[:, :1])
        # In the order of their ids, which ONNX's TopK keeps among equals.
        items = observation["candidates"].long()
        items = -(-items).topk(items.shape[1], dim=1).values
        vectors = take_rows(self.items, items.clamp(min=0))
        products = (vectors @ protos.unsqueeze(2)).squeeze(2).masked_fill(items < 0, -torch.inf)
        values, places = products.topk(self.num_nearest, dim=1)
        return items.gather(1, torch.where(values > -torch.inf, places, places[:, :1]))


def _example(space: SessionSpace, count: int) -> Iterator[Tensor]:
    """Yield entries of observations of `count` sessions."""
    shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "profile": ((space.embedding_dim,), torch.float32),
        "history_items": ((space.history_length,), torch.int32),
        "history_feedback": ((space.history_length, space.num_channels), torch.float32),
        "clock": ((2,), torch.float32),
        "calendar": ((2,), torch.float32),
        "context": ((context_width(space.context),), torch.float32),
        "candidates": ((2 * space.slate_size + 3,), torch.int32),
        "available": ((space.num_items,), torch.int8),
    }
    for name in space.observed:
        shape, dtype = shapes[name]
        yield torch.zeros((count, *shape), dtype=dtype)


# --- operators that the exporter lacks


def _searchsorted(ordered: Tensor, values: Tensor, *, out_int32: bool = False, right: bool = False, **_: Any) -> Tensor:
    counted = ordered.unsqueeze(1) <= values.unsqueeze(2) if right else ordered.unsqueeze(1) < values.unsqueeze(2)
    return counted.sum(dim=2).to(torch.int32 if out_int32 else torch.int64)


def _stable_sort(
    values: Tensor, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> tuple[Tensor, Tensor]:
    # ONNX's TopK keeps the order of equals.
    ordered, places = values.topk(values.shape[dim], dim=dim, largest=descending)
    return ordered, places


_DECOMPOSITIONS: Final[dict[Any, Callable[..., Any]]] = {
    torch.ops.aten.searchsorted.Tensor: _searchsorted,
    torch.ops.aten.sort.stable: _stable_sort,
}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about its own parts from the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
