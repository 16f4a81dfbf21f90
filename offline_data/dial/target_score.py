"""The quality dial set by what a log is to be worth: the good fraction at which its own normalised score is the target.

A log's own normalised score is what its sessions earned, on the scale of `quality.Reference`. The sessions are a pure
function of the dataset's seed and the good fraction, so they are played while the fraction is sought and logged
afterwards: what they earned is known, not estimated. What stays uncertain is where 0 and 1 lie. The claim is that the
score lies within `TOLERANCE` of the target with the whole of its 95 % interval, which is of the references' draws, on
users that no log shares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from offline_data.behavior.base import WORLD_EXPERT, BehaviorPolicy, in_world
from offline_data.collection.collection import LogRequest, play_range
from offline_data.collection.rollout import TooManyRows, halves
from offline_data.dial.quality import Spec, as_spec, mixture_spec, precise_reference
from recenv.errors import InvalidInput, require_range
from recenv.world import make_world

TOLERANCE: Final = 0.02
_FIRST_STRIDE: Final = 0.25
_LATER_STRIDE: Final = 0.02
_DECIMALS: Final = 6

Progress = Callable[[int], object]


def at_fraction(
    request: LogRequest,
    good_fraction: float,
    noise: Spec | str,
    *,
    mixing: str = "step",
    expert: Spec | str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> LogRequest:
    """Return the request with the dial at a good fraction, and for the manifest the references of its score.

    Args:
        request: the log; the dial takes the place of its behavior.
        good_fraction: g in [0, 1].
        noise: name or spec of the noise's behavior policy.
        mixing: "step", "session" or "position".
        expert: name or spec of the expert; None for the world's own.
        seed: root seed of the references' users and policy draws.
        progress: called with the number of sessions of each batch that is played.

    Raises:
        InvalidInput: for a fraction outside [0, 1], an unknown name, or where the expert does not exceed the noise.
    """
    return _Dial(request, noise, mixing, expert, seed, progress).setting(good_fraction)


def at_target_score(
    request: LogRequest,
    target_score: float,
    noise: Spec | str,
    *,
    mixing: str = "step",
    expert: Spec | str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> LogRequest:
    """Return the request with the dial where the log's own normalised score is the target, to within `TOLERANCE`.

    The same arguments give the same fraction.

    Args:
        request: see `at_fraction`, and so the arguments that are not here.
        target_score: the score.
        noise: see there.
        mixing: see there.
        expert: see there.
        seed: see there.
        progress: see there.

    Raises:
        InvalidInput: see there, and for a target that no fraction reaches.
    """
    require_range("target_score", target_score, -1e3, 1e3)
    dial = _Dial(request, noise, mixing, expert, seed, progress)

    def near(normalized_score: float) -> bool:
        return abs(normalized_score - target_score) + dial.reference.half_width(normalized_score) <= TOLERANCE

    ranges = request.ranges()
    guess, stride = min(max(target_score, 0.0), 1.0), _FIRST_STRIDE
    if len(ranges) > 1:
        # A first part of the sessions comes near at little cost; what is left is its own sampling error.
        guess, _ = _nearest(
            lambda fraction: dial.normalized_score(fraction, ranges[:1]), target_score, near, guess, stride
        )
        stride = _LATER_STRIDE
    good_fraction, normalized_score = _nearest(
        lambda fraction: dial.normalized_score(fraction, ranges), target_score, near, guess, stride
    )
    if not near(normalized_score):
        low, high = sorted(dial.normalized_score(fraction, ranges) for fraction in (0.0, 1.0))
        raise InvalidInput(
            f"target_score={target_score} is out of reach: this log of {request.num_sessions:,} sessions scores "
            f"{low:.3f} to {high:.3f}, and {normalized_score:.3f} at the nearest good_fraction, {good_fraction}; "
            "choose a target in that range, or log more sessions"
        )
    return dial.setting(good_fraction, target_score=target_score)


def dial_request(
    request: LogRequest,
    good_fraction: float,
    noise: Spec | str,
    *,
    mixing: str = "step",
    expert: Spec | str | None = None,
) -> LogRequest:
    """Return the request with the dial at a good fraction; nothing is measured for it. See `at_fraction`."""
    good = in_world(request.config, as_spec(expert or WORLD_EXPERT))
    return replace(request, behavior=mixture_spec(good_fraction, as_spec(noise), mixing, expert=good))


@dataclass
class _Dial:
    """A log whose behavior is a mixture of expert and noise, by its good fraction; see `at_fraction`."""

    request: LogRequest
    noise: Spec | str
    mixing: str
    expert: Spec | str | None
    seed: int
    progress: Progress | None

    def __post_init__(self) -> None:
        self.world, kind = make_world(self.request.config), self.request.action_kind
        # As the manifest is to name it: which one, and not only that it is the world's.
        self.expert = in_world(self.request.config, as_spec(self.expert or WORLD_EXPERT))
        self.noise = as_spec(self.noise)
        self._at(0.5).policy(self.world)  # a mixture that cannot be is refused before anything is played
        told: Any = {"precision": TOLERANCE / 2.0, "seed": self.seed, "progress": self.progress}
        self.reference = precise_reference(self.world, self.noise, kind, expert=self.expert, **told)

    def normalized_score(self, good_fraction: float, ranges: Sequence[range]) -> float:
        """Return the normalised score of ranges of the sessions, as they are logged at a good fraction."""
        request, total = self._at(good_fraction), 0.0
        policy = request.policy(self.world)
        for sessions in ranges:
            total += self._total(policy, request, sessions)
            if self.progress:
                self.progress(len(sessions))
        return self.reference.normalized_score(total / sum(map(len, ranges)))

    def _total(self, policy: BehaviorPolicy, request: LogRequest, sessions: range) -> float:
        try:
            vector = play_range(self.world, policy, request, sessions)["rows/reward_vector"]
            return float((vector.sum(axis=0, dtype=np.float64) * self.world.reward_weights).sum())
        except TooManyRows:
            if len(sessions) == 1:
                raise
        return sum(self._total(policy, request, half) for half in halves(sessions))

    def setting(self, good_fraction: float, target_score: float | None = None) -> LogRequest:
        """Return the request at a good fraction, with what the manifest is to say of its quality."""
        quality = {
            "expert": self.expert,
            "noise": self.noise,
            "mixing": self.mixing,
            "good_fraction": good_fraction,
            "target_score": target_score,
            **self.reference.as_dict(),
        }
        return replace(self._at(good_fraction), quality=quality)

    def _at(self, good_fraction: float) -> LogRequest:
        return dial_request(self.request, good_fraction, self.noise, mixing=self.mixing, expert=self.expert)


def _nearest(
    normalized_score_at: Callable[[float], float],
    target: float,
    near: Callable[[float], bool],
    guess: float,
    stride: float,
) -> tuple[float, float]:
    """Return the first good fraction whose score is `near`, or else the one nearest to the target; and its score.

    In growing strides from the guess until the target lies between two fractions, then between those. The score need be
    neither smooth nor monotone: where it jumps over the target, the two close in on the jump.
    """
    normalized_scores: dict[float, float] = {}
    known: dict[bool, float] = {}  # the last fraction that fell short of the target, and the last that did not
    fraction = round(guess, _DECIMALS)
    while fraction not in normalized_scores:  # else an end of the dial, or nothing is left between the two
        normalized_scores[fraction] = normalized_score_at(fraction)
        if near(normalized_scores[fraction]):
            break
        short = normalized_scores[fraction] < target
        known[short] = fraction
        if len(known) == 2:
            low, high = known[True], known[False]
            share = (target - normalized_scores[low]) / (normalized_scores[high] - normalized_scores[low])
            fraction = low + min(max(share, 0.1), 0.9) * (high - low)
        else:
            fraction += stride if short else -stride
            stride *= 2.0
        fraction = round(min(max(fraction, 0.0), 1.0), _DECIMALS)
    nearest = min(normalized_scores, key=lambda tried: abs(normalized_scores[tried] - target))
    return nearest, normalized_scores[nearest]
