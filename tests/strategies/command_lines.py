"""Command lines as nobody should type them: small valid ones, spoilt at random."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from recsession.cli import main

_TINY: Final = "--set num_items=30 slate_size=3 max_steps=4 embedding_dim=4 num_topics=3 history_length=3"
_BUDGET: Final = "--trainer.num-steps 2 --trainer.batch-size 8 --trainer.policy.network.hidden-sizes 8"
_CRITIC: Final = (
    "--critic.num-rounds 1 --critic.steps-per-round 1 --critic.batch-size 8 --critic.network.hidden-sizes 8"
)
COMMANDS: Final = (
    "datasets stale",
    "options",
    "options budget --user-model boredom_cascade",
    f"collect --out new --num-sessions 4 {_TINY}",
    f"collect --out new --num-sessions 4 --action-kind slate --behavior uniform {_TINY}",
    f"simulate --render none {_TINY}",
    f"simulate --render rgb_array --out new.png {_TINY}",
    "inspect log",
    "inspect log --json",
    "inspect slates --no-verify --html new.html",
    "split log --out new",
    "split slates --by user --share 0.3 --seed 1 --out new",
    "export log --to card --out new.md",
    "export slates --to parquet --out new",
    "import table --path log.csv --out new --map user_id=user item_id=item timestamp=time feedback.click=click",
    "import movielens --path folder --out new",
    "import kuairand --path folder --out new",
    "import open-bandit --path folder --out new",
    "import minari --path folder --out new",
    f"train bc --log log --out new {_BUDGET}",
    f"train awr --log slates --out new {_BUDGET} {_CRITIC}",
    "evaluate --policy policy --num-sessions 4",
    f"evaluate --policy greedy --noise uniform --num-sessions 4 {_TINY}",
    "fit --log slates --out new.json",
    f"ope --log log --policy policy --estimators snips {_CRITIC.replace('num-rounds 1', 'num-rounds 1')}",
    "ope --log open-bandit --path folder",
    "check no_such_part",
    "theory --out file",
    "quickstart --out file --noise nobody --workers 1",
)
"""What is spoilt; each is small, or refused."""

NUMBERS: Final = (
    "0",
    "-1",
    "1",
    "2",
    "3",
    "0.5",
    "1e-300",
    "1e308",
    "1e400",
    "nan",
    "inf",
    "-inf",
    "-0.0",
    "0x10",
    "1_0",
)
NUMBERS_BEYOND: Final = ("1" * 309, "9" * 5000, "-" + "9" * 5000, *(str(10**power) for power in (9, 18, 20, 400)))
WORDS: Final = (
    *("", " ", "None", "True", "auto", "é", "日本", "a b", "'", '"', "$(x)", "%s", "null", "-", "--", "---", "NaN"),
    *("=", ":", "a=b", "a:b", "json:loads", "os:path", "x.y.z:A", "x" * 300, "x" * 5000, "recsession"),
    *("uniform", "greedy", "expert", "clickbait", "bc", "robust_filter", "snips"),
    *("{}", "[]", "{", "[" * 5000, '{"a":' * 200 + "1" + "}" * 200, '"\\u0000"', '"\\ud800"'),
    *('{"name":"uniform"}', '{"name":"uniform","name":"greedy"}', '{"name":["x"]}'),
    '{"name":"mixture","components":[[]]}',
)
PATHS: Final = (
    "file", "folder", "absent", "absent/deep", "file/below", "log", "log/manifest.json", "policy", "slates", "new",
    "new.json", "new.html", "list.json", "empty", "link", "log.csv", "n" * 256, "n/" * 2100, "with space", "new.gif",
)  # fmt: skip
MARKS: Final = (
    "\0",
    "\n",
    "\r",
    "\t",
    "\x1b[2J",
    "\x07",
    "\u202e",
    "\u200b",
    "\ufeff",
    "\u2028",
    "\udce9",
    "\x85",
    "é",
)
SETTINGS: Final = (
    "num_items", "slate_size", "max_steps", "world_seed", "choice", "user_model", "pieces", "retention", "budget",
    "num_candidates", "choice.position_decay", "catalog.num_topics", "satiation", "a.b.c", "embedding_dim", "freshness",
)  # fmt: skip


@cache
def options_of(command: str) -> tuple[str, ...]:
    """Return the options that a command's own parser tells in its help."""
    words = command.split()
    head = words[:2] if words[0] in ("import", "train") else words[:1]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main([*head, "--help"])
    found = sorted(set(re.findall(r"(?<![\w-])--[a-z][\w.-]*[a-z]", said.getvalue())) - {"--help"})
    assert found or words[0] == "datasets", command
    return tuple(found)


def spoilt(seed: int, commands: tuple[str, ...] = COMMANDS) -> list[str]:
    """Return a command line; every path in it is relative, and leads into the folder that is worked in.

    Args:
        seed: of the choice.
        commands: what is chosen from.
    """
    rng = np.random.default_rng([20261130, seed])
    command = str(rng.choice(commands))
    words = shlex.split(command)
    for _ in range(rng.integers(1, 4)):
        words = _changed(words, options_of(command), rng)
    return [word for word in words if stays_inside(word)]


def stays_inside(word: str) -> bool:
    """Return whether no part of a word is a path that leads out of the folder that is worked in."""
    parts = re.split(r"[=,:\s\"']", word)
    return not any(part.startswith(("/", "~")) or ".." in Path(part.replace("\0", "")).parts for part in parts)


def _changed(words: list[str], options: tuple[str, ...], rng: np.random.Generator) -> list[str]:
    words, place = list(words), int(rng.integers(1, len(words) + 1))
    chosen = str(rng.choice(options)) if options else "--x"
    given = [i for i, word in enumerate(words) if word.startswith("--")]
    match rng.integers(8):
        case 0 if len(words) > 1:
            del words[min(place, len(words) - 1)]
        case 1:
            words.insert(place, _value(rng))
        case 2 if given:  # another value of an option that is given
            at = given[int(rng.integers(len(given)))] + 1
            words[at : at + 1] = [_value(rng)]
        case 3 if given:
            words += [words[given[int(rng.integers(len(given)))]], _value(rng)]
        case 4:
            at = min(place, len(words) - 1)
            mark, cut = str(rng.choice(MARKS)), int(rng.integers(len(words[at]) + 1))
            words[at] = words[at][:cut] + mark + words[at][cut:]
        case 5:
            words += ["--set", f"{rng.choice(SETTINGS)}={_value(rng)}"]
        case 6:
            words += [f"{chosen}={_value(rng)}"]
        case _:
            words += [chosen, _value(rng)]
    return words


def _value(rng: np.random.Generator) -> str:
    kinds = (NUMBERS, NUMBERS_BEYOND, WORDS, PATHS, PATHS)
    values = kinds[int(rng.integers(len(kinds)))]
    return values[int(rng.integers(len(values)))]
