"""The controlled experiments: their closed forms, that they can fail, the page and the command."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.objectives.signed_pg import signed_pg_loss
from recenv.errors import InvalidInput
from recsession.commands.theory import Theory
from recsession.experiments.theory import experiments, restraint, small_log
from recsession.experiments.theory.claims.register import all_claims, pictures, summary
from recsession.experiments.theory.closed_forms import (
    Moments,
    aggregate_path,
    convergence_bound,
    linear_path,
    log_scale_step,
    surprisal_bounds,
    taper_force_bound,
    taper_path_bound,
)
from recsession.experiments.theory.comparison import (
    Experiment,
    Plot,
    compare,
    deviation_rows,
    gradient_steps,
    verdict,
)
from recsession.experiments.theory.experiments import EXPERIMENTS
from recsession.experiments.theory_page import draw, write_theory_page
from recsession.inputs import parse
from tests.page_parser import PageParser
from tests.reference import repulsion_reference as reference
from tests.strategies.losses import signed_logs

TAPERS = (st.floats(-2.0, 6.0), st.floats(0.2, 4.0), st.floats(0.1, 4.0))


@pytest.fixture(scope="module")
def measured() -> list[Experiment]:
    return [experiment(np.random.default_rng(3)) for experiment in EXPERIMENTS]


@pytest.fixture
def theory():
    """Run the command."""
    return lambda *words: parse(Theory, "theory", [str(word) for word in words]).run()


# --- closed forms


@given(log=signed_logs((0.0, 0.5, 1.0, 3.0)))
def test_moments_are_the_references(log):
    moments = Moments.of(*(torch.from_numpy(a.copy()) for a in (log.actions, log.advantage, log.base)))
    p, q, good, bad = reference.masses(log.actions, log.advantage, log.base)
    assert (moments.positive, moments.negative) == pytest.approx((p, q))
    np.testing.assert_allclose(moments.positive_mean, good, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(moments.negative_mean, bad, rtol=1e-9, atol=1e-12)
    assert moments.rho == pytest.approx(q / p)


@given(log=signed_logs((0.5,)), gain=st.floats(-0.5, 1.0))
def test_linear_path_is_a_power_of_the_step(log, gain):
    start, target, precision = (torch.from_numpy(a.copy()) for a in (log.offset, log.actions[0], log.precision))
    found = linear_path(start, target, precision, gain, 6)
    expected = reference.attracted(log.offset, log.actions[0], log.precision, gain, 6)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@given(log=signed_logs((0.0, 0.5, 1.0, 3.0)))
def test_aggregate_path_is_the_sum_of_every_actions_pull(log):
    tensors = [torch.from_numpy(a.copy()) for a in (log.actions, log.advantage, log.base)]
    precision, mean = torch.from_numpy(log.precision.copy()), log.offset.copy()
    path = aggregate_path(torch.from_numpy(log.offset.copy()), Moments.of(*tensors), precision, 0.1, 5)
    for t in range(6):
        np.testing.assert_allclose(path[t], mean, rtol=1e-8, atol=1e-8)
        rows = zip(log.actions, log.advantage, log.base, strict=True)
        mean = mean + 0.1 * sum(b * a * log.precision @ (action - mean) for action, a, b in rows)


@given(log=signed_logs((2.0,)), taper=st.tuples(*TAPERS))
@pytest.mark.parametrize("shape", ["exponential", "reciprocal_linear", "reciprocal_quadratic", "hard"])
def test_largest_tapered_force_is_what_a_search_finds(shape, log, taper: Any):
    precision = torch.from_numpy(log.precision.copy())
    found = taper_force_bound(1.5, precision, *taper, shape=shape)
    assert found == pytest.approx(
        reference.searched_force(1.5, log.precision, *taper, shape=shape), rel=1e-6, abs=1e-12
    )
    if shape == "exponential":
        assert found == pytest.approx(reference.exponential_force(1.5, log.precision, *taper), rel=1e-12)


def test_no_threshold_leaves_no_force():
    precision = torch.eye(2, dtype=torch.float64)
    for shape in ("exponential", "hard"):
        assert taper_force_bound(2.0, precision, -torch.inf, 1.0, 1.0, shape) == 0


def test_one_factor_for_all_bounds_no_force():
    assert taper_force_bound(2.0, torch.eye(2, dtype=torch.float64), 0.0, 1.0, 1.0, "global") == np.inf


def test_bounds_worked_by_hand():
    low, high = surprisal_bounds(1.0, 0.5, 0.2, 2)
    torch.testing.assert_close(low, torch.tensor([1.0, 1.1, 1.2], dtype=torch.float64))
    torch.testing.assert_close(high, torch.tensor([1.0, 1.4, 1.8], dtype=torch.float64))
    torch.testing.assert_close(convergence_bound(2.0, 2.0, 1), torch.tensor([1.0, 0.8], dtype=torch.float64))
    change = log_scale_step(torch.tensor([0.0, 1.0, -2.0]), 0.1)
    torch.testing.assert_close(change, torch.tensor([0.1, 0.0, -0.3]))
    precision = torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64))
    # eta p lambda_max = 0.8: gamma = 0.8, R = B / (p lambda_min) = 3; at 1.6 gamma is max(0.6, 0.6), R = 0.4 B / 0.4.
    near = taper_path_bound(5.0, 1.0, 3.0, precision, 0.2, 1)
    torch.testing.assert_close(near, torch.tensor([5.0, 4.6], dtype=torch.float64))
    far = taper_path_bound(5.0, 1.0, 3.0, precision, 0.4, 1)
    torch.testing.assert_close(far, torch.tensor([5.0, 4.2], dtype=torch.float64))


def test_gradient_steps_worked_by_hand():
    path = gradient_steps(lambda u: (0.5 * u.square()).sum(), torch.tensor([4.0, -8.0]), 0.5, 2)
    assert path.tolist() == [[4.0, -8.0], [2.0, -4.0], [1.0, -2.0]]
    assert not path.requires_grad


def test_deviation_worked_by_hand():
    assert compare("", [1.0, 2.2, -4.0], [1.0, 2.0, -4.0]).deviation() == pytest.approx(0.1)
    assert compare("", [0.5, 3.0], 1.0, [2.0, 2.0]).deviation() == pytest.approx(0.5)
    assert compare("", [1.0, 2.0], 1.0, 2.0).deviation() == 0
    assert compare("", [1.0, 2.0], None).deviation() == 0
    # A closed form of 0 counts as a millionth of the largest.
    assert compare("", [1e-9, 1.0], [0.0, 1.0]).deviation() == pytest.approx(1e-3)
    assert [compare("", [1.0], *ends).is_exact for ends in [(1.0,), (1.0, 1.0), (None,)]] == [True, False, False]


# --- experiments


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("run", EXPERIMENTS)
def test_measurement_and_theory_agree(run, seed):
    found = run(np.random.default_rng(seed))
    assert found.deviation(exact=True) < 1e-8
    assert found.deviation(exact=False) < 1e-12
    assert found.comparisons(exact=True)
    assert found.comparisons(exact=False)
    assert all(np.isfinite(line.measured).all() for plot in found.plots for line in plot.comparisons)


def test_regimes_are_what_they_are_called(measured):
    """The lines themselves: above 1 it leaves, the taper holds, the floor holds."""
    lines = {(each.name, line.name): line.measured for each in measured for p in each.plots for line in p.comparisons}
    assert lines["regimes of rho", "rho 0"][-1] < 0.1
    assert lines["regimes of rho", "rho 1.5"][-1] > 100
    drift = np.diff(lines["regimes of rho", "rho 1"][-5:])
    np.testing.assert_allclose(drift, drift[0], rtol=0.05)
    assert lines["regimes of rho", "m* outside"][-1] < 1e-3 < lines["regimes of rho", "m* inside"][-1]
    far, near = (lines["near and far", name][-1] for name in ("without far", "without near"))
    assert far < near
    answers = measured[3].plots[1].comparisons
    final = {line.name: line.measured[-1] for line in answers}
    assert final["signed"] > 1e6
    assert max(final["filter"], final["taper"]) < 1
    scales = {line.name: line.measured[-1] for line in measured[3].plots[2].comparisons}
    assert scales["filter"] < 0.1 < scales["with a floor"]


def test_worst_place_meets_the_tapers_bound(measured):
    for line in measured[3].plots[0].comparisons:
        assert line.high is not None
        assert line.measured[-1] == pytest.approx(line.high[-1], rel=1e-6)


def thrice(log_prob, advantage):
    return 3 * signed_pg_loss(log_prob, advantage)


def cloning(log_prob, advantage):
    return -log_prob


def untapered(log_prob, remoteness, advantage, shape, **taper):
    return signed_pg_loss(log_prob, advantage)


@pytest.mark.parametrize(
    ("index", "module", "loss", "mistake", "exact"),
    [
        (0, small_log, "signed_pg_loss", thrice, True),
        (0, experiments, "signed_pg_loss", thrice, False),
        (1, small_log, "signed_pg_loss", thrice, True),
        (1, experiments, "signed_pg_loss", cloning, False),
        (2, small_log, "signed_pg_loss", thrice, True),
        (2, experiments, "signed_pg_loss", thrice, True),
        (2, small_log, "taper_loss", untapered, False),
        (3, restraint, "signed_pg_loss", cloning, True),
        (3, small_log, "taper_loss", untapered, False),
    ],
)
def test_a_wrong_loss_is_seen(monkeypatch, index, module, loss, mistake, exact):
    monkeypatch.setattr(module, loss, mistake)
    assert EXPERIMENTS[index](np.random.default_rng(0)).deviation(exact=exact) > 1e-3


# --- page and command


def test_page_shows_every_line_and_loads_nothing(measured, tmp_path):
    parser = PageParser(write_theory_page(measured, {}, 3, tmp_path / "theory.html").read_text())
    parser.check(400_000)
    assert len(parser.alts) == sum(len(each.plots) for each in measured)
    words = {line.strip() for line in parser.text.split("\n")}
    for each in measured:
        assert each.title in words
        assert {line.name for plot in each.plots for line in plot.comparisons} <= words


def test_a_line_is_drawn_for_each_closed_form_and_dots_for_each_measurement(measured):
    for each in measured:
        for plot in each.plots:
            axes: Any = draw(plot).axes
            closed = [line.get_ydata() for line in axes.lines if line.get_linewidth() == 1.4]
            exact = [line.high for line in plot.comparisons if line.is_exact]
            assert len(closed) == len(exact)
            assert all(map(np.array_equal, closed, exact))
            dots = [line for line in axes.lines if line.get_marker() == "o"]
            assert [dot.get_ydata()[-1] for dot in dots] == [line.measured[-1] for line in plot.comparisons]
            hollow = [dot.get_markerfacecolor() == "white" for dot in dots]
            assert hollow == [line.low is None for line in plot.comparisons]


def test_page_shows_every_claim_with_its_picture(measured, tmp_path):
    plots = pictures()
    parser = PageParser(write_theory_page(measured, plots, 3, tmp_path / "theory.html").read_text())
    parser.check(800_000)
    names = {each.name for each in measured}
    for claim in all_claims():
        assert all(part in parser.text for part in (claim.id, claim.test, claim.verdict))
        assert callable(claim.picture) or claim.picture in names | {None}
    drawn = sum(len(each.plots) for each in measured) + len(plots)
    assert len(parser.alts) == drawn
    assert summary() in parser.text


def test_verdict_counts_what_leaves_its_range():
    lines = [
        compare("", [1.0], 1.0),
        compare("", [3.0], 1.0, 2.0),
        compare("", [1.5], 1.0, 2.0),
        compare("", [9.0], None),
    ]
    told = Experiment("one", "", "", [Plot("", "", "", lines)])
    assert verdict([told]).endswith("to within 0e+00 of it, and of 2 that the theory gives a range 1 leaves it.")
    assert verdict([Experiment("one", "", "", [Plot("", "", "", lines[:1] + lines[2:])])]).endswith("none leaves it.")
    assert deviation_rows([told]) == [("one", "1", "0", "2", "0.5")]


def test_command_writes_the_same_for_the_same_seed(theory, tmp_path, capsys):
    theory("--out", tmp_path / "a", "--seed", 3)
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split()[0] == "experiment"
    assert [line.split("  ")[0] for line in out.splitlines()[1:6]] == [
        "one reused sample",
        "regimes of rho",
        "near and far",
        "taper",
        "reused negative, tapered",
    ]
    told = {line.split("  ")[0] for line in out.splitlines()}
    assert {claim.id for claim in all_claims()} <= told
    assert summary() in out
    assert out.splitlines()[-1] == str(tmp_path / "a" / "theory.html")
    assert "experiment" in err or not err
    numbers = json.loads((tmp_path / "a" / "theory.json").read_text())
    assert numbers["seed"] == 3
    line = numbers["experiments"][0]["plots"][0]["lines"][0]
    assert line["exact"]
    np.testing.assert_allclose(line["measured"], line["low"], rtol=1e-9)
    assert [claim["id"] for claim in numbers["claims"]] == [claim.id for claim in all_claims()]
    theory("--out", tmp_path / "b", "--seed", 3)
    for name in ("theory.json", "theory.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"theory.json", "theory.html", "request.json", "lock"}
    theory("--out", tmp_path / "b", "--seed", 4)  # in its place
    assert (tmp_path / "a" / "theory.json").read_bytes() != (tmp_path / "b" / "theory.json").read_bytes()


def test_command_refuses_in_one_sentence(theory, tmp_path):
    (tmp_path / "file").write_text("")
    for words, sentence in [
        (("--out", tmp_path, "--seed", -1), "seed=-1"),
        (("--out", tmp_path / "file"), "cannot write"),
        (("--out", tmp_path / "file" / "under"), "cannot write"),
        ((), "out"),
        (("--out", tmp_path, "--sed", 1), "did you mean --seed"),
    ]:
        with pytest.raises(InvalidInput, match=sentence) as caught:
            theory(*words)
        assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"file"}
