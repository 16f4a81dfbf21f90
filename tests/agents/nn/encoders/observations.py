"""A tiny space of sessions, and random observations of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from agents.nn.session_space import SessionSpace

LENGTH, DIM, CHANNELS, ITEMS = 5, 4, 3, 7


def space(**changes: Any) -> SessionSpace:
    embeddings = np.random.default_rng(0).normal(size=(ITEMS, DIM)).astype(np.float32)
    return replace(SessionSpace(embeddings, np.full(ITEMS, 1 / ITEMS, np.float32), LENGTH, CHANNELS, 2), **changes)


def observe(events: int, *, count: int = 4, seed: int = 1, profile: bool = True, calendar: bool = False) -> dict:
    generator = torch.Generator().manual_seed(seed)
    observation = {
        "history_items": torch.randint(0, ITEMS, (count, events), generator=generator, dtype=torch.int32),
        "history_feedback": torch.rand(count, events, CHANNELS, generator=generator),
        "clock": torch.rand(count, 2, generator=generator),
    }
    extra = {
        "profile": torch.randn(count, DIM, generator=generator),
        "calendar": torch.rand(count, 2, generator=generator),
    }
    return observation | {key: extra[key] for key, wanted in (("profile", profile), ("calendar", calendar)) if wanted}


def pad(observation: dict[str, Tensor], padding: int, garbage: float) -> dict[str, Tensor]:
    return observation | {
        "history_items": functional.pad(observation["history_items"], (padding, 0), value=-1),
        "history_feedback": functional.pad(observation["history_feedback"], (0, 0, padding, 0), value=garbage),
    }
