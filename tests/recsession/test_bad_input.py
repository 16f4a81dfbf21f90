"""What the command line says to bad input: one line, exit code 2, and nothing half-written."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from agents.families import ENCODERS, OBJECTIVES, POLICIES
from agents.training.trainer import TrainerConfig
from agents.values.critics import CriticConfig
from offline_data.collection.collection import LogRequest
from offline_data.collection.corruption import Corruption
from recenv.item_codes.semantic_ids import SemanticIdConfig
from recenv.testing.ranges import declared_ranges, number_fields
from recsession.commands.collect import Collect
from recsession.commands.evaluate import Evaluate
from recsession.commands.fit import Fit
from recsession.commands.ope import Ope
from recsession.commands.simulate import Simulate
from recsession.commands.split import Split
from recsession.experiments.quickstart import Quickstart
from tests.strategies.worlds import SESSION_OPTIONS


def assert_refused(done: tuple[int, str, str], *fragments: str) -> None:
    """The exit code is 2, and stderr holds one line, which has the fragments."""
    code, _, err = done
    assert code == 2, err
    assert re.fullmatch(r"recsession: [^\n]+\n", err), err
    for fragment in fragments:
        assert fragment in err, err


COLLECT = "collect --out {tmp}/new "
TRAIN = "train robust_filter --log {made}/log --out {tmp}/new "
TRAIN_SLATES = "train robust_filter --log {made}/slates --out {tmp}/new "
EVALUATE = "evaluate --policy {made}/policy "
FIT = "fit --log {made}/log --out {tmp}/new.json "
OPE = "ope --log {made}/log --policy {made}/policy "
SIMULATE = "simulate --out {tmp}/new.gif --render rgb_array "
NEAREST = "did you mean "


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        ("colect", ["unknown command 'colect'", NEAREST + "'collect'?", "quickstart"]),
        ("--frobnicate", ["unknown command '--frobnicate'"]),
        # Options
        (COLLECT + "--num-sessions abc", ["--num-sessions", "'abc'", "see `recsession collect --help`"]),
        (COLLECT + "--nois uniform", ["--nois", NEAREST + "--noise?"]),
        (COLLECT + "--frobnicate 1", ["--frobnicate", "see `recsession collect --help`"]),
        (COLLECT + "--mixing stp", ["'stp'", "'step', 'session', 'position'"]),
        (COLLECT + "--mixing position", ["mixing='position' draws a component for each slate position"]),
        (COLLECT + "--target-score high", ["--target-score", "'high'"]),
        (COLLECT + "--target-score 0.5 --good-fraction 0.1", ["--target-score finds", "leave out --good-fraction, or"]),
        (COLLECT + "--behavior expert --noise uniform", ["--behavior says who acts; leave out --noise, or --behavior"]),
        (COLLECT + "--behavior uniform --target-score 0.5 --expert greedy", ["leave out --target-score and --expert"]),
        (COLLECT + "--dataset recsession/default/expert-stale-v1", [NEAREST + "'recsession/default/expert-stale-v0'?"]),
        (
            COLLECT + "--dataset recsession/default/expert-stale-v0 --seed 0 --label-flips 0.1",
            ["--dataset fixes what is logged; leave out --seed and --label-flips, or --dataset itself"],
        ),
        ("datasets boredm", ["no dataset's name holds boredm; leave the words out to list all"]),
        (COLLECT + "--target-score 0.5 --workers 1000000", ["workers=1000000 is outside [1, 1024]"]),
        (COLLECT + "--action-kind prto", ["'prto'", "('slate', 'proto')"]),
        (COLLECT + "--seed", ["'--seed'"]),
        (COLLECT + "stray", ["stray"]),
        ("collect", ["--out is missing; say which folder to write, as in --out runs/log"]),
        ("inspect", ["required"]),
        (TRAIN + "--trainer.learning-rat 0.1", ["--trainer.learning-rat", NEAREST + "--trainer.learning-rate?"]),
        (TRAIN + "--objective.kapa 0.1", ["--objective.kapa", NEAREST + "--objective.kappa?"]),
        (TRAIN + "--objective.no-trust-region", ["no-trust-region; leave it out, or see `recsession train"]),
        ("train drpo --objective.kappa=.1", ["kappa is no option of drpo; leave it out, or train what has it: robust"]),
        (TRAIN + "--trainer.num-steps 1.5", ["1.5", "--trainer.num-steps"]),
        ("train drop --log {made}/log --out {tmp}/new", ["unknown objective 'drop'", NEAREST + "'drpo'?"]),
        (TRAIN + "--score retrun", ["unknown score 'retrun'", NEAREST + "'return'?"]),
        ("train grpo --log {made}/log --out {tmp}/new", ["'grpo' needs groups", "collect with --group-size 8"]),
        ("train slateq --log {made}/log --out {tmp}/new", ["'slateq' needs slates", "collect with --action-kind"]),
        (
            "train decision_transformer --encoder gru --log {made}/log --out {tmp}/new",
            ["conditions the policy on wanted, which the encoder 'gru' does not read; choose decision"],
        ),
        # Names
        (COLLECT + "--noise clickbate", ["unknown behavior policy 'clickbate'", NEAREST + "'clickbait'?"]),
        (COLLECT + "--noise mixture", ["mixture has 0 components"]),
        (
            COLLECT + '--mixing session --noise {{"name":"mixture","components":["uniform"],"weights":[1]}}',
            ["the noise is a mixture with mixing='step', and the dial has mixing='session'; give both the same"],
        ),
        (COLLECT + "--noise clickbate --target-score 0.5", [NEAREST + "'clickbait'?"]),
        (COLLECT + "--expert exprt", ["unknown behavior policy 'exprt'", NEAREST + "'expert'?"]),
        (COLLECT + "--behavior unform", ["unknown behavior policy 'unform'", NEAREST + "'uniform'?"]),
        (COLLECT + '--behavior {{"name":', ["--behavior {{", "is not JSON (Expecting value"]),
        (COLLECT + '--noise {{"name":"clickbait","temperatur":1}}', [NEAREST + "'temperature'?"]),
        (COLLECT + '--expert {{"name":5}}', ["{{'name': 5}} has no 'name' that is a text"]),
        (COLLECT + "--set num_item=50", ["num_item", NEAREST + "'num_items'?"]),
        (COLLECT + "--set user_model=interest_evolutoin", [NEAREST + "'interest_evolution'?"]),
        (COLLECT + "--set", ["--set has no options; write NAME=VALUE after it"]),
        (COLLECT + "--set --seed 1", ["--set has no options"]),
        (COLLECT + "--set budget=1 --set budget=2", ["--set gives budget twice; leave one of them out"]),
        (COLLECT + "--set choice.position_decay=1 choice.position_decay=0.5", ["gives choice.position_decay twice"]),
        (COLLECT + "--set satiation=None satiation.satiation_weight=1", ["satiation=None and satiation.satiation_wei"]),
        (COLLECT + "--set choice.position_deca=1", [NEAREST + "'position_decay'?"]),
        (COLLECT + "--set choise.position_decay=1", ["unknown session option 'choise'", NEAREST + "'choice'?"]),
        (COLLECT + "--config {tmp}/absent", ["{tmp}/absent: No such file or directory"]),
        (
            COLLECT + "--config {tmp}/file",
            ["--config {tmp}/file is not JSON", "SessionConfig.to_json() or `recsession"],
        ),
        (COLLECT + "--config {tmp}/list", ["--config {tmp}/list holds no session config; pass what"]),
        (COLLECT + "--config {tmp}/bad_items", ["{tmp}/file is none of .npz, .parquet, .pq"]),
        (COLLECT + "--set slate_size", ["--set 'slate_size' has no '='"]),
        (COLLECT + "--set slate_size=five", ["slate_size='five' is not an integer"]),
        (COLLECT + "--set slate_size=60 num_items=50", ["slate_size=60 exceeds num_items=50; lower slate_size"]),
        (COLLECT + "--num-sessions 10 --group-size 3", ["num_sessions=10 is not a multiple of group_size=3"]),
        (EVALUATE + "--noise clickbate", [NEAREST + "'clickbait'?"]),
        (EVALUATE + "--expert exprt", [NEAREST + "'expert'?"]),
        (EVALUATE + '--expert {{"name":', ["--expert {{", "is not JSON (Expecting"]),
        (EVALUATE + "--noise expert", ["does not exceed the noise's", "choose another noise"]),
        (OPE + "--estimators snip", ["unknown estimator 'snip'", NEAREST + "'snips'?"]),
        ("quickstart --out {tmp}/new --noise clickbate", [NEAREST + "'clickbait'?"]),
        ("quickstart --out {tmp}/new --noise expert", ["does not exceed the noise's"]),
        (SIMULATE + "--policy greed", ["unknown policy 'greed'", NEAREST + "'greedy'?", "a policy file"]),
        (SIMULATE + "--policy mixture", ["names no components; pass its spec, as in --policy '{{"]),
        (SIMULATE + '--policy {{"name":"belief","optimis":1}}', [NEAREST + "'optimism'?"]),
        (SIMULATE + '--policy {{"name":', ["is not JSON (Expecting value", "as JSON"]),
        (
            SIMULATE + '--policy {{"name":["belief"]}}',
            ["{{'name': ['belief']}} has no 'name' that is a text"],
        ),
        (
            SIMULATE + '--policy {{"name":"mixture","components":5}}',
            ["components=5 of a mixture is not a list; give one"],
        ),
        (
            SIMULATE + "--policy {tmp}/trained",
            ["--policy {tmp}/trained is a folder; pass the file in it, {tmp}/trained/p"],
        ),
        (SIMULATE + "--env RecSessoin-v0", ["unknown environment 'RecSessoin-v0'", NEAREST + "'RecSession-v0'?"]),
        (SIMULATE + "--env CartPole-v1", ["unknown environment 'CartPole-v1'", "RecSession-v0"]),
        (SIMULATE + "--set slate_siz=5", ["slate_siz", NEAREST + "'slate_size'?"]),
        (SIMULATE + "--set slate_size", ["--set 'slate_size' has no '='"]),
        ("simulate --render rgb_aray", ["'rgb_aray'", "'ansi', 'rgb_array', 'none'"]),
        # Devices
        (TRAIN + "--device cuda", ["device='cuda' needs CUDA", "choose cpu"]),
        (EVALUATE + "--device cuda", ["device='cuda' needs CUDA"]),
        (OPE + "--device cuda", ["device='cuda' needs CUDA"]),
        ("quickstart --out {tmp}/new --device cuda:0", ["device='cuda:0' needs CUDA"]),
        (TRAIN + "--device gpu", ["device='gpu' is not a device; choose cpu or cuda"]),
        # Datasets
        ("inspect {tmp}/absent", ["dataset folder {tmp}/absent does not exist", "recsession collect --out"]),
        ("inspect {tmp}/foreign", ["{tmp}/foreign is not a RecSession dataset (no manifest.json)"]),
        ("inspect {tmp}/other_format", ["other_format/manifest.json has format 'parquet', not 'recsession-log'"]),
        ("inspect {tmp}/truncated", ["truncated/rows/proto.npy has", "collect the dataset again"]),
        ("inspect {tmp}/changed", ["changed/rows/proto.npy has SHA-256", "the file has changed"]),
        ("train bc --log {tmp}/absent --out {tmp}/new", ["dataset folder {tmp}/absent does not exist"]),
        ("train bc --log {tmp}/truncated --out {tmp}/new", ["truncated/rows/proto.npy has"]),
        ("ope --log {tmp}/foreign --policy {made}/policy", ["{tmp}/foreign is not a RecSession dataset"]),
        ("collect --out {tmp}/foreign", ["{tmp}/foreign holds something else (no manifest.json)"]),
        (
            "collect --out {made}/log --num-sessions 41",
            ["{made}/log holds a dataset of another request (config.slate_size 3 there, 10 here); choose another"],
        ),
        (
            "train bc --log {made}/slates --out {tmp}/new --policy gaussian",
            ["learns from proto actions", "is a log of slate actions", "choose generative or plackett_luce"],
        ),
        ("train bc --log {made}/log --out {tmp}/new --policy gausian", ["unknown policy", NEAREST + "'gaussian'?"]),
        ("train bc --log {made}/log --out {tmp}/new --encoder gpu", ["unknown encoder", NEAREST + "'gru'?"]),
        ("ope --log {made}/slates --policy {made}/policy", ["is a log of slates", "collect with --action-kind proto"]),
        (
            "ope --log {made}/log --policy {made}/default_policy",
            ["the policy was made for", "use a log and a world of the"],
        ),
        ("fit --log {tmp}/absent --out {tmp}/new", ["dataset folder {tmp}/absent does not exist"]),
        ("fit --log {tmp}/foreign --out {tmp}/new", ["{tmp}/foreign is not a RecSession dataset"]),
        ("fit --log open-bandit --out {tmp}/new", ["--log open-bandit has no --path"]),
        ("fit --log open-bandit --path {tmp}/absent --out {tmp}/new", ["{tmp}/absent", "random/all"]),
        ("fit --log open-bandit --path {tmp} --campaign mens --out {tmp}/new", ["'mens'", NEAREST + "'men'?"]),
        ("fit --log {made}/log", ["--out PATH", "required"]),
        (FIT + "--interest pofile", ["'pofile'", "'mean_path', 'profile'"]),
        (FIT + "--holdout-fraction 1e-9", ["leaves 0 of 40 sessions to judge the fit", "pass more sessions"]),
        ("ope --log {made}/log", ["has no --policy"]),
        (OPE + "--estimators snips --critic.num-rounds 3", ["snips fit no model; leave out --critic.num-rounds"]),
        (
            "fit --log open-bandit --interest profile --out {tmp}/new",
            ["no hidden interest; leave out --interest"],
        ),
        ("fit --log {tmp} --path x --campaign men --out {tmp}/new", ["leave out --path and --campaign"]),
        ("ope --log {tmp} --path x", ["not open-bandit; leave out --path"]),
        ("ope --log open-bandit --policy x --workers 2", ["leave out --policy and --workers"]),
        ("evaluate --policy greedy --stochastic", ["--policy greedy is no trained policy", "leave out --stochastic"]),
        ("evaluate --policy greedy --device cuda", ["device='cuda' needs CUDA"]),
        (
            "train bc --log {made}/log --out {tmp}/new --score return --critic.num-rounds 2",
            ["the objective 'bc' reads no score; leave out --score and --critic"],
        ),
        (
            TRAIN + "--score reward --critic.num-rounds 2 --critic.discount 0.9",
            ["--score reward fits no critic; leave out --critic.num-rounds and --critic.discount"],
        ),
        (
            TRAIN + "--score return --critic.num-rounds 2 --critic.discount 0.9",
            ["--score return fits no critic; leave out --critic.num-rounds"],
        ),
        (
            "import movielens --path {tmp} --out {tmp}/new --seed 3",
            ["without --estimate-propensities nothing is drawn; leave out --seed"],
        ),
        ("ope --log open-bandit", ["--log open-bandit has no --path"]),
        ("ope --log open-bandit --path {tmp}/absent", ["{tmp}/absent", "random/all"]),
        ("ope --log open-bandit --path {tmp} --campaign mens", ["'mens'", NEAREST + "'men'?"]),
        # Policies
        (
            "evaluate --policy {tmp}/absent",
            ["unknown policy '{tmp}/absent'", "or pass a JSON spec, a policy file or MODULE:CLASS"],
        ),
        ("evaluate --policy {tmp}/file", ["{tmp}/file is not a policy file"]),
        ("evaluate --policy no_such_module:Policy", ["cannot import 'no_such_module'"]),
        ("evaluate --policy json:Policy", ["'json:Policy': there is no class of that name"]),
        ("evaluate --policy :Policy", ["cannot import ''"]),
        ("simulate --policy {tmp}/file", ["{tmp}/file is not a policy file"]),
        ("simulate --policy {tmp}/absent", ["unknown policy '{tmp}/absent'", "or pass a JSON spec, a policy file"]),
        ("simulate --policy no_such_module:Policy", ["cannot import 'no_such_module'"]),
        ("simulate --policy {made}/policy --set slate_size=2", ["the world that it was trained in", "leave out --set"]),
        (EVALUATE + "--set slate_size=2 --config {tmp}/empty", ["trained in; leave out --config and --set"]),
        ("options slatesize", ["unknown session option 'slatesize'", NEAREST + "'slate_size'?"]),
        ("options --user-model boredom", ["unknown user model 'boredom'", NEAREST + "'boredom_cascade'?"]),
        ("options --choice position", ["unknown choice model 'position'", NEAREST + "'position_based'?"]),
        ("ope --log {made}/log --policy {tmp}/absent", ["policy file {tmp}/absent does not exist"]),
        # Outputs
        ("simulate --render rgb_array", ["has no --out", "FILE.gif or FILE.png"]),
        ("simulate --render rgb_array --out {tmp}/new.mp4", ["{tmp}/new.mp4 is of no known kind", ".gif, .png"]),
        ("simulate --out {tmp}/new.gif", ["--out {tmp}/new.gif is for pictures", "add --render rgb_array"]),
        ("simulate --render rgb_array --out {tmp}/file/new.png --set max_steps=2", ["cannot write {tmp}/file/new.png"]),
        ("collect --out {tmp}/file/new", ["cannot write", "choose a path in a folder that you can write"]),
        ("collect --out {tmp}/file", ["{tmp}/file is a file; choose another --out"]),
        ("fit --log {made}/log --out {tmp}/file/new", ["cannot write {tmp}/file"]),
        ("train bc --log {made}/log --out {made}/log", ["{made}/log is a logged dataset; choose another folder"]),
        (
            "quickstart --num-evaluation-sessions 10 --out {made}/log",
            ["{made}/log is a logged dataset; choose another"],
        ),
        ("train bc --log {made}/log --out {tmp}/file/new", ["cannot write {tmp}/file/new"]),
        ("train bc --log {made}/log --out {tmp}/file", ["cannot write {tmp}/file"]),
        ("quickstart --num-evaluation-sessions 10 --out {tmp}/file/new", ["cannot write {tmp}/file/new"]),
        ("quickstart --num-evaluation-sessions 10 --out {tmp}/file", ["cannot write {tmp}/file"]),
        ("quickstart --fresh --out {tmp}/foreign", ["{tmp}/foreign holds no earlier run", "would be emptied"]),
        ("quickstart --fresh --out {tmp}/file", ["{tmp}/file"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_one_line(run, made, tmp_path, folder_tree, monkeypatch, words, fragments):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (tmp_path / "file").write_text("mine\n")
    (tmp_path / "list").write_text("[1]\n")
    (tmp_path / "empty").write_text("{}\n")
    (tmp_path / "bad_items").write_text('{"config": {}, "items": "file"}\n')
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "policy").write_text("mine\n")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").write_text("years of work\n")
    if "truncated" in words or "changed" in words or "other_format" in words:
        for name in ("truncated", "changed", "other_format"):
            shutil.copytree(made / "log", tmp_path / name)
        column = tmp_path / "truncated" / "rows" / "proto.npy"
        column.write_bytes(column.read_bytes()[:-9])
        column = tmp_path / "changed" / "rows" / "proto.npy"
        column.write_bytes(column.read_bytes()[:-1] + bytes([column.read_bytes()[-1] ^ 1]))
        manifest = tmp_path / "other_format" / "manifest.json"
        manifest.write_text(json.dumps({"format": "parquet", "format_version": 1}))
    before = folder_tree(tmp_path), folder_tree(made)
    places = {"tmp": tmp_path, "made": made}
    done = run(*(word.format(**places) for word in words.split()))
    assert_refused(done, *(fragment.format(**places) for fragment in fragments))
    assert (folder_tree(tmp_path), folder_tree(made)) == before


# A value out of range for every number of a command; those of configs say their ranges themselves.
OUTSIDE = {
    Collect: {
        "num_sessions": 0, "good_fraction": 1.5, "target_score": 1e4, "seed": -1, "group_size": 0, "workers": 0,
    },
    Evaluate: {"num_sessions": 10**9, "seed": -1},
    Fit: {"holdout_fraction": 1.5, "seed": -1},
    Ope: {"num_bootstrap": 10**20, "num_truth_sessions": 1, "num_folds": 0, "workers": 0, "seed": -1},
    Simulate: {"seed": -1, "num_sessions": 10**9},
    Split: {"share": 1.0, "seed": -1},
    Quickstart: {
        "seed": -1, "workers": 0, "num_seeds": 0, "num_sessions": 9, "good_fraction": 0.0, "num_judge_sessions": 9,
        "num_evaluation_sessions": 0, "exploration": 1.5,
    },
}  # fmt: skip
COMMANDS = {
    Collect: COLLECT,
    Evaluate: EVALUATE,
    Fit: FIT,
    Ope: OPE,
    Simulate: SIMULATE,
    Split: "split {made}/log --out {tmp}/new ",
    Quickstart: "quickstart --out {tmp}/new ",
}
LOGS = {"proto": "log", "slate": "slates"}


def words_of_configs() -> Iterator[tuple[type, str, str]]:
    """Yield every config that `recsession train` or `collect` takes, a command, and what stands before its options."""
    yield Corruption, COLLECT, ""
    yield TrainerConfig, TRAIN, "trainer."
    yield CriticConfig, TRAIN, "critic."
    yield SemanticIdConfig, TRAIN_SLATES + "--policy=generative ", "trainer.policy.ids."
    for name in OBJECTIVES.registered():
        yield OBJECTIVES.get(name).Config, f"train {name} --log {{made}}/log --out {{tmp}}/new ", "objective."
    for name in POLICIES.registered():
        log = LOGS[POLICIES.get(name).action_kind]
        yield (
            POLICIES.get(name).Config,
            f"train bc --log {{made}}/{log} --out {{tmp}}/new --policy {name} ",
            "trainer.policy.",
        )
    for place, name in zip(itertools.cycle(("critic", "trainer.policy")), ENCODERS.registered(), strict=False):
        yield ENCODERS.get(name).Config, f"{TRAIN}--encoder {name} ", f"{place}.network.encoder."


def numbers_out_of_range() -> Iterator[Any]:
    """Yield a command, what stands before an option, the option, and a value that it does not take."""
    for command, fields in OUTSIDE.items():
        for field, value in fields.items():
            yield pytest.param(COMMANDS[command], "", field, value, id=f"{command.__name__}-{field}")
    for config, start, prefix in words_of_configs():
        for field, allowed in declared_ranges(config).items():
            for value in allowed.beyond()[:1]:
                yield pytest.param(start, prefix, field, value, id=f"{start.split()[1]}-{config.__name__}-{field}")


@pytest.mark.parametrize("command", OUTSIDE)
def test_table_of_values_out_of_range_has_every_number(command):
    assert set(number_fields(command)) == set(OUTSIDE[command])


def test_collect_takes_what_a_request_takes():
    own, asked = declared_ranges(Collect), declared_ranges(LogRequest)
    for name in ("num_sessions", "group_size"):
        assert own[name] == asked[name]
    assert own["seed"] == asked["dataset_seed"]


@pytest.mark.parametrize(("start", "prefix", "field", "value"), [*numbers_out_of_range()])
def test_number_out_of_range_is_one_line(run, made, tmp_path, folder_tree, start, prefix, field, value):
    words = start.format(tmp=tmp_path, made=made).split()
    option = f"--{prefix}{field.replace('_', '-')}"
    before = folder_tree(made)
    assert_refused(run(*words, f"{option}={value}"), f"{field}={value!r} is outside", f"{field} to a")
    assert not any(tmp_path.iterdir())
    assert folder_tree(made) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["inspect", ""], "word 2, '', has no value; give one, or leave the option out"),
        (["collect", "--out="], "word 2, '--out=', has no value"),
        (["collect", "--out", "a\0b"], r"word 3, 'a\x00b', has a NUL in it"),
        (["inspect", "caf\udce9"], r"word 2, 'caf\udce9', is no UTF-8; rename it"),
        (["\0"], r"word 1, '\x00', has a NUL in it"),
        (["evaluate", "--policy", "greedy", "--num-sessions", "9" * 5000], "--num-sessions: Exceeds the limit"),
        (
            ["collect", "--out", "x", "--set", f"num_items={'9' * 5000}"],
            "--set num_items is not JSON that is read here",
        ),
        (["collect", "--out", "x", "--set", f"num_items={'9' * 300}"], "num_items=999"),
        (["collect", "--out", "x", "--set", "choice=" + "[" * 5000], "brackets are open at once"),
        (["collect", "--out", "x", "--behavior", '{"name":"greedy","name":"uniform"}'], "it says 'name' twice"),
        (["inspect", "x" * 5000], "File name too long"),
        (
            ["train", "bc", "--log", "{made}/log", "--out", "x", "--trainer.batch-size", "1000000000"],
            "batch_size=1000000000",
        ),
    ],
    ids=lambda value: "" if isinstance(value, list) else value,
)
def test_what_no_command_can_read_is_one_line(run, made, tmp_path, words, message):
    assert_refused(run(*(word.replace("{made}", str(made)) for word in words)), message)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("option", SESSION_OPTIONS)
def test_world_option_out_of_range_is_one_line(run, tmp_path, option):
    value = SESSION_OPTIONS[option].outside()[0]
    done = run("collect", "--out", tmp_path / "new", "--set", f"{option}={json.dumps(value)}")
    assert_refused(done, f"{option}={value!r} is outside", f"set {option} to")
    assert not any(tmp_path.iterdir())
