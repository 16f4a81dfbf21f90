"""The choice of an estimator, where the right one is known."""

import dataclasses

import numpy as np
import pytest

from offline_data import LoggedSessions, select
from offline_data.ope.answers import Answer
from offline_data.ope.estimate import Estimate
from offline_data.ope.selection import WITHOUT_ANCHOR, choose
from recenv.errors import InvalidInput
from recenv.statistics import Interval

SOUND = Estimate(
    *("snips", 1.0, 0.9, 1.1, 500.0, 600), mean_weight=Interval(1.0, 0.95, 1.05), interval="student", skewness=0.0
)
MODEL = Estimate("dm", 1.0, None, None, 600.0, 600, no_interval="by the model alone")


def log(count=4000, *, seed=0, weights=(0.2, 1.8), model=0.3, **columns):
    """One-step sessions with clicks at .3 whatever is done, and a model that says one number of all."""
    rng = np.random.default_rng(seed)
    drawn = np.asarray(weights)[rng.integers(len(weights), size=count)]
    with np.errstate(divide="ignore"):
        usual = {
            "reward": (rng.random(count) < 0.3).astype(float),
            "behavior_log_prob": np.zeros(count),
            "target_log_prob": np.log(drawn),
            "q_value": np.full(count, model),
            "state_value": np.full(count, model),
        }
    return LoggedSessions(discount=1.0, **(usual | columns))


def answer(influence, *, anchors=False, **changes):
    influence = np.asarray(influence, float)
    return Answer(dataclasses.replace(SOUND, value=influence.mean(), **changes), influence, anchors)


def errors(found):
    """The estimated squared errors of the candidates, which all have one."""
    return np.array([each.mse for each in found.candidates], float)


def outs(found):
    """Why each candidate is out, "" where it is not."""
    return [each.out or "" for each in found.candidates]


def test_the_squared_error_by_hand():
    """Of six users: the anchor 0, 2, ..., so Var = 1.2 / 6; apart by 1 and by 0 or 2, whose variance is 1.2 / 6."""
    users = np.array([0.0, 2.0, 0.0, 2.0, 0.0, 2.0])
    shifted = answer(users + 1.0)
    flat = answer(np.full(6, 2.0))
    found = choose([{"ips": answer(users, anchors=True), "one": shifted, "two": flat}])
    # shifted: the same spread, and a bias of 1 for sure; flat: no spread, (2 - 1)^2 less the noise of the difference
    assert errors(found) == pytest.approx([0.2, 1.2, 0.8])
    assert [each.standard_error for each in found.candidates] == pytest.approx([0.2**0.5, 0.2**0.5, 0.0])
    assert (found.estimator, found.checked) == ("ips", True)


def test_a_distance_that_chance_explains_is_no_bias():
    users = np.array([0.0, 2.0, 0.0, 2.0])
    found = choose([{"ips": answer(users, anchors=True), "near": answer(np.full(4, 1.5))}])
    # (1.5 - 1)^2 = .25 is less than the noise, 4/3 / 4
    assert found.estimator == "near"
    assert found.candidates[1].mse == 0.0
    assert "difference to ips" in found.reason


def test_of_several_anchors_the_one_of_least_spread_checks():
    rng = np.random.default_rng(0)
    wild, calm = rng.normal(0.0, 9.0, 200), rng.normal(0.0, 1.0, 200)
    found = choose([{"wild": answer(wild, anchors=True), "calm": answer(calm, anchors=True)}])
    assert found.estimator == "calm"
    assert found.candidates[1].mse == pytest.approx(calm.var(ddof=1) / 200)


@pytest.mark.parametrize(("count", "expected"), [(200, "dm"), (100_000, "dr")])
def test_a_model_that_is_a_little_off_is_better_until_the_log_is_large(count, expected):
    """Off by .01: at 200 sessions the weights alone spread by .04, at 100,000 by .002."""
    assert select(log(count, model=0.31), ["ips", "dr", "dm"]).estimator == expected


