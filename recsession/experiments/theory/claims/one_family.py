"""Hard filter, AWR and exponential tilting as one problem, and DRPO's linear weight as another's solution."""

from __future__ import annotations

from typing import Final

from recsession.experiments.theory.claims import weight_pictures
from recsession.experiments.theory.claims.base import Claim

_TEST: Final = "tests/agents/robust/test_priced_claims.py::test_theory_holds[{}]"
_AWR: Final = "tests/agents/objectives/test_family_claims.py"
_FAMILY: Final = ("ours", "docs/theory.md, One family")
_PESSIMISM: Final = ("ours", "docs/theory.md, Optimistic over distributions, pessimistic over estimation")

CLAIMS: Final = (
    Claim(
        "capped-kl-is-cut-tilting",
        "max E_q s - T KL(q || b) under q <= b / kappa has one solution, q = b min(1 / kappa, e^{(s - c) / T}), and "
        "the dual min over c of c + T (E_b w - 1) + E_b (s - tau)_+ / kappa, tau = c + T log(1 / kappa).",
        *_FAMILY,
        "holds",
        _TEST.format("capped_kl"),
    ),
    Claim(
        "capped-kl-to-the-uniform",
        "With the divergence from the uniform distribution on the support of b it is "
        "q = min(b / kappa, e^{(s - c) / T} / n): the same problem on the scores s - T log(n b).",
        *_FAMILY,
        "holds",
        _TEST.format("capped_kl_to_uniform"),
    ),
    Claim(
        "filter-and-tilting-are-corners",
        "At T = 0 it is the hard filter, a tie shared by its fraction, and at kappa = 0 exponential tilting.",
        *_FAMILY,
        "holds",
        _TEST.format("corners"),
        picture=weight_pictures.corners,
    ),
    Claim(
        "capped-kl-has-smooth-gradients",
        "For T > 0 its value is smooth: dV/ds = q, dV/dT = -KL(q || b), dV/dkappa = -E_b (s - tau)_+ / kappa^2.",
        *_FAMILY,
        "holds",
        _TEST.format("priced_gradients"),
    ),
    Claim(
        "awr-is-capped-kl",
        "AWR with weight cap M and temperature T is exactly this, with 1 / kappa = M / E_b[min(M, e^{A / T})]: filter, "
        "AWR and tilting are one family, and the cap and the temperature are a kappa.",
        *_FAMILY,
        "holds",
        f"{_AWR}::test_theory_holds[awr_is_capped_kl]",
        picture=weight_pictures.awr,
    ),
    Claim(
        "awr-uncapped-is-tilting",
        "AWR whose cap never binds is exponential tilting, the solution at kappa = 0.",
        *_FAMILY,
        "holds",
        f"{_AWR}::test_awr_as_it_trains_is_capped_kl[uncapped]",
    ),
    Claim(
        "robust-filter-trains-on-the-corner",
        "The weights that robust_filter trains on are those of the corner T = 0, on the whole log: their mean is one.",
        *_FAMILY,
        "holds",
        f"{_AWR}::test_robust_filter_as_it_trains_is_the_corner",
    ),
    Claim(
        "estimation-penalty-is-a-ramp",
        "max E_q f - c sd sqrt((1 + chi^2(q || b)) / n) has the solution q ~ b (f - nu)_+, DRPO's linear weight, where "
        "E_b (f - nu)_+^2 = c^2 sd^2 / n; its value is nu: optimistic over distributions, pessimistic over estimation.",
        *_PESSIMISM,
        "holds",
        _TEST.format("ramp"),
        picture=weight_pictures.ramps,
    ),
    Claim(
        "calibrated-ramp-is-the-filter",
        "Where f is calibrated to what a row earns and flattens at the top, the ramp is the hard filter at the mass a "
        "of the flat part.",
        *_PESSIMISM,
        "holds if",
        _TEST.format("flattened"),
        "all else scores at least K / sqrt(a) less than the flat part, K = c sd / sqrt(n).",
        weight_pictures.flattened,
    ),
)
