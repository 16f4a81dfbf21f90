"""Another package named `agents`: found before it is imported in place of RecSession's, and named.

The name is popular. Whichever comes first on Python's path wins, and two distributions installed into one environment
overwrite each other's files, without a word from pip.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from importlib import metadata
from pathlib import Path

# The first lines of our agents/__init__.py contain it.
MARK = "RecSession"


def find_clash(package: str = "agents", home: Path | None = None) -> str | None:
    """Return one sentence that names what `import agents` gives in place of ours, or None if it gives ours.

    Nothing is imported. The slow look at every installed distribution (0.1 s) is taken only after a clash was found.

    Args:
        package: top-level name to look at.
        home: folder that our package lies in; by default the one that `recenv` lies in.
    """
    sentence, _ = _look(package, home)
    return sentence


def find_rivals(package: str = "agents", home: Path | None = None) -> str | None:
    """Return one sentence that names distributions that installed files into our package's folder, or None.

    Ours is imported, but either may have overwritten modules of the other. Takes 0.1 s.

    Args:
        package: top-level name to look at.
        home: folder that our package lies in; by default the one that `recenv` lies in.
    """
    place = _home(home) / package
    owners = _owners(package, place)
    if not owners:
        return None
    return (
        f"the distribution {' and '.join(owners)} has files in RecSession's package {package} at {place}; uninstall "
        f"{' '.join(owners)} and reinstall recsession, or give each its own venv"
    )


def warn_of_clash(package: str = "agents", home: Path | None = None) -> None:
    """Warn if an installed distribution hides or overwrote RecSession's package.

    A user's own folder of that name gives no warning: it is legitimate beside `recenv` and `offline_data`, which do not
    need `agents`.

    Args:
        package: top-level name to look at.
        home: folder that our package lies in; by default the one that `recenv` lies in.
    """
    sentence, owners = _look(package, home)
    if sentence is not None and owners:
        warnings.warn(sentence, UserWarning, stacklevel=2)


def _look(package: str, home: Path | None) -> tuple[str | None, list[str]]:
    """Return the sentence of a clash, or None, and the distributions behind it."""
    home = _home(home)
    place = _place(package)
    if place is None:
        return f"RecSession's package {package} is not at {home / package}; reinstall recsession", []
    ours = place == home / package
    if ours and _is_marked(place):
        return None, []
    owners = _owners(package, place)
    who = " and ".join(owners)
    if ours and owners:
        sentence = (
            f"RecSession's package {package} at {place} was overwritten by the distribution {who}; uninstall "
            f"{' '.join(owners)} and reinstall recsession, or give each its own venv"
        )
    elif ours:
        sentence = f"RecSession's package {package} at {place} was overwritten; reinstall recsession"
    elif owners:
        sentence = (
            f"the package {package} at {place}, of the distribution {who}, hides RecSession's at {home / package}; "
            f"uninstall {' '.join(owners)}, or give each its own venv"
        )
    else:
        sentence = (
            f"{place} hides RecSession's package {package} at {home / package}; rename it, or start Python where it is "
            "not on the path"
        )
    return sentence, owners


def _home(home: Path | None) -> Path:
    return Path(__file__).resolve().parent.parent if home is None else home.resolve()


def _place(package: str) -> Path | None:
    """Return the folder that the name stands for, without importing it."""
    module = sys.modules.get(package)
    if module is not None:
        folders = list(getattr(module, "__path__", []))
    else:
        try:
            spec = importlib.util.find_spec(package)
        except ValueError:  # a stub in sys.modules without a spec
            spec = None
        if spec is None:
            return None
        # A plain module agents.py has an origin and no folder.
        folders = list(spec.submodule_search_locations or ([spec.origin] if spec.origin else []))
    return Path(folders[0]).resolve() if folders else None


def _is_marked(place: Path) -> bool:
    try:
        return MARK in (place / "__init__.py").read_text(encoding="utf-8")
    except OSError:
        return False


def _owners(package: str, place: Path) -> list[str]:
    """Return the distributions other than ours that have files at `place`, by name."""
    names = {name for name in metadata.packages_distributions().get(package, ()) if name}
    return sorted(name for name in names - {"recsession"} if _lies_at(name, package, place))


def _lies_at(distribution: str, package: str, place: Path) -> bool:
    folder = Path(str(metadata.distribution(distribution).locate_file(package))).resolve()
    return place in (folder, folder.with_suffix(".py"))
