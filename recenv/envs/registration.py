"""The environments by the names that `gymnasium.make` takes: a variant is a world of one user model."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import gymnasium

from recenv.families import USER_MODELS

DEFAULT: Final = "default"


def model_variants() -> dict[str, dict[str, Any]]:
    """Return what each variant changes in the default world, that one first; no model is imported."""
    variants: dict[str, dict[str, Any]] = {}
    for model in USER_MODELS.registered():
        source = USER_MODELS.source(model)
        if source is not None and (variant := source.literal("variant")) is not None:
            further = source.literal("further_variants") or {}
            for name, options in {variant: {}, **further}.items():
                variants[name] = {"user_model": model, **options}
    return {DEFAULT: variants[DEFAULT]} | variants


@cache
def model_version(model: str) -> int:
    """Return the version of a user model's equations, without importing it.

    Args:
        model: a registered name.
    """
    source = USER_MODELS.source(model)
    return 0 if source is None else source.literal("version") or 0


def _environments() -> Iterator[tuple[str, dict[str, Any]]]:
    for variant, options in model_variants().items():
        word = "" if variant == DEFAULT else f"-{variant.title().replace('-', '')}"
        yield f"RecSession{word}-v{model_version(options['user_model'])}", {} if variant == DEFAULT else options


VARIANTS: Final[dict[str, dict[str, Any]]] = dict(_environments())
"""What each changes in the default world; the user model brings its own choice model and pieces."""


def register_environments() -> None:
    """Register every variant with Gymnasium."""
    for name, options in VARIANTS.items():
        gymnasium.register(
            id=name,
            entry_point="recenv.envs.session_env:RecSessionEnv",
            vector_entry_point="recenv.envs.session_vector_env:RecSessionVectorEnv",
            kwargs=options,
        )
