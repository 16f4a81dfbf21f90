"""A stand-in for a tensor of torch."""

from __future__ import annotations

from typing import Any

import numpy as np


class Tensor:
    """What a tensor of torch does where numpy asks for it: none of one with a gradient, nor of bfloat16."""

    def __init__(self, values: Any, *, gradient: bool = False, dtype: str = "float32") -> None:
        self.values, self.gradient, self.dtype = np.asarray(values), gradient, dtype

    def detach(self) -> Tensor:
        return Tensor(self.values, dtype=self.dtype)

    def cpu(self) -> Tensor:
        return self

    def float(self) -> Tensor:
        return Tensor(self.values.astype(np.float32))

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        if self.gradient:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad")
        if self.dtype in ("bfloat16", "float8"):
            raise TypeError("Got unsupported ScalarType BFloat16")
        if self.dtype == "sparse":
            raise RuntimeError("no strides")
        return self.values if dtype is None else self.values.astype(dtype)
