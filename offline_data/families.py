"""The families of parts of the logs; a family's folder holds its parts and, in `base`, their base class."""

from __future__ import annotations

from typing import Any, Final

from recenv.registry import Registry

# Any: the bases import this module, and it imports none of them, not for their types either.
BEHAVIORS: Final[Registry[Any]] = Registry("behavior policy", "offline_data.behavior", "BehaviorPolicy", "behaviors")
_UNFOLDED: Final = "of slates, unfolded by LoggedSessions.of_slates"
_TERMS: Final = {
    **dict.fromkeys(("ipw", "tis", "is", "trajectory_is"), "ips"),
    **dict.fromkeys(("snipw", "wis", "sntis", "self_normalized_ips"), "snips"),
    "per_decision_is": "pdis",
    **dict.fromkeys(("clipped", "clipped_ips", "cipw", "truncated_is"), "cips"),
    **dict.fromkeys(("pdwis", "snpdis", "cwpdis"), "pdsnips"),
    **dict.fromkeys(("fqe", "direct_method"), "dm"),
    "doubly_robust": "dr",
    "more_robust_doubly_robust": "mrdr",
    **dict.fromkeys(("sndr", "self_normalized_dr"), "wdr, which it is of sessions of one step"),
    **dict.fromkeys(("switch", "switch_doubly_robust"), "switch_dr"),
    **dict.fromkeys(("dros", "drs", "dr_shrinkage"), "dr_os"),
    "sips": f"ips, {_UNFOLDED}",
    "snsips": f"snips, {_UNFOLDED}",
    "rips": f"pdis, {_UNFOLDED}",
    "snrips": f"pdsnips, {_UNFOLDED}",
    "cascade_dr": f"dr, {_UNFOLDED}",
    "pseudo_inverse": "pi",
    "mipw": "mips",
}
ESTIMATORS: Final[Registry[Any]] = Registry(
    "estimator", "offline_data.ope.estimators", "Estimator", "estimators", terms=_TERMS
)
INTERVALS: Final[Registry[Any]] = Registry("interval", "offline_data.ope.intervals", "ConfidenceInterval", "intervals")
READERS: Final[Registry[Any]] = Registry("reader", "offline_data.interop.readers", "LogReader", "readers")
