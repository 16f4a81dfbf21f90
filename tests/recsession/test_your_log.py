"""The page of one's own log is lived through in a shop whose true values are known: it prints what the page shows."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.policies.files import load_policy
from offline_data.serving.visits import Visit
from tests.lived_page import Shown, command_lines, live
from tests.recsession.cli_cases import ROOT
from tests.reference.generated_shop import (
    Filled,
    Shop,
    draw_users,
    logging_policy,
    make_shop,
    true_value,
    visit_shop,
    write_shop,
)
from tests.served_shop import served

PAGE = ROOT / "docs" / "your_log.md"
MOST_COMMANDS = 8
# What is read and counted is the same everywhere; what is learned differs with the processor's rounding.
EXACT = ("recsession import", "recsession inspect", "recsession split")
LEARNED = 0.3


@pytest.fixture(scope="module")
def lived(tmp_path_factory) -> tuple[Path, Shop, list[Shown]]:
    """Live through the page, as far as what is installed goes: the folder, the shop, and what was shown."""
    page = PAGE.read_text()
    if importlib.util.find_spec("onnxruntime") is None:
        page = page[: page.index("## Export")] + page[page.index("## The same in Python") :]
    folder = tmp_path_factory.mktemp("page")
    shop = write_shop(folder / "shop", 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, shop, live(page, "docs/your_log.md")


@pytest.mark.slow
def test_the_page_shows_what_it_prints(lived):
    *_, shown = lived
    assert len(shown) >= 8
    complaints = [
        complaint for each in shown for complaint in each.differences(0.0 if each.source.startswith(EXACT) else LEARNED)
    ]
    assert not complaints, "\n".join(complaints)


def test_the_job_takes_few_commands():
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    commands = [words for block in blocks for words in command_lines(block)]
    assert [words[1] for words in commands] == ["import", "inspect", "split", "train", "ope", "export"]
    assert len(commands) <= MOST_COMMANDS


@pytest.mark.slow
def test_the_estimates_are_near_the_truth_that_the_page_tells(lived):
    """Within twice their intervals: 4 standard errors, which a right estimate misses in one machine of 10,000."""
    folder, shop, shown = lived
    (printed,) = (each.printed for each in shown if each.source.startswith("recsession ope"))
    actor = load_policy(folder / "runs" / "awr" / "policy")
    truth, error = true_value(shop, served(actor, shop), num_users=15_000, seed=7)
    logged, _ = true_value(shop, logging_policy(shop), num_users=15_000, seed=7)
    assert truth > logged + 4.0 * error
    rows = dict(re.findall(r"^(the log|dr|wdr|pdsnips) +(.*?\])", printed, flags=re.MULTILINE))
    for name, expected in {"the log": logged, "dr": truth, "wdr": truth, "pdsnips": truth}.items():
        value, low, high = map(float, re.findall(r"[\d.]+", rows[name]))
        assert abs(value - expected) < high - low, f"{name} says {rows[name]}, and the truth is {expected:.3f}"
    (told,) = re.findall(
        r"the true value of this policy is (\d\.\d+), and of the shop's own (\d\.\d+)", PAGE.read_text()
    )
    assert np.allclose([float(number) for number in told], [truth, logged], atol=0.05)


@pytest.mark.slow
def test_a_visit_is_told_as_the_shop_knows_it(lived):
    """The function of servers and the arrays that the truth is simulated with are one observation."""
    folder, shop, _ = lived
    space = load_policy(folder / "runs" / "awr" / "policy").space
    told: list[dict[str, np.ndarray]] = []

    class Listener:
        def act(self, observation, **_):
            told.append(observation)
            return np.zeros((len(observation["clock"]), 5), int)

    listener: Any = Listener()
    listener.space = space
    fill, pages_seen = served(listener, shop), []

    def both(pages, rng):
        fill(pages, rng)
        known = {"age": pages.age[3], "segment": ("new", "regular", "member")[pages.segment[3]]}
        known["device"] = ("phone", "tablet", "desktop")[pages.device[3]]
        clicks = [str(shop.sku[item]) for item in pages.clicked[3] if item >= 0]
        pages_seen.append(space.serving.observe([Visit(clicks, step=pages.page, context=known)]))
        return logging_policy(shop)(pages, rng)

    visit_shop(shop, draw_users(400, np.random.default_rng(4)), both, np.random.default_rng(5))
    assert len(told) == len(pages_seen) == 5
    for observation, page in zip(told, pages_seen, strict=True):
        for name, values in page.items():
            np.testing.assert_array_equal(observation[name][3:4], values)


# --- the shop itself


def test_the_shops_own_log_earns_its_own_true_value(tmp_path):
    """Means of clicks by 2,000 users and 15,000 others: 4.5 standard errors, a false alarm in 100,000."""
    shop = make_shop(3)
    write_shop(tmp_path, 3, 2000)
    rows = np.loadtxt(tmp_path / "events.csv", delimiter=",", skiprows=1, usecols=(2, 3, 5, 7))
    first = (rows[:, 0] == 1) & (rows[:, 1] == 1)
    value, error = true_value(shop, logging_policy(shop), num_users=15_000, seed=1)
    assert rows[:, 2].sum() / first.sum() == pytest.approx(value, abs=4.5 * error * np.sqrt(1 + 15_000 / 2000))
    assert (rows[:, 3] > 0).all()
    assert (rows[:, 3] <= 1).all()


def test_the_shops_propensities_weigh_any_policy():
    """A mean of weighted clicks on the first pages is the true one of items at random; 4.5 standard errors."""
    shop, rng = make_shop(1), np.random.default_rng(2)
    users = draw_users(4000, rng)
    events = visit_shop(shop, users, logging_policy(shop), rng)
    first = events.page == 0
    places = np.arange(5) < events.places[first][:, None]
    even = np.where(places, 1.0 / (60 - np.arange(5)), 1.0).prod(axis=1)
    weight = even / np.where(places, events.propensity[first], 1.0).prod(axis=1)

    def at_random(pages, rng):
        return Filled(rng.random((len(pages.user), 60)).argsort(axis=1)[:, :5])

    other = visit_shop(shop, users, at_random, rng)
    truth = other.chance[other.page == 0].sum(axis=1)
    found = weight * events.chance[first].sum(axis=1)
    error = np.hypot(found.std() / len(found) ** 0.5, truth.std() / len(truth) ** 0.5)
    assert found.mean() == pytest.approx(truth.mean(), abs=4.5 * error)
    assert weight.mean() == pytest.approx(1.0, abs=4.5 * weight.std() / len(weight) ** 0.5)
