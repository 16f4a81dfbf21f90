"""What `recenv.sb3` offers."""

from .session_vec_env import SessionVecEnv as SessionVecEnv
