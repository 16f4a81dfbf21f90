from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from tensordict import TensorDict

from agents.encoders import NetworkConfig
from agents.policies import OBSERVATION_KEYS, GaussianPolicyConfig, load_policy, make_policy, save_policy
from agents.replay import LogStorage
from recenv.errors import InvalidInput


@pytest.fixture
def batch(log) -> TensorDict:
    return LogStorage(log, columns=("proto",)).get(np.arange(40))


def weights(actor) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in actor.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_log_prob_is_scipys(build_policy, batch):
    actor = build_policy(initial_scale=0.3)
    with torch.no_grad():
        actor.module[0].module.raw_scale.add_(torch.tensor([0.0, 0.5, -0.5, 2.0]))
        distribution = actor.get_dist(batch)
        log_prob = distribution.log_prob(batch["proto"])
    loc, scale = (value.double().numpy() for value in (distribution.mean, distribution.stddev))
    assert len(np.unique(scale[0])) == 4
    expected = stats.norm.logpdf(batch["proto"].double().numpy(), loc, scale).sum(axis=1)
    np.testing.assert_allclose(log_prob.numpy(), expected, rtol=1e-5)


def test_actor_writes_what_it_says_and_reads_nested_keys(build_policy, batch):
    actor = build_policy()
    assert actor.in_keys == list(OBSERVATION_KEYS)
    given = batch.select(*OBSERVATION_KEYS)
    out = actor(given.clone())
    assert set(out.keys()) == {"observation", "loc", "scale", "proto"}
    for name in ("loc", "scale", "proto"):
        assert out[name].shape == (40, 4)
    torch.testing.assert_close(out["loc"], actor.get_dist(given).mean)
    assert torch.equal(out["scale"], out["scale"][:1].expand(40, 4))


def test_initial_scale_is_the_configured_one(build_policy, batch):
    for scale in (0.1001, 0.2, 7.0, 90.0, 1000.0):  # float32's exp ends at 88
        stddev = build_policy(initial_scale=scale).get_dist(batch).stddev
        torch.testing.assert_close(stddev, torch.full((40, 4), scale), rtol=1e-4, atol=0.0)


def test_scale_never_falls_below_its_floor(build_policy, batch):
    actor = build_policy(scale_floor=0.05)
    optimizer = torch.optim.SGD(actor.parameters(), lr=1e6)
    target = actor.get_dist(batch).mean.detach()  # no spread at all: the likelihood is unbounded in the scale
    for _ in range(3):
        optimizer.zero_grad()
        (-actor.get_dist(batch).log_prob(target)).mean().backward()
        actor.module[0].module.body.zero_grad()
        optimizer.step()
    raw_scale = actor.module[0].module.raw_scale
    assert (raw_scale < -1e3).all()
    stddev = actor.get_dist(batch).stddev
    assert (stddev >= np.float32(0.05)).all()
    with torch.no_grad():
        raw_scale.fill_(-torch.inf)
    assert (actor.get_dist(batch).stddev >= np.float32(0.05)).all()


def test_fixed_scale_gets_no_gradient(build_policy, batch):
    for learned in (True, False):
        actor = build_policy(learn_scale=learned)
        actor.get_dist(batch).log_prob(batch["proto"]).sum().backward()
        assert (actor.module[0].module.raw_scale.grad is not None) == learned
        assert actor.module[0].module.body[-1].weight.grad is not None


