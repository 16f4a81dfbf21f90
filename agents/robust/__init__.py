"""Exact solutions of the optimistic distributionally robust problem over a log of scores.

With scores `s` and base weights `b` (summing to one), a set of distributions around `b` has the best mean

    V(s) = max {E_q[s] : q in the set},     q* its maximiser,     w = q*/b the weight that a loss gives each action.

`DensityCap(kappa)` is the theorem's set `q <= b / kappa`, whose maximiser is the hard filter: the best `kappa` of the
mass. `KlBall(radius)`, `ChiSquareBall(radius)` and `TotalVariationBall(radius)` bound a divergence from `b` instead.
All are solved by their dual, and return the gap between the value of their `q` and the dual value as certificate:

    DensityCap(0.1).solve(scores)                                                   # -> Solution
    KlBall(0.5).solve(scores, base_weights, scope="group", groups=session_ids)      # a ball in every group

Source: DRPO (arXiv:2602.10430), optimistic objective and hard filter [c]; the sets
name the sources of their duals.
"""
