"""The Gaussian policy over item-embedding space, as a TorchRL actor; a slate is the K items nearest to its sample."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torchrl.modules import ProbabilisticActor

from agents.encoders import NetworkConfig, SessionEncoder, mlp
from offline_data.atomic_files import replacing
from recenv.errors import InvalidInput, require, require_range
from recenv.session_config import SessionConfig
from recenv.world import World, make_world

OBSERVATION_KEYS: Final = tuple(
    ("observation", name) for name in ("profile", "history_items", "history_feedback", "clock")
)


@dataclass(frozen=True)
class GaussianPolicyConfig:
    """A diagonal Gaussian over embedding space.

    Attributes:
        network: sizes.
        initial_scale: standard deviation before training.
        scale_floor: the scale never falls below this: on near-deterministic data a learned scale collapses.
        learn_scale: learn one scale for each coordinate; otherwise it stays at `initial_scale`.
    """

    name: ClassVar[str] = "gaussian"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    initial_scale: float = 0.2
    scale_floor: float = 0.1
    learn_scale: bool = True

    def __post_init__(self) -> None:
        require_range("scale_floor", self.scale_floor, 0.0, 1e3, low_open=True)
        require_range("initial_scale", self.initial_scale, 0.0, 1e3, low_open=True)
        require(
            self.initial_scale > self.scale_floor,
            f"initial_scale={self.initial_scale} is not above scale_floor={self.scale_floor}; raise it",
        )


class IndependentNormal(Independent):
    """A diagonal Gaussian whose `log_prob` is summed over the coordinates.

    Args:
        loc: [..., d].
        scale: [..., d], above zero.
    """

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        super().__init__(Normal(loc, scale), 1)


class GaussianHead(nn.Module):
    """From an observation to `loc` and `scale` of the proto-action, each [B, d].

    Args:
        world: fixes the embeddings and the observation's shape.
        config: the policy's config.
    """

    def __init__(self, world: World, config: GaussianPolicyConfig) -> None:
        super().__init__()
        dim = world.catalog.embedding_dim
        self.encoder = make_encoder(world, config.network)
        self.body = mlp(self.encoder.num_features, config.network.hidden_sizes, dim)
        self.scale_floor = config.scale_floor
        above = torch.full((dim,), config.initial_scale - config.scale_floor)
        # The inverse of softplus, in a form that does not overflow.
        inverse = above + torch.log(-torch.expm1(-above))
        self.raw_scale = nn.Parameter(inverse, requires_grad=config.learn_scale)

    def forward(
        self, profile: Tensor, history_items: Tensor, history_feedback: Tensor, clock: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See the class; the arguments are those of `SessionEncoder.forward`."""
        loc = self.body(self.encoder(profile, history_items, history_feedback, clock))
        scale = self.scale_floor + nn.functional.softplus(self.raw_scale)
        return loc, scale.expand_as(loc)


def make_encoder(world: World, config: NetworkConfig) -> SessionEncoder:
    """Return a session encoder for the observations of a world."""
    embeddings = torch.from_numpy(np.array(world.catalog.embeddings))
    return SessionEncoder(embeddings, world.config.history_length, world.num_feedback - 1, config.num_decays)


class GaussianPolicy(ProbabilisticActor):
    """The policy as a TorchRL actor: reads the keys `OBSERVATION_KEYS`, writes `loc`, `scale` and `proto`, [B, d] each.

    Args:
        world: fixes the embeddings and the observation's shape.
        config: the policy's config.
    """

    def __init__(self, world: World, config: GaussianPolicyConfig) -> None:
        super().__init__(
            TensorDictModule(GaussianHead(world, config), in_keys=list(OBSERVATION_KEYS), out_keys=["loc", "scale"]),
            in_keys=["loc", "scale"],
            out_keys=["proto"],
            distribution_class=IndependentNormal,
            return_log_prob=False,
        )
        self._world_config, self._policy_config = world.config, config

    @torch.no_grad()
    def moments(self, batch: TensorDict) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and scale of the proto-action, each [B, d] float32 on the CPU.

        Args:
            batch: holds the observation, on the policy's device.
        """
        distribution = self.get_dist(batch)
        return distribution.mean.float().cpu().numpy(), distribution.stddev.float().cpu().numpy()

    @property
    def session_config(self) -> SessionConfig:
        """The world that the policy was made for."""
        return self._world_config

    @property
    def policy_config(self) -> GaussianPolicyConfig:
        """The policy's own config."""
        return self._policy_config


def make_policy(world: World, config: GaussianPolicyConfig | None = None, *, seed: int = 0) -> GaussianPolicy:
    """Return a fresh policy.

    Args:
        world: fixes the embeddings and the observation's shape.
        config: None for the defaults.
        seed: of the initial weights; the global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GaussianPolicy(world, config or GaussianPolicyConfig())


def save_policy(path: Path, actor: GaussianPolicy) -> None:
    """Write a policy as one file: its config as JSON and its weights as plain tensors, no pickled class.

    Raises:
        InvalidInput: if the file cannot be written.
    """
    header = {
        "kind": actor.policy_config.name,
        "policy": asdict(actor.policy_config),
        "session": actor.session_config.to_dict(),
    }
    with replacing(path) as temporary:
        torch.save({"header": json.dumps(header), "weights": actor.state_dict()}, temporary)


def load_policy(path: Path) -> tuple[GaussianPolicy, World]:
    """Return the policy in a file and the world that it was made for.

    Raises:
        InvalidInput: if the file is missing or is not a policy.
    """
    require(path.is_file(), f"policy file {path} does not exist; train one with `recsession train`")
    try:
        content: dict[str, Any] = torch.load(io.BytesIO(path.read_bytes()), weights_only=True, map_location="cpu")
        header = json.loads(content["header"])
        values = dict(header["policy"])
        network = values.pop("network")
        network["hidden_sizes"] = tuple(network["hidden_sizes"])
        config = GaussianPolicyConfig(network=NetworkConfig(**network), **values)
        world = make_world(SessionConfig.from_dict(header["session"]))
        actor = make_policy(world, config)
        actor.load_state_dict(content["weights"])
    except InvalidInput:
        raise
    except Exception as error:
        raise InvalidInput(
            f"{path} is not a policy file ({type(error).__name__}); train one with `recsession train`"
        ) from error
    return actor, world
