"""By which sessions a policy may be judged: by those that it did not learn from."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from agents.policies.base import Policy
from offline_data.describe.number_words import percent
from offline_data.store.dataset import LoggedDataset
from offline_data.store.log_split import other_part, split_folder, stays_together
from offline_data.store.manifest import PARTS
from offline_data.store.session_sketch import SessionSketch
from recenv.errors import InvalidInput


def warn_of_shared(policy: Policy, file: Path, log: LoggedDataset) -> Iterator[str]:
    """Yield a warning, and what to do, if a log has sessions that the policy learned from and is known to have.

    Args:
        policy: what is judged.
        file: where it lies.
        log: by what.
    """
    share = shared_share(policy, log)
    if not share:
        return
    yield (
        f"warning: about {percent(share)} of the sessions of {log.path} are among those that the policy learned from: "
        "they flatter it, by any amount"
    )
    if log.has_world:
        yield f"judge it in its simulator, `recsession evaluate --policy {_word(file)}`, or by sessions of another seed"
    else:
        yield how_to_judge(policy, file, log)


def shared_share(policy: Policy, log: LoggedDataset) -> float | None:
    """Return about which share of a log's sessions a policy learned from, in [0, 1]; None where it does not know."""
    if policy.learned_from is None:
        return None
    log.require_sound()
    return policy.learned_from.share_of(SessionSketch.of_log(log))


def how_to_judge(policy: Policy, file: Path, log: LoggedDataset) -> str:
    """Return the command that judges a policy by sessions that it did not learn from, or those that set such apart.

    Args:
        policy: what is judged.
        file: where it lies.
        log: what it learned from, or shares sessions with that.
    """
    for part in _related(log):
        if policy.learned_from is not None and policy.learned_from.share_of(SessionSketch.of_log(part)) == 0.0:
            return f"judge it with `recsession ope --log {_word(part.path)} --policy {_word(file)}`"
    other, this = other_part(log), _word(log.path)
    if other is not None:
        return (
            f"train one on the other part alone, `recsession train OBJECTIVE --log {_word(other)} --out RUN`, and "
            f"judge that with `recsession ope --log {this} --policy RUN/policy`"
        )
    if stays_together(log):
        return (
            f"to judge by sessions that were not learned from, collect or import others: those of {this} stay together"
        )
    train, judge = map(_word, _parts(log))
    return (
        f"to judge by sessions that were not learned from, `recsession split {this}`, then "
        f"`recsession train OBJECTIVE --log {train} --out RUN` and `recsession ope --log {judge} --policy RUN/policy`"
    )


def _related(log: LoggedDataset) -> Iterator[LoggedDataset]:
    """Yield the other part of the split that a log is a part of, and the parts of its own, where they lie."""
    other, checksum = other_part(log), log.manifest["checksum"]
    for path in (*([] if other is None else [other]), *_parts(log)):
        with suppress(InvalidInput):
            part = LoggedDataset.open(path)
            if path == other or (part.part is not None and part.part["of"]["checksum"] == checksum):
                part.require_sound()
                yield part


def _parts(log: LoggedDataset) -> list[Path]:
    return [split_folder(log.path) / name for name in PARTS]


def _word(path: Path) -> str:
    return shlex.quote(str(path))
