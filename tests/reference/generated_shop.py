"""A web shop whose true values are known, in plain numpy: it shares nothing with the packages but the files it writes.

Users have an age, a segment, and a taste and a thrift that no file tells. A visit is on a phone, a tablet or a desktop
(3, 4 or 5 places a page), goes on for at most five pages, and lasts longer where something was clicked: what a page
shows is worth more than its own clicks. Whoever examines a place (positions effects differ by device) clicks with

    sigmoid(appeal + taste . style - thrift * log(price / mean) + .8 [category clicked last] - 1.5 [clicked before]
            - .35 * (items of its category above it))

The shop's own policy fills a page place by place: with probability .8 by a softmax over what is left, else evenly; the
propensity of each place is exact. No network of ours has this form: not the clicks, not the policy.

    python tests/reference/generated_shop.py FOLDER [SEED]
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np

CATEGORIES = ("shoes", "shirts", "bags", "hats", "books", "toys")
COLOURS = ("red", "blue", "green", "black", "white")
SEGMENTS = ("new", "regular", "member")
DEVICES = ("phone", "tablet", "desktop")
NUM_ITEMS, NUM_STYLES, NUM_DELISTED = 60, 4, 4
MAX_PLACES, MAX_PAGES = 5, 5
EXPLORED = 0.2
"""Share of places that the shop fills evenly."""
_EXAMINED = np.array(
    [[1.0, 0.7, 0.5, 0.0, 0.0], [1.0, 0.8, 0.65, 0.5, 0.0], [1.0, 0.85, 0.75, 0.6, 0.5]]
)  # by device and place
_BEGIN = datetime(2024, 3, 4, 8)
_DAYS = 42


@dataclass(frozen=True, eq=False)
class Shop:
    """The items, and the hidden law of clicks; N items."""

    sku: np.ndarray
    """[N] text, with leading zeros."""
    category: np.ndarray
    """[N] integers into `CATEGORIES`."""
    price: np.ndarray
    """[N]."""
    title: np.ndarray
    """[N] text."""
    delisted: np.ndarray
    """[N] bool: shown in the log, and gone from the file of items."""
    appeal: np.ndarray
    """[N], hidden."""
    style: np.ndarray
    """[N, 4], hidden."""
    popularity: np.ndarray
    """[N], the shop's own idea of appeal."""
    favoured: np.ndarray
    """[3] category that the shop pushes in each segment."""


@dataclass(frozen=True, eq=False)
class Users:
    """U users."""

    age: np.ndarray
    """[U] years."""
    segment: np.ndarray
    """[U] integers into `SEGMENTS`."""
    taste: np.ndarray
    """[U, 4], hidden."""
    thrift: np.ndarray
    """[U], hidden."""
    num_visits: np.ndarray
    """[U], 1 to 5: members come more often."""


@dataclass(frozen=True, eq=False)
class Pages:
    """What is known when a page is to be filled, of B visits."""

    user: np.ndarray
    """[B] indices of users."""
    age: np.ndarray
    """[B]."""
    segment: np.ndarray
    """[B]."""
    device: np.ndarray
    """[B]."""
    page: int
    """Number of the page, from 0."""
    places: np.ndarray
    """[B] how many items it takes."""
    clicked: np.ndarray
    """[B, 25] items that the visit has clicked, in order, then -1."""

    @property
    def num_clicked(self) -> np.ndarray:
        """Clicks of the visit, [B]."""
        return (self.clicked >= 0).sum(axis=1)

    def last_category(self, shop: Shop) -> np.ndarray:
        """Category that was clicked last, [B]; -1 for none."""
        last = self.clicked[np.arange(len(self.user)), np.maximum(self.num_clicked - 1, 0)]
        return np.where(last >= 0, shop.category[last], -1)


class Filled(NamedTuple):
    """How a policy fills pages."""

    slate: np.ndarray
    """[B, 5] items; what lies beyond a page's places is not read."""
    propensity: np.ndarray | None = None
    """[B, 5] of each item at its place, given those before it."""


Policy = Callable[[Pages, np.random.Generator], Filled]


