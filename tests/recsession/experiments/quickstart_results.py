"""Results as a quickstart would write them, healthy and broken."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

SCORES = {"bc": -0.08, "awr": 0.11, "signed_pg": -0.62, "drpo": 0.96}
STEPS = 4000


def _summary(per_seed: list[float]) -> dict[str, Any]:
    mean, half = float(np.mean(per_seed)), 1.96 * float(np.std(per_seed)) + 0.02
    return {"mean": mean, "low": mean - half, "high": mean + half, "per_seed": per_seed}


def _curve(rng: np.random.Generator, name: str, final: float, num_points: int) -> list[dict[str, Any]]:
    points, kappa, epsilon = [], 1.0, 0.2
    for index, step in enumerate(np.linspace(0, STEPS, num_points).astype(int).tolist()):
        done = step / STEPS
        calm = 24.0 * np.exp(-1.5 * done) + 9 + rng.normal(0, 0.6)
        blown = 30.0 * np.exp(20.0 * max(done - 0.15, 0.0))
        surprisal = blown if name == "signed_pg" else calm
        point = {
            "step": step,
            "loss": float(rng.normal()),
            "surprisal_mean": float(surprisal / 3),
            "surprisal_max": float(surprisal),
            "score_function_norm_max": float(3.5 * surprisal**0.5 if name == "signed_pg" else 11 + rng.normal(0, 0.5)),
            "normalized_score": None,
        }
        if index % 4 == 0 or index == num_points - 1:
            rise = 1 - np.exp(-5 * done) if name != "signed_pg" else done
            point["normalized_score"] = float(final * rise + rng.normal(0, 0.012) * (step > 0))
        if name == "drpo":
            kappa = max(0.02, kappa * (0.7 if index % 2 else 1.0)) if index > 5 else 1.0
            epsilon = float(np.clip(epsilon * rng.choice([1 / 1.5, 1.0, 1.5]), 0.02, 0.5))
            point |= {"kappa": kappa, "epsilon": epsilon, "kl": float(0.02 * np.exp(rng.normal(0, 0.5)))}
        points.append(point)
    return points


def _estimates(rng: np.random.Generator, truth: float, ess: float) -> list[dict[str, Any]]:
    made = []
    for estimator, noise in (("snips", 0.5), ("dr", 0.25)):
        spread = noise * (1.0 if ess >= 100 else 4.0)
        value = truth + float(rng.normal(0, spread / 2))
        made.append({"estimator": estimator, "value": value, "low": value - spread, "high": value + spread})
        made[-1] |= {"ess": ess, "trusted": ess >= 100}
    return made


def make_results(num_seeds: int = 3, num_points: int = 41, scores: dict[str, float] | None = None) -> dict[str, Any]:
    """Return results as a healthy quickstart would write them: DRPO wins, signed policy gradient blows up."""
    rng = np.random.default_rng(7)
    seeds, scores = list(range(11, 11 + num_seeds)), scores or SCORES
    methods, curves = {}, {}
    for name, score in scores.items():
        per_seed = [score + 0.03 * float(rng.uniform(-1, 1)) for _ in seeds]
        curves[name] = [_curve(rng, name, value, num_points) for value in per_seed]
        ess = {"bc": 640.0, "awr": 310.0, "signed_pg": 3.2, "drpo": 190.0}.get(name, 150.0)
        truth = [5.0 + 4 * value for value in per_seed]
        methods[name] = {
            "normalized_score": _summary(per_seed),
            "normalized_score_sampled": _summary([value - 0.3 for value in per_seed]),
            "filter_precision": _summary([0.94 + 0.01 * i for i in range(num_seeds)]) if name == "drpo" else None,
            "max_surprisal": [max(p["surprisal_max"] for p in curve) for curve in curves[name]],
            "max_score_function_norm": [max(p["score_function_norm_max"] for p in curve) for curve in curves[name]],
            "stopped": [None] * num_seeds,
            "ope": [_estimates(rng, value, ess * rng.uniform(0.5, 1.5)) for value in truth],
            "truth": [{"value": value, "low": value - 0.12, "high": value + 0.12} for value in truth],
        }
    edges = np.linspace(-4, 4, 61)
    histograms = [
        {
            "edges": edges.tolist(),
            "good": np.histogram(rng.normal(2.2, 0.45, 3_200), edges)[0].tolist(),
            "noise": np.histogram(rng.normal(-0.4, 0.62, 156_800), edges)[0].tolist(),
            "threshold": 1.42 + 0.05 * float(rng.uniform(-1, 1)),
        }
        for _ in seeds
    ]
    return {
        "config": {"num_sessions": 20_000, "good_fraction": 0.02, "world": {"num_items": 1000, "slate_size": 5}},
        "world_hash": "9f2c41d07be35a8816cd",
        "good_fraction": 0.02,
        "noise": "clickbait",
        "seeds": seeds,
        "reference": {
            "expert_return": {"mean": 9.04, "low": 8.97, "high": 9.11},
            "noise_return": {"mean": 5.02, "low": 4.96, "high": 5.08},
        },
        "ceiling": {
            "normalized_score": _summary([0.97 + 0.01 * i for i in range(num_seeds)]),
            "normalized_score_sampled": _summary([0.87 + 0.01 * i for i in range(num_seeds)]),
        },
        "methods": methods,
        "curves": curves,
        "score_histogram": histograms,
        "command": "recsession quickstart --seed 11",
    }


def make_broken() -> dict[str, Any]:
    """Return one seed, few points, no dials, no precision, and a signed policy gradient that left the numbers."""
    results = make_results(num_seeds=1, num_points=3)
    signed, curves = results["methods"]["signed_pg"], results["curves"]
    signed |= {
        "max_surprisal": [math.inf],
        "max_score_function_norm": [1e30],
        "stopped": ["loss=nan at step 2000 <halt>"],
    }
    signed["normalized_score"] = {"mean": math.nan, "low": None, "high": None, "per_seed": [math.nan]}
    signed["truth"] = [{"value": -1e30, "low": -math.inf, "high": math.nan}]
    signed["ope"] = [[{"estimator": "dr", "value": 1e308, "low": -1e308, "high": math.inf, "ess": math.nan}]]
    results["methods"]["drpo"]["filter_precision"] = None
    for point in curves["drpo"][0]:
        for key in ("kappa", "epsilon", "kl"):
            del point[key]
    curves["signed_pg"][0][1] |= {"surprisal_max": 1e30, "score_function_norm_max": math.inf, "normalized_score": -1e30}
    curves["signed_pg"][0][2] |= {
        "surprisal_max": math.nan,
        "score_function_norm_max": 1e307,
        "normalized_score": math.nan,
    }
    curves["awr"][0] = curves["awr"][0][:1]
    curves["bc"][0] = []
    results["score_histogram"] = [None]
    del results["reference"], results["command"]
    return results