def test_seed_gives_the_weights_and_leaves_the_global_generator(build_policy):
    torch.manual_seed(99)
    expected = torch.rand(3)
    torch.manual_seed(99)
    first, second, other = (weights(build_policy(seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert same(first, second)
    assert not same(first, other)


def test_default_config_is_the_configs_own(world):
    assert make_policy(world).policy_config == GaussianPolicyConfig()


def test_saved_policy_comes_back(build_policy, batch, tmp_path: Path):
    actor = build_policy(seed=4, initial_scale=0.3, scale_floor=0.2, learn_scale=False)
    with torch.no_grad():
        actor.module[0].module.raw_scale.add_(0.25)
    file = tmp_path / "deep" / "policy"
    save_policy(file, actor)
    assert [path.name for path in file.parent.iterdir()] == ["policy"]
    loaded, world = load_policy(file)
    assert world.config == actor.session_config
    assert loaded.policy_config == actor.policy_config
    assert same(weights(loaded), weights(actor))
    expected, found = actor.get_dist(batch), loaded.get_dist(batch)
    assert torch.equal(found.mean, expected.mean)
    assert torch.equal(found.stddev, expected.stddev)
    assert not dict(loaded.named_parameters())["module.0.module.raw_scale"].requires_grad


def test_file_holds_json_and_plain_tensors(build_policy, tmp_path):
    save_policy(tmp_path / "policy", build_policy())
    content = torch.load(tmp_path / "policy", weights_only=True)
    header = json.loads(content["header"])
    assert header["kind"] == "gaussian"
    assert header["session"]["catalog"]["num_items"] == 50
    assert all(type(value) is torch.Tensor for value in content["weights"].values())


def test_what_is_no_policy_file_is_refused_in_one_line(build_policy, tmp_path):
    good = tmp_path / "good"
    save_policy(good, build_policy())
    content = torch.load(good, weights_only=True)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("not a policy\n")
    (tmp_path / "truncated").write_bytes(good.read_bytes()[:-700])
    torch.save([1, 2], tmp_path / "list")
    torch.save({"weights": {}}, tmp_path / "no_header")
    torch.save({**content, "weights": {}}, tmp_path / "no_weights")
    torch.save({**content, "header": "{"}, tmp_path / "garbled")
    torch.save({"header": content["header"], "weights": Path("x")}, tmp_path / "pickled_class")
    header = json.loads(content["header"])
    header["policy"]["network"]["hidden_sizes"] = [8]
    torch.save({**content, "header": json.dumps(header)}, tmp_path / "other_shape")
    header["policy"]["colour"] = "red"
    torch.save({**content, "header": json.dumps(header)}, tmp_path / "unknown_field")
    for file in sorted(set(tmp_path.iterdir()) - {good}):
        with pytest.raises(InvalidInput, match="is not a policy file") as refusal:
            load_policy(file)
        assert str(file) in str(refusal.value)
        assert "\n" not in str(refusal.value)
    for missing in (tmp_path / "missing", tmp_path):
        with pytest.raises(InvalidInput, match="does not exist; train one with `recsession train`"):
            load_policy(missing)


def test_reading_a_file_runs_none_of_its_code(build_policy, trap, tmp_path):
    save_policy(tmp_path / "policy", build_policy())
    content = torch.load(tmp_path / "policy", weights_only=True)
    torch.save({**content, "extra": trap}, tmp_path / "policy")
    with pytest.raises(InvalidInput, match="is not a policy file"):
        load_policy(tmp_path / "policy")
    assert not trap.folder.exists()


def test_unwritable_path_is_refused(build_policy, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot write"):
        save_policy(tmp_path / "file" / "policy", build_policy())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale_floor": 0.0}, "scale_floor=0.0 is outside"),
        ({"scale_floor": math.nan}, "scale_floor=nan is not a finite number"),
        ({"initial_scale": -1.0}, "initial_scale=-1.0 is outside"),
        ({"initial_scale": 1001.0}, "initial_scale=1001.0 is outside"),
        ({"initial_scale": 0.1}, r"initial_scale=0.1 is not above scale_floor=0.1; raise it"),
        ({"network": NetworkConfig(), "scale_floor": 2e3}, "scale_floor=2000.0 is outside"),
    ],
)
def test_config_out_of_range_is_refused(changes, message):
    with pytest.raises(InvalidInput, match=message):
        GaussianPolicyConfig(**changes)
