"""How good a policy is, on the scale where the log's noise is 0 and the expert is 1; and the dial between the two."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import numpy as np

from offline_data.behavior.base import WORLD_EXPERT, ActionKind, BehaviorPolicy, make_behavior
from offline_data.collection.rollout import play_rewards
from offline_data.families import BEHAVIORS
from recenv.errors import require, require_range
from recenv.plain_config import from_plain
from recenv.random_streams import derive_seeds
from recenv.registry import config_of
from recenv.statistics import Interval
from recenv.world import World

SESSIONS_PER_BATCH = 4096
MAX_SESSIONS: Final = 10**8
MAX_REFERENCE_SESSIONS: Final = 1_000_000

Spec = Mapping[str, Any]


def mixture_spec(
    good_fraction: float,
    noise: Spec | str,
    mixing: str = "step",
    *,
    expert: Spec | str | None = None,
    proto_scale: float | None = None,
) -> dict[str, Any]:
    """Return the behavior spec of the quality dial: `good_fraction` expert, the rest `noise`.

    Args:
        good_fraction: g in [0, 1].
        noise: name or spec of the noise's behavior policy; a mixture of several becomes as many components.
        mixing: "step", "session" or "position".
        expert: name or spec of the expert; None for that of whichever world the spec acts in.
        proto_scale: spread of the components' proto-actions, where they have one; None for their own.

    Raises:
        InvalidInput: for a fraction outside [0, 1], or noise that is mixed otherwise than the dial.
    """
    require_range("good_fraction", good_fraction, 0.0, 1.0)
    noises, shares = _parts(as_spec(noise), mixing)
    components = [as_spec(expert or WORLD_EXPERT), *noises]
    if proto_scale is not None:
        components = [{**spec, "proto_scale": proto_scale} if _has_spread(spec) else spec for spec in components]
    return {
        "name": "mixture",
        "components": components,
        "weights": [good_fraction, *((1.0 - good_fraction) * share for share in shares)],
        "mixing": mixing,
    }


def _parts(noise: dict[str, Any], mixing: str) -> tuple[list[dict[str, Any]], Sequence[float]]:
    """Return the components of the noise, and the share of each: a mixture cannot hold a mixture."""
    if noise.get("name") != "mixture":
        return [noise], (1.0,)
    config = from_plain(BEHAVIORS, noise)
    require(
        config.mixing == mixing,
        f"the noise is a mixture with mixing={config.mixing!r}, and the dial has mixing={mixing!r}; give both the same",
    )
    return [as_spec(part) for part in config.components], config.weights


def _has_spread(spec: Mapping[str, Any]) -> bool:
    """Return whether a behavior policy has a spread of its proto-actions; the world's expert, which ranks, has."""
    if spec["name"] == WORLD_EXPERT:
        return True
    return "proto_scale" in {entry.name for entry in fields(config_of(BEHAVIORS.resolve(spec["name"])))}


def as_spec(behavior: Spec | str) -> dict[str, Any]:
    """Return a behavior policy's name or spec as a spec."""
    return {"name": behavior} if isinstance(behavior, str) else dict(behavior)


@dataclass(frozen=True)
class Reference:
    """The two policies that the normalised score is measured against, by expected session return.

    Examples:
        >>> from offline_data import Reference
        >>> from recenv import Interval
        >>> reference = Reference(expert_return=Interval(60.0, 59.0, 61.0), noise_return=Interval(20.0, 19.0, 21.0))
        >>> reference.normalized_score(50.0)
        0.75
    """

    expert_return: Interval
    """J of the expert, which reads hidden state."""
    noise_return: Interval
    """J of the noise."""

    def __post_init__(self) -> None:
        require(
            self.expert_return.mean > self.noise_return.mean,
            f"the expert's return {self.expert_return:.3f} does not exceed the noise's "
            f"{self.noise_return:.3f}; a normalised score has no meaning here, choose another noise or world",
        )

    def normalized_score(self, session_return: float) -> float:
        """Return (J - J_noise) / (J_expert - J_noise)."""
        return (session_return - self.noise_return.mean) / self._gap

    @staticmethod
    def of(quality: Mapping[str, Any]) -> Reference:
        """Return the references that a manifest's `quality` holds."""
        return Reference(Interval(**quality["expert_return"]), Interval(**quality["noise_return"]))

    def as_dict(self) -> dict[str, dict[str, float]]:
        """Return both intervals by name, as `of` reads them."""
        return asdict(self)

    def normalized_score_interval(self, session_return: float) -> Interval:
        """Return the normalised score of a return that is known, and how far the references' samples leave it open."""
        normalized_score = self.normalized_score(session_return)
        half = self.half_width(normalized_score)
        return Interval(normalized_score, normalized_score - half, normalized_score + half)

    def estimated_normalized_score(self, value: Interval) -> Interval:
        """Return the normalised score of a return that is an estimate too, from users that are not the references'."""
        normalized_score = self.normalized_score(value.mean)
        half = math.hypot(value.half_width / self._gap, self.half_width(normalized_score))
        return Interval(normalized_score, normalized_score - half, normalized_score + half)

    def half_width(self, normalized_score: float) -> float:
        """Return half the 95 % interval of a normalised score whose return is known, for the references' samples alone.

        A normalised score s moves with J_expert by -s / gap and with J_noise by (s - 1) / gap; both are added in full,
        which holds however the two are correlated.
        """
        of_expert = abs(normalized_score) * self.expert_return.half_width
        return (of_expert + abs(1.0 - normalized_score) * self.noise_return.half_width) / self._gap

    @property
    def _gap(self) -> float:
        return self.expert_return.mean - self.noise_return.mean


