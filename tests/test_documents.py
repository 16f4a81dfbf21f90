"""README and the pages of docs/ are run: the Python blocks of a page are one program, its command lines are parsed."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import io
import re
import runpy
import shlex
from pathlib import Path

import pytest
import tyro

from recenv import Registry, SessionConfig, make_world

ROOT = Path(__file__).parents[1]
FACES = ("recenv", "offline_data", "agents", "recsession")
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    if not path.name.startswith(".")
)
# Their commands are run, too: tests/recsession/test_your_log.py.
LIVED = ("docs/your_log.md",)
README_BYTES = 8192
TOUR_LINES, TOUR_IMPORTS = 10, 8


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}[^\n]*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def snippets(text: str) -> list[str]:
    """Return the paths of the files that a page shows, which their own tests run.

    Their blocks begin with ``` { .python }, which ruff does not take for Python to format.
    """
    return re.findall(r'^--8<-- "([^":]+)', text, flags=re.MULTILINE)


def program(text: str) -> list[str]:
    """Return the Python blocks that a page itself holds."""
    return blocks(text, "python")


def commands(text: str) -> list[list[str]]:
    """Return the words of each `recsession ...` command in a page's bash blocks."""
    found = []
    for block in blocks(text, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            quoted = line.replace("'|'", "_").replace("';'", "_")  # a delimiter, not the shell's
            words = shlex.split(quoted, comments=True)
            for start in (i for i, word in enumerate(words) if word == "recsession"):
                rest = words[start + 1 :]
                end = next((i for i, word in enumerate(rest) if word in ("&&", "|", ";", ">")), len(rest))
                found.append(rest[:end])
    return found


def check_imports(block: str) -> list[str]:
    """Return the lines that take a name of ours from anywhere but a package's face."""
    complaints = []
    for node in ast.walk(ast.parse(block)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        complaints += [
            f"{ast.unparse(node)}: import it from {name.split('.')[0]}"
            for name in names
            if name.split(".")[0] in FACES and "." in name and not name.endswith((".testing", ".sb3"))
        ]
    return complaints


class Parsed(Exception):
    """Options are understood; the command itself is not run."""


def parsed(words: list[str]) -> None:
    """Let the command line read the words, up to where the work would begin."""
    from recsession.cli import main

    code = main(words)
    assert code == 0, f"recsession {shlex.join(words)} exits with {code}"


@pytest.mark.parametrize("page", [page for page in PAGES if page not in LIVED])
def test_python_blocks_are_one_program(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = (ROOT / page).read_text()
    source = program(text)
    if any("agents" in block or "torch" in block for block in source):
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for block in source:
        lines = text[: text.index(block)].count("\n")
        exec(
            compile("\n" * lines + block, ROOT / page, "exec", dont_inherit=True), names
        )  # the page's own words, at their own lines


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_understood(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    read = tyro.cli

    def understand(*arguments, **options):
        read(*arguments, **options)
        raise Parsed

    monkeypatch.setattr(tyro, "cli", understand)
    for words in commands((ROOT / page).read_text()):
        if words[:1] in ([], ["--help"], ["--version"]):
            continue
        with pytest.raises(Parsed):
            parsed(words)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_imports_from_the_faces_and_points_to_what_is_there(page: str):
    text = (ROOT / page).read_text()
    shown = snippets(text)
    complaints = [f"shows {path}, which is not there" for path in shown if not (ROOT / path).is_file()]
    sources = program(text) + [(ROOT / path).read_text() for path in shown if (ROOT / path).is_file()]
    complaints += [complaint for source in sources for complaint in check_imports(source)]
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target and not (ROOT / page).parent.joinpath(target).exists():
            complaints.append(f"points to {target}, which is not there")
    for path in re.findall(rf"`((?:{'|'.join(FACES)}|tests|docs)/[\w/.*]*)`", text):
        if not list(ROOT.glob(path.rstrip("/"))):
            complaints.append(f"names {path}, which is not there")
    assert not complaints, "\n".join(complaints)


def test_readme_is_short():
    readme = ROOT / "README.md"
    assert len(readme.read_bytes()) <= README_BYTES
    (tour,) = program(readme.read_text())
    imports = sum(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.parse(tour).body)
    assert imports <= TOUR_IMPORTS
    assert len(ast.parse(tour).body) - imports <= TOUR_LINES


def test_the_page_of_the_world_names_each_environment_and_what_it_gives():
    from recenv.envs.registration import VARIANTS
    from recenv.session_config import SECTION_PIECES

    lines = (ROOT / "docs" / "world.md").read_text().splitlines()
    for name, options in VARIANTS.items():
        config = SessionConfig().override(**options)
        world = make_world(config)
        (row,) = (line for line in lines if line.startswith(f"| `{name}` |"))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1:3] == [f"`{config.user_model.name}`", f"`{config.choice.name}`"]
        assert cells[3] == ", ".join(f"`{piece}`" for piece in SECTION_PIECES if getattr(config, piece) is not None)
        rewards = zip(world.reward_names, world.reward_weights, strict=True)
        assert cells[4] == ", ".join(f"`{reward}` {weight:g}" for reward, weight in rewards)
        assert cells[5] == ", ".join(f"`{channel}`" for channel in world.user_model.feedback_names)


def test_the_page_of_parts_has_every_family():
    page = (ROOT / "docs" / "parts.md").read_text()
    packages = [importlib.import_module(f"{face}.families") for face in ("recenv", "offline_data", "agents")]
    families = [part for package in packages for part in vars(package).values() if isinstance(part, Registry)]
    assert len(families) >= 8
    for family in families:
        assert f"| [{family.kind}](#" in page
        assert f"| `{family.package.replace('.', '/')}/` | `{family.group}` |" in page


def test_the_page_of_the_architecture_has_every_room_and_walks_forward():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rooms = [folder.parent for face in FACES for folder in (ROOT / face).glob("*/__init__.py")]
    missing = [room for room in sorted(rooms) if f"| `{room.relative_to(ROOT)}/` |" not in page]
    assert rooms
    assert not missing, f"docs/architecture.md says nothing of {missing}"
    walks = page.split("## Two walks")[1].split("\n## ")[0].split("\n### ")[1:]
    assert len(walks) == 2
    for walk in walks:
        files = re.findall(r"^\d+\. `([\w/.]+)`", walk, flags=re.MULTILINE)
        assert len(files) > 5
        assert len(set(files)) == len(files)
        order = [FACES.index(file.split("/")[0]) for file in files]
        assert order in (sorted(order), sorted(order, reverse=True))


PAGE = """
```python
import recenv.world
from agents.training.trainer import train
from agents import train
```
``` { .python title="a part" }
--8<-- "tests/no_such_part.py"
```
```bash
ls | head && recsession train bc --log runs/log  # a comment
```
"""


def test_what_these_tests_read_of_a_page():
    assert len(program(PAGE)) == 1
    assert len(check_imports(program(PAGE)[0])) == 2
    assert snippets(PAGE) == ["tests/no_such_part.py"]
    assert commands(PAGE) == [["train", "bc", "--log", "runs/log"]]


def test_an_unknown_option_of_a_page_would_be_seen(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(AssertionError, match="exits with 2"):
        parsed(["simulate", "--polcy", "greedy"])
    assert "--policy" in capsys.readouterr().err


def test_every_paper_of_the_source_is_on_the_page_of_papers():
    page = (ROOT / "docs" / "papers.md").read_text()
    sources = [path.read_text() for face in FACES for path in (ROOT / face).rglob("*.py")]
    cited = {paper for source in sources for paper in re.findall(r"arXiv:\d{4}\.\d{4,5}", source)}
    assert len(cited) > 20
    assert not [paper for paper in sorted(cited) if paper not in page]


@pytest.mark.parametrize("script", sorted((ROOT / "docs" / "images").glob("*.py")), ids=lambda path: path.stem)
def test_a_figure_is_what_its_numbers_say(script: Path, tmp_path: Path):
    runpy.run_path(str(script))["draw"](tmp_path / "drawn.svg")
    assert (tmp_path / "drawn.svg").read_bytes() == script.with_suffix(".svg").read_bytes()


def test_a_table_is_what_its_numbers_say():
    images = ROOT / "docs" / "images"
    settings = (images / "selection.csv").read_text().splitlines()[1:]
    rows = [line.split(",") for line in settings]
    page = (ROOT / "docs" / "quickstart.md").read_text()
    assert all(f"| {share} | {score} |" in page for _, _, _, share, score, _ in rows)


@pytest.mark.parametrize(
    "face", ["recenv", "recenv.sb3", "recenv.testing", "offline_data", "offline_data.testing", "agents"]
)
def test_every_public_class_has_an_example_that_runs(face: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for needed in {"agents": ["torch"], "recenv.sb3": ["stable_baselines3"]}.get(face, []):
        pytest.importorskip(needed)
    package = importlib.import_module(face)
    classes = [part for part in (getattr(package, name) for name in package.__all__) if inspect.isclass(part)]
    assert classes
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said = io.StringIO()
    for part in classes:
        (example,) = doctest.DocTestFinder(recurse=False).find(part, part.__name__, globs={"__name__": "example"})
        folder = tmp_path / part.__name__
        folder.mkdir()
        monkeypatch.chdir(folder)
        if not example.examples:
            said.write(f"{part.__module__}.{part.__name__} has no example; add one to its docstring\n")
        runner.run(example, out=said.write)
    assert not said.getvalue(), said.getvalue()


def test_the_change_log_has_the_versions_of_the_formats():
    pytest.importorskip("torch")
    from agents.nn.file_formats import FORMAT_VERSION as TRAINING_VERSION
    from offline_data.store.manifest import FORMAT_VERSION as DATASET_VERSION

    rows = [line.split(" | ") for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("| ")]
    versions = {row[0].removeprefix("| ").split(",")[0]: row[1] for row in rows}
    assert versions["dataset"] == str(DATASET_VERSION)
    assert versions["policy"] == versions["run of `train` and `quickstart`"] == str(TRAINING_VERSION)
    assert versions["default world"] == f"`{SessionConfig().world_hash()}`"
