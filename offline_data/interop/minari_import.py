"""Minari's datasets in: what `export_minari` wrote, or any whose actions are items or slates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import gymnasium
import numpy as np

from offline_data.interop.foreign_log import import_interactions
from offline_data.interop.import_options import ImportOptions
from offline_data.interop.interactions import Ids, Interactions
from offline_data.interop.item_file import with_items
from offline_data.interop.minari import CATALOG_FILE, COLUMNS_KEY, DATA_FILE, FLAT_KEY, ITEMS_FILE, MANIFEST_KEY
from offline_data.interop.text_format import PLAIN
from offline_data.store.dataset import ContradictoryLog, LoggedDataset, file_digest
from offline_data.store.dataset_writer import consumed_events, write_dataset
from recenv.errors import InvalidInput, require
from recenv.extras import require_extra
from recenv.files.array_files import read_arrays, require_room
from recenv.files.atomic_files import require_free
from recenv.memory import require_memory
from recenv.registry import reading
from recenv.session_config import SessionConfig
from recenv.world import make_world

if TYPE_CHECKING:
    from minari import EpisodeData, MinariDataset

# What an export says of its infos where it is older than the list of their columns.
_COLUMNS: Final = (
    *("rows/behavior_log_prob", "rows/prefix_log_prob", "rows/shown", "rows/feedback", "rows/reward_vector"),
    *("rows/day", "rows/session_number", "sessions/user_id", "sessions/group_id", "sessions/episode_id"),
    *("sessions/session_seed", "sessions/behavior_seed", "rows/slate"),
)
_FACTS: Final = (
    *("source", "config", "action_kind", "num_items", "history_length", "max_steps"),
    *("feedback_names", "reward_names", "reward_weights", "propensities", "injected"),
)


def import_minari(
    path: str | Path,
    out: str | Path,
    *,
    items: str | Path | None = None,
    options: ImportOptions | None = None,
    progress: Callable[[int], object] | None = None,
    allow_imports: Iterable[str] = (),
) -> LoggedDataset:
    """Read a Minari dataset whose actions are items or slates and return it as a dataset.

    What `export_minari` wrote comes back whole, its world or its items with it. Of any other the actions, rewards, ends
    and, if the infos have it, `behavior_log_prob` are kept; its observations are not, since histories follow from the
    clicks. A click is there a positive reward where the action is one item, and unknown where it is a slate.

    Args:
        path: the dataset's folder, or its id in Minari's own folder.
        out: the dataset's folder, which is not there yet.
        items: table of the items, by the number of the item as an action in a column item_id; None for
            none, and for what `export_minari` wrote.
        options: how the log is made; sessions are the episodes.
        progress: called with 1 for each episode.
        allow_imports: modules that may be imported because the world that comes back names parts of theirs.

    Raises:
        InvalidInput: for a missing dataset, other actions, rewards that cannot be read, other `max_steps` or another
            `slate_size` than those of the log that comes back, or a world that needs a module that is not allowed.
    """
    require_extra("minari")
    import minari
    from minari.storage.datasets_root_dir import get_dataset_path

    folder = Path(path)
    folder = folder if folder.exists() else get_dataset_path(str(path))
    data = folder / "data" if (folder / "data").is_dir() else folder
    require(
        (data / "metadata.json").is_file(), f"{path} is no Minari dataset; give its folder, or the id of a local one"
    )
    require_free(Path(out))
    with _told_of(data):
        _check_room(data)
        source = minari.MinariDataset(data)
        manifest = source.storage.metadata.get(MANIFEST_KEY)
        require(manifest is None or isinstance(manifest, dict), f"its {MANIFEST_KEY} is no object")
        episodes = []
        # The storage's own iterator opens the file once, not once an episode.
        for values in source.storage.get_episodes(range(source.total_episodes)):
            episode = minari.EpisodeData(**values)
            profile = None if manifest is None else _profile(episode, source.storage.metadata)
            episodes.append(replace(episode, observations=profile))
            if progress:
                progress(1)
        require(len(episodes) > 0, "it has no episode")
        for index, episode in enumerate(episodes):
            parts = (episode.actions, episode.rewards, episode.terminations, episode.truncations)
            whole = len({len(part) for part in parts}) == 1
            require(whole, f"episode {index} has not as many actions as rewards and ends")
        if manifest is None:
            log, lacking = _foreign(source, episodes, data)
        else:
            told = [column for column in _COLUMNS if column.split("/")[1] in (episodes[0].infos or {})]
            named = source.storage.metadata.get(COLUMNS_KEY, told)
            columns, facts = _own(episodes, manifest, named, data, allow_imports)
            lengths = np.array([len(episode) for episode in episodes])
            _require_items(columns["rows/slate"], lengths, facts["num_items"], 0, data)
    options = options or ImportOptions()
    if manifest is None:
        remarks: list[str] = []
        if items is not None:
            item, catalog, made, remarks = with_items(log.item, Path(items), "item_id", PLAIN, options.item_features)
            files = [*log.files, (Path(items), 0)]
            log = replace(log, files=files, item=item, catalog=catalog, item_features=made)
        return import_interactions(out, log, "minari", options=options, lacking=lacking, remarks=remarks)
    require(items is None, f"--items {items}: the items of {data} come back with it; leave out --items")
    for name, own in (("max_steps", manifest.get("max_steps")), ("slate_size", columns["rows/slate"].shape[1])):
        given = getattr(options, name)
        require(
            given in (None, own),
            f"{name}={given} is not the {own} of {data}, which comes back with it; leave out "
            f"--{name.replace('_', '-')}",
        )
    try:
        return write_dataset(out, columns, facts)
    except ContradictoryLog as error:
        raise InvalidInput(f"{data} is damaged or of another RecSession ({error}); copy it again") from error


@contextmanager
def _told_of(data: Path) -> Iterator[None]:
    """Tell in one sentence what libraries raise over a stranger's file, of whatever kind."""
    try:
        yield
    except Exception as error:
        why = error if isinstance(error, InvalidInput) else f"{type(error).__name__}: {error}"
        raise InvalidInput(f"{data} is damaged or of another version ({why}); copy it again") from error