def test_without_bias_the_model_may_be_chosen():
    found = select(log(400, seed=1, model=0.3), ["dr", "dm"])
    assert found.estimator == "dm"
    assert found.checked


def test_weights_of_one_are_the_mean_of_the_log():
    found = select(log(500, weights=(1.0,), model=0.9), ["dm", "snips", "ips", "pdis"])
    # three are the same to the rounding: the first that checks is taken
    assert found.estimator in ("snips", "ips", "pdis")
    assert errors(found)[1:] == pytest.approx(errors(found)[1], rel=1e-9)
    assert errors(found)[0] > 0.3


def test_equal_candidates_are_taken_in_their_order():
    users = np.arange(10.0)
    same = {name: answer(users, anchors=True) for name in ("b", "a", "c")}
    assert choose([same]).estimator == "b"


@pytest.mark.parametrize("name", ["snips", "dm", "dr_os"])
def test_one_candidate_is_chosen(name):
    found = select(log(300), [name])
    assert found.estimator == name
    assert found.checked == (name == "snips")


def test_starved_weights_check_nobody():
    """Of 2,000 sessions some 20 have weight."""
    starved = log(2000, weights=(100.0, *(0.0,) * 99), model=0.9)
    found = select(starved, ["ips", "snips", "dr", "dm", "dr_os"])
    assert not found.checked
    assert found.estimator == WITHOUT_ANCHOR[0] == "dr_os"
    assert "cannot be checked" in found.reason
    assert "effective sample size below 100" in found.reason
    assert [each.mse for each in found.candidates] == [None] * 5
    assert select(starved, ["ips", "dr", "dm"]).estimator == "dm"


def test_without_weights_the_models_word_is_unchecked():
    found = select(log(behavior_log_prob=None))
    assert (found.estimator, found.checked) == ("dm", False)
    assert "no estimate that could check" in found.reason


def test_a_limit_checks_nobody():
    cut = answer(np.arange(20.0), kept=0.6)
    found = choose([{"dr_os": cut, "dm": Answer(MODEL, np.full(20, 3.0))}])
    assert (found.estimator, found.checked) == ("dr_os", False)


def test_marginal_weights_check_where_those_of_sessions_are_starved_and_say_so():
    starved = answer(np.arange(20.0), anchors=True, effective_sample_size=3.0)
    own = answer(np.arange(20.0) + 0.5)
    found = choose([{"ips": starved, "mis": own, "dm": Answer(MODEL, np.full(20, 30.0))}])
    assert (found.estimator, found.checked) == ("mis", True)
    assert "where what it assumes holds" in found.reason


def test_who_has_no_answer_is_out():
    found = select(log(q_value=None, state_value=None), ["snips", "dr", "dm"])
    assert found.estimator == "snips"
    assert outs(found)[0] == ""
    assert all("a model" in why for why in outs(found)[1:])
    assert [each.value for each in found.candidates[1:]] == [None, None]
    none = select(log(q_value=None, state_value=None), ["dm"])
    assert none.estimator is None
    assert none.reason.startswith("no estimator has an answer: dm: ")


def test_a_policy_that_never_acts_as_logged_is_left_to_the_model():
    found = select(log(weights=(0.0,)), ["ips", "snips", "dm"])
    assert (found.estimator, found.checked) == ("dm", False)
    assert all("never acts as logged" in why for why in outs(found)[:2])


def test_numbers_beyond_the_doubles_are_out():
    found = select(log(300, weights=(np.exp(500.0), 1.0), model=0.3), ["ips", "snips", "dm"])
    assert "beyond the doubles" in outs(found)[0]
    assert (found.estimator, found.checked) == ("dm", False)
    users = np.arange(8.0)
    one = choose([{"ips": answer(users, anchors=True), "bad": answer(np.full(8, np.nan))}])
    assert one.estimator == "ips"
    assert "beyond the doubles" in outs(one)[1]


def test_one_session_has_no_spread():
    found = select(log(1), ["ips", "dm"])
    assert (found.estimator, found.checked) == ("dm", False)
    assert found.candidates[0].standard_error is None