@dataclass(frozen=True, eq=False)
class Events:
    """Pages that were shown; M of them, in no order."""

    visit: np.ndarray
    """[M]."""
    user: np.ndarray
    """[M]."""
    device: np.ndarray
    """[M]."""
    page: np.ndarray
    """[M]."""
    places: np.ndarray
    """[M]."""
    slate: np.ndarray
    """[M, 5]."""
    chance: np.ndarray
    """[M, 5] click probabilities."""
    click: np.ndarray
    """[M, 5] bool."""
    propensity: np.ndarray
    """[M, 5]; NaN from a policy that does not say."""


def make_shop(seed: int) -> Shop:
    """Draw a shop's items and their hidden law."""
    rng = np.random.default_rng([seed, 0])
    category = np.arange(NUM_ITEMS) % len(CATEGORIES)
    centres = rng.normal(size=(len(CATEGORIES), NUM_STYLES))
    appeal = rng.normal(scale=0.7, size=NUM_ITEMS)
    colour = rng.integers(len(COLOURS), size=NUM_ITEMS)
    style = 0.8 * centres[category] + 0.5 * rng.normal(size=(NUM_ITEMS, NUM_STYLES))
    style[:, 0] += 0.3 * (colour - 2)
    return Shop(
        sku=np.array([f"{number:05d}" for number in rng.choice(3000, NUM_ITEMS, replace=False)]),
        category=category,
        price=np.round(np.exp(rng.normal(3.0, 0.5, NUM_ITEMS) + 0.2 * (category - 2.5)), 2),
        title=np.array(
            [f"{COLOURS[c]} {CATEGORIES[k]} no. {i}" for i, (c, k) in enumerate(zip(colour, category, strict=True))]
        ),
        delisted=rng.permutation(NUM_ITEMS) < NUM_DELISTED,
        appeal=appeal,
        style=style,
        popularity=appeal + rng.normal(scale=0.6, size=NUM_ITEMS),
        favoured=rng.integers(len(CATEGORIES), size=len(SEGMENTS)),
    )


def draw_users(count: int, rng: np.random.Generator) -> Users:
    """Draw users from the population."""
    age, segment = rng.integers(18, 80, size=count), rng.choice(3, size=count, p=(0.4, 0.4, 0.2))
    years = (age - 45) / 20
    seen = np.stack([years, -years * (segment == 2), segment - 0.8, np.sin(age / 9.0)], axis=1)
    return Users(
        age=age,
        segment=segment,
        taste=0.5 * seen + 0.5 * rng.normal(size=(count, NUM_STYLES)),
        thrift=0.5 - 0.4 * (segment == 2) + 0.3 * rng.normal(size=count),
        num_visits=1 + rng.binomial(4, np.array([0.1, 0.3, 0.6])[segment]),
    )


def logging_policy(shop: Shop) -> Policy:
    """Return what fills the shop's pages, with its exact propensities."""

    def fill(pages: Pages, rng: np.random.Generator) -> Filled:
        count, rows = len(pages.user), np.arange(len(pages.user))
        utility = 0.8 * shop.popularity + 0.6 * (shop.category == shop.favoured[pages.segment][:, None])
        weight = np.exp(utility + 0.7 * (shop.category == pages.last_category(shop)[:, None]))
        slate, propensity = np.zeros((count, MAX_PLACES), int), np.ones((count, MAX_PLACES))
        for place in range(MAX_PLACES):
            left = weight > 0
            chance = (1 - EXPLORED) * weight / weight.sum(axis=1, keepdims=True)
            chance += EXPLORED * left / left.sum(axis=1, keepdims=True)
            item = (chance.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1).clip(max=NUM_ITEMS - 1)
            slate[:, place], propensity[:, place] = item, chance[rows, item]
            weight[rows, item] = 0.0
        return Filled(slate, propensity)

    return fill


def click_chances(shop: Shop, users: Users, pages: Pages, slate: np.ndarray) -> np.ndarray:
    """Return the probability that each item of a page is clicked, [B, 5]: zero beyond the page's places."""
    category = shop.category[slate]
    before = np.tril(category[:, :, None] == category[:, None, :], -1).sum(axis=2)
    again = (slate[:, :, None] == pages.clicked[:, None, :]).any(axis=2)
    utility = -2.0 + shop.appeal[slate] + np.einsum("bd,bkd->bk", users.taste[pages.user], shop.style[slate])
    utility -= users.thrift[pages.user][:, None] * (np.log(shop.price)[slate] - np.log(shop.price).mean())
    utility += 0.8 * (category == pages.last_category(shop)[:, None]) - 1.5 * again - 0.35 * before
    examined = _EXAMINED[pages.device] * (np.arange(MAX_PLACES) < pages.places[:, None])
    return examined / (1.0 + np.exp(-utility))


