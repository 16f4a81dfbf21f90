"""What `agents.testing` offers."""

from .encoders import check_encoder as check_encoder
from .losses import grouped_rewards as grouped_rewards
from .losses import logged_ratios as logged_ratios
from .losses import preferences as preferences
from .losses import scores as scores
from .losses import softmax_actions as softmax_actions
from .losses import token_ratios as token_ratios
from .losses import weighted_actions as weighted_actions
from .objectives import check_objective as check_objective
from .policies import check_policy as check_policy
from .scores import check_score as check_score
