"""Small files of the Open Bandit Dataset's layout."""

import csv
import gzip

HEADER = ("", "timestamp", "item_id", "position", "click", "propensity_score", "user_feature_0")
RANDOM_ROWS = [(0, 1, 1, 0.5), (1, 1, 0, 0.5), (0, 2, 0, 0.5), (1, 3, 1, 0.5), (0, 3, 1, 0.5)]
BTS_ROWS = [(0, 1, 1, 0.9), (0, 1, 0, 0.8), (1, 1, 1, 0.2), (1, 2, 0, 0.7), (0, 3, 0, 0.6)]


def write_log(root, policy, rows, *, campaign="all", header=HEADER, compressed=True, num_items=2):
    """Write one policy's folder; a row is (item_id, position, click, propensity_score)."""
    folder = root / policy / campaign
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "item_context.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([("", "item_id", "item_feature_0"), *((i, i, 0.5) for i in range(num_items))])
    file = folder / (f"{campaign}.csv.gz" if compressed else f"{campaign}.csv")
    with gzip.open(file, "wt", newline="") if compressed else open(file, "w", newline="") as stream:
        body = [(i, "2019-11-24 00:00:00.500000+00:00", *row, "ab12") for i, row in enumerate(rows)]
        csv.writer(stream).writerows([header, *body])
    return file
