"""`recsession simulate`: play sessions of a policy and show them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Final, Literal

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from tqdm import tqdm

from offline_data.behavior.base import BehaviorPolicy, SessionView
from recenv.envs.session_env import RecSessionEnv, resolve_config
from recenv.envs.wrapper_parts import SUBSETS
from recenv.errors import require, require_range, unknown_name
from recenv.files.atomic_files import claimed_file, replacing
from recenv.random_streams import BEHAVIOR, uniforms
from recenv.render.frame import Frame, ending
from recenv.render.rendering import RENDER_FPS
from recenv.render.session_text import ansi
from recenv.session_config import SessionConfig
from recenv.world import World, make_world
from recsession.experiments.myopic_gap import OracleFamily, Spec, myopic_gap
from recsession.inputs import SetWords, given_config, refuse_given
from recsession.lines import say
from recsession.policy_names import find_policy

if TYPE_CHECKING:
    from PIL import Image

_SHEET_COLUMNS: Final = 3
_MAX_ON_SHEET: Final = 12
_SHEET_GAP: Final = 16
_GAP_USERS: Final = 1000
_PLAIN: Final = str.maketrans("▁▂▃▄▅▆▇█░●·", "_.-=+*%#.*.")


@dataclass(frozen=True)
class Simulate:
    """Play sessions of a policy and show them, step by step.

    recsession simulate --policy greedy --render ansi

    recsession simulate --policy expert --render rgb_array --out session.gif --set slate_size=5

    recsession simulate --policy runs/robust_filter/policy --render none --num-sessions 20

    recsession simulate --gap --set user_model=boredom_cascade
    """

    env: str = "RecSession-v0"
    """Id of an environment of recenv: RecSession-v0, or a variant of it."""
    policy: str = "greedy"
    """A behavior policy by name (greedy is the oracle of the next click, expert looks beyond it, world_expert is the
    one that the world's user model names, uniform and clickbait are noise) or as a JSON spec, for example '{"name":
    "belief", "optimism": 1}', a policy file of `recsession train`, or MODULE:CLASS, your own act(observation)."""
    render: Literal["ansi", "rgb_array", "none"] = "ansi"
    """Print every step as text, draw every step into --out, or show nothing but the summary."""
    seed: int = 0
    """Session seed of the first session, the next has the next seed; `reset(seed=...)` begins the same session."""
    num_sessions: int | None = None
    """Sessions, one after another: 1 unless given; with --gap users, 1,000 unless given."""
    gap: bool = False
    """Show no sessions, but say what looking beyond the next reward is worth in this world: the return of the best
    far-sighted oracle over the greedy one's, and whether there is anything to gain from far sight."""
    out: Path | None = None
    """Picture that rgb_array writes: an animation, FILE.gif, or a contact sheet of at most 12 steps, FILE.png."""
    config: Path | None = None
    """JSON file of a session config, or what `recsession fit` writes, in place of the default world."""
    set: SetWords = ()
    """Options of the world as NAME=VALUE, for example `--set slate_size=5 choice.no_click_utility=1`; `recsession
    options` lists them."""

    def __post_init__(self) -> None:
        require_range("num_sessions", self._num_sessions, 1, 10**6, integer=True)
        require_range("seed", self.seed, 0, 2**63 - self._num_sessions, integer=True)

    @property
    def _num_sessions(self) -> int:
        usual = _GAP_USERS if self.gap else 1
        return usual if self.num_sessions is None else self.num_sessions

    files: ClassVar = ("out",)

    def run(self) -> None:
        """Play, show and sum up."""
        num_sessions = self._num_sessions
        if self.gap:
            refuse_given(self, ("policy", "render", "out"), "--gap plays the world's oracles, and shows no session")
            _print_gap(make_world(self._given_config()), num_sessions, self.seed)
            return
        self._check_out()
        if self.out is None:
            self._play(num_sessions)
        else:
            with claimed_file(self.out):
                self._play(num_sessions)

    def _play(self, num_sessions: int) -> None:
        policy, world = self._resolve()
        env = RecSessionEnv(
            world.config.override(expose_user_state=True),
            render_mode=None if self.render == "none" else self.render,
        )
        frames: list[Frame] = []
        totals = np.zeros(3)
        for seed in range(self.seed, self.seed + num_sessions):
            session = _Session(env, policy, seed)
            for frame in session.play():
                if self.render == "ansi":
                    _print(ansi(frame, color=_wants_color()) + "\n")
                else:
                    frames.append(frame)
            _print(str(session))
            totals += session.total_reward, session.num_steps, session.num_clicks
        if num_sessions > 1:
            mean = totals / num_sessions
            _print(f"mean of {num_sessions:,}: return {mean[0]:.2f}, {mean[1]:.1f} steps, {mean[2]:.1f} clicks")
        if self.out is not None:
            _write_pictures(frames, self.out)
            say(f"wrote {self.out}")

    def _check_out(self) -> None:
        if self.render == "rgb_array":
            require(self.out is not None, "--render rgb_array has no --out; name a file to write, FILE.gif or FILE.png")
            allowed = ", ".join(_WRITERS)
            require(
                self.out.suffix.lower() in _WRITERS,  # type: ignore[union-attr] (it is not None)
                f"--out {self.out} is of no known kind; end it in one of: {allowed}",
            )
        else:
            require(
                self.out is None,
                f"--out {self.out} is for pictures, and --render {self.render} makes none; add --render rgb_array",
            )

    def _resolve(self) -> tuple[BehaviorPolicy, World]:
        """Return the policy that the options mean, and the world that it acts in."""
        world = make_world(self._given_config())
        given = {"--env": self._names_env, "--config": self.config is not None, "--set": bool(self.set)}
        return find_policy(self.policy, world, given)

    @property
    def _names_env(self) -> bool:
        return self.env != Simulate.env

    def _given_config(self) -> SessionConfig:
        """Return the config that --env, --config and --set mean."""
        environments = _environments()
        if self.env not in environments:
            raise unknown_name("environment", self.env, environments)
        kwargs = dict(environments[self.env].kwargs)
        require(
            not self._names_env or self.config is None,
            f"--config and --env {self.env} are two worlds; leave one of them out",
        )
        base = resolve_config(kwargs.pop("config", None), kwargs)
        return given_config(self.config, self.set, base)


def _print_gap(world: World, num_sessions: int, seed: int) -> None:
    gap = myopic_gap(world, OracleFamily.of(type(world.user_model)), num_sessions, seed)
    rows = (
        ("uniform slates", f"{gap.uniform}"),
        ("greedy oracle", f"{gap.greedy}"),
        ("far-sighted oracle", f"{gap.far_sighted}   {_options(gap.spec)}"),
        ("ratio", f"{gap.ratio:.3f}   (95 % interval, paired over {num_sessions:,} users)"),
    )
    for name, value in rows:
        say(f"{name:<20}{value}")
    say(gap.verdict)


def _options(spec: Spec) -> str:
    return f"{spec['name']}({', '.join(f'{name}={value}' for name, value in spec.items() if name != 'name')})"


def _environments() -> dict[str, EnvSpec]:
    """Return the registered environments that are sessions, by id."""
    entry_point = f"{RecSessionEnv.__module__}:{RecSessionEnv.__name__}"
    return {name: spec for name, spec in gymnasium.registry.items() if spec.entry_point == entry_point}


@dataclass
class _Session:
    """One session of a policy, and what it came to."""

    env: RecSessionEnv
    policy: BehaviorPolicy
    seed: int
    total_reward: float = 0.0
    num_steps: int = 0
    num_clicks: int = 0
    num_shown: int = 0
    outcome: str = ""

    def play(self) -> Iterator[Frame]:
        """Play to the end; yield a frame at the start and after each step, if the environment has a render mode."""
        seeds, episodes = np.array([self.seed], np.uint64), np.zeros(1, np.uint64)
        memory = np.zeros((1, self.policy.num_memory))
        slates = np.full((1, self.env.config.slate_size), -1, np.int32)
        observation, info = self.env.reset(seed=self.seed)
        while True:
            if self.env.render_mode is not None:
                yield self.env.frame()
            if self.outcome:
                return
            steps = np.array([self.num_steps], np.uint64)
            view = SessionView(_batched(observation), _batched(info["user_state"]), steps, slates)
            draws = uniforms(seeds, BEHAVIOR, episodes, steps, self.policy.num_draws)
            try:
                self.policy.remember(view, memory)
                slates = self.policy.act(view, draws, memory).action
            except Exception as error:
                error.add_note(f"at step {self.num_steps} of seed {self.seed}")
                raise
            if self.policy.action_kind == "proto":
                subset = {name: values for name, values in view.observation.items() if name in SUBSETS}
                slates = self.env.world.catalog.nearest_items(slates, self.env.config.slate_size, **subset)
            observation, reward, terminated, truncated, info = self.env.step(slates[0])
            self.total_reward += reward
            self.num_steps += 1
            self.num_clicks += int(info["feedback"][:, 0].sum())
            self.num_shown += int(info["shown"].sum())
            self.outcome = ending(terminated, truncated)

    def __str__(self) -> str:
        num_positions = self.num_steps * self.env.config.slate_size
        gaps = (
            f"\nshown {self.num_shown:,} of {num_positions:,} positions: repeated items, or items that the step does "
            "not offer"
        )
        return (
            f"seed {self.seed}: return {self.total_reward:.2f}, {self.num_steps} steps, {self.num_clicks} clicks, "
            f"{self.outcome}{gaps if self.num_shown < num_positions else ''}"
        )


def _batched(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value)[None] for name, value in values.items()}


