"""What `offline_data.testing` offers."""

from .behaviors import check_behavior as check_behavior
from .estimators import check_estimator as check_estimator
from .histories import PaddedHistories as PaddedHistories
from .histories import padded_histories as padded_histories
from .intervals import check_interval as check_interval
from .readers import check_reader as check_reader
