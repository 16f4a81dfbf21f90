"""What a plain install leaves out, and the sentence that names the extra which brings it."""

from __future__ import annotations

import importlib.util
from typing import Final

from recenv.errors import InvalidInput

EXTRAS: Final = {
    "agents": ("torch", "torchrl", "tensordict", "faiss"),
    "minari": ("minari", "h5py"),
    "onnx": ("onnx", "onnxscript"),
    "sb3": ("stable_baselines3",),
    "testing": ("hypothesis", "pytest"),
}
"""Modules that each extra of `pyproject.toml` brings and that are imported behind `require_extra`."""


class MissingExtra(InvalidInput, ImportError):
    """A package is not installed that an extra brings."""


def require_extra(extra: str) -> None:
    """Raise `MissingExtra` unless every module of the extra is installed; none of them is imported.

    Args:
        extra: a name of `EXTRAS`.

    Raises:
        MissingExtra: naming the modules and the command that installs them.
    """
    missing = [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise MissingExtra(f'{" and ".join(missing)} {verb} not installed; pip install "recsession[{extra}]"')
