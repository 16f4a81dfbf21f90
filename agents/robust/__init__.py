"""Exact solutions of the optimistic distributionally robust problem over a log of scores.

With scores `s` and base weights `b` (summing to one), a set of distributions around `b` has the best mean

    V(s) = max {E_q[s] : q in the set},     q* its maximiser,     w = q*/b the weight that a loss gives each action.

`DensityCap(kappa)` is the theorem's set `q <= b / kappa`, whose maximiser is the hard filter: the best `kappa` of the
mass. `KlBall(radius)`, `ChiSquareBall(radius)` and `TotalVariationBall(radius)` bound a divergence from `b` instead.
Others price it: `CappedKl(kappa, temperature)` within the cap, from the hard filter by AWR to exponential tilting, and
`EstimationPenalty(penalty)` by what it adds to the standard error of the mean, whose maximiser is a ramp.
All are solved by their dual, and return the gap between the value of their `q` and the dual value as certificate:

    DensityCap(0.1).solve(scores)                                                   # -> Solution
    KlBall(0.5).solve(scores, base_weights, scope="group", groups=session_ids)      # a ball in every group
    CappedKl.of_awr(advantage, temperature=0.3, weight_cap=1e6).solve(advantage)    # AWR's own weights

Source: DRPO (arXiv:2602.10430), optimistic objective and hard filter; the sets name the sources of their duals.
"""
