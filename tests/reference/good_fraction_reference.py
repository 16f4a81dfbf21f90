"""Densities of the good fraction's model, one value at a time; plain Python only."""

import math


def student(z, nu):
    """Student t's density; Gaussian for nu None."""
    if nu is None:
        return math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    constant = math.gamma((nu + 1) / 2) / (math.gamma(nu / 2) * math.sqrt(nu * math.pi))
    return constant * (1 + z * z / nu) ** (-(nu + 1) / 2)


def two_piece(s, location, left, right, nu):
    """2 / (l + r) t((s - m) / (l or r))."""
    return 2 / (left + right) * student((s - location) / (right if s > location else left), nu)


def mixture(s, fraction, noise, good):
    """The two components, each given as (m, l, r, nu)."""
    return (1 - fraction) * two_piece(s, *noise) + fraction * two_piece(s, *good)


def one_peak(s, location, left, right, left_power, right_power):
    """Unnormalised exp(-|(s - m) / scale|^power) of either side."""
    scale, power = (right, right_power) if s > location else (left, left_power)
    return math.exp(-((abs(s - location) / scale) ** power))