def _check_room(data: Path) -> None:
    """Refuse a file whose arrays unpack to far more than it holds, before any is read."""
    import h5py

    sizes: list[int] = []
    file = data / DATA_FILE
    if file.is_file():  # Minari has another storage, too
        with h5py.File(file) as store:
            store.visititems(lambda _, node: sizes.append(node.nbytes) if isinstance(node, h5py.Dataset) else None)
        require_room(sum(sizes), file.stat().st_size, str(file))


def _profile(episode: EpisodeData, metadata: dict[str, Any]) -> np.ndarray | None:
    """Return the profile [d] that the observations of one of our episodes hold; None of a log that has none."""
    observations = episode.observations
    if isinstance(observations, dict):
        return observations["profile"][0].copy() if "profile" in observations else None
    places = {name: slice(first, end) for name, first, end in metadata[FLAT_KEY]["layout"]}
    return observations[0, places["profile"]].copy() if "profile" in places else None


def _own(
    episodes: list[EpisodeData], manifest: dict[str, Any], named: list[str], data: Path, allow_imports: Iterable[str]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the columns and the manifest of what `export_minari` wrote."""
    lengths = np.array([len(episode) for episode in episodes])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    action = np.concatenate([episode.actions for episode in episodes])
    columns = {
        "rows/session_id": np.repeat(np.arange(len(episodes)), lengths),
        "rows/step": np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        "rows/slate": action.reshape(len(action), -1).astype(np.int32),
        "rows/terminated": np.concatenate([episode.terminations for episode in episodes]),
        "rows/truncated": np.concatenate([episode.truncations for episode in episodes]),
        "sessions/offsets": offsets,
    }
    if manifest["action_kind"] == "proto":
        columns["rows/proto"] = action.astype(np.float32)
    if episodes[0].observations is not None:
        columns["sessions/profile"] = np.stack([episode.observations for episode in episodes])
    infos = [episode.infos for episode in episodes]
    for column in named:
        folder, name = column.split("/")
        if folder == "rows":
            values = np.concatenate([info[name][1:] for info in infos])
        else:
            values = np.array([info[name][0] for info in infos])
        columns[column] = np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
    columns |= consumed_events(columns["rows/slate"], columns["rows/feedback"], offsets)
    columns |= {f"catalog/{name}": values for name, values in _catalog_of(manifest, data, allow_imports).items()}
    facts = {name: manifest[name] for name in _FACTS}
    facts |= {name: value for name, value in manifest.items() if name not in ("num_rows", "num_sessions", "versions")}
    source = manifest["source"] if manifest["config"] is None else {"lacking": ["latent labels"], "options": {}}
    facts["source"] = {**source, **_source(data), "exported": manifest["source"]}
    return columns, facts


def _catalog_of(manifest: dict[str, Any], data: Path, allow_imports: Iterable[str]) -> dict[str, np.ndarray]:
    """Return the columns of the items: those beside the data, or those of the world that the manifest tells of."""
    if manifest["config"] is None:
        return read_arrays(data / CATALOG_FILE)
    own = data / ITEMS_FILE if "items" in manifest["config"] else None
    with reading(data, allow_imports):
        config = SessionConfig.from_dict(manifest["config"], items=own)
    _require_drawable(config.catalog.num_items, config.catalog.embedding_dim)
    return make_world(config).catalog.arrays()


def _require_items(slates: np.ndarray, lengths: np.ndarray, count: int, low: int, data: Path) -> None:
    """Refuse slates [N, K] of items beyond the catalogue's [0, count), whose ids begin at `low`."""
    outside = ((slates < 0) | (slates >= count)).any(axis=1)
    if outside.any():
        episode = int(np.searchsorted(np.cumsum(lengths), np.argmax(outside), side="right"))
        raise InvalidInput(
            f"{data}: episode {episode} has the action {(slates[np.argmax(outside)] + low).tolist()}, whose items are "
            f"not in [{low}, {low + count}); copy it again"
        )


def _require_drawable(count: int, dim: int) -> None:
    """Refuse items that memory does not hold, whose number nothing but a text in the file says."""
    require_memory(16 * count * dim, f"a catalogue of the {count:,} items that it says", "copy it again")


def _foreign(source: MinariDataset, episodes: list[EpisodeData], data: Path) -> tuple[Interactions, list[str]]:
    """Return what a dataset of others logged, and what it lacks."""
    low, count, size = _catalogue(source.spec.action_space)
    _require_drawable(count, 1)
    lengths = np.array([len(episode) for episode in episodes])
    total = int(lengths.sum())
    session = np.repeat(np.arange(len(episodes)), lengths * size)
    reward = np.concatenate([episode.rewards for episode in episodes]).astype(np.float64)
    slates = np.concatenate([np.reshape(episode.actions, (-1, size)) for episode in episodes]).astype(np.int64) - low
    _require_items(slates, lengths, count, low, data)
    clicked = reward > 0.0 if size == 1 else np.zeros(total * size, np.bool_)
    lacking = ["users: each episode is of a user of its own", "observations: they are not kept"]
    lacking.append("feedback: a click is reward > 0" if size == 1 else "feedback: which item of a slate was clicked")
    logged = [_log_probs(episode) for episode in episodes]
    known = [each for each in logged if each is not None]
    log = Interactions(
        files=[(data / DATA_FILE, len(session))],
        user=Ids(session, np.arange(len(episodes))),
        item=Ids(slates.ravel(), np.arange(low, low + count)),
        feedback={"click": clicked.astype(np.float64)},
        step=np.repeat(np.arange(total), size),
        position=np.tile(np.arange(size), total),
        reward={"reward": np.repeat(reward, size)},
        step_log_prob=np.repeat(np.concatenate(known), size) if len(known) == len(logged) else None,
        truncated=np.repeat(np.concatenate([episode.truncations for episode in episodes]), size),
    )
    return log, lacking


def _catalogue(space: gymnasium.Space[Any]) -> tuple[int, int, int]:
    """Return the first item's id, the number of items and the slate size of an action space.

    Raises:
        InvalidInput: for a space of something else.
    """
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(space.start), int(space.n), 1
    if isinstance(space, gymnasium.spaces.MultiDiscrete) and space.nvec.ndim == 1:
        kinds = {(int(start), int(n)) for start, n in zip(space.start, space.nvec, strict=True)}
        if len(kinds) == 1:
            return *kinds.pop(), len(space.nvec)
    raise InvalidInput(
        f"the dataset's actions are {space}, which are no items: take one of Discrete actions, or of MultiDiscrete "
        "with the same items at each position"
    )


def _log_probs(episode: EpisodeData) -> np.ndarray | None:
    values = (episode.infos or {}).get("behavior_log_prob")
    return None if values is None else np.asarray(values, np.float64)[-len(episode) :]


def _source(data: Path) -> dict[str, Any]:
    files = {file.name: file_digest(file) for file in sorted(data.iterdir()) if file.is_file()}
    return {"kind": "import", "reader": "minari", "files": files}