def test_users_are_compared_and_not_their_sessions():
    """Each user's ten sessions are one: what is apart varies as much as 60 users let it."""
    once = log(600, seed=3)
    alike = {name: np.repeat(getattr(once, name), 10) for name in ("reward", "behavior_log_prob", "target_log_prob")}
    model = np.full(6000, 0.3)
    repeated = LoggedSessions(
        **alike, q_value=model, state_value=model, discount=1.0, user_id=np.repeat(np.arange(600), 10)
    )
    one, two = (select(each, ["ips", "dm", "dr"]) for each in (once, repeated))
    for first, second in zip(one.candidates, two.candidates, strict=True):
        assert (second.mse, second.value) == pytest.approx((first.mse, first.value))


def test_several_policies_are_judged_together_and_alone():
    far = log(weights=(0.0, 2.0), model=0.4)
    near = dataclasses.replace(far, target_log_prob=np.zeros(4000))
    found = select([far, near], ["ips", "dm"])
    assert found.checked
    assert found.estimator == "ips"
    assert [each.estimator for each in found.policies] == ["ips", "ips"]
    assert errors(found) == pytest.approx(np.mean([errors(each) for each in found.policies], axis=0))


def test_a_set_with_a_policy_that_nothing_checks_is_unchecked():
    near = log(weights=(0.2, 1.8), model=0.3)
    with np.errstate(divide="ignore"):
        rare = np.log(np.where(np.arange(4000) < 20, 200.0, 0.0))
    found = select([near, dataclasses.replace(near, target_log_prob=rare)], ["dr", "dr_os", "dm"])
    assert (found.estimator, found.checked) == ("dr_os", False)
    assert found.reason.startswith("of policy 2 of 2: ")
    assert [each.checked for each in found.policies] == [True, False]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"user_id": np.arange(300) // 2}, "logs[1] has other user_id"),
        ({"reward": np.zeros(300)}, "logs[1] has other reward"),
        ({"behavior_log_prob": np.full(300, -1.0)}, "logs[1] has other behavior_log_prob"),
        ({"behavior_log_prob": None}, "logs[1] has other behavior_log_prob"),
        ({"discount": 0.9}, "logs[1].discount=0.9"),
    ],
)
def test_other_sessions_are_refused(change, words):
    first = log(300)
    with pytest.raises(InvalidInput) as refused:
        select([first, dataclasses.replace(first, **change)], ["snips"])
    assert words in str(refused.value)


def test_logs_of_another_number_of_sessions_are_refused():
    with pytest.raises(InvalidInput, match="other offsets"):
        select([log(300), log(301)], ["snips"])


@pytest.mark.parametrize(
    ("logs", "estimators", "words"),
    [
        ([], None, "logs has no log"),
        ([log(50)], [], "estimators is empty"),
        ([log(50)], ["snipz"], "snips"),
        ([log(50, behavior_log_prob=None, q_value=None, state_value=None)], None, "no estimator's columns"),
    ],
)
def test_nothing_to_choose_from_is_refused(logs, estimators, words):
    with pytest.raises(InvalidInput, match=words):
        select(logs, estimators)


def test_only_those_that_propensities_make_right_anchor():
    from offline_data import ESTIMATORS

    bandit = log(50)
    slates = LoggedSessions.of_slates(
        reward=np.zeros((50, 2)), behavior_log_prob=np.zeros((50, 2)), target_log_prob=np.zeros((50, 2)), discount=1.0
    )
    anchors = [
        {name for name in ESTIMATORS.registered() if ESTIMATORS.get(name).anchors(each)} for each in (bandit, slates)
    ]
    assert anchors == [{"ips", "snips", "pdis", "pdsnips", "dr", "mrdr", "wdr"}, {"ips", "snips"}]


def test_a_class_of_anyones_may_be_asked_for():
    from offline_data import ESTIMATORS

    snips = ESTIMATORS.get("snips")
    found = select(log(300), [snips, "snips", "dm"])
    assert [each.estimator for each in found.candidates] == ["snips", "dm"]
