"""Find the toolkit's notebooks, and copy them to a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from toolkit.api.errors import InputError

SETTINGS = Path(__file__).with_name("page") / "config"  # of JupyterLab: it makes no requests for news and updates


def notebooks() -> list[Path]:
    """Return the paths of the toolkit's notebooks, in order."""
    return sorted(_folder().glob("*.ipynb"))


def example_log() -> Path:
    """Return the path of a small access log: half a day of nginx before two hosts of the service.

    >>> example_log().name
    'access.log'
    """
    return _folder() / "access.log"


def _folder() -> Path:
    """Return the notebooks' folder: that of the wheel, or else that of the repository."""
    package = Path(__file__).parents[1]
    packaged = package / "notebooks"
    return packaged if packaged.is_dir() else package.parent / "notebooks"


def copy_to(folder: Path) -> list[Path]:
    """Copy the notebooks to a folder, except those that exist there; return the new ones."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        missing = [it for it in notebooks() if not (folder / it.name).exists()]
        return [Path(shutil.copy(it, folder)) for it in missing]
    except OSError as problem:
        raise InputError(f"{folder}: can't copy the notebooks to this folder: {problem.strerror}") from None
