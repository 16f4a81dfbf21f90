"""Files of policies: the same answers come back, no class is pickled, and what is no such file is refused."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.families import POLICIES
from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.nn.tensor_files import save_tensors
from agents.policies.base import make_policy
from agents.policies.files import _sketch_tensors, load_policy, save_policy
from agents.policies.gaussian import GaussianPolicy, GaussianPolicyConfig
from agents.testing.policy_cases import perturb, policy_case, policy_config, world_of
from agents.training.evaluation import roll_out
from offline_data.store.session_sketch import SessionSketch
from recenv.errors import InvalidInput
from recenv.items.catalog import Catalog
from recenv.items.given_items import _TOLD
from recenv.session_config import SessionConfig
from recenv.world import make_world
from tests.agents.policies.policy_cases import every_case, every_policy
from tests.damage import flipped_bits


def saved(name: str, folder: Path) -> Path:
    file = folder / "policy"
    save_policy(file, make_policy(SessionSpace.of_world(world_of("plain")), policy_config(name), seed=4))
    return file


def rewritten(file: Path, content: dict[str, Any], **changes: Any) -> Path:
    save_tensors(file, "policy", {**content, **changes})
    return file


def test_an_heir_with_its_parents_config_is_not_saved_as_its_parent(tmp_path):
    class Heir(GaussianPolicy):
        """Would come back as a Gaussian."""

    policy = Heir(SessionSpace.of_world(world_of("plain")), policy_config("gaussian"))
    with pytest.raises(InvalidInput, match="Heir has the config of GaussianPolicy, and would be read back as one"):
        save_policy(tmp_path / "policy", policy)
    assert not (tmp_path / "policy").exists()


@every_policy
def test_a_policy_carries_its_own_items(name, tmp_path):
    rng = np.random.default_rng(0)
    items = Catalog.from_arrays(
        rng.normal(size=(30, 4)),
        [f"topic {n % 3}" for n in range(30)],
        quality=rng.normal(size=30),
        length=rng.uniform(1, 9, 30),
        names=[f"film {n}" for n in range(30)],
        source_id=np.arange(30) + 2**40,
    ).save(tmp_path / "items.npz")
    world = make_world(SessionConfig().override(slate_size=3, max_steps=5), items)
    save_policy(tmp_path / "policy", make_policy(SessionSpace.of_world(world), policy_config(name), seed=0))
    (tmp_path / "items.npz").unlink()
    _TOLD.clear()
    loaded = load_policy(tmp_path / "policy")
    found = loaded.space.world()
    assert found.catalog == items
    assert found.config == world.config
    expected, returns = (roll_out(loaded, each, 5, seed=0, deterministic=True) for each in (world, found))
    np.testing.assert_array_equal(returns, expected)


def test_a_policy_of_own_items_that_an_older_version_wrote_has_no_world(tmp_path):
    space = SessionSpace.of_world(world_of("plain"))
    assert space.world().config == world_of("plain").config
    assert space.session is not None
    other = dataclasses.replace(space, embeddings=-space.embeddings)
    save_policy(tmp_path / "policy", make_policy(other, policy_config("gaussian")))
    with pytest.raises(InvalidInput, match="the items of the policy are not those that its world draws"):
        load_policy(tmp_path / "policy").space.world()


@every_case
def test_saved_policy_answers_to_the_bit(name, where, tmp_path):
    case = policy_case(name, where)
    file = tmp_path / "deep" / "policy"
    save_policy(file, case.policy.train())
    assert [path.name for path in file.parent.iterdir()] == ["policy"]
    loaded: Any = load_policy(file)
    assert type(loaded) is POLICIES.get(name)
    assert not any(module.training for module in loaded.modules())
    case.policy.eval()
    assert loaded.config == case.policy.config
    for field in dataclasses.fields(SessionSpace):
        expected, found = getattr(case.policy.space, field.name), getattr(loaded.space, field.name)
        assert type(found) is type(expected)
        np.testing.assert_array_equal(found, expected)
    expected, found = case.policy.state_dict(), loaded.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert torch.equal(loaded.get_dist(case.batch).log_prob(case.action), case.distribution().log_prob(case.action))
    np.testing.assert_array_equal(loaded.best(case.batch), case.policy.best(case.batch))
    for one, two in zip(
        loaded.play(case.batch, case.uniforms()), case.policy.play(case.batch, case.uniforms()), strict=True
    ):
        np.testing.assert_array_equal(one, two)
    loaded.require_fits(case.policy.space, "p", "l")


@every_policy
def test_weights_in_bfloat16_stay_so(name, tmp_path):
    case = policy_case(name, "candidates")
    half = copy.deepcopy(case.policy).to(torch.bfloat16)
    save_policy(tmp_path / "policy", half)
    loaded = load_policy(tmp_path / "policy")
    assert {p.dtype for p in loaded.parameters()} == {torch.bfloat16}
    assert torch.equal(
        loaded.get_dist(case.batch).log_prob(case.action), half.get_dist(case.batch).log_prob(case.action)
    )


def test_what_is_not_trained_is_not_trained_after_loading(tmp_path):
    config = GaussianPolicyConfig(NetworkConfig((16,)), initial_scale=0.3, scale_floor=0.2, learn_scale=False)
    policy = perturb(make_policy(SessionSpace.of_world(world_of("plain")), config))
    save_policy(tmp_path / "policy", policy)
    loaded: Any = load_policy(tmp_path / "policy")
    assert torch.equal(loaded.head.raw_scale, policy.head.raw_scale)
    assert not loaded.head.raw_scale.requires_grad


@every_policy
def test_loading_leaves_the_global_generator(name, tmp_path):
    file = saved(name, tmp_path)
    torch.manual_seed(99)
    expected = torch.rand(3)
    torch.manual_seed(99)
    load_policy(str(file))
    assert torch.equal(torch.rand(3), expected)


@every_policy
def test_file_holds_json_and_plain_tensors(name, tmp_path):
    content = torch.load(saved(name, tmp_path), weights_only=True)
    assert set(content) == {"header", "weights", "items"}
    header = json.loads(content["header"])
    assert header["policy"]["name"] == name
    assert header["policy"]["network"]["hidden_sizes"] == [16]
    assert header["space"]["session"]["catalog"]["num_items"] == 40
    assert (header["space"]["slate_size"], header["space"]["history_length"]) == (3, 5)
    assert set(content["items"]) == {"embeddings", "popularity"}
    for values in (*content["weights"].values(), *content["items"].values()):
        assert type(values) is torch.Tensor


@every_policy
def test_what_is_no_policy_file_is_refused_in_one_line(name, tmp_path):
    good = saved(name, tmp_path)
    content = torch.load(good, weights_only=True)
    files = tmp_path / "files"
    files.mkdir()
    (files / "empty").write_bytes(b"")
    (files / "text").write_text("not a policy\n")
    (files / "truncated").write_bytes(good.read_bytes()[:-700])
    (files / "unsealed").write_bytes(good.read_bytes()[:-84])
    save_tensors(files / "list", "policy", [1, 2])  # type: ignore[arg-type]
    save_tensors(files / "no_header", "policy", {"weights": {}})
    rewritten(files / "no_weights", content, weights={})
    rewritten(files / "no_items", content, items={})
    rewritten(files / "garbled", content, header="{")
    rewritten(files / "header_is_a_list", content, header="[]")
    rewritten(files / "pickled_class", content, weights=Path("x"))
    key, values = next(iter(content["weights"].items()))
    rewritten(files / "one_weight_less", content, weights={k: v for k, v in content["weights"].items() if k != key})
    rewritten(files / "one_weight_more", content, weights={**content["weights"], "more": values})

    def change(file: str, *path: str, value: Any = None) -> None:
        header = json.loads(content["header"])
        inner = header
        for part in path[:-1]:
            inner = inner[part]
        inner[path[-1]] = value
        rewritten(files / file, content, header=json.dumps(header))

    change("another_format", "format", value=1)
    change("other_shape", "policy", "network", "hidden_sizes", value=[8])
    change("no_network", "policy", "network", value=3)
    change("unknown_field", "policy", "colour", value="red")
    change("unknown_policy", "policy", "name", value="gausian")
    change("unknown_encoder", "policy", "network", "encoder", value={"name": "rnn"})
    change("unknown_option_of_the_world", "space", "session", "colour", value="red")
    change("unknown_space", "space", "colour", value="red")
    for file in sorted(files.iterdir()):
        with pytest.raises(InvalidInput, match="is not a policy file") as refusal:
            load_policy(file)
        assert str(refusal.value).startswith(str(file)), file.name
        assert "\n" not in str(refusal.value), file.name


def test_a_refusal_says_what_would_do(tmp_path):
    content = torch.load(saved("gaussian", tmp_path), weights_only=True)
    for field, value, message in (
        (
            "format",
            2,
            "it is of format 2, and this RecSession has format 3, in which drpo is now robust_filter; train one ",
        ),
        ("policy", {"name": "gausian"}, "unknown policy 'gausian'; did you mean 'gaussian'"),
        (
            "policy",
            {"name": "gaussian", "scale_flor": 1},
            "unknown policy option 'scale_flor'; did you m",
        ),
    ):
        file = rewritten(tmp_path / "bad", content, header=json.dumps(json.loads(content["header"]) | {field: value}))
        with pytest.raises(InvalidInput, match=f"^{file} is not a policy file that can be read: {message}"):
            load_policy(file)


def test_a_file_keeps_which_sessions_its_policy_learned_from(tmp_path):
    policy = make_policy(SessionSpace.of_world(world_of("plain")), policy_config("gaussian"))
    sketch = SessionSketch(np.array([3, 2**63 + 7], np.uint64), np.array([1, 4]), 9, told_apart=True)
    policy.learned_from = sketch
    save_policy(tmp_path / "policy", policy)
    found = load_policy(tmp_path / "policy").learned_from
    assert found is not None
    assert found.hashes.tolist() == [3, 2**63 + 7]
    assert found.counts.tolist() == [1, 4]
    assert (found.num_sessions, found.told_apart) == (9, True)
    assert load_policy(saved("gaussian", tmp_path)).learned_from is None  # as files from before
    content = torch.load(saved("gaussian", tmp_path), weights_only=True)
    for wrong in (
        3,
        {},
        {**_sketch_tensors(sketch), "counts": torch.tensor([0, 1])},
        {**_sketch_tensors(sketch), "a": 1},
    ):
        with pytest.raises(InvalidInput, match="is not a policy file"):
            load_policy(rewritten(tmp_path / "bad", content, learned_from=wrong))


def test_codes_that_the_items_do_not_have_now_are_refused(tmp_path):
    content = torch.load(saved("generative", tmp_path), weights_only=True)
    weights = {key: values.flip(0) if key.endswith("codes") else values for key, values in content["weights"].items()}
    file = rewritten(tmp_path / "bad", content, weights=weights)
    with pytest.raises(InvalidInput, match=f"^{file} is not a policy file that can be read: the semantic IDs beside"):
        load_policy(file)


def test_missing_files_are_refused(tmp_path):
    for missing, why in ((tmp_path / "missing", "does not exist"), (tmp_path, "is no file")):
        with pytest.raises(InvalidInput, match=f"{why}; train one with `recsession train`"):
            load_policy(missing)


def test_flipped_bits_are_refused(tmp_path):
    file = saved("generative", tmp_path)
    whole = file.read_bytes()
    for contents in flipped_bits(whole, 60):
        file.write_bytes(contents)
        with pytest.raises(InvalidInput, match="train one with `recsession train`") as refusal:
            load_policy(file)
        assert "\n" not in str(refusal.value)


@every_policy
def test_reading_a_file_runs_none_of_its_code(name, trap, tmp_path):
    file = saved(name, tmp_path)
    content = torch.load(file, weights_only=True)
    for changes in ({"extra": trap}, {"weights": {**content["weights"], "extra": trap}}, {"header": trap}):
        rewritten(file, content, **changes)
        with pytest.raises(InvalidInput, match="is not a policy file"):
            load_policy(file)
        assert not trap.folder.exists()


def test_unwritable_path_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    policy = make_policy(SessionSpace.of_world(world_of("plain")), policy_config("gaussian"))
    with pytest.raises(InvalidInput, match="cannot write"):
        save_policy(tmp_path / "file" / "policy", policy)
    assert (tmp_path / "file").read_text() == ""


def test_fields_that_leave_the_weights_as_they_are_can_be_changed(tmp_path):
    file = saved("generative", tmp_path)
    assert load_policy(file, temperature=0.5, beam_size=3).config == dataclasses.replace(
        load_policy(file).config, temperature=0.5, beam_size=3
    )
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"temperatur": 0.5}, r"policy option 'temperatur'; did you mean 'temperature'\?"),
        ({"temperature": 0.0}, "temperature=0.0 is outside"),
        ({"width": 128}, "weights are of other shapes or names than its config asks for"),
    )
    for changes, message in wrong:
        with pytest.raises(InvalidInput, match=message):
            load_policy(file, **changes)