# --- text


def _wants_color() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _print(text: str) -> None:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = text.translate(_PLAIN)
    print(text)


# --- pictures


def _write_pictures(frames: list[Frame], out: Path) -> None:
    with replacing(out) as temporary, temporary.open("wb") as file:
        _WRITERS[out.suffix.lower()](frames, file)


def _drawn(frames: list[Frame]) -> Iterator[Image.Image]:
    from PIL import Image

    from recenv.render.session_picture import rgb_array

    for frame in tqdm(frames, unit="frame", delay=1.0):
        yield Image.fromarray(rgb_array(frame))


def _write_animation(frames: list[Frame], file: BinaryIO) -> None:
    # A palette of each picture's own: few colours and their edges, so that 256 lose nothing that is seen.
    pictures = (picture.quantize(256) for picture in _drawn(frames))
    first = next(pictures)
    first.save(file, "GIF", save_all=True, append_images=pictures, duration=1000 // RENDER_FPS, loop=0)


def _write_contact_sheet(frames: list[Frame], file: BinaryIO) -> None:
    from PIL import Image

    count = min(_MAX_ON_SHEET, len(frames))
    chosen = [frames[place] for place in np.rint(np.linspace(0, len(frames) - 1, count)).astype(int)]
    pictures = [picture.reduce(2) for picture in _drawn(chosen)]
    width, height = (size + _SHEET_GAP for size in pictures[0].size)
    columns = min(_SHEET_COLUMNS, count)
    rows = -(-count // columns)
    sheet = Image.new("RGB", (columns * width + _SHEET_GAP, rows * height + _SHEET_GAP), "#c9ced6")
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        sheet.paste(picture, (_SHEET_GAP + column * width, _SHEET_GAP + row * height))
    sheet.save(file, "PNG")


_WRITERS: Final = {".gif": _write_animation, ".png": _write_contact_sheet}
