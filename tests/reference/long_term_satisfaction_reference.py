"""RecSim's long-term satisfaction equations in plain Python, one user and one clicked item a step.

Source: google-research/recsim, environments/long_term_satisfaction.py: `generate_response`, then `update_state`.
"""

from __future__ import annotations

import math


def sigmoid(x):
    return 1.0 / (1.0 + math.exp(-x))


def standard_normal(draws):
    """Box and Muller's first normal of two uniforms."""
    return math.sqrt(-2.0 * math.log(draws[0])) * math.cos(2.0 * math.pi * draws[1])


def engagement(satisfaction, clickbaitness, draws, parameters):
    """Minutes, log-normal around satisfaction times the mean between kale's and choc's."""
    mean = clickbaitness * parameters["choc_mean"] + (1.0 - clickbaitness) * parameters["kale_mean"]
    return math.exp(mean * satisfaction + parameters["engagement_scale"] * standard_normal(draws))


def next_exposure(exposure, clickbaitness, draws, memory, innovation):
    """Net positive exposure after a click."""
    return memory * exposure - 2.0 * (clickbaitness - 0.5) + innovation * standard_normal(draws)


def recsim_session(clickbaits, draws, memory=0.7, sensitivity=0.01, innovation=0.05):
    """Return the engagement of each step and the exposure and satisfaction after it, from exposure 0.

    `draws` holds four uniforms a step: two of the engagement, two of the innovation.
    """
    parameters = {"choc_mean": 5.0, "kale_mean": 4.0, "engagement_scale": 1.0}
    exposure, satisfaction = 0.0, sigmoid(0.0)
    steps = []
    for clickbaitness, uniforms in zip(clickbaits, draws, strict=True):
        minutes = engagement(satisfaction, clickbaitness, uniforms[:2], parameters)
        exposure = next_exposure(exposure, clickbaitness, uniforms[2:], memory, innovation)
        satisfaction = sigmoid(sensitivity * exposure)
        steps.append((minutes, exposure, satisfaction))
    return steps