def visit_shop(shop: Shop, users: Users, policy: Policy, rng: np.random.Generator) -> Events:
    """Let all users make their visits to a shop whose pages a policy fills."""
    user = np.repeat(np.arange(len(users.age)), users.num_visits)
    visit, device = np.arange(len(user)), rng.choice(3, size=len(user), p=(0.5, 0.2, 0.3))
    clicked = np.full((len(user), MAX_PLACES * MAX_PAGES), -1)
    shown: list[tuple[np.ndarray, ...]] = []
    for page in range(MAX_PAGES):
        # One page of eight has a place that stays empty, whatever the policy.
        places = 3 + device - (rng.random(len(user)) < 0.125)
        pages = Pages(user, users.age[user], users.segment[user], device, page, places, clicked)
        slate, propensity = policy(pages, rng)
        slate = np.where(np.arange(MAX_PLACES) < places[:, None], slate, -1)
        chance = click_chances(shop, users, pages, slate)
        click = rng.random(chance.shape) < chance
        given = np.full(chance.shape, np.nan) if propensity is None else propensity
        shown.append((visit, user, device, np.full(len(user), page), places, slate, chance, click, given))
        for place in range(MAX_PLACES):
            clicked[np.flatnonzero(click[:, place]), pages.num_clicked[click[:, place]]] = slate[click[:, place], place]
        stay = rng.random(len(user)) < 0.35 + 0.3 * click.any(axis=1) - 0.05 * page
        visit, user, device, clicked = visit[stay], user[stay], device[stay], clicked[stay]
    return Events(*(np.concatenate(column) for column in zip(*shown, strict=True)))


def true_value(shop: Shop, policy: Policy, *, num_users: int, seed: int) -> tuple[float, float]:
    """Return a policy's expected clicks a visit, and the standard error of that, which is of users drawn anew.

    Pages count with the probability of their clicks, which is known, and not with the clicks.
    """
    rng = np.random.default_rng([seed, 2])
    users = draw_users(num_users, rng)
    events = visit_shop(shop, users, policy, rng)
    clicks = np.bincount(events.user, events.chance.sum(axis=1), minlength=num_users)
    value = clicks.sum() / users.num_visits.sum()
    return float(value), float((clicks - value * users.num_visits).std() / users.num_visits.mean() / num_users**0.5)


def write_shop(folder: Path, seed: int, num_users: int = 5000) -> Shop:
    """Write `events.csv` and `items.csv` as a shop has them, and return the shop."""
    shop, rng = make_shop(seed), np.random.default_rng([seed, 1])
    users = draw_users(num_users, rng)
    events = visit_shop(shop, users, logging_policy(shop), rng)
    first = np.flatnonzero(events.page == 0)
    # A user's visits are on days of their own; their pages some seconds apart.
    day = np.concatenate([np.sort(rng.choice(_DAYS, count, replace=False)) for count in users.num_visits])
    begin = day * 86_400 + rng.integers(50_000, size=len(first))
    time = begin[events.visit] + 90 * events.page + rng.integers(80, size=len(events.visit))
    paid = events.click & (rng.random(events.click.shape) < 0.1)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "events.csv").open("w", newline="") as file:
        table = csv.writer(file)
        names = "user time page position sku clicked paid propensity age segment device"
        table.writerow(names.split())
        for row in np.argsort(time, kind="stable"):
            user = events.user[row]
            when = (_BEGIN + timedelta(seconds=int(time[row]))).isoformat(sep=" ")
            known = users.age[user], SEGMENTS[users.segment[user]], DEVICES[events.device[row]]
            for place in range(events.places[row]):
                item = events.slate[row, place]
                click, paying = int(events.click[row, place]), paid[row, place] * shop.price[item]
                shown = events.page[row] + 1, place + 1, shop.sku[item], click, f"{paying:.2f}"
                table.writerow([f"u{user:04d}", when, *shown, f"{events.propensity[row, place]:.6g}", *known])
    with (folder / "items.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["sku", "category", "price", "title"])
        for item in np.flatnonzero(~shop.delisted):
            table.writerow([shop.sku[item], CATEGORIES[shop.category[item]], shop.price[item], shop.title[item]])
    return shop


if __name__ == "__main__":
    write_shop(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