def evaluate_returns(
    world: World,
    policy: BehaviorPolicy,
    num_sessions: int,
    seed: int,
    role: str,
    *,
    progress: Callable[[int], object] | None = None,
) -> np.ndarray:
    """Return the undiscounted returns of fresh sessions under a policy, [num_sessions] float64.

    Args:
        world: the world.
        policy: who acts.
        num_sessions: how many users.
        seed: root seed; with `role` it fixes the users and the policy's draws.
        role: keeps evaluations, calibrations and logs from sharing users.
        progress: called with the number of sessions of each batch as it is done.

    Raises:
        InvalidInput: for a number of sessions below 1.
    """
    require_range("num_sessions", num_sessions, 1, MAX_SESSIONS, integer=True)
    returns = np.empty(num_sessions)
    for start in range(0, num_sessions, SESSIONS_PER_BATCH):
        index = np.arange(start, min(start + SESSIONS_PER_BATCH, num_sessions))
        users = derive_seeds(seed, f"{role} users", index)
        # This string is part of the references' identity: another word, other returns.
        draws = derive_seeds(seed, f"{role} luck", index)
        returns[index] = play_rewards(world, policy, users, draws).total
        if progress:
            progress(len(index))
    return returns


def reference_returns(
    world: World,
    noise: Spec | str,
    action_kind: ActionKind,
    *,
    expert: Spec | str | None = None,
    num_sessions: int = 4096,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Reference:
    """Return the expert's and the noise's expected session return, each over the same fresh users.

    Args:
        world: the world.
        noise: name or spec of the noise's behavior policy.
        action_kind: "slate" or "proto".
        expert: name or spec of the expert; None for the world's own.
        num_sessions: users of each.
        seed: root seed.
        progress: called with the number of sessions of each batch as it is done.

    Raises:
        InvalidInput: for an unknown noise, a world without an expert, or where the expert does not exceed the noise.
    """
    of_expert, of_noise = (
        Interval.of(evaluate_returns(world, policy, num_sessions, seed, "reference", progress=progress))
        for policy in [make_behavior(world, spec, action_kind) for spec in (expert or WORLD_EXPERT, noise)]
    )
    return Reference(of_expert, of_noise)


def precise_reference(
    world: World,
    noise: Spec | str,
    action_kind: ActionKind,
    *,
    expert: Spec | str | None = None,
    precision: float = 0.01,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Reference:
    """Return `reference_returns` over so many users that normalised scores in [0, 1] are known to within `precision`.

    Args:
        world: see `reference_returns`, and so the arguments that are not here.
        noise: see there.
        action_kind: see there.
        expert: see there.
        precision: half width of the 95 % interval of a normalised score, above zero.
        seed: see there.
        progress: see there.

    Raises:
        InvalidInput: for an unknown noise, or where the expert does not exceed it by enough to tell in a million users.
    """
    require_range("precision", precision, 0.0, 1.0, low_open=True)
    count = SESSIONS_PER_BATCH
    while True:
        reference = reference_returns(
            world, noise, action_kind, expert=expert, num_sessions=count, seed=seed, progress=progress
        )
        half_width = max(reference.half_width(0.0), reference.half_width(1.0))
        if half_width <= precision:
            return reference
        count = math.ceil(1.1 * count * (half_width / precision) ** 2)
        require(
            count <= MAX_REFERENCE_SESSIONS,
            f"the expert's return {reference.expert_return} is too close to the noise's {reference.noise_return}: to "
            f"know normalised scores to within {precision} would take {count:,} sessions; choose another noise or "
            "expert",
        )
