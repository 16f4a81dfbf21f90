"""Results as a quickstart would write them, healthy and broken."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

SCORES = {"bc": -0.08, "awr": 0.11, "signed_pg": -0.62, "robust_filter": 0.96}
STEPS = 4000


def _summary(per_seed: list[float]) -> dict[str, Any]:
    mean, half = float(np.mean(per_seed)), 1.96 * float(np.std(per_seed)) + 0.02
    return {"mean": mean, "low": mean - half, "high": mean + half, "per_seed": per_seed}


def _curve(name: str, final: float, num_points: int) -> list[dict[str, Any]]:
    points = []
    for index, step in enumerate(np.linspace(0, STEPS, num_points).astype(int).tolist()):
        done, blown = step / STEPS, name == "signed_pg"
        surprisal = 30.0 * math.exp(20.0 * max(done - 0.15, 0.0)) if blown else 24.0 * math.exp(-1.5 * done) + 9 + final
        point: dict[str, Any] = {"step": step, "surprisal_max": surprisal, "normalized_score": None}
        point["score_function_norm_max"] = 3.5 * surprisal**0.5 if blown else 11 + 0.5 * math.sin(index + final)
        if index % 4 == 0 or index == num_points - 1:
            point["normalized_score"] = final * (done if blown else 1 - math.exp(-5 * done))
        if name == "robust_filter":
            point["kappa"] = max(0.02, 0.7 ** max(index - 5, 0))
        points.append(point)
    return points


def _estimates(truth: float, ess: float) -> list[dict[str, Any]]:
    return [
        {"estimator": name, "value": truth + wide / 3, "low": truth - wide, "high": truth + wide, "ess": ess}
        for name, wide in (("snips", 0.5), ("dr", 0.25))
    ]


def make_results(num_seeds: int = 3, num_points: int = 41, scores: dict[str, float] | None = None) -> dict[str, Any]:
    """Return results as a healthy quickstart would write them: robust_filter wins, signed_pg blows up."""
    rng = np.random.default_rng(7)
    seeds, scores = list(range(11, 11 + num_seeds)), scores or SCORES
    methods, curves = {}, {}
    for name, score in scores.items():
        per_seed = [score + 0.03 * float(rng.uniform(-1, 1)) for _ in seeds]
        curves[name] = [_curve(name, value, num_points) for value in per_seed]
        ess = {"bc": 640.0, "awr": 310.0, "signed_pg": 3.2, "robust_filter": 190.0}.get(name, 150.0)
        truth = [5.0 + 4 * value for value in per_seed]
        methods[name] = {
            "normalized_score": _summary(per_seed),
            "normalized_score_sampled": _summary([value - 0.3 for value in per_seed]),
            "filter_precision": _summary([0.94 + 0.01 * i for i in range(num_seeds)])
            if name == "robust_filter"
            else None,
            "max_surprisal": [max(p["surprisal_max"] for p in curve) for curve in curves[name]],
            "max_score_function_norm": [max(p["score_function_norm_max"] for p in curve) for curve in curves[name]],
            "stopped": [None] * num_seeds,
            "ope": [_estimates(value, ess + i) for i, value in enumerate(truth)],
            "truth": [{"value": value, "low": value - 0.12, "high": value + 0.12} for value in truth],
        }
    edges = np.linspace(-4, 4, 61)
    good, noise = (
        np.histogram(rng.normal(*at), edges)[0].tolist() for at in ((2.2, 0.45, 3_200), (-0.4, 0.62, 156_800))
    )
    ceiling = [0.97 + 0.01 * i for i in range(num_seeds)]
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
            "normalized_score": _summary(ceiling),
            "normalized_score_sampled": _summary([score - 0.1 for score in ceiling]),
        },
        "methods": methods,
        "curves": curves,
        "score_histogram": [{"edges": edges.tolist(), "good": good, "noise": noise, "threshold": 1.42}] * num_seeds,
        "command": "recsession quickstart --seed 11",
    }


def make_broken() -> dict[str, Any]:
    """Return one seed, few points, no kappa, no precision, and a signed policy gradient that left the numbers."""
    results = make_results(num_seeds=1, num_points=3)
    signed, curves = results["methods"]["signed_pg"], results["curves"]
    signed |= {"max_surprisal": [math.inf], "max_score_function_norm": [1e30], "stopped": ["loss=nan at step 2 <halt>"]}
    signed["normalized_score"] = {"mean": math.nan, "low": None, "high": None, "per_seed": [math.nan]}
    signed["truth"] = [{"value": -1e30, "low": -math.inf, "high": math.nan}]
    signed["ope"] = [[{"estimator": "dr", "value": 1e308, "low": -1e308, "high": math.inf, "ess": math.nan}]]
    results["methods"]["robust_filter"]["filter_precision"] = None
    for point in curves["robust_filter"][0]:
        del point["kappa"]
    keys = ("surprisal_max", "score_function_norm_max", "normalized_score")
    for point, values in zip(
        curves["signed_pg"][0][1:], [(1e30, math.inf, -1e30), (math.nan, 1e307, math.nan)], strict=True
    ):
        point |= dict(zip(keys, values, strict=True))
    curves["awr"][0] = curves["awr"][0][:1]
    curves["bc"][0] = []
    results["score_histogram"] = [None]
    del results["reference"], results["command"]
    return results
