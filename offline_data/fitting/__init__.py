"""User models fitted to logs by maximum likelihood, with intervals and a held-out judgement of their predictions."""

from offline_data.fitting.user_fit import UserFit, fit_user_model

__all__ = ["UserFit", "fit_user_model"]
