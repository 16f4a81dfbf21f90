"""The environments by the names that `gymnasium.make` takes: a variant is the world of one user model."""

from __future__ import annotations

from typing import Any, Final

import gymnasium

from recenv.families import USER_MODELS

DEFAULT: Final = "default"


def model_variants() -> dict[str, str]:
    """Return the user model of each variant, the default world first; no model is imported."""
    sources = {name: USER_MODELS.source(name) for name in USER_MODELS.registered()}
    variants = {source.literal("variant"): name for name, source in sources.items() if source is not None}
    return {DEFAULT: variants[DEFAULT]} | {variant: name for variant, name in variants.items() if variant is not None}


VARIANTS: Final[dict[str, dict[str, Any]]] = {
    "RecSession-v0" if variant == DEFAULT else f"RecSession-{variant.title().replace('-', '')}-v0": {}
    if variant == DEFAULT
    else {"user_model": model}
    for variant, model in model_variants().items()
}
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
